"""Small cells (FAULTS 41): never shown, and not to be had by subtraction."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import compile_catalogue
from abaco_loans.kpi.evaluate import Prices, evaluate
from abaco_loans.kpi.formula import FACTS
from abaco_loans.kpi.result import Status
from abaco_loans.kpi.suppression import CUSTOMERS_MIN, Place, suppressed_cells
from tests.kpi.tables import Bench, engine_in_scratch, put


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_a_hidden_cell_hides_behind_another(sizes: list[int]) -> None:
    cells: dict[Place, int] = {("product", f"p{index}"): size for index, size in enumerate(sizes)}
    hidden = suppressed_cells(cells)
    small = {place for place, item in cells.items() if item < CUSTOMERS_MIN}
    assert small <= hidden
    if not small:
        assert not hidden
        return
    if hidden == set(cells):
        return  # nothing of the dimension is shown
    assert len(hidden) >= 2
    # What subtraction gives is the sum of the hidden ones: it speaks of three customers or more.
    assert sum(cells[place] for place in hidden) >= CUSTOMERS_MIN


def test_dimensions_are_hidden_one_by_one() -> None:
    cells: dict[Place, int] = {
        (segment, value): size
        for segment, value, size in (("a", "x", 1), ("a", "y", 9), ("a", "z", 5), ("b", "x", 9), ("b", "y", 3))
    }
    assert suppressed_cells(cells) == {("a", "x"), ("a", "z")}


def test_two_customers_in_two_cells_need_a_third_cell() -> None:
    """Two hidden cells of one customer each: their sum would still speak of two customers."""
    cells: dict[Place, int] = {("a", value): size for value, size in (("x", 1), ("y", 1), ("z", 4), ("w", 7))}
    assert suppressed_cells(cells) == {("a", "x"), ("a", "y"), ("a", "z")}


def test_which_cells_are_hidden_does_not_depend_on_their_order() -> None:
    items: list[tuple[Place, int]] = [(("a", value), size) for value, size in (("x", 2), ("y", 4), ("z", 4), (None, 4))]
    found = {suppressed_cells(dict(order)) for order in itertools.permutations(items)}
    assert len(found) == 1


# --- through the engine -------------------------------------------------------------------------------------

COLUMNS = ("loan_id", "customer_id", "product", "region", "outstanding_usd", "total_receivable_usd", "dpd_90_plus_usd")
rows_of_loans = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2", "c3", "c4", "c5", None]),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["n", "s"]),
        st.integers(1, 10**6),
    ),
    min_size=1,
    max_size=25,
)


NO_FACTS = dict.fromkeys(FACTS, 1)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with engine_in_scratch() as engine:
        yield Bench(engine)


@given(given_rows=rows_of_loans)
@settings(max_examples=25)
def test_no_small_cell_is_shown_or_recovered(bench: Bench, given_rows: list[tuple[str, str, str, int]]) -> None:
    engine = bench.engine
    rows = [
        dict(zip(COLUMNS, (f"L{index}", customer, product, region, *[Decimal(amount)] * 3), strict=True))
        for index, (customer, product, region, amount) in enumerate(given_rows)
    ]
    compiled = compile_catalogue(bench.catalogue, put(engine, COLUMNS, rows), ("product", "region"))
    cells = {item.grain: item.cells(engine.rows(item.query)) for item in compiled.statements}
    evaluation = evaluate(compiled, cells, NO_FACTS, Prices())
    for dimension in ("product", "region"):
        values = {row[dimension] for row in rows}
        shown: set[object] = set()
        hidden: set[object] = set()
        for result in evaluation.segments:
            if result.segment != dimension:
                continue
            value: object = None if result.segment_value == "(none)" else result.segment_value
            (hidden if result.status is Status.SUPPRESSED else shown).add(value)
            if result.status is Status.SUPPRESSED:
                assert (result.value, result.value_exact, result.low, result.high) == (None,) * 4
                assert (dict(result.components), dict(result.null_counts), result.rows_used) == ({}, {}, None)
        assert shown | hidden == values
        assert not shown & hidden
        for seen in shown:
            assert len(_customers(rows, dimension, {seen})) >= CUSTOMERS_MIN
        if shown and hidden:
            # Overall less what is shown is the sum of the hidden cells: of at least two, and three customers.
            assert len(hidden) >= 2
            assert len(_customers(rows, dimension, hidden)) >= CUSTOMERS_MIN


def _customers(rows: list[dict[str, object]], dimension: str, values: set[object]) -> set[object]:
    return {row["customer_id"] for row in rows if row[dimension] in values} - {None}


def test_rows_count_where_there_is_no_customer(bench: Bench) -> None:
    columns = ("product", "total_receivable_usd", "dpd_90_plus_usd")
    rows = [
        {"product": product, "total_receivable_usd": 5, "dpd_90_plus_usd": 1}
        for product in ("a", "a", "b", "b", "b", "c", "c", "c", "c")
    ]
    compiled = compile_catalogue(bench.catalogue, put(bench.engine, columns, rows), ("product",))
    (statement,) = compiled.statements
    found = evaluate(compiled, {Grain.LOAN: statement.cells(bench.engine.rows(statement.query))}, NO_FACTS, Prices())
    hidden = {item.segment_value for item in found.segments if item.status is Status.SUPPRESSED}
    assert hidden == {"a", "b"}
