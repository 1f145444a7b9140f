"""Pricing: weighted APR, remaining life, tickets and terms, realised yield (DEFINITIONS, "KPI families")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, ratio, segment_node
from abaco_loans.tape.calculation import month_end_before
from abaco_loans.tape.template import filled

MONTHS = 12

# A product of two columns of 18 digits may have more than 18.
_SUMS = """
SELECT segment, as_of, SUM(interest_rate * balance), SUM(CASE WHEN interest_rate IS NOT NULL THEN balance END),
       SUM(CASE WHEN maturity_date > as_of THEN (maturity_date - as_of) * balance
                WHEN maturity_date IS NOT NULL THEN 0 END),
       SUM(CASE WHEN maturity_date IS NOT NULL THEN balance END),
       SUM(lent), COUNT(CASE WHEN opened = 1 THEN lent END),
       SUM(CASE WHEN opened = 1 THEN term_days * lent END),
       SUM(CASE WHEN opened = 1 AND term_days IS NOT NULL THEN lent END),
       SUM(balance), SUM(interest_fees_in_period_reporting)
FROM (SELECT :segment AS segment, CAST(outstanding_principal_reporting AS DECIMAL(38,4)) AS balance,
             disbursed_in_period_reporting AS lent,
             CASE WHEN disbursement_date > period_start THEN 1 ELSE 0 END AS opened, panel.* FROM panel) p
GROUP BY segment, as_of ORDER BY segment, as_of
"""
_STARTS = "SELECT as_of, MIN(period_start) FROM panel GROUP BY as_of"


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    rows = asked.rows(filled(_SUMS, segment=segment_node(asked)))
    starts: dict[date, date | None] = dict(asked.rows(filled(_STARTS)))
    flows: dict[str, dict[date, tuple[Decimal | None, Decimal | None]]] = {}
    for row in rows:
        flows.setdefault(row[0], {})[row[1]] = (row[10], row[11])
    return tuple(
        keyed(asked, row[0], row[1], *_ratios(row), realised_yield(row[1], asked.dates, starts, flows[row[0]]))
        for row in rows
    )


def _ratios(row: tuple[Any, ...]) -> tuple[Decimal | None, ...]:
    return percent(row[2], row[3]), ratio(row[4], row[5]), ratio(row[6], row[7]), ratio(row[8], row[9])


def realised_yield(
    day: date,
    dates: Sequence[date],
    starts: Mapping[date, date | None],
    flows: Mapping[date, tuple[Decimal | None, Decimal | None]],
) -> Decimal | None:
    """Interest and fees of the twelve months up to ``day`` / average of their twelve month-end balances, %.

    Args:
        day: a month end; of another day there is none.
        dates: the panel's dates. None unless they have the twelve month ends and their periods cover just these months.
        starts: the day after which the period of a date begins; where it is missing, the date before.
        flows: by date, outstanding and the interest and fees received in its period; a date without loans is absent.
    """
    ends = [day]
    while len(ends) < MONTHS:
        ends.append(month_end_before(ends[-1]))
    since = month_end_before(ends[-1])
    inside = [item for item in dates if since < item <= day]
    if (day + timedelta(days=1)).day != 1 or not set(ends) <= set(inside):
        return None
    before = max((item for item in dates if item <= since), default=since)
    if (starts.get(inside[0]) or before) != since:
        return None
    nothing = (Decimal(0), Decimal(0))
    balances = [flows.get(item, nothing)[0] for item in ends]
    earned = [flows.get(item, nothing)[1] for item in inside]
    if None in balances or None in earned:
        return None
    return percent(MONTHS * sum(item for item in earned if item), sum(item for item in balances if item))


PRICING = View(
    name="pricing",
    title="Pricing",
    text=(
        "What the book earns and how long it lives. Averages are over the loans that say what is averaged: a loan "
        "without rate is in no weighted APR. A loan past its maturity has 0 days left."
    ),
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        Column(name="weighted_apr", unit=Unit.PERCENT, text="Σ(rate × outstanding) / Σ outstanding, a year"),
        Column(name="remaining_days", unit=Unit.DAYS, text="days to maturity, weighted by outstanding; 0 past it"),
        Column(name="average_ticket", unit=Unit.AMOUNT, text="disbursed in the period / loans opened in it"),
        Column(
            name="average_term_days", unit=Unit.DAYS, text="term of loans opened in the period, by amount disbursed"
        ),
        Column(
            name="realised_yield",
            unit=Unit.PERCENT,
            text="interest and fees of twelve months / average of the twelve month-end balances",
        ),
    ),
    compute=_compute,
)
