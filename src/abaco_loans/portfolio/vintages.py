"""Vintages: how each month's disbursements turned out, by month on book [DEFINITIONS, vintage curve].

Cohort = month of disbursement; month 0 is its month end. A cell is made at a month end of the panel only, so that
the whole cohort has reached it. Denominator: what the cohort's loans had been disbursed by that month end.

late_k: Σ balance at the first time a loan reached k days past due, of the loans that had by then.
net_loss: written off - reinstated - recovered, cumulative over all periods of the panel; empty for a cohort that
is older than the panel's first period, whose earlier flows the panel does not have.
"""

from __future__ import annotations

from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, segment_node
from abaco_loans.tape.template import filled

_QUERY = """
WITH loans AS (
  SELECT as_of, :segment AS segment, disbursed_principal_reporting AS disbursed,
         CAST(DATE_TRUNC('month', disbursement_date) AS DATE) AS cohort, MIN(period_start) OVER () AS begun,
         CASE WHEN first_30_on <= as_of THEN first_30_balance_reporting ELSE 0 END AS late_30,
         CASE WHEN first_60_on <= as_of THEN first_60_balance_reporting ELSE 0 END AS late_60,
         CASE WHEN first_90_on <= as_of THEN first_90_balance_reporting ELSE 0 END AS late_90,
         SUM(written_off_in_period_reporting - reinstated_in_period_reporting - recovered_principal_in_period_reporting)
           OVER (PARTITION BY loan_id ORDER BY as_of) AS lost
  FROM panel
)
SELECT segment, cohort, as_of, COUNT(*), SUM(disbursed), SUM(late_30), SUM(late_60), SUM(late_90),
       CASE WHEN cohort > begun THEN SUM(lost) END
FROM loans WHERE as_of = LAST_DAY(as_of) AND cohort IS NOT NULL
GROUP BY segment, cohort, as_of, begun
ORDER BY segment, cohort, as_of
"""


def _vintages(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    rows = []
    for segment, cohort, day, loans, disbursed, *parts in asked.rows(filled(_QUERY, segment=segment_node(asked))):
        month = (day.year - cohort.year) * 12 + day.month - cohort.month
        shares = (percent(part, disbursed) for part in parts)
        rows.append(keyed(asked, segment, f"{cohort:%Y-%m}", month, day, loans, disbursed, *shares))
    return tuple(rows)


VINTAGES = View(
    name="vintages",
    title="Vintages",
    text="How late each month's disbursements ever became, and what of them was lost, by month on book.",
    columns=(
        Column(name="cohort", unit=Unit.TEXT, text="month of disbursement", key=True),
        Column(name="month", unit=Unit.COUNT, text="month on book; 0 is the month of disbursement", key=True),
        Column(name="as_of", unit=Unit.DATE, text="the month end", key=True),
        Column(name="loans", unit=Unit.COUNT, text="loans of the cohort"),
        Column(name="disbursed", unit=Unit.AMOUNT, text="what they had been disbursed by then"),
        Column(name="late_30", unit=Unit.PERCENT, text="balance when first 30 days past due, of disbursed"),
        Column(name="late_60", unit=Unit.PERCENT, text="balance when first 60 days past due, of disbursed"),
        Column(name="late_90", unit=Unit.PERCENT, text="balance when first 90 days past due, of disbursed"),
        Column(name="net_loss", unit=Unit.PERCENT, text="written off less recovered, of disbursed"),
    ),
    compute=_vintages,
)
