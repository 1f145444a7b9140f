"""The calculation table at one date of a panel: what the KPIs of that date are written over.

A period of a KPI begins at the end of the month before its date, whatever the dates of the panel: flows are summed
over the panel's periods since then. Where no period of the panel begins there, the columns of the period are absent,
with that reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from abaco_loans.tape.calculation import DIMENSIONS, Calculation, finished, month_end_before
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.memory import remembered
from abaco_loans.tape.template import date_node, filled
from abaco_loans.tape.tree import exp, later

_PERIOD = (
    "opening_outstanding_usd",
    "disbursed_in_period_usd",
    "opened_in_period",
    "received_in_period_usd",
    "scheduled_in_period_usd",
    "principal_paid_in_period_usd",
    "interest_fees_in_period_usd",
    "written_off_in_period_usd",
)

_CALCULATION = """
WITH days AS (SELECT UNNEST(:days) AS day, UNNEST(:month_starts) AS month_start),
flows AS (
  SELECT p.loan_id, d.day, d.month_start,
         SUM(CASE WHEN p.period_start = d.month_start THEN p.opening_principal_reporting ELSE 0 END) AS opening,
         SUM(disbursed_in_period_reporting) AS disbursed, SUM(received_in_period_reporting) AS received,
         SUM(scheduled_in_period_reporting) AS scheduled,
         SUM(principal_paid_in_period_reporting + recovered_principal_in_period_reporting) AS principal_paid,
         SUM(interest_fees_in_period_reporting) AS interest_fees,
         SUM(written_off_in_period_reporting) AS written_off, MAX(CASE WHEN unpriced THEN 1 ELSE 0 END) AS unpriced
  FROM panel p JOIN days d ON p.as_of > d.month_start AND p.as_of <= d.day GROUP BY p.loan_id, d.day, d.month_start
)
SELECT p.loan_id, p.customer_id, p.currency, p.product, p.company, p.region, p.facility, p.term_bucket,
       p.amount_bucket, p.status, p.total_eligible_usd, p.cash_available_usd, p.interest_rate, p.days_past_due,
       p.outstanding_principal_reporting AS outstanding_usd, p.written_off_balance_reporting AS written_off_usd,
       p.disbursed_principal_reporting AS disbursed_usd,
       CAST(f.opening AS DECIMAL(18,4)) AS opening_outstanding_usd,
       CAST(f.disbursed AS DECIMAL(18,4)) AS disbursed_in_period_usd,
       CASE WHEN p.disbursement_date > f.month_start THEN 1 ELSE 0 END AS opened_in_period,
       CASE WHEN p.disbursement_date > f.day - 90 THEN 1 ELSE 0 END AS disbursed_last_90_days,
       CAST(f.received AS DECIMAL(18,4)) AS received_in_period_usd,
       CAST(f.scheduled AS DECIMAL(18,4)) AS scheduled_in_period_usd,
       CAST(f.principal_paid AS DECIMAL(18,4)) AS principal_paid_in_period_usd,
       CAST(f.interest_fees AS DECIMAL(18,4)) AS interest_fees_in_period_usd,
       CAST(f.written_off AS DECIMAL(18,4)) AS written_off_in_period_usd,
       COALESCE(p.first_90_balance_reporting, 0) AS reached_90_balance_usd,
       COALESCE(p.recovered_after_90_reporting, 0) AS recovered_after_90_usd,
       CASE WHEN p.first_due_date + 30 <= f.day THEN 1 ELSE 0 END AS first_due_30_days_ago,
       CASE WHEN p.first_missed_on IS NOT NULL AND p.first_due_date + 30 <= f.day THEN 1 ELSE 0 END
         AS first_payment_default,
       f.unpriced,
       CASE WHEN p.at_risk THEN 36500 ELSE p.days_past_due END AS risk_days
FROM panel p JOIN flows f ON f.loan_id = p.loan_id AND f.day = p.as_of
"""


def panel_calculation(
    present: Sequence[str], definition: Definition, days: Sequence[date], starts: Sequence[date]
) -> Calculation:
    """The calculation table at ``days`` over the relation ``panel`` of a servicing extract; at several, with ``as_of``.

    Args:
        present: columns that the tape's loans have.
        definition: boundary of the buckets.
        days: dates of the panel, either all or none of which have the month end before them in ``starts``.
        starts: the dates at which the panel's periods begin.
    """
    given = tuple(present), definition, tuple(days), tuple(starts)
    found = remembered(_columns, *given)
    return Calculation(query=later(_query, *given), columns=tuple(found["columns"]), absent=found["absent"])


def _columns(
    present: Sequence[str], definition: Definition, days: Sequence[date], starts: Sequence[date]
) -> dict[str, Any]:
    made = _calculation(present, definition, days, starts)
    return {"columns": list(made.columns), "absent": dict(made.absent)}


def _query(present: Sequence[str], definition: Definition, days: Sequence[date], starts: Sequence[date]) -> exp.Select:
    return _calculation(present, definition, days, starts).query


@lru_cache(maxsize=4)
def _calculation(
    present: Sequence[str], definition: Definition, days: Sequence[date], starts: Sequence[date]
) -> Calculation:
    month_starts = [month_end_before(day) for day in days]
    state = filled(
        _CALCULATION,
        days=exp.array(*(date_node(day) for day in days)),
        month_starts=exp.array(*(date_node(day) for day in month_starts)),
    )
    if len(days) > 1:
        state = state.select("p.as_of", copy=False)
    optional = (*DIMENSIONS, "customer_id", "interest_rate", "total_eligible_usd", "cash_available_usd")
    absent = {name: "the tape does not have it" for name in optional if name not in present and name != "currency"}
    if not has_period(days[0], starts):
        absent |= dict.fromkeys(_PERIOD, "the panel does not have the month end before this date")
    return finished(state, definition, absent, "the tape does not have it")


def has_period(day: date, starts: Sequence[date]) -> bool:
    """Whether a period of the panel begins at the month end before a day."""
    return month_end_before(day) in starts
