"""The roll-forward of DEFINITIONS between neighbouring dates, per loan and in total, and transitions that cannot be.

opening + disbursed + capitalised + reinstated - principal paid on performing loans - newly written off
- dust forgiven +- currency +- other adjustments = closing. What does not close is a break; nothing is plugged:
every line is a column of the panel of its own, and the openings are the closings of the date before.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from abaco_loans.portfolio.columns import CURRENCY_EFFECT
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, segment_node
from abaco_loans.tape.definition import Definition, DpdMethod
from abaco_loans.tape.template import expression, filled, number_node
from abaco_loans.tape.tree import exp

# line → (column of the panel, sign in the identity)
LINES: dict[str, tuple[str, int]] = {
    "disbursed": ("disbursed_in_period", 1),
    "capitalised": ("capitalised_in_period", 1),
    "reinstated": ("reinstated_in_period", 1),
    "principal_paid": ("principal_paid_in_period", -1),
    "written_off": ("written_off_in_period", -1),
    "dust_forgiven": ("dust_forgiven_in_period", -1),
    "other_adjustments": ("adjusted_in_period", 1),
}
# Each amount of a loan and period is rounded to 4 decimals; ten of them differ from their exact sum by less.
_ROUNDING = Decimal("0.0005")

_TOTALS = """
SELECT segment, as_of, SUM(opening_principal_reporting), SUM(disbursed_in_period_reporting),
       SUM(capitalised_in_period_reporting), SUM(reinstated_in_period_reporting),
       SUM(principal_paid_in_period_reporting), SUM(written_off_in_period_reporting),
       SUM(dust_forgiven_in_period_reporting), SUM(adjusted_in_period_reporting),
       SUM(currency_effect_in_period_reporting), SUM(outstanding_principal_reporting),
       SUM(recovered_in_period_reporting), COUNT(*) - COUNT(principal_paid_in_period)
FROM (SELECT *, :segment AS segment FROM panel WHERE NOT unpriced) p GROUP BY segment, as_of ORDER BY segment, as_of
"""

_BREAKS = """
SELECT loan_id, as_of, currency, outstanding_principal
       - (opening_principal + disbursed_in_period + capitalised_in_period + adjusted_in_period + reinstated_in_period
          - principal_paid_in_period - written_off_in_period - dust_forgiven_in_period) AS amount,
       CASE WHEN unpriced THEN 0 ELSE outstanding_principal_reporting
       - (opening_principal_reporting + disbursed_in_period_reporting + capitalised_in_period_reporting
          + adjusted_in_period_reporting + reinstated_in_period_reporting - principal_paid_in_period_reporting
          - written_off_in_period_reporting - dust_forgiven_in_period_reporting
          + currency_effect_in_period_reporting) END AS amount_reporting
FROM panel WHERE principal_paid_in_period IS NOT NULL
"""

_CONTINUITY = """
SELECT n.as_of, n.opening, o.closing
FROM (SELECT as_of, MIN(period_start) AS period_start, SUM(opening_principal) AS opening FROM panel GROUP BY as_of) n
JOIN (SELECT as_of, SUM(outstanding_principal) AS closing FROM panel GROUP BY as_of) o ON o.as_of = n.period_start
WHERE n.opening <> o.closing ORDER BY n.as_of
"""


def breaks_query() -> exp.Select:
    """``loan_id, as_of, currency, amount, amount_reporting`` of every row that does not close."""
    return filled(
        "WITH b AS (:rows) SELECT loan_id, as_of, currency, amount, amount_reporting FROM b"
        " WHERE amount <> 0 OR ABS(amount_reporting) > :rounding",
        rows=filled(_BREAKS),
        rounding=number_node(_ROUNDING),
    )


def continuity_query() -> exp.Select:
    """``as_of, opening, closing`` of every date whose openings are not the closings of the date before."""
    return filled(_CONTINUITY)


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    rows = []
    for segment, day, opening, *lines, effect, closing, recovered, unknown in asked.rows(
        filled(_TOTALS, segment=segment_node(asked))
    ):
        if unknown:
            rows.append(keyed(asked, segment, day, opening, *[None] * 7, None, closing, None, None))
            continue
        moved = sum((sign * amount for (_, sign), amount in zip(LINES.values(), lines, strict=True)), Decimal(0))
        rows.append(
            keyed(asked, segment, day, opening, *lines, effect, closing, closing - opening - moved - effect, recovered)
        )
    return tuple(rows)


_TEXTS = {
    "disbursed": "principal disbursed",
    "capitalised": "interest and charges added to principal",
    "reinstated": "brought back from written off",
    "principal_paid": "principal received on performing loans",
    "written_off": "newly written off",
    "dust_forgiven": "remainders of repaid loans",
    "other_adjustments": "other adjustments of the source",
}

ROLL_FORWARD = View(
    name="roll_forward",
    title="Roll-forward",
    text="From each date to the next, line by line; `difference` is what does not close (rounding of currencies"
    " below a thousandth a loan). Not computable where a loan has no rate, or the tapes have no payments.",
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        Column(name="opening", unit=Unit.AMOUNT, text="outstanding at the date before"),
        *(Column(name=name, unit=Unit.AMOUNT, text=_TEXTS[name]) for name in LINES),
        Column(name="currency", unit=Unit.AMOUNT, text=f"`{CURRENCY_EFFECT}`"),
        Column(name="closing", unit=Unit.AMOUNT, text="outstanding at the date"),
        Column(name="difference", unit=Unit.AMOUNT, text="closing less everything before it; a break unless 0"),
        Column(name="recovered", unit=Unit.AMOUNT, text="cash on written-off loans; outside the identity"),
    ),
    compute=_compute,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change between two dates that cannot be, and the rows of the panel that show it.

    ``where`` may speak of ``:grace`` (days past due that the definition shows as 0) and ``:step`` (days by which
    its method counts ahead at once).
    """

    code: str
    text: str
    where: str


TRANSITIONS = (
    Transition(
        code="MOVE-101",
        text="days past due rose faster than days passed",
        where="SELECT opening_state <> 'repaid'"
        " AND days_past_due - opening_days_past_due > as_of - period_start + :step"
        " + CASE WHEN opening_days_past_due = 0 THEN :grace ELSE 0 END",
    ),
    Transition(
        code="MOVE-102",
        text="days past due fell, and nothing was paid",
        where="SELECT days_past_due < opening_days_past_due AND NOT restructured AND NOT written_off"
        " AND COALESCE(received_in_period, 0) = 0 AND outstanding_principal + written_off_balance > 0"
        " AND outstanding_principal + written_off_balance >= opening_principal + opening_written_off",
    ),
    Transition(
        code="MOVE-103",
        text="the balance rose, and nothing was disbursed, added or reversed",
        where="SELECT outstanding_principal + written_off_balance + dust_forgiven_in_period"
        " > opening_principal + opening_written_off + COALESCE(disbursed_in_period, 0)"
        " + COALESCE(capitalised_in_period, 0) + COALESCE(adjusted_in_period, 0)"
        " - LEAST(COALESCE(principal_paid_in_period + recovered_principal_in_period, 0), 0)",
    ),
    Transition(
        code="MOVE-104",
        text="a closed loan opened again, and nothing was disbursed",
        where="SELECT opening_state = 'repaid' AND state <> 'repaid' AND COALESCE(disbursed_in_period, 0) = 0",
    ),
)

_MOVED = """
SELECT loan_id, as_of, currency, outstanding_principal + written_off_balance AS amount,
       CASE WHEN unpriced THEN NULL ELSE outstanding_principal_reporting + written_off_balance_reporting END
         AS amount_reporting
FROM panel WHERE opening_state IS NOT NULL AND :shown
"""
_VANISHED = """
SELECT p.loan_id, d.as_of, p.currency, p.outstanding_principal + p.written_off_balance AS amount,
       CASE WHEN p.unpriced THEN NULL ELSE p.outstanding_principal_reporting + p.written_off_balance_reporting END
         AS amount_reporting
FROM panel p JOIN (SELECT as_of, MIN(period_start) AS period_start FROM panel GROUP BY as_of) d
  ON d.period_start = p.as_of
LEFT JOIN panel n ON n.loan_id = p.loan_id AND n.as_of = d.as_of
WHERE n.loan_id IS NULL AND p.outstanding_principal + p.written_off_balance > 0
"""
VANISHED = ("MOVE-105", "a loan with a balance is no longer in the tape")


def transition_query(transition: Transition, definition: Definition | None = None) -> exp.Select:
    """``loan_id, as_of, currency, amount, amount_reporting`` of every row that shows the transition.

    Give the definition of the panel: where it hides days of grace, or counts in months, days past due may rise faster.
    """
    grace = definition.grace_days if definition else 0
    step = 30 if definition and definition.dpd_method in (DpdMethod.MONTHLY_MBA, DpdMethod.MONTHLY_OTS) else 0
    shown = expression(transition.where, grace=number_node(grace), step=number_node(step))
    return filled(_MOVED, shown=shown)


def vanished_query() -> exp.Select:
    """The same of loans that had a balance at a date and have no row at the next; ``as_of`` is the next date."""
    return filled(_VANISHED)
