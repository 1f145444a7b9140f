"""Ageing: what is outstanding at each date, by the state of its loans [DEFINITIONS, DPD buckets].

Shares are of all that is outstanding at the date. A written-off loan has nothing outstanding: its balance stands
apart, without a share. Repaid loans are left out.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal

from abaco_loans.portfolio.columns import REPAID, WRITTEN_OFF
from abaco_loans.portfolio.states import UNCOUNTED, order
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, exact, keyed, percent, segment_node
from abaco_loans.tape.template import filled
from abaco_loans.tape.tree import exp

_QUERY = """
SELECT segment, as_of, state, COUNT(*), SUM(outstanding), SUM(written_off)
FROM (SELECT as_of, :segment AS segment, COALESCE(state, :uncounted) AS state,
             outstanding_principal_reporting AS outstanding, written_off_balance_reporting AS written_off
      FROM panel) p
WHERE state <> :repaid
GROUP BY segment, as_of, state
"""


def _ageing(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    query = filled(
        _QUERY,
        segment=segment_node(asked),
        uncounted=exp.Literal.string(UNCOUNTED),
        repaid=exp.Literal.string(REPAID),
    )
    found = sorted(asked.rows(query), key=lambda row: (row[0], row[1], order(row[2])))
    totals: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    with exact():
        for segment, day, _, _, outstanding, _ in found:
            totals[segment, day] += outstanding or 0
    return tuple(
        keyed(
            asked,
            segment,
            day,
            state,
            loans,
            outstanding,
            None if state == WRITTEN_OFF else percent(outstanding, totals[segment, day]),
            written_off,
        )
        for segment, day, state, loans, outstanding, written_off in found
    )


AGEING = View(
    name="ageing",
    title="Ageing",
    text="Outstanding at each date by state: current, buckets of days past due, written off.",
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        Column(name="state", unit=Unit.TEXT, text="current, a bucket of days past due, or written off", key=True),
        Column(name="loans", unit=Unit.COUNT, text="loans in the state"),
        Column(name="outstanding", unit=Unit.AMOUNT, text="outstanding principal"),
        Column(name="share", unit=Unit.PERCENT, text="of all that is outstanding at the date; empty: written off"),
        Column(name="written_off_balance", unit=Unit.AMOUNT, text="balance that is written off"),
    ),
    compute=_ageing,
)
