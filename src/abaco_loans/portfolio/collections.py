"""Collections: what fell due in each period, and what was received in it (DEFINITIONS, scheduled collection rate)."""

from __future__ import annotations

from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, segment_node
from abaco_loans.tape.template import filled

_SUMS = """
SELECT segment, as_of, SUM(scheduled_in_period_reporting), SUM(scheduled_principal_in_period_reporting),
       SUM(received_in_period_reporting), SUM(recovered_in_period_reporting)
FROM (SELECT :segment AS segment, panel.* FROM panel) p
GROUP BY segment, as_of ORDER BY segment, as_of
"""


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    return tuple(
        keyed(asked, segment, as_of, scheduled, principal, received, recovered, percent(received, scheduled))
        for segment, as_of, scheduled, principal, received, recovered in asked.rows(
            filled(_SUMS, segment=segment_node(asked))
        )
    )


COLLECTIONS = View(
    name="collections",
    title="Collections",
    text=(
        "What fell due in the period that ends at the date, under the schedule then in force, and the cash received in "
        "it, whatever it was due for. Reversals and rebates count as negative cash, so received may be negative."
    ),
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="end of the period", key=True),
        Column(name="scheduled", unit=Unit.AMOUNT, text="cash that fell due, all components"),
        Column(name="scheduled_principal", unit=Unit.AMOUNT, text="principal in scheduled"),
        Column(name="received", unit=Unit.AMOUNT, text="cash received, all components; recoveries too"),
        Column(name="recovered", unit=Unit.AMOUNT, text="cash in received that came on written-off loans"),
        Column(name="collection_rate", unit=Unit.PERCENT, text="received / scheduled"),
    ),
    compute=_compute,
)
