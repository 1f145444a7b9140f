"""The roll-forward of a small panel by hand, and what is found when one number of it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.columns import CURRENCY_EFFECT
from abaco_loans.portfolio.roll_forward import LINES, ROLL_FORWARD, breaks_query, continuity_query
from tests.portfolio.panels import Row, asked, day, engine_in_scratch, panel_table, said

BEFORE, MARCH, APRIL = day("2024-02-29"), day("2024-03-31"), day("2024-04-30")
CONSTANT = {CURRENCY_EFFECT: 0}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


def row(loan: str, as_of: Any, opening: str, closing: str, **moved: object) -> Row:
    """A loan at a date; ``moved`` by the names of the view's lines."""
    lines = {LINES[name][0]: amount for name, amount in moved.items() if name in LINES}
    more = {name: amount for name, amount in moved.items() if name not in LINES}
    start = BEFORE if as_of == MARCH else MARCH
    amounts = {"opening_principal": opening, "outstanding_principal": closing}
    return {"loan_id": loan, "as_of": as_of, "period_start": start, **CONSTANT, **amounts, **lines, **more}


# A is lent and paid; B is written off, recovers 7 and comes back; C is repaid with dust, and what follows is adjusted.
BOOK = [
    row("A", MARCH, "0", "100.5", disbursed="100.5", product="x"),
    row("A", APRIL, "100.5", "61.2501", principal_paid="40", capitalised="0.7501", product="x"),
    row("B", MARCH, "80", "0", written_off="80", written_off_balance="80", product="y"),
    row("B", APRIL, "0", "50", reinstated="50", recovered_in_period="7", product="y"),
    row("C", MARCH, "10", "0", principal_paid="9.9", dust_forgiven="0.1", product="y"),
    row("C", APRIL, "0", "3", dust_forgiven="-1", other_adjustments="2", product="y"),
]
NAMES = ("opening", *LINES, "currency", "closing", "difference", "recovered")


def amounts(found: dict[str, Any]) -> dict[str, Any]:
    """The lines that are not 0."""
    return {name: found[name] for name in NAMES if found[name] != 0}


def test_every_line_by_hand(engine: Engine) -> None:
    march, april = said(ROLL_FORWARD, asked(engine, BOOK))
    assert (march["as_of"], april["as_of"]) == (MARCH, APRIL)
    assert amounts(march) == {
        "opening": 90,
        "disbursed": Decimal("100.5"),
        "principal_paid": Decimal("9.9"),
        "written_off": 80,
        "dust_forgiven": Decimal("0.1"),
        "closing": Decimal("100.5"),
    }
    assert amounts(april) == {
        "opening": Decimal("100.5"),
        "capitalised": Decimal("0.7501"),
        "reinstated": 50,
        "principal_paid": 40,
        "dust_forgiven": -1,
        "other_adjustments": 2,
        "closing": Decimal("114.2501"),
        "recovered": 7,
    }


def test_segments_roll_forward_and_add_up(engine: Engine) -> None:
    of = asked(engine, BOOK, by="product")
    found: list[dict[str, Any]] = [dict(item) for item in said(ROLL_FORWARD, of)]
    assert [(item["product"], item["as_of"]) for item in found] == [
        *(("x", MARCH), ("x", APRIL)),
        *(("y", MARCH), ("y", APRIL)),
    ]
    assert all(item["difference"] == 0 for item in found)
    for total in said(ROLL_FORWARD, asked(engine, BOOK)):
        own = [item for item in found if item["as_of"] == total["as_of"]]
        assert {name: sum((item[name] for item in own), Decimal(0)) for name in NAMES} == {
            name: total[name] for name in NAMES
        }


def test_what_a_currency_gains_closes_the_identity(engine: Engine) -> None:
    """100 at .04, 30 of them paid at .05, 70 left at .06: 4 - 1.5 + 1.7 = 4.2."""
    foreign = row("H", MARCH, "100", "70", principal_paid="30", currency="HNL", fx_rate="0.06")
    twins = {"opening_principal_reporting": "4", "principal_paid_in_period_reporting": "1.5"}
    (found,) = said(
        ROLL_FORWARD,
        asked(engine, [{**foreign, **twins, "outstanding_principal_reporting": "4.2", CURRENCY_EFFECT: "1.7"}]),
    )
    assert amounts(found) == {
        "opening": 4,
        "principal_paid": Decimal("1.5"),
        "currency": Decimal("1.7"),
        "closing": Decimal("4.2"),
    }
    assert engine.rows(breaks_query()) == []


def test_without_payments_there_are_balances_and_no_lines(engine: Engine) -> None:
    rows = [{**item, "principal_paid_in_period": None} for item in BOOK[:1]]
    (found,) = said(ROLL_FORWARD, asked(engine, rows))
    assert {name for name in NAMES if found[name] is not None} == {"opening", "closing"}
    assert engine.rows(breaks_query()) == []


def test_loans_without_a_rate_are_left_out_and_still_close_in_their_currency(engine: Engine) -> None:
    lost = row("Z", MARCH, "5", "9", unpriced=True, currency="HNL", disbursed="3")
    found = said(ROLL_FORWARD, asked(engine, [*BOOK, lost]))
    assert found == said(ROLL_FORWARD, asked(engine, BOOK))
    panel_table(engine, [*BOOK, lost])
    assert engine.rows(breaks_query()) == [("Z", MARCH, "HNL", 1, 0)]


@pytest.mark.parametrize(
    "column", ["opening_principal", "outstanding_principal", *(name for name, _ in LINES.values())]
)
@pytest.mark.parametrize("number", range(len(BOOK)))
def test_one_changed_number_is_a_break_of_its_loan_and_date(engine: Engine, column: str, number: int) -> None:
    rows = [dict(item) for item in BOOK]
    rows[number][column] = Decimal(str(rows[number].get(column, 0))) + Decimal("0.0001")
    of = asked(engine, rows)
    (found,) = engine.rows(breaks_query())
    loan, when = rows[number]["loan_id"], rows[number]["as_of"]
    sign = {"opening_principal": -1, "outstanding_principal": 1}.get(column)
    sign = sign or -next(sign for name, sign in LINES.values() if name == column)
    amount = sign * Decimal("0.0001")
    assert found == (loan, when, "USD", amount, amount)
    differences = {item["as_of"]: item["difference"] for item in said(ROLL_FORWARD, of)}
    assert differences == {MARCH: 0, APRIL: 0} | {when: amount}, "nothing is plugged"
    gap = column == "outstanding_principal" if when == MARCH else column == "opening_principal"
    assert [item[0] for item in engine.rows(continuity_query())] == [APRIL] * gap


def test_a_number_changed_in_reporting_currency_alone_is_a_break_beyond_rounding(engine: Engine) -> None:
    rows = [{**BOOK[0], "outstanding_principal_reporting": "100.5005"}, *BOOK[1:]]
    panel_table(engine, rows)
    assert engine.rows(breaks_query()) == [], "within the rounding of ten amounts"
    panel_table(engine, [{**rows[0], "outstanding_principal_reporting": "100.5006"}, *rows[1:]])
    assert engine.rows(breaks_query()) == [("A", MARCH, "USD", 0, Decimal("0.0006"))]


def test_two_errors_that_cancel_in_the_loan_are_seen_in_the_continuity(engine: Engine) -> None:
    rows = [dict(item) for item in BOOK]
    rows[1] |= {"opening_principal": "200.5", "outstanding_principal": "161.2501"}
    panel_table(engine, rows)
    assert engine.rows(breaks_query()) == []
    assert engine.rows(continuity_query()) == [(APRIL, Decimal("200.5"), Decimal("100.5"))]
