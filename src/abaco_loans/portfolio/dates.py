"""The dates of a panel: every month end, week end or day of a span, or those that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum

from abaco_loans.errors import UsageError

DATES_MAX = 1200


class Every(StrEnum):
    """How often a panel looks at the book."""

    MONTH = "month"
    WEEK = "week"
    DAY = "day"


def month_end(day: date) -> date:
    """The last day of the month of ``day``."""
    after = day.replace(day=28) + timedelta(days=4)
    return after.replace(day=1) - timedelta(days=1)


def panel_dates(first: date, last: date, every: Every) -> tuple[date, ...]:
    """The dates from ``first`` to ``last``: month ends, Sundays and month ends, or days.

    Weeks keep the month ends too, so that what a KPI counts since the end of the month before can be said.

    Raises:
        UsageError: ``PAN-103`` the span holds no date, or more than 1,200.
    """
    found = [day for day in _days(first, last) if _counts(day, every)]
    if not found or len(found) > DATES_MAX:
        raise UsageError(
            f"from {first} to {last} there is no {every} end" if not found else f"{len(found)} dates are too many",
            code="PAN-103",
            where="--from, --to, --every",
            hint=f"choose a span with 1 to {DATES_MAX} dates",
        )
    return tuple(found)


def _days(first: date, last: date) -> Sequence[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _counts(day: date, every: Every) -> bool:
    is_month_end = day == month_end(day)
    if every is Every.MONTH:
        return is_month_end
    return every is Every.DAY or is_month_end or day.weekday() == 6


def missing_months(seen: Sequence[date]) -> tuple[date, ...]:
    """Month ends between the first and the last date whose month holds none of them."""
    months = {(day.year, day.month) for day in seen}
    if not months:
        return ()
    ends = [day for day in _days(min(seen), max(seen)) if day == month_end(day)]
    return tuple(day for day in ends if (day.year, day.month) not in months)
