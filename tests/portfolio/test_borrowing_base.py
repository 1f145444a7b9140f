"""The borrowing base: by hand, and every loan counted once."""

from __future__ import annotations

from decimal import Decimal

from abaco_loans.portfolio.borrowing_base import BORROWING_BASE
from abaco_loans.portfolio.policy import BorrowingBase, EligibilityRule, Policy, RuleKind
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

TODAY = day("2025-01-31")
LATE = EligibilityRule(name="late", kind=RuleKind.PAST_DUE, days=30)
LONG = EligibilityRule(name="long", kind=RuleKind.MATURES_AFTER, days=365)
FOREIGN = EligibilityRule(name="foreign", kind=RuleKind.NOT_IN, column="currency", values=("USD", "EUR' OR ''='"))
RESTRUCTURED = EligibilityRule(name="restructured", kind=RuleKind.RESTRUCTURED)
BASE = BorrowingBase(
    rules=(LATE, RESTRUCTURED, LONG, FOREIGN),
    advance_rate=Decimal("0.8"),
    commitment=Decimal(1000),
    drawn=Decimal(300),
    reserves=Decimal(20),
    customer_share_max=Decimal("0.4"),
)


def loan(number: int, outstanding: int | None, **more: object) -> Row:
    usual = {"days_past_due": 0, "maturity_date": day("2025-06-30"), "customer_id": f"c{number}"}
    return {"loan_id": str(number), "as_of": TODAY, "outstanding_principal": outstanding, **usual, **more}


def lines(rows: list[Row], base: BorrowingBase | None = BASE) -> dict[object, tuple[object, object]]:
    with engine_in_scratch() as engine:
        found = said(BORROWING_BASE, asked(engine, rows, policy=Policy(borrowing_base=base)))
    return {row["line"]: (row["loans"], row["amount"]) for row in found}


BOOK = [
    loan(1, 300, days_past_due=29, maturity_date=day("2026-01-31")),
    loan(2, 100),
    loan(3, 50, customer_id="c2"),
    loan(4, 70, days_past_due=30, currency="GTQ", restructured=True),
    loan(5, 30, days_past_due=None),
    loan(6, 40, maturity_date=day("2026-02-01")),
    loan(7, 5, maturity_date=None),
    loan(8, 60, restructured=True),
    loan(9, 80, currency="GTQ"),
    loan(10, 0, days_past_due=400, written_off=True, written_off_balance=999),
    loan(11, 90, currency="COP", outstanding_principal_reporting=None),
    {**loan(12, 10_000), "as_of": day("2024-12-31")},
]


def test_every_exclusion_is_listed_once_under_the_first_rule_that_is_broken() -> None:
    assert lines(BOOK) == {
        "gross outstanding": (11, 735),
        "excluded: written off or repaid": (1, 0),
        "excluded: no rate to reporting currency": (1, 0),
        "excluded: late": (2, 100),
        "excluded: restructured": (1, 60),
        "excluded: long": (2, 45),
        "excluded: foreign": (1, 80),
        "eligible": (3, 450),
        "excess concentration over 40 % a customer": (None, 120),  # 300 − 40 % of 450
        "net eligible": (None, 330),
        "net eligible at 80 %": (None, 264),
        "reserves": (None, 20),
        "commitment": (None, 1000),
        "borrowing base": (None, 244),
        "drawn": (None, 300),
        "availability": (None, -56),
    }


def test_the_commitment_is_the_most() -> None:
    large = lines([loan(1, 1500), loan(2, 1500), loan(3, 1500)])
    assert (large["borrowing base"], large["availability"]) == ((None, 1000), (None, 700))


def test_a_customer_at_the_limit_is_not_over_it() -> None:
    assert lines([loan(1, 40), loan(2, 40), loan(3, 20)])["net eligible"] == (None, 100)


def test_loans_without_customer_count_as_those_of_one() -> None:
    unnamed = [loan(number, 10, customer_id=None) for number in range(10)]
    assert lines(unnamed)["net eligible"] == (None, 40)


def test_without_rules_or_limit_all_that_is_outstanding_is_eligible() -> None:
    plain = BorrowingBase(rules=(), advance_rate=Decimal(1), commitment=Decimal(10_000), drawn=Decimal(0))
    found = lines(BOOK, plain)
    assert (found["eligible"], found["excess concentration"]) == ((9, 735), (None, 0))


def test_the_order_of_the_rules_decides_where_a_loan_is_listed() -> None:
    turned = BorrowingBase(rules=(FOREIGN, LATE), advance_rate=Decimal(1), commitment=Decimal(1), drawn=Decimal(0))
    found = lines(BOOK, turned)
    assert (found["excluded: foreign"], found["excluded: late"]) == ((2, 150), (1, 30))


def test_an_empty_book_and_no_line_of_credit() -> None:
    assert lines([loan(1, 0)])["availability"] == (None, -320)
    assert lines(BOOK, None) == {}
