"""Servicing records to loan states: who owed what when, who paid what when, at any dates.

Every rule is a row of DEFINITIONS, "The loan at a date D". The facts are one row a loan and date from disbursement
on; the events are one row a loan. Amounts are in loan currency unless the name ends in ``_usd`` (reporting currency).

Invariants (held by tests): covered and due are cumulative; allocation is FIFO by due date; dust and repaid
loans have DPD 0 and are not written off; outstanding + written_off_balance + dust_forgiven =
disbursed + capitalised + adjusted - principal_paid, for every row.

What is cumulative holds from one date until the next and meets the dates by range, so the cost grows with rows in
and rows out, not with their product. The oldest unpaid instalment is found by sorting what is covered into the
running maxima of what is due; most instalments are settled on their day, and nobody asks of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache

from abaco_loans.tape.definition import Cover, Definition, WriteOff
from abaco_loans.tape.dpd_method import days_past_due
from abaco_loans.tape.template import date_node, expression, filled, number_node
from abaco_loans.tape.tree import exp, later

RUNNING, OWED, LATE, EVENTS = "servicing_running", "servicing_owed", "servicing_late", "servicing_events"
STANDING, CHANCES, UNPAID, HELD = "servicing_standing", "servicing_chances", "servicing_unpaid", "servicing_held"
LOANS, FACTS = "panel_loans", "panel_facts"

# One row a loan and date on which something moved: what moved, and what stands until the next such date. What moved
# before the loan was disbursed counts with its first period (`counts_on`). Rates are wide so that products are exact.
_RUNNING = """
WITH rates AS (
  SELECT currency, date AS since, rate, LEAD(date) OVER (PARTITION BY currency ORDER BY date) AS until
  FROM servicing_rates
),
each_move AS (
  SELECT m.loan_id, m.date, 1 AS moved,
         CASE WHEN m.type = 'disbursement' THEN m.principal ELSE 0 END AS disbursed,
         CASE WHEN m.type = 'capitalisation' THEN m.principal ELSE 0 END AS capitalised,
         CASE WHEN m.type = 'adjustment' THEN m.principal ELSE 0 END + m.add_balance - m.reduce_balance AS adjusted,
         CASE WHEN m.type = 'payment' THEN m.principal ELSE 0 END AS principal_paid,
         CASE WHEN m.type = 'payment' THEN m.principal + m.interest + m.fees + m.taxes + m.other
              ELSE 0 END AS received,
         CASE WHEN m.type = 'payment' THEN m.interest + m.fees ELSE 0 END AS interest_fees,
         CASE WHEN m.type = 'payment' THEN :cover_paid ELSE 0 END AS covered,
         CASE WHEN m.type = 'write_off' THEN 1 ELSE 0 END AS flagged
  FROM servicing_moves m
  UNION ALL
  SELECT l.loan_id, l.disbursement_date, CASE WHEN d.loan_id IS NULL THEN 1 ELSE 0 END,
         CASE WHEN d.loan_id IS NULL THEN l.disbursed_principal ELSE 0 END, 0, 0, 0, 0, 0, 0, 0
  FROM servicing_loans l
  LEFT JOIN (SELECT loan_id FROM servicing_moves WHERE type = 'disbursement' GROUP BY loan_id) d
    ON d.loan_id = l.loan_id
),
moves AS (
  SELECT loan_id, date, MAX(moved) AS moved, CAST(SUM(disbursed) AS DECIMAL(18,4)) AS disbursed,
         CAST(SUM(capitalised) AS DECIMAL(18,4)) AS capitalised, CAST(SUM(adjusted) AS DECIMAL(18,4)) AS adjusted,
         CAST(SUM(principal_paid) AS DECIMAL(18,4)) AS principal_paid, CAST(SUM(received) AS DECIMAL(18,4)) AS received,
         CAST(SUM(interest_fees) AS DECIMAL(18,4)) AS interest_fees, CAST(SUM(covered) AS DECIMAL(18,4)) AS covered,
         CAST(SUM(disbursed + capitalised + adjusted - principal_paid) AS DECIMAL(18,4)) AS change,
         MAX(flagged) AS flagged
  FROM each_move GROUP BY loan_id, date
)
SELECT m.*, l.currency, l.disbursement_date, l.written_off_date,
       CAST(CASE WHEN l.currency = :reporting THEN 1 ELSE r.rate END AS DECIMAL(38,8)) AS rate,
       GREATEST(m.date, l.disbursement_date) AS counts_on,
       LEAD(m.date) OVER w AS until, SUM(m.flagged) OVER w AS flags,
       CAST(SUM(m.disbursed) OVER w AS DECIMAL(18,4)) AS lent_then,
       CAST(SUM(m.change) OVER w AS DECIMAL(18,4)) AS balance_then,
       CAST(SUM(m.covered) OVER w AS DECIMAL(18,4)) AS covered_then,
       CAST(SUM(m.principal_paid) OVER w AS DECIMAL(18,4)) AS repaid_then
FROM moves m JOIN servicing_loans l ON l.loan_id = m.loan_id
LEFT JOIN rates r ON r.currency = l.currency AND m.date >= r.since AND (m.date < r.until OR r.until IS NULL)
WINDOW w AS (PARTITION BY m.loan_id ORDER BY m.date)
"""

# One row an instalment and version of the schedule, with what is due up to it.
_OWED = """
WITH instalments AS (
  SELECT s.loan_id, s.valid_from, s.due_date, CAST(SUM(:cover_due) AS DECIMAL(18,4)) AS amount,
         CAST(SUM(s.principal) AS DECIMAL(18,4)) AS principal,
         CAST(SUM(s.principal + s.interest + s.fees + s.taxes + s.other) AS DECIMAL(18,4)) AS total
  FROM servicing_schedules s GROUP BY s.loan_id, s.valid_from, s.due_date
),
versions AS (
  SELECT loan_id, valid_from, LEAD(valid_from) OVER w AS until, ROW_NUMBER() OVER w AS version
  FROM (SELECT loan_id, valid_from FROM servicing_schedules GROUP BY loan_id, valid_from) v
  WINDOW w AS (PARTITION BY loan_id ORDER BY valid_from)
)
SELECT i.loan_id, i.valid_from, v.until, v.version, i.due_date, i.amount, i.principal, i.total,
       CAST(SUM(i.amount) OVER w AS DECIMAL(18,4)) AS cumulative, ROW_NUMBER() OVER w AS number
FROM instalments i JOIN versions v ON v.loan_id = i.loan_id AND v.valid_from = i.valid_from
WINDOW w AS (PARTITION BY i.loan_id, i.valid_from ORDER BY i.due_date ROWS UNBOUNDED PRECEDING)
"""

# Those not settled on their day: covered, and never uncovered again. Only they can be unpaid, and only until then.
_LATE = """
WITH levels AS (
  SELECT loan_id, date, NULL AS version, NULL AS number, 0 AS is_due, :tolerance
         + MIN(covered_then) OVER (PARTITION BY loan_id ORDER BY date DESC ROWS UNBOUNDED PRECEDING) AS level
  FROM servicing_running
  UNION ALL
  SELECT loan_id, NULL, version, number, 1, cumulative FROM servicing_owed
)
SELECT w.loan_id, w.valid_from, w.until, w.version, w.due_date, w.cumulative, w.number, s.settled
FROM (SELECT loan_id, version, number, is_due,
             MIN(date) OVER (PARTITION BY loan_id ORDER BY level DESC, is_due ROWS UNBOUNDED PRECEDING) AS settled
      FROM levels) s
JOIN servicing_owed w ON w.loan_id = s.loan_id AND w.version = s.version AND w.number = s.number
WHERE s.is_due = 1 AND (s.settled IS NULL OR s.settled > w.due_date)
"""

# One row a loan that ever was late enough, or was written off: when, and what its balance was then. Counted rolling.
_EVENTS = """
WITH reach AS (
  SELECT w.loan_id, w.cumulative, w.number, w.version, w.until, w.settled, k.days,
         GREATEST(w.due_date + k.days, w.valid_from) AS at
  FROM servicing_late w CROSS JOIN (SELECT UNNEST(:reach_days) AS days) k
  WHERE w.due_date + k.days <= :last AND (w.until IS NULL OR w.due_date + k.days < w.until)
    AND (w.settled IS NULL OR GREATEST(w.due_date + k.days, w.valid_from) < w.settled)
),
checks AS (
  SELECT loan_id, cumulative, number, version, days, at FROM reach
  UNION ALL
  SELECT w.loan_id, w.cumulative, w.number, w.version, w.days, m.date
  FROM reach w JOIN servicing_running m ON m.loan_id = w.loan_id AND m.date > w.at AND m.date <= :last
    AND (w.until IS NULL OR m.date < w.until) AND (w.settled IS NULL OR m.date < w.settled)
    AND (m.covered < 0 OR m.change > 0)
),
timeline AS (
  SELECT loan_id, at, 1 AS kind, CAST(0 AS DECIMAL(18,4)) AS covered, CAST(0 AS DECIMAL(18,4)) AS lent,
         CAST(0 AS DECIMAL(18,4)) AS change, CAST(0 AS DECIMAL(18,4)) AS repaid, cumulative, number, version,
         days
  FROM checks
  UNION ALL
  SELECT loan_id, date, 0, covered, disbursed, change, principal_paid, NULL, NULL, NULL, NULL
  FROM servicing_running WHERE date <= :last AND loan_id IN (SELECT loan_id FROM reach)
),
turned AS (
  SELECT loan_id, at, kind, cumulative, number, version, days, SUM(covered) OVER t AS covered_then,
         SUM(lent) OVER t AS lent_then, SUM(change) OVER t AS balance_then, SUM(repaid) OVER t AS repaid_then
  FROM timeline WINDOW t AS (PARTITION BY loan_id ORDER BY at, kind)
),
hits AS (
  SELECT loan_id, days, number, version, at, balance_then, repaid_then,
         ROW_NUMBER() OVER (PARTITION BY loan_id, days ORDER BY at, number) AS nth
  FROM turned
  WHERE kind = 1 AND cumulative > covered_then + :tolerance
    AND balance_then > 0 AND balance_then >= :dust_share * lent_then
),
reached AS (
  SELECT loan_id,
         MIN(CASE WHEN days = :thirty AND nth = 1 THEN at END) AS thirty_at,
         MIN(CASE WHEN days = :thirty AND nth = 1 THEN balance_then END) AS thirty_balance,
         MIN(CASE WHEN days = :sixty AND nth = 1 THEN at END) AS sixty_at,
         MIN(CASE WHEN days = :sixty AND nth = 1 THEN balance_then END) AS sixty_balance,
         MIN(CASE WHEN days = :ninety AND nth = 1 THEN at END) AS ninety_at,
         MIN(CASE WHEN days = :ninety AND nth = 1 THEN balance_then END) AS ninety_balance,
         MIN(CASE WHEN days = :ninety AND nth = 1 THEN repaid_then END) AS ninety_repaid,
         MIN(CASE WHEN days = :thirty AND number = 1 AND version = 1 THEN at END) AS first_missed_at,
         MIN(CASE WHEN days = :write_off_days AND nth = 1 THEN at END) AS write_off_at
  FROM hits GROUP BY loan_id
),
flags AS (
  SELECT loan_id, MIN(at) AS at
  FROM (SELECT loan_id, date AS at FROM servicing_moves WHERE type = 'write_off'
        UNION ALL SELECT loan_id, written_off_date FROM servicing_loans WHERE written_off_date IS NOT NULL) f
  GROUP BY loan_id
),
ever AS (
  SELECT COALESCE(y.loan_id, f.loan_id) AS loan_id, LEAST(y.ninety_at, y.write_off_at, f.at) AS defaulted_at
  FROM reached y FULL JOIN flags f ON f.loan_id = y.loan_id
)
SELECT e.loan_id, y.thirty_at, CAST(y.thirty_balance AS DECIMAL(18,4)) AS thirty_balance, y.sixty_at,
       CAST(y.sixty_balance AS DECIMAL(18,4)) AS sixty_balance, y.ninety_at,
       CAST(y.ninety_balance AS DECIMAL(18,4)) AS ninety_balance,
       CAST(y.ninety_repaid AS DECIMAL(18,4)) AS ninety_repaid, y.first_missed_at, y.write_off_at, e.defaulted_at,
       CAST(CASE WHEN e.defaulted_at = y.ninety_at THEN y.ninety_balance
                 WHEN e.defaulted_at IS NOT NULL THEN COALESCE(r.balance_then, 0) END AS DECIMAL(18,4))
         AS defaulted_balance
FROM ever e LEFT JOIN reached y ON y.loan_id = e.loan_id
LEFT JOIN servicing_running r ON r.loan_id = e.loan_id AND r.date <= e.defaulted_at
  AND (e.defaulted_at < r.until OR r.until IS NULL)
"""

_LOANS = """
SELECT l.*, o.due_date AS first_due_date, e.thirty_at, e.thirty_balance, e.sixty_at, e.sixty_balance, e.ninety_at,
       e.ninety_balance, e.ninety_repaid, e.first_missed_at, e.defaulted_at, e.defaulted_balance
FROM servicing_loans l
LEFT JOIN servicing_owed o ON o.loan_id = l.loan_id AND o.version = 1 AND o.number = 1
LEFT JOIN servicing_events e ON e.loan_id = l.loan_id
"""

# One row a loan and date: what stands then.
_STANDING = """
WITH dates AS (SELECT UNNEST(:dates) AS as_of, UNNEST(:since) AS since)
SELECT r.loan_id, r.currency, d.as_of, d.since, r.lent_then, r.balance_then AS balance, r.covered_then AS covered,
       r.repaid_then, r.flags > 0 OR COALESCE(r.written_off_date <= d.as_of, FALSE) AS is_flagged,
       r.balance_then <= 0 OR r.balance_then < :dust_share * r.lent_then AS repaid,
       x.write_off_at <= d.as_of AS was_late_enough
FROM servicing_running r JOIN dates d ON d.as_of >= r.date AND (d.as_of < r.until OR r.until IS NULL)
  AND d.as_of >= r.disbursement_date
LEFT JOIN servicing_events x ON x.loan_id = r.loan_id
"""

# Payments that may have come while the loan was written off: it was flagged, or had once been late enough.
_CHANCES = """
SELECT r.loan_id, r.date, r.counts_on, r.received, r.principal_paid, r.rate, r.covered_then - r.covered AS covered,
       x.write_off_at, r.flags > r.flagged OR COALESCE(r.written_off_date < r.date, FALSE) AS was_flagged
FROM servicing_running r LEFT JOIN servicing_events x ON x.loan_id = r.loan_id
WHERE (r.received <> 0 OR r.principal_paid <> 0) AND r.date <= :last
  AND r.balance_then - r.change > 0 AND r.balance_then - r.change >= :dust_share * (r.lent_then - r.disbursed)
  AND (r.flags > r.flagged OR r.written_off_date < r.date OR x.write_off_at < r.date)
"""

# The oldest unpaid due date, where there is one: at the dates, and on the day before such a payment (`paid_on`).
_UNPAID = """
WITH dates AS (SELECT UNNEST(:dates) AS as_of),
unsettled AS (
  SELECT loan_id, valid_from, until, due_date, LEAD(due_date) OVER w AS next_due,
         MAX(COALESCE(settled, :never)) OVER w AS settled
  FROM servicing_late WINDOW w AS (PARTITION BY loan_id, valid_from ORDER BY due_date)
),
asked AS (
  SELECT s.loan_id, o.valid_from, s.covered + :tolerance AS level, s.as_of AS at, CAST(NULL AS DATE) AS paid_on
  FROM (SELECT o.loan_id, o.valid_from, d.as_of FROM unsettled o
        JOIN dates d ON d.as_of > o.due_date AND (o.next_due IS NULL OR d.as_of <= o.next_due) AND d.as_of < o.settled
          AND o.valid_from <= d.as_of AND (o.until IS NULL OR d.as_of < o.until)) o
  JOIN servicing_standing s ON s.loan_id = o.loan_id AND s.as_of = o.as_of WHERE NOT s.repaid
  UNION ALL
  SELECT c.loan_id, v.valid_from, c.covered + :tolerance, c.date - 1, c.date
  FROM servicing_chances c JOIN servicing_owed v ON v.loan_id = c.loan_id AND v.number = 1
    AND v.valid_from < c.date AND (v.until IS NULL OR c.date <= v.until)
),
maxima AS (
  SELECT loan_id, valid_from, due_date, cumulative
  FROM (SELECT loan_id, valid_from, due_date, cumulative,
               MAX(cumulative) OVER (PARTITION BY loan_id, valid_from ORDER BY due_date
                                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM servicing_owed WHERE loan_id IN (SELECT loan_id FROM asked)) o
  WHERE before IS NULL OR cumulative > before
),
answered AS (
  SELECT loan_id, at, paid_on, question,
         MIN(due_date) OVER (PARTITION BY loan_id, valid_from ORDER BY level DESC, question DESC
                             ROWS UNBOUNDED PRECEDING) AS oldest
  FROM (SELECT loan_id, valid_from, level, at, paid_on, 1 AS question, CAST(NULL AS DATE) AS due_date FROM asked
        UNION ALL
        SELECT loan_id, valid_from, cumulative, NULL, NULL, 0, due_date FROM maxima) b
)
SELECT loan_id, at, paid_on, oldest FROM answered WHERE question = 1 AND oldest < at
"""

# One row a loan and date: how it is judged.
_HELD = """
WITH dates AS (SELECT UNNEST(:dates) AS as_of),
moves AS (SELECT loan_id, date, covered FROM servicing_running),
owed_then AS (
  SELECT w.loan_id, d.as_of, w.due_date, w.amount, w.cumulative
  FROM servicing_owed w JOIN dates d ON w.valid_from <= d.as_of AND (w.until IS NULL OR d.as_of < w.until)
),
standing AS (SELECT * FROM servicing_standing),
unpaid AS (SELECT loan_id, at AS as_of, oldest FROM servicing_unpaid WHERE paid_on IS NULL),
method AS (:method),
counted AS (
  SELECT s.*, u.oldest, :days_past_due AS days_late
  FROM standing s JOIN servicing_loans l ON l.loan_id = s.loan_id
  LEFT JOIN unpaid u ON u.loan_id = s.loan_id AND u.as_of = s.as_of
  LEFT JOIN method t ON t.loan_id = s.loan_id AND t.as_of = s.as_of
),
judged AS (
  SELECT *, CASE WHEN repaid OR days_late <= :grace_days THEN 0 ELSE days_late END AS dpd FROM counted
),
ended AS (
  SELECT *, NOT repaid AND (is_flagged OR COALESCE(:late_enough, FALSE)) AS written_off FROM judged
)
SELECT loan_id, as_of, since, lent_then, repaid_then, written_off, repaid, CAST(dpd AS INT) AS dpd,
       CASE WHEN dpd = 0 THEN NULL ELSE oldest END AS oldest,
       CASE WHEN repaid OR written_off THEN 0 ELSE balance END AS outstanding,
       CASE WHEN written_off THEN balance ELSE 0 END AS lost, CASE WHEN repaid THEN balance ELSE 0 END AS dust
FROM ended
"""

# The same with what it was at the date before, and what moved in between.
_FACTS = """
WITH dates AS (SELECT UNNEST(:dates) AS as_of, UNNEST(:since) AS since),
rates AS (
  SELECT currency, date AS since, rate, LEAD(date) OVER (PARTITION BY currency ORDER BY date) AS until
  FROM servicing_rates
),
recovered AS (
  SELECT c.loan_id, d.as_of, SUM(c.received) AS cash, SUM(c.principal_paid) AS principal,
         SUM(c.received * c.rate) AS cash_usd, SUM(c.principal_paid * c.rate) AS principal_usd
  FROM servicing_chances c JOIN dates d ON c.counts_on > d.since AND c.counts_on <= d.as_of
  LEFT JOIN (SELECT loan_id, paid_on, at - oldest AS days_late FROM servicing_unpaid WHERE paid_on IS NOT NULL) u
    ON u.loan_id = c.loan_id AND u.paid_on = c.date
  WHERE c.was_flagged OR COALESCE(:was_lost, FALSE) GROUP BY c.loan_id, d.as_of
),
moved AS (
  SELECT r.loan_id, d.as_of, SUM(r.disbursed) AS disbursed, SUM(r.capitalised) AS capitalised,
         SUM(r.adjusted) AS adjusted, SUM(r.principal_paid) AS principal_paid, SUM(r.received) AS received,
         SUM(r.interest_fees) AS interest_fees, SUM(r.disbursed * r.rate) AS disbursed_usd,
         SUM(r.capitalised * r.rate) AS capitalised_usd, SUM(r.adjusted * r.rate) AS adjusted_usd,
         SUM(r.principal_paid * r.rate) AS principal_paid_usd, SUM(r.received * r.rate) AS received_usd,
         SUM(r.interest_fees * r.rate) AS interest_fees_usd
  FROM servicing_running r JOIN dates d ON r.counts_on > d.since AND r.counts_on <= d.as_of
  GROUP BY r.loan_id, d.as_of
),
lent AS (
  SELECT loan_id, date, LEAD(date) OVER w AS until, SUM(disbursed * rate) OVER w AS lent_usd,
         SUM(CASE WHEN rate IS NULL THEN moved ELSE 0 END) OVER w AS unpriced
  FROM servicing_running WINDOW w AS (PARTITION BY loan_id ORDER BY date)
),
priced AS (
  SELECT s.loan_id, s.as_of, CAST(CASE WHEN s.currency = :reporting THEN 1 ELSE q.rate END AS DECIMAL(38,8)) AS rate,
         n.lent_usd, n.unpriced
  FROM servicing_standing s
  JOIN lent n ON n.loan_id = s.loan_id AND n.date <= s.as_of AND (s.as_of < n.until OR n.until IS NULL)
  LEFT JOIN rates q ON q.currency = s.currency AND s.as_of >= q.since AND (s.as_of < q.until OR q.until IS NULL)
),
due AS (
  SELECT w.loan_id, d.as_of, SUM(w.total) AS total, SUM(w.principal) AS principal,
         SUM(CAST(w.total AS DECIMAL(38,4)) * CASE WHEN l.currency = :reporting THEN 1 ELSE r.rate END) AS total_usd,
         SUM(CAST(w.principal AS DECIMAL(38,4)) * CASE WHEN l.currency = :reporting THEN 1 ELSE r.rate END)
           AS principal_usd,
         SUM(CASE WHEN l.currency = :reporting OR r.rate IS NOT NULL THEN 0 ELSE 1 END) AS unpriced
  FROM servicing_owed w JOIN dates d ON w.due_date > d.since AND w.due_date <= d.as_of
    AND w.valid_from <= d.as_of AND (w.until IS NULL OR d.as_of < w.until)
  JOIN servicing_loans l ON l.loan_id = w.loan_id
  LEFT JOIN rates r ON r.currency = l.currency AND w.due_date >= r.since AND (w.due_date < r.until OR r.until IS NULL)
  GROUP BY w.loan_id, d.as_of
)
SELECT h.loan_id, h.as_of, h.since AS period_start, h.lent_then AS disbursed, h.repaid_then AS principal_paid,
       h.outstanding AS outstanding_principal, h.lost AS written_off_balance, h.dust AS dust_forgiven,
       h.written_off, h.repaid, h.dpd AS days_past_due, h.oldest AS oldest_unpaid_due_date,
       b.outstanding AS outstanding_then, b.lost AS lost_then, b.dust AS dust_then, b.written_off AS written_off_then,
       b.repaid AS repaid_before, b.dpd AS days_past_due_then, b.as_of AS as_of_then,
       CAST(m.disbursed AS DECIMAL(18,4)) AS disbursed_now, CAST(m.capitalised AS DECIMAL(18,4)) AS capitalised_now,
       CAST(m.adjusted AS DECIMAL(18,4)) AS adjusted_now, CAST(m.principal_paid AS DECIMAL(18,4)) AS principal_paid_now,
       CAST(m.received AS DECIMAL(18,4)) AS received_now, CAST(m.interest_fees AS DECIMAL(18,4)) AS interest_fees_now,
       CAST(v.cash AS DECIMAL(18,4)) AS recovered_now, CAST(v.principal AS DECIMAL(18,4)) AS recovered_principal_now,
       CAST(c.total AS DECIMAL(18,4)) AS scheduled_now, CAST(c.principal AS DECIMAL(18,4)) AS scheduled_principal_now
FROM servicing_held h
LEFT JOIN servicing_held b ON b.loan_id = h.loan_id AND b.as_of = h.since
LEFT JOIN moved m ON m.loan_id = h.loan_id AND m.as_of = h.as_of
LEFT JOIN due c ON c.loan_id = h.loan_id AND c.as_of = h.as_of
LEFT JOIN recovered v ON v.loan_id = h.loan_id AND v.as_of = h.as_of
"""

_PRICED_JOIN = "SELECT p.loan_id = h.loan_id AND p.as_of = h.as_of"
_PRICED = {
    "rate": "SELECT p.rate",
    "rate_then": "SELECT LAG(p.rate) OVER (PARTITION BY h.loan_id ORDER BY h.as_of)",
    "disbursed_usd": "SELECT p.lent_usd",
    "disbursed_now_usd": "SELECT m.disbursed_usd",
    "capitalised_now_usd": "SELECT m.capitalised_usd",
    "adjusted_now_usd": "SELECT m.adjusted_usd",
    "principal_paid_now_usd": "SELECT m.principal_paid_usd",
    "received_now_usd": "SELECT m.received_usd",
    "interest_fees_now_usd": "SELECT m.interest_fees_usd",
    "recovered_now_usd": "SELECT v.cash_usd",
    "recovered_principal_now_usd": "SELECT v.principal_usd",
    "scheduled_now_usd": "SELECT c.total_usd",
    "scheduled_principal_now_usd": "SELECT c.principal_usd",
    "unpriced": "SELECT p.rate IS NULL OR p.unpriced > 0 OR COALESCE(c.unpriced, 0) > 0",
}


def panel_steps(
    definition: Definition, dates: Sequence[date], currency: str, *, foreign: bool
) -> dict[str, exp.Select]:
    """The relations of `panel_step`, in the order in which they are made; the last one holds the facts."""
    return {name: later(panel_step, name, definition, tuple(dates), currency, foreign) for name in STEPS}


def panel_step(
    name: str, definition: Definition, dates: tuple[date, ...], reporting_currency: str, foreign: bool
) -> exp.Select:
    """One of the relations to make, over those of `servicing.normal_views` and the ones made before it.

    Args:
        definition: the parameters in force.
        dates: ascending; the period of each begins after the one before (of the first: after the month end before).
        foreign: whether a loan is in another currency; only then the facts have the columns ``*_usd`` and ``rate``.

    `FACTS`, one row a loan and date: cumulative ``disbursed, principal_paid``; ``outstanding_principal,
    written_off_balance, dust_forgiven, written_off, repaid, days_past_due, oldest_unpaid_due_date``; what these were
    at the date before (``*_then``); what moved in the period (``*_now``), NULL for nothing: ``disbursed, capitalised,
    adjusted, principal_paid, received, interest_fees``, cash ``recovered`` while written off (and the principal in
    it), ``scheduled`` (and the principal in it) under the schedule in force. `LOANS`, one row a loan: its attributes,
    when it first reached 30, 60, 90 DPD, its balance then, when its first instalment reached 30 DPD, and its first
    default. Events, a ``sticky`` write-off by days, and whether a payment came while the loan was written off are
    counted rolling, whatever the method. ``days_past_due`` is NULL where the method does not count the loan.
    """
    made = filled(_TEXTS[STEPS.index(name)], **_values(definition, dates, reporting_currency))
    if name == FACTS and foreign:
        more = (exp.alias_(expression(sql), name) for name, sql in _PRICED.items())
        made = made.join("priced", on=expression(_PRICED_JOIN), join_alias="p").select(*more, copy=False)
    return made


STEPS = (RUNNING, OWED, LATE, EVENTS, LOANS, STANDING, CHANCES, UNPAID, HELD, FACTS)
_TEXTS = (_RUNNING, _OWED, _LATE, _EVENTS, _LOANS, _STANDING, _CHANCES, _UNPAID, _HELD, _FACTS)


@lru_cache(maxsize=4)
def _values(definition: Definition, dates: tuple[date, ...], reporting_currency: str) -> dict[str, exp.Expr]:
    total = definition.cover is Cover.TOTAL_DUE
    paid = expression("SELECT m.principal + m.interest + m.fees + m.taxes + m.other" if total else "SELECT m.principal")
    due = expression("SELECT s.principal + s.interest + s.fees + s.taxes + s.other" if total else "SELECT s.principal")
    least = definition.grace_days + 1
    after = definition.write_off_after_days
    lost_days = None if after is None else max(after + 1, least)
    thirty, sixty, ninety = (max(definition.reaches(edge), least) for edge in (30, 60, 90))
    reach = sorted({thirty, sixty, ninety} | ({lost_days} if lost_days else set()))
    # Whether a loan is written off by its days past due: at a date, and just before a payment.
    lost = exp.null() if lost_days is None else number_node(lost_days)
    sticky = definition.write_off is WriteOff.STICKY
    method, days = days_past_due(definition)
    return {
        "dates": exp.array(*(date_node(day) for day in dates)),
        "since": exp.array(*(date_node(day) for day in period_starts(dates))),
        "last": date_node(max(dates)),
        "reporting": exp.Literal.string(reporting_currency),
        "cover_paid": paid,
        "cover_due": due,
        "method": method,
        "days_past_due": days,
        "tolerance": number_node(definition.arrears_tolerance),
        "reach_days": exp.array(*(number_node(edge) for edge in reach)),
        "thirty": number_node(thirty),
        "sixty": number_node(sixty),
        "ninety": number_node(ninety),
        "write_off_days": number_node(lost_days or -1),
        "never": date_node(date.max),
        "dust_share": number_node(definition.dust_share),
        "grace_days": number_node(definition.grace_days),
        "late_enough": expression("SELECT was_late_enough" if sticky else "SELECT dpd >= :days", days=lost),
        "was_lost": expression(
            "SELECT c.write_off_at < c.date" if sticky else "SELECT u.days_late >= :days", days=lost
        ),
    }


def period_starts(dates: Sequence[date]) -> list[date]:
    """For each of the dates, the day after which its period begins."""
    return [dates[0].replace(day=1) - timedelta(days=1), *dates[:-1]]
