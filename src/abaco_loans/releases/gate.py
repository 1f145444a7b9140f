"""A gate: by how much a candidate may differ before it may not take over. Sealed before anything is compared.

Percentages are of the KPI's value. The defaults are the original rollout's (SPEC, "Variance"): less than 0.1 %
passes, up to 1 % needs an explanation, more halts. They judge the part of a difference that nothing explains; an
explained part beyond ``halt_percent`` must have been expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

import rfc8785

from abaco_loans.releases.comparison import Tolerance, Tolerances


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one KPI is judged.

    Attributes:
        pass_percent: an unexplained part of less passes.
        halt_percent: an unexplained part of more halts; an explained part of more must have been expected.
        weight: share of the score, against the weights of the other KPIs.
        critical: its failure fails the gate, whatever the score.
        must_have_data: without a value on both sides nothing passes.
        segments: whether the KPI is judged in segments too.
    """

    pass_percent: Decimal = Decimal("0.1")
    halt_percent: Decimal = Decimal(1)
    weight: int = 1
    critical: bool = False
    must_have_data: bool = False
    segments: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What a candidate is judged by.

    Attributes:
        metrics: by KPI.
        others: for KPIs that are not listed.
        pass_score: least score that passes, from 0 to 100: the share of weights that passed.
        fail_score: a score below fails; from it to ``pass_score`` the gate is inconclusive.
        tapes_min: on how many different tapes the last passes must have been.
        consecutive_passes: how many passes in a row.
        evidence_days_max: a comparison that is older proves nothing any more.
        dry_run: the gate says its verdict and stops nobody; a pass is no evidence then.
    """

    metrics: Mapping[str, Rule] = field(default_factory=dict)
    others: Rule = Rule()
    pass_score: Decimal = Decimal(100)
    fail_score: Decimal = Decimal(100)
    tapes_min: int = 1
    consecutive_passes: int = 1
    evidence_days_max: int = 7
    dry_run: bool = False

    def rule(self, kpi: str) -> Rule:
        """The rule of a KPI."""
        return self.metrics.get(kpi, self.others)

    def tolerances(self) -> Tolerances:
        """What :func:`comparison.compare` is given."""
        return Tolerances(
            others=_tolerance(self.others), by_kpi={kpi: _tolerance(rule) for kpi, rule in self.metrics.items()}
        )

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the canonical JSON of the gates; the order of metrics is none of it."""
        return digest_of(
            {
                **_plain(self, without=("metrics", "others")),
                "others": _plain(self.others),
                "metrics": {kpi: _plain(rule) for kpi, rule in self.metrics.items()},
            }
        )


def loosened(old: Gates, new: Gates) -> tuple[str, ...]:
    """All in which the new gates let pass what the old ones may have stopped, in words; empty when nothing.

    A KPI is compared by the rule in force for it, listed or not. Weights have no loose side: a heavier metric that
    passes outweighs one that fails, so every change of one counts.
    """
    found = [
        f"{name}: {_text(before)} → {_text(after)}"
        for name, before, after in _pairs(old, new, _GATES_SIDES)
        if _looser(_GATES_SIDES[name], before, after)
    ]
    found += [f"{kpi}: no longer listed" for kpi in sorted(old.metrics.keys() - new.metrics.keys())]
    rules = [(kpi, old.rule(kpi), new.rule(kpi)) for kpi in sorted(old.metrics.keys() | new.metrics.keys())]
    for kpi, first, second in [("others", old.others, new.others), *rules]:
        found += [
            f"{kpi}: {name} {_text(before)} → {_text(after)}"
            for name, before, after in _pairs(first, second, _RULE_SIDES)
            if _looser(_RULE_SIDES[name], before, after)
        ]
    return tuple(found)


# Which way a value loosens the gates: 1 up (false to true), -1 down, 0 any change.
_RULE_SIDES = {
    "pass_percent": 1,
    "halt_percent": 1,
    "weight": 0,
    "critical": -1,
    "must_have_data": -1,
    "segments": -1,
}
_GATES_SIDES = {
    "pass_score": -1,
    "fail_score": -1,
    "tapes_min": -1,
    "consecutive_passes": -1,
    "evidence_days_max": 1,
    "dry_run": 1,
}


def _looser(way: int, before: Any, after: Any) -> bool:
    return bool(before != after if way == 0 else after > before if way > 0 else after < before)


def _pairs(old: Any, new: Any, sides: Mapping[str, int]) -> list[tuple[str, Any, Any]]:
    return [(name, getattr(old, name), getattr(new, name)) for name in sides]


def _tolerance(rule: Rule) -> Tolerance:
    return Tolerance(pass_percent=rule.pass_percent, halt_percent=rule.halt_percent)


def _plain(item: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    return {entry.name: plain_value(getattr(item, entry.name)) for entry in fields(item) if entry.name not in without}


def plain_value(value: Any) -> Any:
    """A value as canonical JSON data: one text for equal numbers."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else value


def digest_of(data: Any) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON (RFC 8785) of plain data."""
    return hashlib.sha256(rfc8785.dumps(data)).hexdigest()


def _text(value: Any) -> str:
    return str(plain_value(value)).lower() if isinstance(value, bool) else str(plain_value(value))
