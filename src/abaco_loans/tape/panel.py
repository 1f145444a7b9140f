"""Servicing records to loan states: who owed what when, who paid what when, at any dates.

Every rule is a row of DEFINITIONS, "The loan at a date D". One query gives one row a loan and date from
disbursement on; a snapshot is a panel of two dates (D and the month end before it, for what happened between).
Amounts are in loan currency unless the name ends in ``_usd`` (reporting currency). All in SQL, no loops.

Invariants (held by tests): covered and due are cumulative; allocation is FIFO by due date; dust and repaid
loans have DPD 0 and are not written off; outstanding + written_off_balance + dust_forgiven =
disbursed + adjusted - principal_paid, for every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from sqlglot import exp

from abaco_loans.tape.definition import Cover, Definition, DpdMethod, Restructured, WriteOff
from abaco_loans.tape.template import date_node, filled, number_node, with_columns

_MONEY = "DECIMAL(18,4)"
_ZERO = exp.Literal.number(0)
_LOANS = {
    "loan_id": "VARCHAR",
    "customer_id": "VARCHAR",
    "disbursement_date": "DATE",
    "maturity_date": "DATE",
    "disbursed_principal": _MONEY,
    "interest_rate": "DECIMAL(18,6)",
    "term_days": "BIGINT",
    "frequency": "VARCHAR",
    "currency": "VARCHAR",
    "status": "VARCHAR",
    "product": "VARCHAR",
    "company": "VARCHAR",
    "region": "VARCHAR",
    "facility": "VARCHAR",
    "term_bucket": "VARCHAR",
    "amount_bucket": "VARCHAR",
    "written_off_date": "DATE",
    "restructured_date": "DATE",
    "total_eligible_usd": _MONEY,
    "cash_available_usd": _MONEY,
}
_SCHEDULES = {
    "loan_id": "VARCHAR",
    "due_date": "DATE",
    "valid_from": "DATE",
    "principal": _MONEY,
    "interest": _MONEY,
    "fees": _MONEY,
    "taxes": _MONEY,
    "other": _MONEY,
}
_MOVES = {
    "loan_id": "VARCHAR",
    "type": "VARCHAR",
    "date": "DATE",
    "principal": _MONEY,
    "interest": _MONEY,
    "fees": _MONEY,
    "taxes": _MONEY,
    "other": _MONEY,
    "add_balance": _MONEY,
    "reduce_balance": _MONEY,
}
_AMOUNTS = ("principal", "interest", "fees", "taxes", "other", "add_balance", "reduce_balance")

LOANS, SCHEDULES, MOVES, RATES = (
    "servicing_loans",
    "servicing_schedules",
    "servicing_moves",
    "servicing_rates",
)


def normal_views(
    relations: Mapping[str, str], present: Mapping[str, frozenset[str]], reporting_currency: str
) -> dict[str, exp.Select]:
    """Queries of the four relations that `panel_query` reads, with every optional column there.

    Args:
        relations: table of the contract → relation with its accepted, masked rows.
        present: table of the contract → columns that the tape has.
        reporting_currency: ISO code that empty currencies mean.
    """
    zeros: dict[str, exp.Expr] = dict.fromkeys(_AMOUNTS, _ZERO)
    floor = exp.cast(exp.Literal.string("0001-01-01"), "DATE")
    rates = exp.select(
        exp.alias_(exp.cast(exp.null(), "DATE"), "date"),
        exp.alias_(exp.cast(exp.null(), "VARCHAR"), "currency"),
        exp.alias_(exp.cast(exp.null(), "DECIMAL(18,8)"), "rate"),
    ).where(exp.false())
    if "rates" in relations:
        rates = exp.select("date", "currency", "rate").from_(relations["rates"])
    return {
        LOANS: with_columns(
            relations["loans"], _LOANS, present["loans"], {"currency": exp.Literal.string(reporting_currency)}
        ),
        SCHEDULES: with_columns(
            relations["schedules"], _SCHEDULES, present["schedules"], {**zeros, "valid_from": floor}
        ),
        MOVES: with_columns(relations["transactions"], _MOVES, present["transactions"], zeros),
        RATES: rates,
    }


_PANEL = """
WITH dates AS (SELECT UNNEST(:dates) AS as_of),
rates AS (
  SELECT currency, date AS since, rate,
         LEAD(date) OVER (PARTITION BY currency ORDER BY date) AS until
  FROM servicing_rates
),
moves AS (
  SELECT m.loan_id, m.date,
         SUM(CASE WHEN m.type = 'disbursement' THEN m.principal ELSE 0 END) AS disbursed,
         SUM(CASE WHEN m.type IN ('capitalisation', 'adjustment') THEN m.principal ELSE 0 END
             + m.add_balance - m.reduce_balance) AS adjusted,
         SUM(CASE WHEN m.type = 'payment' THEN m.principal ELSE 0 END) AS principal_paid,
         SUM(CASE WHEN m.type = 'payment' THEN m.principal + m.interest + m.fees + m.taxes + m.other
             ELSE 0 END) AS received,
         SUM(CASE WHEN m.type = 'payment' THEN m.interest + m.fees ELSE 0 END) AS interest_fees,
         SUM(CASE WHEN m.type = 'payment' THEN :cover_paid ELSE 0 END) AS covered,
         MAX(CASE WHEN m.type = 'write_off' THEN 1 ELSE 0 END) AS flagged
  FROM servicing_moves m GROUP BY m.loan_id, m.date
),
opened AS (
  SELECT l.loan_id, l.disbursement_date, l.currency,
         CASE WHEN d.loan_id IS NULL THEN l.disbursed_principal ELSE 0 END AS stated
  FROM servicing_loans l
  LEFT JOIN (SELECT loan_id FROM servicing_moves WHERE type = 'disbursement' GROUP BY loan_id) d
    ON d.loan_id = l.loan_id
),
priced AS (
  SELECT m.loan_id, m.date, m.disbursed, m.adjusted, m.principal_paid, m.received, m.interest_fees, m.covered,
         m.flagged, CASE WHEN o.currency = :reporting THEN 1 ELSE r.rate END AS rate
  FROM moves m JOIN opened o ON o.loan_id = m.loan_id
  LEFT JOIN rates r ON r.currency = o.currency AND m.date >= r.since AND (m.date < r.until OR r.until IS NULL)
),
sums AS (
  SELECT o.loan_id, d.as_of, MIN(o.currency) AS currency,
         MIN(o.stated) + COALESCE(SUM(m.disbursed), 0) AS disbursed,
         COALESCE(SUM(m.adjusted), 0) AS adjusted,
         COALESCE(SUM(m.principal_paid), 0) AS principal_paid,
         COALESCE(SUM(m.received), 0) AS received,
         COALESCE(SUM(m.covered), 0) AS covered,
         COALESCE(MAX(m.flagged), 0) AS flagged,
         COALESCE(SUM(m.disbursed * m.rate), 0) AS disbursed_usd,
         COALESCE(SUM(m.principal_paid * m.rate), 0) AS principal_paid_usd,
         COALESCE(SUM(m.received * m.rate), 0) AS received_usd,
         COALESCE(SUM(m.interest_fees * m.rate), 0) AS interest_fees_usd,
         COUNT(m.loan_id) - COUNT(m.rate) AS unpriced_moves
  FROM opened o CROSS JOIN dates d
  LEFT JOIN priced m ON m.loan_id = o.loan_id AND m.date <= d.as_of
  WHERE o.disbursement_date <= d.as_of
  GROUP BY o.loan_id, d.as_of
),
in_force AS (
  SELECT s.loan_id, d.as_of, MAX(s.valid_from) AS valid_from
  FROM servicing_schedules s CROSS JOIN dates d WHERE s.valid_from <= d.as_of GROUP BY s.loan_id, d.as_of
),
instalments AS (
  SELECT s.loan_id, v.as_of, s.due_date, SUM(:cover_due) AS amount,
         SUM(s.principal + s.interest + s.fees + s.taxes + s.other) AS total
  FROM servicing_schedules s JOIN in_force v ON v.loan_id = s.loan_id AND v.valid_from = s.valid_from
  GROUP BY s.loan_id, v.as_of, s.due_date
),
owed AS (
  SELECT loan_id, as_of, due_date, total,
         SUM(amount) OVER (PARTITION BY loan_id, as_of ORDER BY due_date) AS cumulative,
         ROW_NUMBER() OVER (PARTITION BY loan_id, as_of ORDER BY due_date) AS number
  FROM instalments
),
unpaid AS (
  SELECT w.loan_id, w.as_of, MIN(w.due_date) AS oldest
  FROM owed w JOIN sums s ON s.loan_id = w.loan_id AND s.as_of = w.as_of
  WHERE w.due_date < w.as_of AND w.cumulative > s.covered + :tolerance
  GROUP BY w.loan_id, w.as_of
),
checks AS (
  SELECT w.loan_id, w.as_of, w.due_date, w.cumulative, w.number, k.days, w.due_date + k.days AS at
  FROM owed w CROSS JOIN (SELECT UNNEST(:reach_days) AS days) k WHERE w.due_date + k.days <= w.as_of
  UNION ALL
  SELECT w.loan_id, w.as_of, w.due_date, w.cumulative, w.number, k.days, m.date
  FROM owed w CROSS JOIN (SELECT UNNEST(:reach_days) AS days) k
  JOIN moves m ON m.loan_id = w.loan_id AND m.covered < 0 AND m.date > w.due_date + k.days AND m.date <= w.as_of
),
timeline AS (
  SELECT loan_id, as_of, at, 1 AS kind, CAST(0 AS DECIMAL(38,4)) AS paid, CAST(0 AS DECIMAL(38,4)) AS due,
         CAST(0 AS DECIMAL(38,4)) AS lent, CAST(0 AS DECIMAL(38,4)) AS change,
         cumulative, number, days, due_date
  FROM checks
  UNION ALL
  SELECT w.loan_id, w.as_of, w.due_date, 2, 0, i.amount, 0, 0, w.cumulative, w.number, 0, w.due_date
  FROM owed w JOIN instalments i ON i.loan_id = w.loan_id AND i.as_of = w.as_of AND i.due_date = w.due_date
  WHERE w.due_date < w.as_of
  UNION ALL
  SELECT m.loan_id, d.as_of, m.date, 0, m.covered, 0, m.disbursed, m.disbursed + m.adjusted - m.principal_paid,
         NULL, NULL, NULL, NULL
  FROM moves m JOIN dates d ON m.date <= d.as_of
  UNION ALL
  SELECT o.loan_id, d.as_of, o.disbursement_date, 0, 0, 0, o.stated, o.stated, NULL, NULL, NULL, NULL
  FROM opened o JOIN dates d ON o.disbursement_date <= d.as_of WHERE o.stated <> 0
),
running AS (
  SELECT loan_id, as_of, at, kind, paid, cumulative, number, days, due_date,
         SUM(paid) OVER (PARTITION BY loan_id, as_of ORDER BY at, kind) AS covered_then,
         SUM(due) OVER (PARTITION BY loan_id, as_of ORDER BY at, kind) AS due_then,
         SUM(lent) OVER (PARTITION BY loan_id, as_of ORDER BY at, kind) AS lent_then,
         SUM(change) OVER (PARTITION BY loan_id, as_of ORDER BY at, kind) AS balance_then
  FROM timeline
),
reached AS (
  SELECT loan_id, as_of,
         MIN(CASE WHEN kind = 1 AND days = :ninety THEN at END) AS ninety_at,
         MIN(CASE WHEN kind = 1 AND days = :thirty AND number = 1 THEN at END) AS first_missed_at,
         MIN(CASE WHEN kind = 1 AND days = :write_off_days THEN at END) AS write_off_at
  FROM running
  WHERE cumulative > covered_then + :tolerance
    AND balance_then > 0 AND balance_then >= :dust_share * lent_then
  GROUP BY loan_id, as_of
),
first_due AS (SELECT loan_id, as_of, MIN(due_date) AS due_date FROM owed GROUP BY loan_id, as_of),
cured AS (
  SELECT loan_id, as_of, MAX(at) AS at FROM running
  WHERE kind = 0 AND paid <> 0 AND covered_then + :tolerance >= due_then GROUP BY loan_id, as_of
),
strict AS (
  SELECT r.loan_id, r.as_of, MIN(r.due_date) AS missed
  FROM running r LEFT JOIN cured c ON c.loan_id = r.loan_id AND c.as_of = r.as_of
  WHERE r.kind = 2 AND r.cumulative > r.covered_then + :tolerance AND (c.at IS NULL OR r.at >= c.at)
  GROUP BY r.loan_id, r.as_of
),
scheduled AS (
  SELECT loan_id, as_of, SUM(CASE WHEN due_date <= as_of THEN total ELSE 0 END) AS due_total
  FROM owed GROUP BY loan_id, as_of
),
counted AS (
  SELECT s.loan_id, s.as_of, s.currency, s.disbursed, s.adjusted, s.principal_paid, s.received, s.covered,
         s.disbursed_usd, s.principal_paid_usd, s.received_usd, s.interest_fees_usd, s.unpriced_moves,
         s.disbursed + s.adjusted - s.principal_paid AS balance,
         :days_past_due AS days_late, u.oldest, r.ninety_at, r.first_missed_at, r.write_off_at,
         f.due_date AS first_due_date, c.due_total, l.frequency,
         CASE WHEN s.flagged = 1 OR l.written_off_date <= s.as_of THEN TRUE ELSE FALSE END AS flagged,
         COALESCE(l.restructured_date <= s.as_of, FALSE) AS restructured
  FROM sums s JOIN servicing_loans l ON l.loan_id = s.loan_id
  LEFT JOIN unpaid u ON u.loan_id = s.loan_id AND u.as_of = s.as_of
  LEFT JOIN strict t ON t.loan_id = s.loan_id AND t.as_of = s.as_of
  LEFT JOIN reached r ON r.loan_id = s.loan_id AND r.as_of = s.as_of
  LEFT JOIN first_due f ON f.loan_id = s.loan_id AND f.as_of = s.as_of
  LEFT JOIN scheduled c ON c.loan_id = s.loan_id AND c.as_of = s.as_of
),
judged AS (
  SELECT *, balance <= 0 OR balance < :dust_share * disbursed AS repaid,
         CASE WHEN days_late > :grace_days THEN days_late ELSE 0 END AS dpd
  FROM counted
),
ended AS (
  SELECT *, CASE WHEN repaid THEN FALSE ELSE flagged OR :late_enough END AS written_off FROM judged
)
SELECT loan_id, as_of, currency, disbursed, adjusted, principal_paid, received, due_total, balance,
       CASE WHEN repaid OR written_off THEN 0 ELSE balance END AS outstanding_principal,
       CASE WHEN written_off THEN balance ELSE 0 END AS written_off_balance,
       CASE WHEN repaid THEN balance ELSE 0 END AS dust_forgiven,
       written_off, restructured,
       CASE WHEN repaid THEN 0 ELSE dpd END AS days_past_due,
       CASE WHEN repaid OR dpd = 0 THEN NULL ELSE oldest END AS oldest_unpaid_due_date,
       ninety_at, first_missed_at, first_due_date, disbursed_usd, principal_paid_usd, received_usd,
       interest_fees_usd, unpriced_moves
FROM ended
"""

_ROLLING = "SELECT CASE WHEN u.oldest IS NULL THEN 0 ELSE s.as_of - u.oldest END"
_STRICT = """SELECT CASE WHEN u.oldest IS NULL THEN 0
             ELSE s.as_of - LEAST(u.oldest, COALESCE(t.missed, u.oldest)) END"""
# Whole months from the oldest unpaid due date to the day that counts; the last day of a month is whole.
_MONTHLY = """SELECT CASE WHEN l.frequency <> 'monthly' OR l.frequency IS NULL THEN NULL WHEN u.oldest IS NULL THEN 0 ELSE 30 * (
  (EXTRACT(YEAR FROM s.as_of + :lead) - EXTRACT(YEAR FROM u.oldest)) * 12
  + EXTRACT(MONTH FROM s.as_of + :lead) - EXTRACT(MONTH FROM u.oldest)
  - CASE WHEN EXTRACT(DAY FROM s.as_of + :lead) < EXTRACT(DAY FROM u.oldest)
          AND EXTRACT(DAY FROM s.as_of + :lead + 1) <> 1 THEN 1 ELSE 0 END) END"""


def panel_query(definition: Definition, dates: Sequence[date], reporting_currency: str) -> exp.Select:
    """One row a loan and date from disbursement on, over the relations of `normal_views`.

    Columns: ``loan_id, as_of, currency``, cumulative ``disbursed, adjusted, principal_paid, received,
    due_total`` (loan currency), ``balance`` (before write-off and dust), ``outstanding_principal,
    written_off_balance, dust_forgiven, written_off, restructured, days_past_due, oldest_unpaid_due_date``,
    ``ninety_at`` and ``first_missed_at`` (dates at which the loan first reached 90 DPD, and its first
    instalment 30 DPD), and cumulative flows in reporting currency at the rate of their date.
    """
    total = definition.cover is Cover.TOTAL_DUE
    paid = _expression("SELECT m.principal + m.interest + m.fees + m.taxes + m.other" if total else "SELECT m.principal")
    due = _expression("SELECT s.principal + s.interest + s.fees + s.taxes + s.other" if total else "SELECT s.principal")
    after = definition.write_off_after_days
    sticky = definition.write_off is WriteOff.STICKY
    late: exp.Expr = exp.false()
    if after is not None:
        late = (
            _expression("SELECT write_off_at IS NOT NULL")
            if sticky
            else exp.GT(this=exp.column("dpd"), expression=number_node(after))
        )
    write_off_days = -1 if after is None or not sticky else after + 1
    thirty, ninety = definition.reaches(30), definition.reaches(90)
    reach = sorted({thirty, ninety} | ({write_off_days} if write_off_days > 0 else set()))
    return filled(
        _PANEL,
        dates=exp.array(*(date_node(day) for day in dates)),
        reporting=exp.Literal.string(reporting_currency),
        cover_paid=paid,
        cover_due=due,
        days_past_due=_days_past_due(definition),
        tolerance=number_node(definition.arrears_tolerance),
        reach_days=exp.array(*(number_node(days) for days in reach)),
        thirty=number_node(thirty),
        ninety=number_node(ninety),
        write_off_days=number_node(write_off_days),
        dust_share=number_node(definition.dust_share),
        grace_days=number_node(definition.grace_days),
        late_enough=late,
    )


def _expression(text: str, **values: exp.Expr) -> exp.Expr:
    found: exp.Expr = filled(text, **values).expressions[0]
    return found


def _days_past_due(definition: Definition) -> exp.Expr:
    match definition.dpd_method:
        case DpdMethod.ROLLING:
            return _expression(_ROLLING)
        case DpdMethod.STRICT:
            return _expression(_STRICT)
        case DpdMethod.MONTHLY_MBA | DpdMethod.MONTHLY_OTS:
            lead = 1 if definition.dpd_method is DpdMethod.MONTHLY_MBA else 0
            return _expression(_MONTHLY, lead=number_node(lead))


def counts_at_risk(definition: Definition) -> bool:
    """Whether restructured loans are at risk whatever their DPD."""
    return definition.restructured is Restructured.AT_RISK
