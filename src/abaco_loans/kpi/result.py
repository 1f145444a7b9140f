"""KPI results: a value with everything that proves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from abaco_loans.kpi.catalogue import Direction, Kpi, Thresholds

# Why a KPI that is made of the run's own counts has no bounds.
COUNTS_QUARANTINE = "counts the quarantine itself"


class Status(StrEnum):
    """What a KPI result says."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    NOT_COMPUTABLE = "not_computable"
    OUT_OF_RANGE = "out_of_range"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiResult:
    """One KPI, overall (``segment`` empty) or in one cell of a segment.

    ``value`` is rounded for showing, ``value_exact`` has 28 digits; both are None where there is no value, and
    ``reason`` says why. ``low`` and ``high``: the value if the quarantined rows came back, at best and at worst;
    None with ``bound_reason`` where that cannot be priced.
    """

    kpi: Kpi
    segment: str = ""
    segment_value: str = ""
    status: Status
    value: Decimal | None = None
    value_exact: Decimal | None = None
    reason: str = ""
    held: str = ""
    components: Mapping[str, Decimal | int | None] = field(default_factory=dict)
    rows_used: int | None = None
    null_counts: Mapping[str, int] = field(default_factory=dict)
    low: Decimal | None = None
    high: Decimal | None = None
    bound_reason: str = ""

    def as_dict(self) -> dict[str, object]:
        """The result as JSON-ready data; every decimal is text."""
        return {
            "value": text_of(self.value),
            "value_exact": text_of(self.value_exact),
            "unit": self.kpi.unit,
            "status": self.status.value,
            "reason": self.reason,
            "held": self.held,
            "thresholds": self.kpi.thresholds and self.kpi.thresholds.as_dict(),
            "formula": self.kpi.formula.text,
            "components": {name: text_of(value) for name, value in self.components.items()},
            "rows_used": self.rows_used,
            "null_counts": dict(self.null_counts),
            "low": text_of(self.low),
            "high": text_of(self.high),
            "bound_reason": self.bound_reason,
        }


def text_of(value: Decimal | int | None) -> str | None:
    """A number as plain text, never with an exponent."""
    if value is None:
        return None
    return str(value) if isinstance(value, int) else format(value, "f")


def judged(value: Decimal, thresholds: Thresholds | None) -> Status:
    """The status of a value: a threshold is breached at or beyond it."""
    if thresholds is None:
        return Status.OK
    sign = 1 if thresholds.direction is Direction.HIGH_IS_BAD else -1
    if sign * value >= sign * thresholds.critical:
        return Status.CRITICAL
    return Status.WARNING if sign * value >= sign * thresholds.warning else Status.OK
