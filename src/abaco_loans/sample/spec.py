"""What a person asks of a sample book."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from abaco_loans.errors import UsageError

LOANS_MAX = 1_000_000
MONTHS_MAX = 240
DIRTY_SHARE_MAX = 0.5
_EARLIEST_END = date(1990, 1, 1)
_LATEST_END = date(2100, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec:
    """Size and shape of a sample.

    Args:
        loans: loans disbursed over the whole period, 1 to 1,000,000.
        months: calendar months of disbursement, the month of ``end`` being the last; 1 to 240.
        seed: any integer; the same spec gives the same bytes.
        end: the as-of date; nothing in the sample happens after it.
        currencies: 1 (USD) or 2 (USD and HNL; the reporting currency stays USD).
        dirty_share: share of rows of each tape that is spoiled, 0 to 0.5.

    Raises:
        UsageError: ``SAMPLE-101`` when a value is out of its range.
    """

    loans: int = 2000
    months: int = 24
    seed: int = 7
    end: date = date(2025, 11, 30)
    currencies: int = 1
    dirty_share: Decimal | float = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _within("loans", 1 <= self.loans <= LOANS_MAX, f"1 to {LOANS_MAX:,}")
        _within("months", 1 <= self.months <= MONTHS_MAX, f"1 to {MONTHS_MAX}")
        _within("currencies", self.currencies in (1, 2), "1 or 2")
        _within("dirty", 0 <= self.dirty_share <= DIRTY_SHARE_MAX, f"a share from 0 to {DIRTY_SHARE_MAX}")
        _within("end", _EARLIEST_END <= self.end <= _LATEST_END, f"a date from {_EARLIEST_END} to {_LATEST_END}")


def _within(name: str, is_right: bool, allowed: str) -> None:
    if not is_right:
        raise UsageError(f"--{name} is out of range.", code="SAMPLE-101", where=f"--{name}", hint=f"give {allowed}")
