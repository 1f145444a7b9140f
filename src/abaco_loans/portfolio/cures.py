"""Cures: what has become of the loans that were late, some periods on [Open Risk Manual; DEFINITIONS].

Late at t0: DPD > 0 and not written off. Cured at t0 + horizon: performing with DPD 0, that is neither written off,
nor repaid, nor at risk whatever its DPD (``restructured: at_risk``). Repaid is shown apart. Balances are the
outstanding principal at t0. A loan counts for its segment at t0; one without a row at the horizon is not cured.
"""

from __future__ import annotations

from abaco_loans.portfolio.columns import REPAID
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, segment_node
from abaco_loans.tape.template import date_node, filled
from abaco_loans.tape.tree import exp

_QUERY = """
WITH periods AS (SELECT UNNEST(:starts) AS start, UNNEST(:ends) AS until),
late AS (
  SELECT loan_id, as_of, :segment AS segment, outstanding_principal_reporting AS balance
  FROM panel WHERE days_past_due > 0 AND NOT written_off
),
later AS (
  SELECT loan_id, as_of, state = :repaid AS repaid,
         days_past_due = 0 AND state <> :repaid AND NOT written_off AND NOT at_risk AS cured
  FROM panel
)
SELECT f.segment, p.start, p.until, COUNT(*), SUM(f.balance),
       SUM(CASE WHEN t.cured THEN 1 ELSE 0 END), SUM(CASE WHEN t.cured THEN f.balance ELSE 0 END),
       SUM(CASE WHEN t.repaid THEN 1 ELSE 0 END), SUM(CASE WHEN t.repaid THEN f.balance ELSE 0 END)
FROM periods p JOIN late f ON f.as_of = p.start
LEFT JOIN later t ON t.loan_id = f.loan_id AND t.as_of = p.until
GROUP BY f.segment, p.start, p.until
ORDER BY f.segment, p.start
"""


def _cures(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    periods = list(zip(asked.dates, asked.dates[asked.horizon :], strict=False))
    if not periods:
        return ()
    query = filled(
        _QUERY,
        starts=exp.array(*(date_node(start) for start, _ in periods)),
        ends=exp.array(*(date_node(end) for _, end in periods)),
        segment=segment_node(asked),
        repaid=exp.Literal.string(REPAID),
    )
    return tuple(
        keyed(
            asked,
            segment,
            start,
            until,
            loans,
            balance,
            percent(cured, loans),
            percent(cured_balance, balance),
            percent(repaid, loans),
            percent(repaid_balance, balance),
        )
        for segment, start, until, loans, balance, cured, cured_balance, repaid, repaid_balance in asked.rows(query)
    )


CURES = View(
    name="cures",
    title="Cures",
    text="Of the loans that were late at a date, the share that is current again, or repaid, some periods on.",
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="t0, at which the loans were late", key=True),
        Column(name="until", unit=Unit.DATE, text="t0 + horizon, at which they are looked at again", key=True),
        Column(name="loans", unit=Unit.COUNT, text="loans with DPD > 0 at t0, not written off"),
        Column(name="balance", unit=Unit.AMOUNT, text="their outstanding principal at t0"),
        Column(name="cured_by_count", unit=Unit.PERCENT, text="of the loans, performing with DPD 0 at the end"),
        Column(name="cured_by_balance", unit=Unit.PERCENT, text="of the balance, performing with DPD 0 at the end"),
        Column(name="repaid_by_count", unit=Unit.PERCENT, text="of the loans, repaid by the end"),
        Column(name="repaid_by_balance", unit=Unit.PERCENT, text="of the balance, repaid by the end"),
    ),
    compute=_cures,
)
