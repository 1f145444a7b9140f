"""Views as they may be shown: no small cell, nothing to be had by subtraction, no amount that lacks a rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.engines.base import Engine
from abaco_loans.errors import UsageError
from abaco_loans.kpi.suppression import CUSTOMERS_MIN
from abaco_loans.operations.show_view import ILLUSTRATED, SUPPRESSED, UNPRICED, find_view, show_view
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.portfolio.columns import CURRENCY_EFFECT
from abaco_loans.portfolio.policy import Policy, read_policy
from abaco_loans.portfolio.view import Asked, Unit, View
from abaco_loans.portfolio.views import VIEWS
from abaco_loans.strict_yaml import parse
from tests.operations.desk import Desk
from tests.operations.panel_desk import FEBRUARY, JANUARY, build, opened, shots
from tests.portfolio.books import BEFORE, CENTS, DATES
from tests.portfolio.panels import Row, asked, engine_in_scratch, said

SEGMENTED = [view for view in VIEWS.values() if view.segmented]
STATES = ("current", "7-29", "90+", "written off", "repaid")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(parse(builtin_texts()["portfolio.yml"], name="portfolio.yml"))


def shown(view: View, of: Asked) -> list[dict[str, Any]]:
    table = show_view(view, of)
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


# --- small cells ----------------------------------------------------------------------------------------------


@st.composite
def lives(draw: st.DrawFn, number: int) -> list[Row]:
    """A loan at some of the dates: its segment may change, and it may be missing for a while (snapshots)."""
    opened_on = draw(st.dates(date(2024, 12, 1), DATES[-1]))
    customer = draw(st.sampled_from(["a", "b", "c", "d", "e", None]))
    rows: list[Row] = []
    for before, day in zip((BEFORE, *DATES), DATES, strict=False):
        if opened_on > day or draw(st.integers(0, 9)) == 0:
            continue
        late = draw(st.sampled_from([0, 0, 20, 95]))
        rows.append(
            {
                "loan_id": f"L{number}",
                "customer_id": customer,
                "product": draw(st.sampled_from(["x", "x", "x", "y", "z", None])),
                "as_of": day,
                "period_start": before,
                "disbursement_date": opened_on,
                "first_due_date": opened_on,
                "state": draw(st.sampled_from(STATES)),
                "days_past_due": late,
                "outstanding_principal": draw(CENTS) + 1,
                "opening_principal": draw(CENTS),
                "scheduled_in_period": draw(CENTS),
                "received_in_period": draw(CENTS),
                "disbursed_principal": draw(CENTS) + 1,
                "disbursed_in_period": draw(CENTS),
                CURRENCY_EFFECT: 0,
            }
        )
    return rows


@st.composite
def books(draw: st.DrawFn) -> list[Row]:
    count = draw(st.integers(3, 16))
    rows = [row for number in range(count) for row in draw(lives(number))]
    if draw(st.booleans()):  # a tape that names no customers
        rows = [{**row, "customer_id": None} for row in rows]
    return rows


Cell = tuple[date, str | None]


def cohort_of(row: Row) -> str:
    return f"{row['disbursement_date']:%Y-%m}"


def customers(rows: Sequence[Row], cell: Cell, products: set[str]) -> int:
    """Distinct customers, or loans where the book names none, of these products in a cell."""
    key = "customer_id" if any(row["customer_id"] for row in rows) else "loan_id"
    day, cohort = cell
    there = {
        row[key]
        for row in rows
        if row["as_of"] == day and (row["product"] or "(none)") in products and cohort in (None, cohort_of(row))
    }
    return len(there - {None})


def products_in(rows: Sequence[Row], cell: Cell) -> set[str]:
    day, cohort = cell
    return {row["product"] or "(none)" for row in rows if row["as_of"] == day and cohort in (None, cohort_of(row))}


def told_of(found: dict[str, Any], days: Sequence[date]) -> list[Cell]:
    """The cells that a row of a view tells of: its own, and where it compares or averages, all since it began."""
    if "cohort" in found:
        return [(found["as_of"], found["cohort"])]
    end = found.get("as_of", days[-1])
    if "as_of" not in found:
        return [(end, None)]
    before = [day for day in days if day < end]
    start = found.get("period_start") or (before[-1] if before else end)
    return [(day, None) for day in days if start <= day <= end]


@pytest.mark.slow
@settings(max_examples=10)
@given(rows=books())
def test_no_small_cell_is_shown_or_had_by_subtraction(engine: Engine, policy: Policy, rows: list[Row]) -> None:
    if not rows:
        return
    overall = asked(engine, rows, policy=policy)
    of = replace(overall, by="product")
    whole: list[dict[str, Any]] = [dict(row) for row in said(VIEWS["collections"], overall)]
    for view in SEGMENTED:
        table = shown(view, of)
        visible: dict[Cell, set[str]] = {}
        for found in table:
            for cell in told_of(found, of.dates):
                products = products_in(rows, cell)
                if found["product"] in products:
                    visible.setdefault(cell, set()).add(found["product"])
                    assert customers(rows, cell, {found["product"]}) >= CUSTOMERS_MIN, (view.name, cell)
        if view.name in ("collections", "vintages"):  # they have a row for every cell: what lacks one is hidden
            for cell, seen in visible.items():
                hidden = products_in(rows, cell) - seen
                assert not hidden or customers(rows, cell, hidden) >= CUSTOMERS_MIN, (view.name, cell)
    # Subtraction, done: where something is shown, what is left of the whole speaks of three customers, or is nothing.
    for total in whole:
        day = total["as_of"]
        left = [row for row in shown(VIEWS["collections"], of) if row["as_of"] == day]
        rest = total["scheduled"] - sum((row["scheduled"] for row in left), Decimal(0))
        hidden = products_in(rows, (day, None)) - {row["product"] for row in left}
        mine = [row for row in rows if row["as_of"] == day and (row["product"] or "(none)") in hidden]
        assert rest == sum((row["scheduled_in_period"] for row in mine), Decimal(0))
        assert not (left and hidden) or customers(rows, (day, None), hidden) >= CUSTOMERS_MIN


def book(*products: str, day: date = DATES[-1], **more: Any) -> list[dict[str, Any]]:
    """A loan of a customer of its own for each letter."""
    return [
        {
            "loan_id": f"{product}{number}",
            "customer_id": f"c{number}",
            "product": product,
            "as_of": day,
            "period_start": BEFORE,
            "disbursement_date": DATES[0],
            "state": "current",
            "days_past_due": 0,
            "outstanding_principal": 100,
            "disbursed_principal": 100,
            CURRENCY_EFFECT: 0,
            **more,
        }
        for number, product in enumerate(products)
    ]


def test_a_hidden_cell_leaves_no_row_and_no_state(engine: Engine) -> None:
    """A row without amounts would still say that the one customer of a product is late."""
    rows = book(*"xxxxyyyz")
    rows[-1] |= {"state": "90+", "days_past_due": 95}
    of = asked(engine, rows, by="product")
    table = show_view(VIEWS["ageing"], of)
    assert {row[0] for row in table.rows} == {"x"}, "y hides z"
    assert table.notes == (SUPPRESSED,)
    assert {row["state"] for row in shown(VIEWS["ageing"], replace(of, by=None))} == {"current", "90+"}
    assert show_view(VIEWS["ageing"], asked(engine, book(*"xxxxyyy"), by="product")).notes == ()


def test_a_cohort_is_a_cell_of_its_own(engine: Engine) -> None:
    early, late = book(*"xxxxyyyy"), book(*"xxxxyyyy", disbursement_date=DATES[1])
    late = [{**row, "loan_id": f"{row['loan_id']}'"} for row in late if row["loan_id"] not in ("y4", "y5")]
    found = shown(VIEWS["vintages"], asked(engine, [*early, *late], by="product"))
    assert {(row["product"], row["cohort"]) for row in found} == {("x", "2025-01"), ("y", "2025-01")}


def test_an_opening_does_not_tell_of_a_small_cell_the_month_before(engine: Engine) -> None:
    before = book(*"xxxxxyyy", day=DATES[1])
    before[-3:] = [{**row, "customer_id": "one"} for row in before[-3:]]
    now = book(*"xxxxxyyy", opening_principal=100, period_start=DATES[1])
    of = asked(engine, [*before, *now, *book(*"xxxxxyyy", day=date(2025, 4, 30))], by="product")
    for name in ("roll_forward", "speeds", "roll_rates", "growth", "ageing"):
        days = {row["as_of"] for row in shown(VIEWS[name], of)}
        assert days <= {date(2025, 4, 30)}, name
    assert {row["as_of"] for row in shown(VIEWS["roll_forward"], of)} == {date(2025, 4, 30)}
    assert shown(VIEWS["roll_rates_average"], of) == []


def test_concentration_is_of_the_last_date_alone(engine: Engine) -> None:
    once = book(*"xxxxyyyy", day=DATES[1])
    gone = asked(engine, [*once, *book(*"xxxxy")], by="product")
    assert shown(VIEWS["concentration"], gone) == [], "x would give y away"
    grown = asked(engine, [*book(*"xxxxy", day=DATES[1]), *book(*"xxxxyyyy")], by="product")
    assert {row["product"] for row in shown(VIEWS["concentration"], grown)} == {"x", "y"}


# --- no rate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [None, "product"])
@pytest.mark.parametrize("view", SEGMENTED, ids=lambda view: view.name)
def test_without_a_rate_there_is_no_amount(engine: Engine, policy: Policy, view: View, by: str | None) -> None:
    more: dict[str, Any] = {
        "first_due_date": DATES[0],
        "days_past_due": 40,
        "opening_principal": 50,
        "maturity_date": DATES[-1],
    }
    rows = book(*"xxxxyyyy", **more)
    priced = show_view(view, asked(engine, rows, policy=policy, by=by))
    assert UNPRICED not in priced.notes
    rows[0] |= {"unpriced": True, "currency": "HNL", "fx_rate": None, "outstanding_principal_reporting": None}
    table = show_view(view, asked(engine, rows, policy=policy, by=by))
    amounts = [index for index, column in enumerate(table.columns) if column.unit is Unit.AMOUNT]
    counts = [index for index, column in enumerate(table.columns) if column.unit in (Unit.COUNT, Unit.DATE, Unit.TEXT)]
    if not amounts:
        assert table == priced, "counting needs no rate"
        return
    mine = [row for row in table.rows if by is None or row[0] == "x"]
    assert all(row[index] is None for row in mine for index in amounts)
    assert bool(mine) == (UNPRICED in table.notes)
    assert all(row in priced.rows for row in table.rows if row not in mine)
    if view.name not in ("concentration", "top_customers", "provisions"):  # these are of loans with an amount
        same = [row for row in priced.rows if by is None or row[0] == "x"]
        assert [[row[i] for i in counts] for row in mine] == [[row[i] for i in counts] for row in same]


# --- parameters that are nobody's -----------------------------------------------------------------------------


def test_what_ships_is_said_to_be_an_illustration_until_it_is_changed(engine: Engine, policy: Policy) -> None:
    assert policy.provisions and policy.borrowing_base and policy.covenants
    own: dict[str, Any] = {
        "provisions": replace(policy.provisions, stage_2_after_days=31),
        "borrowing_base": replace(policy.borrowing_base, advance_rate=Decimal("0.5")),
        "covenants": policy.covenants[:1],
    }
    rows = book(*"xxxx")
    for view in VIEWS.values():
        shipped = show_view(view, asked(engine, rows, policy=policy))
        assert (ILLUSTRATED in shipped.notes) == (view.name in own), view.name
        mine = show_view(view, asked(engine, rows, policy=replace(policy, **own)))
        assert ILLUSTRATED not in mine.notes, view.name
        none = show_view(view, asked(engine, rows, policy=Policy()))
        assert ILLUSTRATED not in none.notes, view.name


# --- little or nothing to show ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [None, "product"])
def test_an_empty_panel_is_no_failure(engine: Engine, policy: Policy, by: str | None) -> None:
    for view in VIEWS.values():
        if view.segmented or by is None:
            numbers = shown(view, asked(engine, [], dates=DATES, policy=policy, by=by))
            if view.name not in ("borrowing_base", "covenants"):
                assert numbers == [], view.name


UNSAID = {
    "roll_forward": ("disbursed", "principal_paid", "written_off", "other_adjustments", "difference", "recovered"),
    "collections": ("scheduled", "received", "recovered", "collection_rate"),
    "growth": ("originations", "average_ticket"),
    "pricing": ("average_ticket", "realised_yield"),
    "vintages": ("net_loss",),
    "speeds": ("opening_with_plan", "scheduled", "prepaid", "smm", "cpr"),
}


def test_a_series_of_snapshots_says_none_where_it_does_not_know(desk: Desk, tmp_path: Path) -> None:
    build(desk, shots(tmp_path / "tape.csv", 8), by=("product",))
    with opened(desk) as panel:
        for view in VIEWS.values():
            for by in (None, "product") if view.segmented else (None,):
                found = shown(view, panel.asked(by))
                for name in UNSAID.get(view.name, ()):
                    assert {row[name] for row in found} <= {None}, (view.name, name)
        lines = shown(VIEWS["roll_forward"], panel.asked())
        assert [row["opening"] for row in lines] == [None, 8028]
        assert [row["closing"] for row in lines] == [8028, 8028]
        assert shown(VIEWS["first_payment_default"], panel.asked()) == []
        assert [row["opening"] for row in shown(VIEWS["speeds"], panel.asked())] == [None, 8028]


# --- what there is not ----------------------------------------------------------------------------------------------


def test_what_there_is_not_is_named_with_what_is_near(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no panel yet") as error, opened(desk):
        pass
    assert error.value.code == "PAN-105"
    first = build(desk, shots(tmp_path / "tape.csv"), by=("product",)).record.run_id
    second = build(desk, shots(tmp_path / "tape.csv")).record.run_id
    with opened(desk) as latest, opened(desk, first[:-2]) as begun, opened(desk, first.removeprefix("panel-")) as bare:
        assert (latest.record.run_id, begun.record.run_id, bare.record.run_id) == (second, first, first)
        assert latest.dates == (JANUARY, FEBRUARY)
        with pytest.raises(UsageError) as segment:
            latest.asked("prodcut")
        with pytest.raises(UsageError) as unsegmented:
            show_view(VIEWS["covenants"], latest.asked("product"))
    assert (segment.value.code, unsegmented.value.code) == ("CLI-106", "CLI-109")
    assert "'product'" in str(segment.value.hint)
    for panel_id, word in (("panel-2025", "2 panels begin"), (f"{first[:-1]}!", "there is no panel")):
        with pytest.raises(UsageError, match=word) as unknown, opened(desk, panel_id):
            pass
        assert unknown.value.code == "PAN-105"
        assert "panel-2025" in str(unknown.value.hint)
    with pytest.raises(UsageError) as view:
        find_view("ageng")
    assert (view.value.code, view.value.hint) == ("CLI-108", "did you mean 'ageing'?")
    assert find_view("roll-rates") is VIEWS["roll_rates"]
