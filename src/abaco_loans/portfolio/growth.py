"""Growth: originations and clients (DEFINITIONS, "KPI families")."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, ratio, segment_node
from abaco_loans.tape.template import filled

_LENT = """
SELECT segment, as_of, SUM(lent), SUM(opened), COUNT(CASE WHEN opened = 1 THEN lent END)
FROM (SELECT :segment AS segment, as_of, disbursed_in_period_reporting AS lent,
             CASE WHEN disbursement_date > period_start THEN 1 ELSE 0 END AS opened FROM panel) p
GROUP BY segment, as_of ORDER BY segment, as_of
"""
# One row a client, segment and date; a client is new where the first loan ever, in any segment, was opened.
_CLIENTS = """
WITH earliest AS (
  SELECT customer_id, MIN(disbursement_date) AS first_date FROM panel WHERE customer_id IS NOT NULL GROUP BY customer_id
), clients AS (
  SELECT p.segment, p.as_of, p.customer_id, MAX(p.period_start) AS period_start,
         MAX(CASE WHEN p.outstanding_principal > 0 THEN 1 ELSE 0 END) AS active,
         MAX(CASE WHEN p.disbursement_date > p.as_of - 90 THEN 1 ELSE 0 END) AS served,
         MAX(CASE WHEN p.disbursement_date = e.first_date AND p.disbursement_date > p.period_start
             THEN 1 ELSE 0 END) AS fresh
  FROM (SELECT :segment AS segment, panel.* FROM panel) p JOIN earliest e ON e.customer_id = p.customer_id
  GROUP BY p.segment, p.as_of, p.customer_id
)
SELECT n.segment, n.as_of, SUM(n.active), SUM(n.served), SUM(n.fresh),
       SUM(CASE WHEN n.active = 1 AND o.active = 1 THEN 1 ELSE 0 END)
FROM clients n
LEFT JOIN clients o ON o.segment = n.segment AND o.customer_id = n.customer_id AND o.as_of = n.period_start
GROUP BY n.segment, n.as_of
"""


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    segment = segment_node(asked)
    clients: dict[tuple[str, date], tuple[int, ...]] = {
        (row[0], row[1]): row[2:] for row in asked.rows(filled(_CLIENTS, segment=segment))
    }
    before = {later: earlier for earlier, later in pairwise(asked.dates)}
    found = []
    for name, as_of, lent, opened, priced in asked.rows(filled(_LENT, segment=segment)):
        active, served, fresh, retained = clients.get((name, as_of), (None, None, None, None))
        earlier = clients.get((name, before[as_of]), (None,))[0] if as_of in before else None
        if as_of not in before:
            fresh = None
        if earlier is None:
            retained = None
        found.append(
            keyed(
                asked, name, as_of, lent, opened, ratio(lent, priced), active, served, fresh, retained,
                percent(retained, earlier),
            )
        )  # fmt: skip
    return tuple(found)


GROWTH = View(
    name="growth",
    title="Growth",
    text=(
        "What was lent and to whom. Clients are customers that loans name; where none is named they are not counted. "
        "New and retained clients need the date before: the first date of the panel has none."
    ),
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        Column(name="originations", unit=Unit.AMOUNT, text="disbursed in the period"),
        Column(name="loans_disbursed", unit=Unit.COUNT, text="loans whose disbursement date is in the period"),
        Column(name="average_ticket", unit=Unit.AMOUNT, text="originations / loans_disbursed"),
        Column(name="active_clients", unit=Unit.COUNT, text="clients with something outstanding"),
        Column(name="clients_disbursed_90", unit=Unit.COUNT, text="clients with a loan of the last 90 days"),
        Column(name="new_clients", unit=Unit.COUNT, text="clients whose first loan ever was disbursed in the period"),
        Column(name="retained_clients", unit=Unit.COUNT, text="clients active at the date before and now"),
        Column(name="retention", unit=Unit.PERCENT, text="retained_clients / clients active at the date before"),
    ),
    compute=_compute,
)
