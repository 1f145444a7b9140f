from __future__ import annotations

from collections.abc import Iterator

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.first_payment import FIRST_PAYMENT_DEFAULT
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

FEBRUARY, MARCH = day("2024-02-29"), day("2024-03-31")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


def loan(name: str, due: str | None, missed: str | None = None) -> list[Row]:
    """A loan at both dates; what it missed is known from that day on."""
    return [
        {
            "loan_id": name,
            "as_of": date,
            "region": name[0],
            "first_due_date": due,
            "first_missed_on": missed if missed and day(missed) <= date else None,
        }
        for date in (FEBRUARY, MARCH)
    ]


BOOK = [
    *loan("a1", "2024-01-30", "2024-02-29"),
    *loan("a2", "2024-01-31"),
    *loan("a3", "2024-01-15"),
    *loan("b1", "2024-02-10", "2024-03-11"),
    *loan("b2", "2024-03-10"),
    *loan("b3", None),
]


def test_only_loans_of_which_it_can_be_said_are_counted(engine: Engine) -> None:
    found = said(FIRST_PAYMENT_DEFAULT, asked(engine, BOOK))
    assert [tuple(row.values()) for row in found] == [(FEBRUARY, 2, 1, 50), (MARCH, 4, 2, 50)]


def test_by_segment(engine: Engine) -> None:
    found = said(FIRST_PAYMENT_DEFAULT, asked(engine, BOOK, by="region"))
    assert [tuple(row.values())[:4] for row in found] == [("a", FEBRUARY, 2, 1), ("a", MARCH, 3, 1), ("b", MARCH, 1, 1)]
