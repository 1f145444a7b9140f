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

from abaco_loans.tape.definition import Cover, Definition, DpdMethod, WriteOff
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
  UNION ALL
  SELECT l.loan_id, l.disbursement_date, l.disbursed_principal, 0, 0, 0, 0, 0, 0
  FROM servicing_loans l
  LEFT JOIN (SELECT loan_id FROM servicing_moves WHERE type = 'disbursement' GROUP BY loan_id) d
    ON d.loan_id = l.loan_id
  WHERE d.loan_id IS NULL
),
priced AS (
  SELECT m.loan_id, m.date, m.disbursed, m.adjusted, m.principal_paid, m.received, m.interest_fees, m.covered,
         m.flagged, CASE WHEN l.currency = :reporting THEN 1 ELSE r.rate END AS rate
  FROM moves m JOIN servicing_loans l ON l.loan_id = m.loan_id
  LEFT JOIN rates r ON r.currency = l.currency AND m.date >= r.since AND (m.date < r.until OR r.until IS NULL)
),
sums AS (
  SELECT l.loan_id, d.as_of, MIN(l.currency) AS currency,
         COALESCE(SUM(m.disbursed), 0) AS disbursed,
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
  FROM servicing_loans l CROSS JOIN dates d
  LEFT JOIN priced m ON m.loan_id = l.loan_id AND m.date <= d.as_of
  WHERE l.disbursement_date <= d.as_of
  GROUP BY l.loan_id, d.as_of
),
versions AS (
  SELECT loan_id, valid_from, LEAD(valid_from) OVER (PARTITION BY loan_id ORDER BY valid_from) AS until
  FROM (SELECT loan_id, valid_from FROM servicing_schedules GROUP BY loan_id, valid_from) v
),
instalments AS (
  SELECT s.loan_id, s.valid_from, s.due_date, SUM(:cover_due) AS amount,
         SUM(s.principal + s.interest + s.fees + s.taxes + s.other) AS total
  FROM servicing_schedules s GROUP BY s.loan_id, s.valid_from, s.due_date
),
owed AS (
  SELECT i.loan_id, i.valid_from, v.until, i.due_date, i.amount, i.total,
         SUM(i.amount) OVER (PARTITION BY i.loan_id, i.valid_from ORDER BY i.due_date) AS cumulative,
         ROW_NUMBER() OVER (PARTITION BY i.loan_id, i.valid_from ORDER BY i.due_date) AS number
  FROM instalments i JOIN versions v ON v.loan_id = i.loan_id AND v.valid_from = i.valid_from
),
owed_then AS (
  SELECT w.loan_id, d.as_of, w.due_date, w.amount, w.total, w.cumulative
  FROM owed w JOIN dates d ON w.valid_from <= d.as_of AND (w.until IS NULL OR d.as_of < w.until)
),
unpaid AS (
  SELECT w.loan_id, w.as_of, MIN(w.due_date) AS oldest
  FROM owed_then w JOIN sums s ON s.loan_id = w.loan_id AND s.as_of = w.as_of
  WHERE w.due_date < w.as_of AND w.cumulative > s.covered + :tolerance
  GROUP BY w.loan_id, w.as_of
),
reach AS (
  SELECT w.loan_id, w.cumulative, w.number, w.until, k.days, GREATEST(w.due_date + k.days, w.valid_from) AS at
  FROM owed w CROSS JOIN (SELECT UNNEST(:reach_days) AS days) k
  WHERE w.due_date + k.days <= :last AND (w.until IS NULL OR w.due_date + k.days < w.until)
),
checks AS (
  SELECT loan_id, cumulative, number, days, at FROM reach
  UNION ALL
  SELECT w.loan_id, w.cumulative, w.number, w.days, m.date
  FROM reach w JOIN moves m ON m.loan_id = w.loan_id AND m.date > w.at AND m.date <= :last
    AND (w.until IS NULL OR m.date < w.until)
    AND (m.covered < 0 OR m.disbursed + m.adjusted - m.principal_paid > 0)
),
timeline AS (
  SELECT loan_id, at, 1 AS kind, CAST(0 AS DECIMAL(38,4)) AS paid, CAST(0 AS DECIMAL(38,4)) AS lent,
         CAST(0 AS DECIMAL(38,4)) AS change, cumulative, number, days
  FROM checks
  UNION ALL
  SELECT m.loan_id, m.date, 0, m.covered, m.disbursed, m.disbursed + m.adjusted - m.principal_paid, NULL, NULL, NULL
  FROM moves m WHERE m.date <= :last
),
running AS (
  SELECT loan_id, at, kind, cumulative, number, days,
         SUM(paid) OVER (PARTITION BY loan_id ORDER BY at, kind) AS covered_then,
         SUM(lent) OVER (PARTITION BY loan_id ORDER BY at, kind) AS lent_then,
         SUM(change) OVER (PARTITION BY loan_id ORDER BY at, kind) AS balance_then
  FROM timeline
),
reached AS (
  SELECT loan_id,
         MIN(CASE WHEN days = :ninety THEN at END) AS ninety_at,
         MIN(CASE WHEN days = :thirty AND number = 1 THEN at END) AS first_missed_at,
         MIN(CASE WHEN days = :write_off_days THEN at END) AS write_off_at
  FROM running
  WHERE kind = 1 AND cumulative > covered_then + :tolerance
    AND balance_then > 0 AND balance_then >= :dust_share * lent_then
  GROUP BY loan_id
),
method AS (:method),
scheduled AS (
  SELECT loan_id, as_of, MIN(due_date) AS first_due_date,
         SUM(CASE WHEN due_date <= as_of THEN total ELSE 0 END) AS due_total
  FROM owed_then GROUP BY loan_id, as_of
),
counted AS (
  SELECT s.loan_id, s.as_of, s.currency, s.disbursed, s.adjusted, s.principal_paid, s.received, s.covered,
         s.disbursed_usd, s.principal_paid_usd, s.received_usd, s.interest_fees_usd, s.unpriced_moves,
         s.disbursed + s.adjusted - s.principal_paid AS balance,
         :days_past_due AS days_late, u.oldest,
         CASE WHEN r.ninety_at <= s.as_of THEN r.ninety_at END AS ninety_at,
         CASE WHEN r.first_missed_at <= s.as_of THEN r.first_missed_at END AS first_missed_at,
         CASE WHEN r.write_off_at <= s.as_of THEN TRUE ELSE FALSE END AS was_late_enough,
         c.first_due_date, c.due_total,
         CASE WHEN s.flagged = 1 OR l.written_off_date <= s.as_of THEN TRUE ELSE FALSE END AS flagged,
         COALESCE(l.restructured_date <= s.as_of, FALSE) AS restructured
  FROM sums s JOIN servicing_loans l ON l.loan_id = s.loan_id
  LEFT JOIN unpaid u ON u.loan_id = s.loan_id AND u.as_of = s.as_of
  LEFT JOIN method t ON t.loan_id = s.loan_id AND t.as_of = s.as_of
  LEFT JOIN reached r ON r.loan_id = s.loan_id
  LEFT JOIN scheduled c ON c.loan_id = s.loan_id AND c.as_of = s.as_of
),
judged AS (
  SELECT *, balance <= 0 OR balance < :dust_share * disbursed AS repaid,
         CASE WHEN days_late <= :grace_days THEN 0 ELSE days_late END AS dpd
  FROM counted
),
ended AS (
  SELECT *, CASE WHEN repaid THEN FALSE ELSE flagged OR COALESCE(:late_enough, FALSE) END AS written_off FROM judged
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

# What a method needs beside the oldest unpaid due date: a relation with a row a loan and date, as `method`.
_NOTHING_MORE = "SELECT loan_id, as_of FROM sums WHERE FALSE"
_ROLLING = "SELECT CASE WHEN u.oldest IS NULL THEN 0 ELSE s.as_of - u.oldest END"
# The arrears that stand at the date, followed back to the last day on which nothing was due and unpaid.
_MISSED = """
WITH events AS (
  SELECT m.loan_id, d.as_of, m.date AS at, m.covered AS paid, CAST(0 AS DECIMAL(38,4)) AS due
  FROM moves m JOIN dates d ON m.date <= d.as_of
  UNION ALL
  SELECT w.loan_id, w.as_of, w.due_date + 1, 0, w.amount FROM owed_then w WHERE w.due_date < w.as_of
),
turns AS (
  SELECT loan_id, as_of, at, SUM(paid) OVER (PARTITION BY loan_id, as_of ORDER BY at) AS covered_then,
         SUM(due) OVER (PARTITION BY loan_id, as_of ORDER BY at) AS due_then
  FROM events
),
clear AS (
  SELECT loan_id, as_of, MAX(at) AS at FROM turns WHERE due_then <= covered_then + :tolerance
  GROUP BY loan_id, as_of
)
SELECT w.loan_id, w.as_of, MIN(w.due_date) AS missed
FROM owed_then w
JOIN turns e ON e.loan_id = w.loan_id AND e.as_of = w.as_of AND e.at > w.due_date
  AND w.cumulative > e.covered_then + :tolerance
LEFT JOIN clear c ON c.loan_id = w.loan_id AND c.as_of = w.as_of
WHERE c.at IS NULL OR e.at > c.at
GROUP BY w.loan_id, w.as_of
"""
_STRICT = "SELECT CASE WHEN u.oldest IS NULL THEN 0 ELSE s.as_of - LEAST(u.oldest, t.missed) END"
# Due dates of the schedule that passed after the oldest unpaid one; beyond the last one, whole months on the
# loan's day of the month (its latest due day; the last day of a shorter month stands for it).
_PASSED = """
SELECT w.loan_id, w.as_of, MAX(w.due_date) AS last, MAX(EXTRACT(DAY FROM w.due_date)) AS anchor,
       SUM(CASE WHEN w.due_date > u.oldest AND w.due_date <= w.as_of + :lead THEN 1 ELSE 0 END) AS passed
FROM owed_then w JOIN unpaid u ON u.loan_id = w.loan_id AND u.as_of = w.as_of
GROUP BY w.loan_id, w.as_of
"""
_MONTHLY = """
SELECT CASE WHEN l.frequency <> 'monthly' OR l.frequency IS NULL THEN NULL
            WHEN u.oldest IS NULL THEN 0
            WHEN t.last >= s.as_of + :lead THEN 30 * t.passed
            ELSE 30 * (t.passed + GREATEST(0,
              (EXTRACT(YEAR FROM s.as_of + :lead) - EXTRACT(YEAR FROM t.last)) * 12
              + EXTRACT(MONTH FROM s.as_of + :lead) - EXTRACT(MONTH FROM t.last)
              - CASE WHEN EXTRACT(DAY FROM s.as_of + :lead) < t.anchor
                      AND EXTRACT(DAY FROM s.as_of + :lead + 1) <> 1 THEN 1 ELSE 0 END)) END"""


def panel_query(definition: Definition, dates: Sequence[date], reporting_currency: str) -> exp.Select:
    """One row a loan and date from disbursement on, over the relations of `normal_views`.

    Columns: ``loan_id, as_of, currency``, cumulative ``disbursed, adjusted, principal_paid, received,
    due_total`` (loan currency), ``balance`` (before write-off and dust), ``outstanding_principal,
    written_off_balance, dust_forgiven, written_off, restructured, days_past_due, oldest_unpaid_due_date``,
    ``ninety_at`` and ``first_missed_at`` (dates at which the loan first reached 90 DPD, and its first
    instalment 30 DPD, counted rolling, under the schedule in force on that day), and cumulative flows in
    reporting currency at the rate of their date. ``days_past_due`` is NULL where the method does not count
    the loan. A ``sticky`` write-off by days is counted rolling too (`read_definitions` refuses another method).
    """
    total = definition.cover is Cover.TOTAL_DUE
    paid = _expression(
        "SELECT m.principal + m.interest + m.fees + m.taxes + m.other" if total else "SELECT m.principal"
    )
    due = _expression("SELECT s.principal + s.interest + s.fees + s.taxes + s.other" if total else "SELECT s.principal")
    after = definition.write_off_after_days
    sticky = definition.write_off is WriteOff.STICKY
    late: exp.Expr = exp.false()
    if after is not None:
        late = (
            _expression("SELECT was_late_enough")
            if sticky
            else exp.GT(this=exp.column("dpd"), expression=number_node(after))
        )
    least = definition.grace_days + 1
    write_off_days = -1 if after is None or not sticky else max(after + 1, least)
    thirty, ninety = max(definition.reaches(30), least), max(definition.reaches(90), least)
    reach = sorted({thirty, ninety} | ({write_off_days} if write_off_days > 0 else set()))
    method, days_past_due = _days_past_due(definition)
    return filled(
        _PANEL,
        dates=exp.array(*(date_node(day) for day in dates)),
        last=date_node(max(dates)),
        reporting=exp.Literal.string(reporting_currency),
        cover_paid=paid,
        cover_due=due,
        method=method,
        days_past_due=days_past_due,
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


def _days_past_due(definition: Definition) -> tuple[exp.Select, exp.Expr]:
    """The relation ``method`` and the days past due before grace."""
    match definition.dpd_method:
        case DpdMethod.ROLLING:
            return filled(_NOTHING_MORE), _expression(_ROLLING)
        case DpdMethod.STRICT:
            return filled(_MISSED, tolerance=number_node(definition.arrears_tolerance)), _expression(_STRICT)
        case DpdMethod.MONTHLY_MBA | DpdMethod.MONTHLY_OTS:
            lead = number_node(1 if definition.dpd_method is DpdMethod.MONTHLY_MBA else 0)
            return filled(_PASSED, lead=lead), _expression(_MONTHLY, lead=lead)
