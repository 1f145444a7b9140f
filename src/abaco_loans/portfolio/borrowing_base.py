"""The borrowing base at the last date (DEFINITIONS, "borrowing base").

Every loan of the panel is counted once: in the first line that excludes it, or as eligible. So gross = the excluded
lines + eligible, in loans and in amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from abaco_loans.portfolio.policy import BorrowingBase, EligibilityRule, RuleKind
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, exact
from abaco_loans.tape.template import date_node, expression, filled, number_node
from abaco_loans.tape.tree import exp

ALWAYS = ("written off or repaid", "no rate to reporting currency")
ELIGIBLE = -1

_LINES = """
SELECT line, COUNT(*), COALESCE(SUM(balance), 0)
FROM (SELECT :line AS line, outstanding_principal_reporting AS balance FROM panel WHERE as_of = :day) p
GROUP BY line
"""
# Eligible loans that name no customer count as those of one customer.
_LARGE = """
SELECT customer, SUM(balance)
FROM (SELECT :line AS line, COALESCE(customer_id, '') AS customer, outstanding_principal_reporting AS balance
      FROM panel WHERE as_of = :day) p
WHERE line = :eligible GROUP BY customer HAVING SUM(balance) > :limit
"""


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    base = asked.policy.borrowing_base
    if base is None:
        return ()
    line, day = line_node(base.rules), date_node(asked.dates[-1])
    sums: dict[int, tuple[int, Decimal]] = {
        number: (loans, Decimal(amount)) for number, loans, amount in asked.rows(filled(_LINES, line=line, day=day))
    }
    nothing = (0, Decimal(0))
    with exact():
        gross = (sum(item[0] for item in sums.values()), sum((item[1] for item in sums.values()), Decimal(0)))
        names = [*ALWAYS, *(rule.name for rule in base.rules)]
        eligible = sums.get(ELIGIBLE, nothing)
        return (
            ("gross outstanding", *gross),
            *((f"excluded: {name}", *sums.get(number, nothing)) for number, name in enumerate(names)),
            ("eligible", *eligible),
            *_drawable(base, eligible[1], _excess(asked, base, line, eligible[1])),
        )


def line_node(rules: Sequence[EligibilityRule]) -> exp.Expr:
    """The line of a loan: the number of the first reason against it (`ALWAYS`, then ``rules``), or `ELIGIBLE`."""
    reasons = [
        expression("SELECT outstanding_principal = 0"),
        expression("SELECT outstanding_principal_reporting IS NULL"),
        *(_breaks(rule) for rule in rules),
    ]
    node = exp.case()
    for number, reason in enumerate(reasons):
        node = node.when(reason, number_node(number))
    return node.else_(number_node(ELIGIBLE))


def _breaks(rule: EligibilityRule) -> exp.Expr:
    """Whether a loan breaks the rule; true where the tape does not say."""
    match rule.kind:
        case RuleKind.PAST_DUE:
            return expression("SELECT COALESCE(days_past_due >= :days, TRUE)", days=number_node(rule.days))
        case RuleKind.MATURES_AFTER:
            return expression("SELECT COALESCE(maturity_date > as_of + :days, TRUE)", days=number_node(rule.days))
        case RuleKind.RESTRUCTURED:
            return expression("SELECT COALESCE(restructured, TRUE)")
        case RuleKind.NOT_IN:
            listed = exp.column(rule.column or "", quoted=True).isin(*rule.values)
            return expression("SELECT NOT COALESCE(:listed, FALSE)", listed=listed)


def _excess(asked: Asked, base: BorrowingBase, line: exp.Expr, eligible: Decimal) -> Decimal:
    """What single customers owe above their share of what is eligible."""
    if base.customer_share_max is None:
        return Decimal(0)
    limit = base.customer_share_max * eligible
    query = filled(
        _LARGE,
        line=line,
        day=date_node(asked.dates[-1]),
        eligible=number_node(ELIGIBLE),
        limit=number_node(format(limit, "f")),
    )
    return sum((owed - limit for _, owed in asked.rows(query)), Decimal(0))


def _drawable(base: BorrowingBase, eligible: Decimal, excess: Decimal) -> tuple[tuple[Value, ...], ...]:
    net = eligible - excess
    advanced = net * base.advance_rate
    limit = min(base.commitment, advanced - base.reserves)
    share = "" if base.customer_share_max is None else f" over {_shown(base.customer_share_max)} a customer"
    return (
        (f"excess concentration{share}", None, excess),
        ("net eligible", None, net),
        (f"net eligible at {_shown(base.advance_rate)}", None, advanced),
        ("reserves", None, base.reserves),
        ("commitment", None, base.commitment),
        ("borrowing base", None, limit),
        ("drawn", None, base.drawn),
        ("availability", None, limit - base.drawn),
    )


def _shown(share: Decimal) -> str:
    return f"{format((share * 100).normalize(), 'f')} %"


BORROWING_BASE = View(
    name="borrowing_base",
    policy="borrowing_base",
    title="Borrowing base",
    text=(
        "Gross outstanding at the last date less each exclusion, listed once under the first rule that a loan breaks; "
        "what the tape does not say breaks a rule. Base = min(commitment, net eligible × advance rate − reserves); "
        "a negative availability is a deficiency."
    ),
    columns=(
        Column(name="line", unit=Unit.TEXT, text="the line", key=True),
        Column(name="loans", unit=Unit.COUNT, text="loans counted in the line, where it counts loans"),
        Column(name="amount", unit=Unit.AMOUNT, text="outstanding in the line; exclusions are positive"),
    ),
    compute=_compute,
    segmented=False,
)
