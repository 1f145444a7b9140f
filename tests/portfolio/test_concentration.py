"""Concentration: hand-computed, and true of any book."""

from __future__ import annotations

from decimal import Decimal

import pytest

from abaco_loans.portfolio.concentration import CONCENTRATION, TOP_CUSTOMERS
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

LAST = day("2025-02-28")


def loan(number: int, customer: str | None, outstanding: int, **more: object) -> Row:
    return {
        "loan_id": str(number),
        "as_of": LAST,
        "customer_id": customer,
        "outstanding_principal": outstanding,
        **more,
    }


BOOK = [
    loan(1, "a", 30, product="x"),
    loan(2, "a", 20, product="y"),
    loan(3, "b", 30, product="x"),
    loan(4, "c", 20, product="x"),
    loan(5, "d", 0, product="z"),
    loan(6, None, 40, product="x"),
    {**loan(1, "e", 900), "as_of": day("2025-01-31")},
]


def test_shares_and_indices() -> None:
    with engine_in_scratch() as engine:
        customers, products = said(CONCENTRATION, asked(engine, BOOK))
    assert customers == {
        "dimension": "customer_id", "members": 3, "outstanding": 100, "unnamed": 40,
        "top_1": 50, "top_5": 100, "top_10": 100, "top_20": 100,
        "hhi": Decimal("0.38"), "hhi_normalised": Decimal("0.07"),
    }  # fmt: skip
    assert (products["dimension"], products["members"], products["unnamed"]) == ("product", 2, 0)
    assert products["hhi"] == pytest.approx(Decimal(120 * 120 + 20 * 20) / 19600, abs=Decimal("1e-27"))


def test_one_member_has_no_normalised_index() -> None:
    with engine_in_scratch() as engine:
        (row,) = said(CONCENTRATION, asked(engine, [loan(1, "a", 5)]))
    assert (row["top_1"], row["hhi"], row["hhi_normalised"]) == (100, 1, None)


def test_large_customers() -> None:
    with engine_in_scratch() as engine:
        (row,) = said(CONCENTRATION, asked(engine, [loan(1, "a", 3 * 10**13), loan(2, "b", 10**13)]))
    assert (row["top_1"], row["hhi"]) == (75, Decimal("0.625"))


def test_largest_customers_in_order_with_running_share() -> None:
    with engine_in_scratch() as engine:
        rows = said(TOP_CUSTOMERS, asked(engine, BOOK))
        many = said(TOP_CUSTOMERS, asked(engine, [loan(n, f"c{n:02}", 100 - n) for n in range(30)]))
        per_product = said(TOP_CUSTOMERS, asked(engine, BOOK, by="product"))
    assert [tuple(row.values()) for row in rows] == [
        (1, "a", 2, 50, 50, 50),
        (2, "b", 1, 30, 30, 80),
        (3, "c", 1, 20, 20, 100),
    ]
    assert [row["customer_id"] for row in many] == [f"c{n:02}" for n in range(20)]
    assert [(row["product"], row["customer_id"], row["cumulative_share"]) for row in per_product][-1] == ("y", "a", 100)
    assert TOP_CUSTOMERS.restricted


def test_customers_are_named_in_the_restricted_view_only() -> None:
    with engine_in_scratch() as engine:
        said_of_book = str(said(CONCENTRATION, asked(engine, [loan(1, "the customer", 5)])))
    assert "the customer" not in said_of_book
