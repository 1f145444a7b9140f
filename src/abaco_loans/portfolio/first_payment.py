"""First payment default: loans that did not pay even their first instalment [DEFINITIONS].

Rate = loans whose first instalment ever reached 30 DPD / loans whose first instalment fell due at least 30 days
before the date. Both count every loan so far, also those repaid or written off since.
"""

from __future__ import annotations

from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, segment_node
from abaco_loans.tape.template import filled

_QUERY = """
SELECT segment, as_of, COUNT(*), COUNT(first_missed_on)
FROM (SELECT as_of, :segment AS segment, first_missed_on FROM panel WHERE first_due_date + 30 <= as_of) p
GROUP BY segment, as_of
ORDER BY segment, as_of
"""


def _first_payment_default(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    return tuple(
        keyed(asked, segment, day, loans, missed, percent(missed, loans))
        for segment, day, loans, missed in asked.rows(filled(_QUERY, segment=segment_node(asked)))
    )


FIRST_PAYMENT_DEFAULT = View(
    name="first_payment_default",
    title="First payment default",
    text="Share of loans whose first instalment was 30 days late, of those for which that can be said.",
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        Column(name="loans", unit=Unit.COUNT, text="loans whose first instalment fell due 30 days before or earlier"),
        Column(name="defaulted", unit=Unit.COUNT, text="of them, those whose first instalment ever reached 30 DPD"),
        Column(name="rate", unit=Unit.PERCENT, text="defaulted of loans"),
    ),
    compute=_first_payment_default,
)
