"""What holds for every view of the book's movement, whatever the book."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.engines.base import Engine
from abaco_loans.portfolio.ageing import AGEING
from abaco_loans.portfolio.cures import CURES
from abaco_loans.portfolio.first_payment import FIRST_PAYMENT_DEFAULT
from abaco_loans.portfolio.roll_rates import ROLL_RATES, ROLL_RATES_AVERAGE
from abaco_loans.portfolio.speeds import SPEEDS
from abaco_loans.portfolio.view import Asked, Unit, Value, View
from abaco_loans.portfolio.vintages import VINTAGES
from tests.portfolio.panels import DEFINITION, Row, asked, day, engine_in_scratch

VIEWS = (AGEING, ROLL_RATES, ROLL_RATES_AVERAGE, CURES, FIRST_PAYMENT_DEFAULT, VINTAGES, SPEEDS)
DATES = tuple(day(text) for text in ("2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


@st.composite
def books(draw: st.DrawFn) -> list[Row]:
    """Loans at up to three month ends: each row as it may be, not as a life of a loan must be."""
    rows: list[Row] = []
    amount = st.integers(0, 10**7).map(lambda units: Decimal(units) / 10_000)
    for number in range(draw(st.integers(1, 5))):
        disbursed_on = draw(st.dates(date(2023, 11, 1), date(2024, 3, 31)))
        fixed = {
            "loan_id": f"{number}",
            "region": draw(st.sampled_from(("north", "south", None))),
            "disbursement_date": disbursed_on,
            "first_due_date": disbursed_on + timedelta(days=draw(st.integers(1, 40))),
            "disbursed_principal": draw(amount),
            "fx_rate": draw(st.sampled_from(("1", "0.27"))),
        }
        defaulted_on = draw(st.none() | st.sampled_from(DATES))
        for start, end in pairwise(DATES):
            if disbursed_on <= end:
                rows.append({**fixed, "as_of": end, "period_start": start, **draw(happenings(defaulted_on))})
    return rows


@st.composite
def happenings(draw: st.DrawFn, defaulted_on: date | None) -> Row:
    """What may stand in a row besides its keys."""
    amount = st.integers(0, 10**7).map(lambda units: Decimal(units) / 10_000)
    days = draw(st.sampled_from((0, 0, 5, 45, 200)))
    lost = days == 200
    bucket = {0: "current", 5: "1-6", 45: "30-59", 200: "written off"}[days]
    event = {"defaulted_on": defaulted_on, "defaulted_balance": draw(amount)} if defaulted_on else {}
    return {
        "state": bucket,
        "days_past_due": days,
        "written_off": lost,
        "written_off_balance" if lost else "outstanding_principal": draw(amount),
        "opening_principal": draw(amount),
        "opening_days_past_due": draw(st.sampled_from((None, 0, 9))),
        "scheduled_principal_in_period": draw(amount),
        "principal_paid_in_period": draw(amount),
        "written_off_in_period": draw(amount),
        "recovered_in_period": draw(amount),
        **event,
    }


def tables(of: Asked) -> dict[str, tuple[tuple[Value, ...], ...]]:
    found = {view.name: view.table(of).rows for view in VIEWS}
    assert not any(isinstance(value, float) for rows in found.values() for row in rows for value in row)
    return found


def ratios(view: View, rows: tuple[tuple[Value, ...], ...]) -> list[tuple[Value, ...]]:
    """Keys and ratios, without what must double in a doubled book or narrow with it (the interval)."""
    kept = [
        index
        for index, column in enumerate(view.columns)
        if column.key or (column.unit is Unit.PERCENT and not column.name.endswith(("_low", "_high")))
    ]
    return [tuple(row[index] for index in kept) for row in rows]


@pytest.mark.slow
@given(rows=books(), data=st.data())
@settings(max_examples=10)
def test_the_order_of_rows_changes_nothing(engine: Engine, rows: list[Row], data: st.DataObject) -> None:
    by = data.draw(st.sampled_from((None, "region")))
    first = tables(asked(engine, rows, by=by))
    assert tables(asked(engine, data.draw(st.permutations(rows)), by=by)) == first


@pytest.mark.slow
@given(rows=books())
@settings(max_examples=10)
def test_two_copies_of_a_book_have_its_ratios(engine: Engine, rows: list[Row]) -> None:
    once = tables(asked(engine, rows))
    twice = tables(asked(engine, rows + [{**row, "loan_id": f"{row['loan_id']} again"} for row in rows]))
    for view in VIEWS:
        assert ratios(view, twice[view.name]) == ratios(view, once[view.name]), view.name


def test_an_empty_panel_has_empty_tables(engine: Engine) -> None:
    of = asked(engine, [], dates=DATES)
    assert of.definition == DEFINITION
    assert set(tables(of).values()) == {()}


def test_every_column_is_explained() -> None:
    for view in VIEWS:
        names = [column.name for column in view.columns]
        assert len(set(names)) == len(names)
        assert all(column.text for column in view.columns) and view.title and view.text
