"""Loan snapshots to the facts of a panel: the columns of `panel.FACTS` and of `panel.LOANS`, a row a loan and date.

Days past due, balances and write-offs are the tape's own, under dust, grace and write-off of the definition. What a
snapshot does not say (payments, schedules) is NULL. The day on which a loan first reached 30, 60 or 90 days past due
is the first date at which a tape shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from abaco_loans.tape.definition import Definition
from abaco_loans.tape.panel import period_starts
from abaco_loans.tape.template import date_node, filled, number_node, with_columns
from abaco_loans.tape.tree import exp

STATE = {
    "loan_id": "VARCHAR",
    "measurement_date": "DATE",
    "outstanding_principal": "DECIMAL(18,4)",
    "days_past_due": "BIGINT",
    "disbursed_principal": "DECIMAL(18,4)",
    "disbursement_date": "DATE",
    "currency": "VARCHAR",
    "fx_rate": "DECIMAL(18,8)",
    "written_off": "BOOLEAN",
    "written_off_balance": "DECIMAL(18,4)",
    "restructured": "BOOLEAN",
}

_STATES = """
WITH dates AS (SELECT UNNEST(:dates) AS as_of, UNNEST(:since) AS since),
rows AS (:rows),
priced AS (
  SELECT r.*, d.as_of, d.since AS period_start,
         CAST(CASE WHEN r.currency = :reporting THEN 1 ELSE r.fx_rate END AS DECIMAL(38,8)) AS rate,
         r.outstanding_principal <= 0 OR COALESCE(r.disbursed_principal > 0
           AND r.outstanding_principal < :dust_share * r.disbursed_principal, FALSE) AS is_repaid
  FROM rows r JOIN dates d ON d.as_of = r.measurement_date
),
ended AS (
  SELECT *, CASE WHEN days_past_due > :grace_days AND NOT is_repaid THEN days_past_due ELSE 0 END AS dpd,
         CASE WHEN COALESCE(written_off, written_off_balance > 0) THEN TRUE WHEN is_repaid THEN FALSE
              ELSE COALESCE(days_past_due > :write_off_after, FALSE) END AS lost
  FROM priced
),
held AS (
  SELECT *, is_repaid AND NOT lost AS repaid,
         CASE WHEN lost AND written_off_balance > 0 THEN written_off_balance ELSE outstanding_principal END AS balance,
         CASE WHEN is_repaid OR lost THEN 0 ELSE outstanding_principal END AS outstanding,
         CASE WHEN NOT lost THEN 0 WHEN written_off_balance > 0 THEN written_off_balance
              ELSE outstanding_principal END AS gone,
         CASE WHEN is_repaid AND NOT lost THEN outstanding_principal ELSE 0 END AS dust
  FROM ended
),
firsts AS (
  SELECT loan_id, MIN(CASE WHEN dpd >= :thirty THEN as_of END) AS thirty_at,
         MIN(CASE WHEN dpd >= :sixty THEN as_of END) AS sixty_at,
         MIN(CASE WHEN dpd >= :ninety THEN as_of END) AS ninety_at,
         MIN(CASE WHEN dpd >= :ninety OR lost THEN as_of END) AS defaulted_at
  FROM held GROUP BY loan_id
),
known AS (
  SELECT f.*, a.balance AS thirty_balance, b.balance AS sixty_balance, c.balance AS ninety_balance,
         e.balance AS defaulted_balance
  FROM firsts f
  LEFT JOIN held a ON a.loan_id = f.loan_id AND a.as_of = f.thirty_at
  LEFT JOIN held b ON b.loan_id = f.loan_id AND b.as_of = f.sixty_at
  LEFT JOIN held c ON c.loan_id = f.loan_id AND c.as_of = f.ninety_at
  LEFT JOIN held e ON e.loan_id = f.loan_id AND e.as_of = f.defaulted_at
)
SELECT h.loan_id, h.as_of, h.period_start, h.disbursed_principal AS disbursed, h.rate, o.rate AS rate_then,
       CAST(h.disbursed_principal * h.rate AS DECIMAL(18,4)) AS disbursed_usd, h.restructured,
       CASE WHEN h.disbursement_date > h.period_start AND h.disbursement_date <= h.as_of THEN h.disbursed_principal
            WHEN h.disbursement_date IS NOT NULL THEN 0 END AS disbursed_now,
       CAST(CASE WHEN h.disbursement_date > h.period_start AND h.disbursement_date <= h.as_of
                 THEN h.disbursed_principal * h.rate
                 WHEN h.disbursement_date IS NOT NULL THEN 0 END AS DECIMAL(18,4)) AS disbursed_now_usd,
       h.outstanding AS outstanding_principal, h.gone AS written_off_balance, h.dust AS dust_forgiven,
       h.lost AS written_off, h.repaid, CAST(h.dpd AS INT) AS days_past_due,
       CASE WHEN h.dpd > 0 THEN h.as_of - CAST(h.dpd AS INT) END AS oldest_unpaid_due_date,
       o.outstanding AS outstanding_then, o.gone AS lost_then, o.dust AS dust_then, o.lost AS written_off_then,
       o.repaid AS repaid_before, CAST(o.dpd AS INT) AS days_past_due_then, o.as_of AS as_of_then,
       k.thirty_at, k.thirty_balance, k.sixty_at, k.sixty_balance, k.ninety_at, k.ninety_balance, k.defaulted_at,
       k.defaulted_balance, CAST(NULL AS DATE) AS first_missed_at, CAST(NULL AS DATE) AS first_due_date,
       h.rate IS NULL AS unpriced
FROM held h LEFT JOIN held o ON o.loan_id = h.loan_id AND o.as_of = h.period_start
LEFT JOIN known k ON k.loan_id = h.loan_id
"""

# What the facts of a servicing extract have and a snapshot does not say.
_UNKNOWN = (
    *("principal_paid", "capitalised_now", "adjusted_now", "principal_paid_now", "received_now", "interest_fees_now"),
    *("recovered_now", "recovered_principal_now", "scheduled_now", "scheduled_principal_now", "capitalised_now_usd"),
    *("adjusted_now_usd", "principal_paid_now_usd", "received_now_usd", "interest_fees_now_usd", "recovered_now_usd"),
    *("recovered_principal_now_usd", "scheduled_now_usd", "scheduled_principal_now_usd", "ninety_repaid"),
)


def snapshot_facts(
    relation: str,
    present: Sequence[str],
    definition: Definition,
    dates: Sequence[date],
    reporting_currency: str,
    attributes: Mapping[str, str],
) -> exp.Select:
    """One row a loan and date of the accepted rows in ``relation``, with the ``attributes`` (name → SQL type) too."""
    defaults: dict[str, exp.Expr] = {
        "currency": exp.Literal.string(reporting_currency),
        "restructured": exp.false(),
    }
    after, least = definition.write_off_after_days, definition.grace_days + 1
    query = filled(
        _STATES,
        dates=exp.array(*(date_node(day) for day in dates)),
        since=exp.array(*(date_node(day) for day in period_starts(dates))),
        rows=with_columns(relation, {**attributes, **STATE}, frozenset(present), defaults),
        reporting=exp.Literal.string(reporting_currency),
        dust_share=number_node(definition.dust_share),
        grace_days=number_node(definition.grace_days),
        write_off_after=exp.null() if after is None else number_node(after),
        thirty=number_node(max(definition.reaches(30), least)),
        sixty=number_node(max(definition.reaches(60), least)),
        ninety=number_node(max(definition.reaches(90), least)),
    )
    unknown = (exp.alias_(exp.cast(exp.null(), "DECIMAL(18,4)"), name) for name in _UNKNOWN)
    carried = (exp.column(name, table="h", quoted=True) for name in ("currency", *attributes))
    return query.select(*unknown, *carried, copy=False)
