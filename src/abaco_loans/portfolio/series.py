"""Series of a KPI: which dates stand for weeks and months, how values changed, and which are unusual.

A series maps dates to values, None where a date has none. Values of several dates are never added up: a week or a
month has the value of its end. Everything is in the unit of the KPI unless it says otherwise.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from enum import StrEnum
from statistics import median
from typing import assert_never

from abaco_loans.portfolio.view import exact, ratio

Series = Mapping[date, Decimal | None]

# Months back, by the name of the change.
SPANS = {"month": 1, "quarter": 3, "year": 12}
# A value is judged by so many values before it at most, and at least.
BASELINE_MAX = 24
BASELINE_MIN = 6
# Iglewicz & Hoaglin: 0.6745 is the third quartile of the standard normal distribution; beyond 3.5 is an outlier.
QUARTILE = Decimal("0.6745")
SCORE_MAX = Decimal("3.5")

# Wide enough for a median of 28 digits to be exact, so that a constant past has no spread at all.
_WIDE = Context(prec=80, rounding=ROUND_HALF_EVEN)


class Every(StrEnum):
    """How dense a series is shown."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From an older value to a newer: the difference, and as a fraction of the older one's size (None when 0)."""

    absolute: Decimal
    relative: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """How far a value lies from those before it.

    Attributes:
        score: the modified z-score, 0.6745 × distance / mad, without unit; None where mad is 0 (the past is constant).
        distance: what was judged, less the median.
        median: of the baseline.
        mad: median absolute deviation of the baseline from its median.
        before: how many values the baseline has; the judged one is not among them.
        seasonal: whether differences to twelve months earlier were judged, instead of values.
        flagged: |score| > 3.5; without a score, any distance at all.
    """

    score: Decimal | None
    distance: Decimal
    median: Decimal
    mad: Decimal
    before: int
    seasonal: bool
    flagged: bool

    @property
    def words(self) -> str:
        """What is unusual, in words; empty when nothing is."""
        if not self.flagged:
            return ""
        side = "above" if self.distance > 0 else "below"
        subject = "its change in 12 months is " if self.seasonal else ""
        if self.score is None:
            return f"unusual: {subject}{side} the median of the {self.before} before, and the past is constant"
        return (
            f"unusual: {subject}{abs(self.score):,.1f} robust deviations {side} the median of the {self.before} before"
        )


def is_month_end(day: date) -> bool:
    """Whether the day is the last of its month."""
    return day.day == monthrange(day.year, day.month)[1]


def months_before(day: date, months: int) -> date:
    """The same day so many months earlier: the month's end for a month's end, or where the month is too short."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    last = monthrange(year, month + 1)[1]
    return date(year, month + 1, last if is_month_end(day) else min(day.day, last))


def thinned(dates: Iterable[date], every: Every) -> tuple[date, ...]:
    """The dates that count, oldest first: all; the last one of each ISO week; or month ends only."""
    ordered = sorted(set(dates))
    match every:
        case Every.DAY:
            return tuple(ordered)
        case Every.WEEK:
            return tuple({day.isocalendar()[:2]: day for day in ordered}.values())
        case Every.MONTH:
            return tuple(day for day in ordered if is_month_end(day))
        case _:
            assert_never(every)


def change(older: Decimal | None, newer: Decimal | None) -> Change | None:
    """From the older value to the newer, to 28 digits; None where one is missing."""
    if older is None or newer is None:
        return None
    with exact():
        absolute = newer - older
    return Change(absolute=absolute, relative=ratio(absolute, abs(older)))


def changes(series: Series, day: date) -> dict[str, Change | None]:
    """By name (`SPANS`), the change since one month, one quarter and one year before ``day``; None when missing."""
    return {name: change(series.get(months_before(day, months)), series.get(day)) for name, months in SPANS.items()}


def anomalies(series: Series) -> dict[date, Anomaly]:
    """Every value against the (up to) 24 before it; a value with fewer than 6 before it is not judged.

    Where the 24 before are all of month ends, the difference to twelve months earlier is judged against theirs, so
    that a season is no surprise; if fewer than 6 of them have one, the values are.

    Source: B. Iglewicz and D. C. Hoaglin, How to detect and handle outliers (1993): the modified z-score.
    """
    said = {day: value for day, value in sorted(series.items()) if value is not None}
    yearly = _yearly(said)
    days = list(said)
    found = {}
    for index, day in enumerate(days):
        before = days[max(0, index - BASELINE_MAX) : index]
        judged = None
        if len(before) == BASELINE_MAX and day in yearly and all(map(is_month_end, before)):
            judged = _judged(yearly[day], [yearly[past] for past in before if past in yearly], seasonal=True)
        if judged is None:
            judged = _judged(said[day], [said[past] for past in before], seasonal=False)
        if judged is not None:
            found[day] = judged
    return found


def _yearly(said: Mapping[date, Decimal]) -> dict[date, Decimal]:
    """Of month ends, the difference to the month end twelve months earlier, where there is one."""
    with localcontext(_WIDE):
        return {
            day: value - said[earlier]
            for day, value in said.items()
            if is_month_end(day) and (earlier := months_before(day, 12)) in said
        }


def _judged(value: Decimal, baseline: Sequence[Decimal], *, seasonal: bool) -> Anomaly | None:
    if len(baseline) < BASELINE_MIN:
        return None
    with localcontext(_WIDE):
        middle = median(baseline)
        mad = median(abs(past - middle) for past in baseline)
        distance = value - middle
        score = QUARTILE * distance / mad if mad else None
    with exact():
        return Anomaly(
            score=None if score is None else +score,
            distance=+distance,
            median=+middle,
            mad=+mad,
            before=len(baseline),
            seasonal=seasonal,
            flagged=bool(distance) if score is None else abs(score) > SCORE_MAX,
        )
