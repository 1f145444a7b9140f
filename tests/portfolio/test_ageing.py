from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.ageing import AGEING
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, said

MARCH, APRIL = day("2024-03-31"), day("2024-04-30")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


def loan(name: str, state: str | None, outstanding: str, written_off: str = "0", **more: object) -> Row:
    amounts = {"outstanding_principal": outstanding, "written_off_balance": written_off}
    return {"loan_id": name, "as_of": MARCH, "state": state, "region": name[0], **amounts, **more}


BOOK = [
    loan("a1", "90+", "100.50"),
    loan("a2", "written off", "0", "77"),
    loan("a3", "repaid", "0"),
    loan("b1", "current", "200"),
    loan("b2", "current", "100"),
    loan("b3", "7-29", "0.50"),
    loan("b4", "current", "5", as_of=APRIL),
]


def test_shares_are_of_all_that_is_outstanding_at_the_date(engine: Engine) -> None:
    found = said(AGEING, asked(engine, BOOK))
    assert [(row["as_of"], row["state"], row["loans"], row["outstanding"]) for row in found] == [
        (MARCH, "current", 2, 300),
        (MARCH, "7-29", 1, Decimal("0.5")),
        (MARCH, "90+", 1, Decimal("100.5")),
        (MARCH, "written off", 1, 0),
        (APRIL, "current", 1, 5),
    ]
    assert [row["share"] for row in found] == [
        Decimal("74.81296758104738154613466334"),
        Decimal("0.1246882793017456359102244389"),
        Decimal("25.06234413965087281795511222"),
        None,
        100,
    ]
    assert [row["written_off_balance"] for row in found] == [0, 0, 0, 77, 0]


def test_shares_of_a_segment_are_of_the_segment(engine: Engine) -> None:
    found = said(AGEING, asked(engine, BOOK, by="region"))
    assert [(row["region"], row["as_of"], row["state"], row["share"]) for row in found][:2] == [
        ("a", MARCH, "90+", 100),
        ("a", MARCH, "written off", None),
    ]
    assert [row["region"] for row in found] == ["a", "a", "b", "b", "b"]


def test_loans_that_the_definition_does_not_count_are_shown(engine: Engine) -> None:
    found = said(AGEING, asked(engine, [loan("a", None, "25"), loan("b", "current", "75")]))
    assert [(row["state"], row["share"]) for row in found] == [("current", 75), ("(none)", 25)]


def test_nothing_outstanding_has_no_share(engine: Engine) -> None:
    rows = [loan("a", "current", "0"), loan("b", "1-6", "9", outstanding_principal_reporting=None)]
    found = said(AGEING, asked(engine, rows))
    assert [(row["outstanding"], row["share"]) for row in found] == [(0, None), (None, None)]
