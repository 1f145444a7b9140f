"""A check of production: what was looked at, what was found, and how findings add up.

Rule: the worst finding counts, in the order of `_WORST_FIRST`. What is not applicable lowers nothing; a check of which
nothing is applicable is not applicable. What could not be measured is unknown, and unknown is not a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from abaco_loans.errors import InvariantError


class Status(StrEnum):
    """What a check says."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"
    NOT_APPLICABLE = "NOT_APPLICABLE"


_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS)

Metrics = Mapping[str, Decimal | int | None]


def added_up(statuses: Iterable[Status]) -> Status:
    """The worst of them; `NOT_APPLICABLE` where nothing else is said."""
    said = frozenset(statuses)
    return next((status for status in _WORST_FIRST if status in said), Status.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubCheck:
    """One thing that was looked at.

    Attributes:
        words: what was found, for a person.
        metrics: what was measured, by name; the unit stands last in the name. None: it could not be measured.
        evidence: JSON-ready; where what was looked at can be looked at again.
    """

    name: str
    status: Status
    words: str
    metrics: Metrics = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Several things that were looked at for one question. Invariant: their names, and their metrics', differ."""

    name: str
    subchecks: tuple[SubCheck, ...]

    def __post_init__(self) -> None:
        names = [item.name for item in self.subchecks]
        metrics = [name for item in self.subchecks for name in item.metrics]
        if len(set(names)) != len(names) or len(set(metrics)) != len(metrics):
            raise InvariantError(f"check {self.name} says something twice: {names} {metrics}")

    @property
    def status(self) -> Status:
        """The worst of its parts."""
        return added_up(item.status for item in self.subchecks)

    @property
    def metrics(self) -> Metrics:
        """What was measured, of all parts."""
        return {name: value for item in self.subchecks for name, value in item.metrics.items()}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: ``status``, ``metrics`` (numbers), ``evidence`` by part, and the parts with their words."""
        return {
            "status": self.status.value,
            "metrics": {name: _number(value) for name, value in self.metrics.items()},
            "evidence": {item.name: dict(item.evidence) for item in self.subchecks if item.evidence},
            "subchecks": [
                {"name": item.name, "status": item.status.value, "words": item.words} for item in self.subchecks
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All checks of production at one moment, of the release that was active."""

    at: datetime
    release: str
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of all checks; where none is applicable nothing was measured, and that is unknown."""
        worst = added_up(check.status for check in self.checks)
        return Status.UNKNOWN if worst is Status.NOT_APPLICABLE else worst

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, in the form of ``production_validation_report.json``."""
        return {
            "status": self.status.value,
            "timestamp": self.at.isoformat(),
            "release": self.release,
            "checks": {check.name: check.as_dict() for check in self.checks},
            "issues": [
                {"check": check.name, "subcheck": item.name, "status": item.status.value, "words": item.words}
                for check in self.checks
                for item in check.subchecks
                if item.status not in (Status.PASS, Status.NOT_APPLICABLE)
            ],
        }


def _number(value: Decimal | int | None) -> float | int | None:
    """A measurement as a JSON number. No amount of money is ever a metric."""
    return float(value) if isinstance(value, Decimal) else value
