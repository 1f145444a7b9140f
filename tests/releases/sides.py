"""Small sides of a comparison."""

from __future__ import annotations

from decimal import Decimal

from abaco_loans.kpi.result import Status
from abaco_loans.releases.comparison import Compared, Key, Said, compare
from abaco_loans.releases.rounding import printed_decimals

PAR_30, PAR_90, COLLECTION = "risk.par_30", "risk.par_90", "risk.collection_rate"


def key(kpi: str, segment: str = "", value: str = "") -> Key:
    return Key(kpi=kpi, segment=segment, segment_value=value)


def exact(**values: str | None) -> dict[Key, Said]:
    """Exact values by the last word of a KPI's name; None is not computable."""
    return {key(f"risk.{name}"): said(value) for name, value in values.items()}


def printed(**values: str) -> dict[Key, Said]:
    """Values as a report prints them."""
    return {
        key(f"risk.{name}"): Said(value_exact=Decimal(value), printed_decimals=printed_decimals(Decimal(value)))
        for name, value in values.items()
    }


def said(value: str | Decimal | None, reason: str = "there are no rows") -> Said:
    if value is None:
        return Said(status=Status.NOT_COMPUTABLE, reason=reason)
    return Said(value_exact=Decimal(value))


def one(baseline: str | Decimal | None, candidate: str | Decimal | None) -> Compared:
    """PAR 30, exact on both sides, compared."""
    return compare([{key(PAR_30): said(baseline)}], {key(PAR_30): said(candidate)})[0]
