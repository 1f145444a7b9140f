"""How days past due are counted: what each method of a definition needs, as SQL over the panel's own relations.

The texts read ``moves``, ``owed_then``, ``unpaid``, ``dates`` and the aliases of `panel`'s query.
"""

from __future__ import annotations

from abaco_loans.tape.definition import Definition, DpdMethod
from abaco_loans.tape.template import expression, filled, number_node
from abaco_loans.tape.tree import exp

# What a method needs beside the oldest unpaid due date: a relation with a row a loan and date, as `method`.
_NOTHING_MORE = "SELECT loan_id, as_of FROM standing WHERE FALSE"
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


def days_past_due(definition: Definition) -> tuple[exp.Select, exp.Expr]:
    """The relation ``method`` and the days past due before grace."""
    match definition.dpd_method:
        case DpdMethod.ROLLING:
            return filled(_NOTHING_MORE), expression(_ROLLING)
        case DpdMethod.STRICT:
            return filled(_MISSED, tolerance=number_node(definition.arrears_tolerance)), expression(_STRICT)
        case DpdMethod.MONTHLY_MBA | DpdMethod.MONTHLY_OTS:
            lead = number_node(1 if definition.dpd_method is DpdMethod.MONTHLY_MBA else 0)
            return filled(_PASSED, lead=lead), expression(_MONTHLY, lead=lead)
