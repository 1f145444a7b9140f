"""Covenants: headroom, breaches, cure periods and the way the trend points (DEFINITIONS, "covenant")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from math import ceil

from abaco_loans.kpi.catalogue import Direction
from abaco_loans.portfolio.policy import Covenant
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, exact

TREND_DATES_MAX = 6
Points = Sequence[tuple[date, Decimal]]


def headroom(covenant: Covenant, value: Decimal) -> Decimal:
    """How far the value may still move, in the KPI's unit; 0 or less is a breach."""
    with exact():
        return covenant.limit - value if covenant.direction is Direction.HIGH_IS_BAD else value - covenant.limit


def breached_since(covenant: Covenant, points: Points) -> date | None:
    """The first date of the breach that still stands at the last of ``points`` (oldest first); None when it is met."""
    since = None
    for day, value in reversed(points):
        if headroom(covenant, value) > 0:
            break
        since = day
    return since


def days_to_breach(covenant: Covenant, points: Points) -> int | None:
    """Days from the last of ``points`` (oldest first) until its value reaches the limit at the present trend.

    The trend is the median of the slopes between all pairs of the last six points (Theil-Sen), so that one odd month
    does not make it. None when breached already, when there are fewer than two points, or when the value does not
    move towards the limit.
    """
    recent = points[-TREND_DATES_MAX:]
    if len(recent) < 2:
        return None
    rooms = [(day, Fraction(headroom(covenant, value))) for day, value in recent]
    slopes = sorted((later[1] - earlier[1]) / (later[0] - earlier[0]).days for earlier, later in combinations(rooms, 2))
    middle = len(slopes) // 2
    slope = slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2
    left = rooms[-1][1]
    return ceil(left / -slope) if left > 0 and slope < 0 else None


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    return tuple(_row(asked, covenant) for covenant in asked.policy.covenants)


def _row(asked: Asked, covenant: Covenant) -> tuple[Value, ...]:
    today = asked.dates[-1]
    series = asked.series.get(covenant.kpi, {})
    points = [(day, value) for day, value in sorted(series.items()) if value is not None and day <= today]
    given: tuple[Value, ...] = (covenant.name, covenant.kpi, today)
    terms: tuple[Value, ...] = (covenant.limit, covenant.direction.value)
    if not points or points[-1][0] != today:
        return (*given, None, *terms, None, "not computable", None, None, None)
    value = points[-1][1]
    since = breached_since(covenant, points)
    cured_by = since and since + timedelta(days=covenant.cure_days)
    state = "met" if cured_by is None else "in cure" if today < cured_by else "breached"
    room = headroom(covenant, value)
    return (*given, value, *terms, room, state, since, cured_by, days_to_breach(covenant, points))


COVENANTS = View(
    name="covenants",
    policy="covenants",
    title="Covenants",
    text=(
        "Each covenant at the last date. A limit is breached at or beyond it. A breach that is over before its cure "
        "period ends was cured; dates at which the KPI was not computable neither begin nor end one."
    ),
    columns=(
        Column(name="covenant", unit=Unit.TEXT, text="name", key=True),
        Column(name="kpi", unit=Unit.TEXT, text="the KPI"),
        Column(name="as_of", unit=Unit.DATE, text="the date"),
        Column(name="value", unit=Unit.RATIO, text="value of the KPI, in its unit"),
        Column(name="limit", unit=Unit.RATIO, text="limit, in the KPI's unit"),
        Column(name="direction", unit=Unit.TEXT, text="high_is_bad or low_is_bad"),
        Column(
            name="headroom", unit=Unit.RATIO, text="what is left to the limit, in the KPI's unit; 0 or less: breached"
        ),
        Column(name="state", unit=Unit.TEXT, text="met, in cure, breached (the cure period is over), not computable"),
        Column(name="breached_since", unit=Unit.DATE, text="first date of the breach that still stands"),
        Column(name="cure_by", unit=Unit.DATE, text="breached_since and the days of the cure period"),
        Column(name="days_to_breach", unit=Unit.DAYS, text="days until the limit is reached at the present trend"),
    ),
    compute=_compute,
    segmented=False,
)
