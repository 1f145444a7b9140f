"""What is true of any book: a copy of it changes no ratio, the order of its rows changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.borrowing_base import BORROWING_BASE
from abaco_loans.portfolio.collections import COLLECTIONS
from abaco_loans.portfolio.concentration import CONCENTRATION
from abaco_loans.portfolio.growth import GROWTH
from abaco_loans.portfolio.policy import Policy
from abaco_loans.portfolio.pricing import PRICING
from abaco_loans.portfolio.provisions import PROVISIONS
from abaco_loans.portfolio.view import Asked, View
from tests.portfolio.books import DATES, books, doubled
from tests.portfolio.panels import Row, asked, engine_in_scratch, said
from tests.portfolio.test_policy import SHIPPED, policy

RATIOS: tuple[tuple[View, tuple[str, ...]], ...] = (
    (COLLECTIONS, ("as_of", "collection_rate")),
    (PRICING, ("as_of", "weighted_apr", "remaining_days", "average_ticket", "average_term_days")),
    (GROWTH, ("as_of", "average_ticket", "retention")),
    (PROVISIONS, ("as_of", "stage", "pd", "lgd", "coverage")),
)
POLICY: Policy = policy(SHIPPED)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as found:
        yield found


def of_book(engine: Engine, book: list[Row], by: str | None = None) -> Asked:
    return asked(engine, book, dates=DATES, policy=POLICY, by=by)


@pytest.mark.slow
@given(book=books())
@settings(max_examples=10)
def test_two_copies_of_a_book_in_any_order_have_its_ratios(engine: Engine, book: list[Row]) -> None:
    def ratios(rows: list[Row]) -> list[object]:
        asks = [of_book(engine, rows), of_book(engine, rows, by="product")]
        return [[row[name] for name in names] for ask in asks for view, names in RATIOS for row in said(view, ask)]

    assert ratios(book) == ratios(doubled(book)[::-1])


@pytest.mark.slow
@given(book=books())
@settings(max_examples=10)
def test_hhi_is_the_sum_of_squared_shares_and_halves_when_the_book_doubles(engine: Engine, book: list[Row]) -> None:
    balances: dict[str, Fraction] = {}
    for row in book:
        if row["as_of"] == DATES[-1] and row["customer_id"]:
            owed = Fraction(row["outstanding_principal"])
            balances[row["customer_id"]] = balances.get(row["customer_id"], Fraction(0)) + owed
    once = said(CONCENTRATION, of_book(engine, book))[0]["hhi"]
    twice = said(CONCENTRATION, of_book(engine, doubled(book)[::-1]))[0]["hhi"]
    total = sum(balances.values())
    assert isinstance(once, Decimal) and isinstance(twice, Decimal)
    assert abs(Fraction(once) - sum((item / total) ** 2 for item in balances.values())) < Fraction(1, 10**26)
    assert abs(once - 2 * twice) < Decimal("1e-26")


@given(book=books())
@settings(max_examples=10)
def test_the_lines_of_a_borrowing_base_add_up(engine: Engine, book: list[Row]) -> None:
    rows = {str(row["line"]): (row["loans"], row["amount"]) for row in said(BORROWING_BASE, of_book(engine, book))}
    counted = [found for line, found in rows.items() if line.startswith("excluded: ") or line == "eligible"]
    assert rows["gross outstanding"] == tuple(
        sum(Fraction(str(part)) for part in parts) for parts in zip(*counted, strict=True)
    )
    assert rows["gross outstanding"][0] == sum(1 for row in book if row["as_of"] == DATES[-1])
