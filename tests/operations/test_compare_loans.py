"""Loan rows of two releases on a real engine, against the same comparison in plain Python, loan by loan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.errors import InvariantError
from abaco_loans.operations.bridge_stations import LoanRows
from abaco_loans.operations.compare_loans import LoanComparison, compare_loans
from tests.kpi.tables import put

# In the order of the calculation table: a text, two amounts, an integer, a rate.
COLUMNS = ("loan_id", "product", "total_receivable_usd", "outstanding_usd", "days_past_due", "interest_rate")
SCALES = {"total_receivable_usd": 4, "outstanding_usd": 4, "days_past_due": 0, "interest_rate": 6}
Row = dict[str, Any]
ALL = 1_000

# Few different values, so that loans meet, repeat, and differ in one column only.
ROW = st.fixed_dictionaries(
    {
        "loan_id": st.sampled_from(["A", "B", "C", "d", "", None]),
        "product": st.sampled_from(["x", "y", "z", "", None]),
        "total_receivable_usd": st.sampled_from([Decimal(0), Decimal("0.0001"), Decimal("99999999999999.9999"), None]),
        "outstanding_usd": st.sampled_from([Decimal("-1.5"), Decimal(1), Decimal(2), Decimal(3), Decimal(4), None]),
        "days_past_due": st.sampled_from([0, -(2**31), 2**31 - 1, None]),
        "interest_rate": st.sampled_from([Decimal("0.000001"), Decimal("0.5"), None]),
    }
)
ROWS = st.lists(ROW, max_size=12)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = DuckDB(scratch=tmp_path_factory.mktemp("rows"), folders=[], memory_mb=400, threads=1)
    yield engine
    engine.close()


def compared(
    engine: Engine,
    baseline: Sequence[Row],
    candidate: Sequence[Row],
    columns: Sequence[str] = COLUMNS,
    listed: int = ALL,
) -> LoanComparison:
    sides = []
    for name, rows in (("old_rows", baseline), ("new_rows", candidate)):
        put(engine, columns, rows, name)
        sides.append(LoanRows(relation=name, columns=tuple(columns)))
    return compare_loans(engine, *sides, listed=listed)


# --- the slow way -------------------------------------------------------------------------------------------


def by_loan(rows: Sequence[Row]) -> dict[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = {}
    for row in rows:
        found.setdefault(row["loan_id"], []).append(row)
    return found


def amount(rows: Sequence[Row], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in rows if row[column] is not None), Decimal(0))


def expected(baseline: Sequence[Row], candidate: Sequence[Row]) -> dict[str, Any]:
    old, new = by_loan(baseline), by_loan(candidate)
    both = old.keys() & new.keys()
    columns = {}
    for column in COLUMNS[1:]:
        moves: list[tuple[Decimal | None, str | None]] = []
        for loan in both:
            if Counter(row[column] for row in old[loan]) != Counter(row[column] for row in new[loan]):
                move = amount(new[loan], column) - amount(old[loan], column) if column in SCALES else None
                moves.append((move, loan))
        moves.sort(key=lambda item: (-abs(item[0] or Decimal(0)), item[1] is None, item[1] or ""))
        columns[column] = moves
    return {
        "both": len(both),
        "only_baseline": len(old.keys() - both),
        "only_candidate": len(new.keys() - both),
        "duplicates_baseline": sum(len(rows) > 1 for rows in old.values()),
        "duplicates_candidate": sum(len(rows) > 1 for rows in new.values()),
        "differing": sum(
            Counter(tuple(row.values()) for row in old[loan]) != Counter(tuple(row.values()) for row in new[loan])
            for loan in both
        ),
        "columns": columns,
    }


def said(found: LoanComparison) -> dict[str, Any]:
    counts = {name: getattr(found, name) for name in LoanComparison.__dataclass_fields__ if name != "columns"}
    columns = {item.column: [(share.difference, share.loan_id or None) for share in item.top] for item in found.columns}
    return {**counts, "columns": columns}


def unnamed(wanted: dict[str, Any]) -> dict[str, Any]:
    """A loan without an id and one with an empty id are two loans, of one name."""
    columns = {name: [(move, loan or None) for move, loan in moves] for name, moves in wanted["columns"].items()}
    return {**wanted, "columns": columns}


@pytest.mark.slow
@settings(max_examples=40)
@given(baseline=ROWS, candidate=ROWS)
def test_it_finds_what_the_slow_way_finds(engine: Engine, baseline: list[Row], candidate: list[Row]) -> None:
    found, wanted = compared(engine, baseline, candidate), expected(baseline, candidate)
    assert said(found) == unnamed(wanted)
    for item in found.columns:
        moves = wanted["columns"][item.column]
        assert item.loans == len(moves)
        if item.column in SCALES:
            assert item.difference == sum((move for move, _ in moves), Decimal(0))
            assert item.difference.as_tuple().exponent in (-SCALES[item.column], 0)
        else:
            assert item.difference is None
    assert found.same is (sorted(map(repr, baseline)) == sorted(map(repr, candidate)))


@settings(max_examples=12)
@given(rows=ROWS, shuffled=st.randoms(use_true_random=False))
def test_rows_in_another_order_are_the_same(engine: Engine, rows: list[Row], shuffled: Any) -> None:
    other = list(rows)
    shuffled.shuffle(other)
    found = compared(engine, rows, other)
    assert found.same
    assert found.both == len({row["loan_id"] for row in rows})
    assert found.duplicates_baseline == found.duplicates_candidate
    assert not any(item.loans or item.difference or item.top for item in found.columns)


@settings(max_examples=12)
@given(baseline=ROWS, candidate=ROWS)
def test_the_other_way_round_is_the_mirror(engine: Engine, baseline: list[Row], candidate: list[Row]) -> None:
    there, back = compared(engine, baseline, candidate), compared(engine, candidate, baseline)
    assert (there.both, there.differing) == (back.both, back.differing)
    assert (there.only_baseline, there.only_candidate) == (back.only_candidate, back.only_baseline)
    assert (there.duplicates_baseline, there.duplicates_candidate) == (
        back.duplicates_candidate,
        back.duplicates_baseline,
    )
    for one, other in zip(there.columns, back.columns, strict=True):
        assert (one.column, one.loans) == (other.column, other.loans)
        assert [share.loan_id for share in one.top] == [share.loan_id for share in other.top]
        for mine, theirs in zip(one.top, other.top, strict=True):
            assert (mine.difference or 0) == -(theirs.difference or 0)
        assert (one.difference or 0) == -(other.difference or 0)


@pytest.mark.slow
@settings(max_examples=30)
@given(rows=st.lists(ROW, min_size=1, max_size=12), data=st.data())
def test_one_changed_value_is_always_found(engine: Engine, rows: list[Row], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(COLUMNS[1:]))
    changed = {**rows[place], column: data.draw(ROW)[column]}
    assume(changed != rows[place])
    found = compared(engine, rows, [*rows[:place], changed, *rows[place + 1 :]])
    assert (found.differing, found.only_baseline, found.only_candidate) == (1, 0, 0)
    assert {item.column: item.loans for item in found.columns} == {name: int(name == column) for name in COLUMNS[1:]}
    (item,) = (item for item in found.columns if item.loans)
    assert [share.loan_id for share in item.top] == [changed["loan_id"] or ""]


# --- by hand ------------------------------------------------------------------------------------------------


def row(loan: str | None, outstanding: str | None = "1", product: str | None = "x") -> Row:
    return {
        "loan_id": loan,
        "product": product,
        "total_receivable_usd": Decimal(0),
        "outstanding_usd": None if outstanding is None else Decimal(outstanding),
        "days_past_due": 0,
        "interest_rate": None,
    }


def test_the_document(engine: Engine) -> None:
    baseline = [row("A", "10"), row("B", "5"), row("C", None), row("D"), row("E"), row("E")]
    candidate = [row("A", "12.3400"), row("B", "1"), row("C", "0"), row("E"), row("F")]
    found = compared(engine, baseline, candidate, COLUMNS[:4]).as_dict()
    columns = found.pop("columns")
    assert found == {
        "both": 4,
        "only_baseline": 1,
        "only_candidate": 1,
        "duplicates_baseline": 1,
        "duplicates_candidate": 0,
        "differing": 4,
    }
    assert columns == [
        {"column": "product", "loans": 1, "difference": None, "largest": None, "largest_loan": None},
        {
            "column": "total_receivable_usd",
            "loans": 1,
            "difference": "0.0000",
            "largest": "0.0000",
            "largest_loan": "E",
        },
        {
            "column": "outstanding_usd",
            "loans": 4,
            "difference": "-2.6600",
            "largest": "4.0000",
            "largest_loan": "B",
        },
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [(("1", "4", "5", "8"), ("1", "3", "6", "8")), (("1", "1", "2"), ("1", "2", "2"))],
)
def test_what_counts_sums_and_ends_do_not_show_is_found(
    engine: Engine, old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    """Amounts of the same sum, least and greatest; texts that differ in between; values that swap their rows."""
    found = compared(engine, [row("A", value) for value in old], [row("A", value) for value in new])
    assert [item.loans for item in found.columns] == [0, 0, 1, 0, 0]
    baseline, candidate = ([row("A", product=f"p{value}") for value in values] for values in (old, new))
    assert [item.loans for item in compared(engine, baseline, candidate).columns] == [1, 0, 0, 0, 0]


def test_values_that_swap_their_rows_make_a_loan_differ(engine: Engine) -> None:
    found = compared(engine, [row("A", "1", "x"), row("A", "2", "y")], [row("A", "1", "y"), row("A", "2", "x")])
    assert (found.differing, found.same) == (1, False)
    assert not any(item.loans for item in found.columns)


def test_sums_beyond_what_a_value_holds_stay_exact(engine: Engine) -> None:
    most = "99999999999999.9999"
    found = compared(engine, [row(f"L{n}", f"-{most}") for n in range(30)], [row(f"L{n}", most) for n in range(30)])
    (item,) = (item for item in found.columns if item.loans)
    assert item.difference == Decimal("5999999999999999.9940")
    assert item.as_dict()["largest"] == "199999999999999.9998"
    repeated = compared(engine, [row("A", most)] * 40, [row("A", f"-{most}")] * 40)
    assert next(item.difference for item in repeated.columns if item.loans) == Decimal("-7999999999999999.9920")


def test_only_shared_columns_are_compared_and_few_loans_listed(engine: Engine) -> None:
    put(engine, COLUMNS, [row(f"L{n:02}", "0") for n in range(20)], "old_rows")
    put(engine, COLUMNS[:5], [row(f"L{n:02}", str(n)) for n in range(20)], "new_rows")
    old = LoanRows(relation="old_rows", columns=COLUMNS)
    new = LoanRows(relation="new_rows", columns=("days_past_due", "outstanding_usd", "loan_id"))
    found = compare_loans(engine, old, new, listed=3)
    assert [item.column for item in found.columns] == ["outstanding_usd", "days_past_due"]
    assert (found.columns[0].loans, [share.loan_id for share in found.columns[0].top]) == (19, ["L19", "L18", "L17"])
    assert len(compare_loans(engine, old, new, listed=0).columns[0].top) == 1
    bare = compare_loans(engine, old, LoanRows(relation="new_rows", columns=("loan_id",)))
    assert (bare.both, bare.columns, bare.same) == (20, (), True)
    with pytest.raises(InvariantError):
        compare_loans(engine, old, LoanRows(relation="new_rows", columns=COLUMNS[1:]))


def test_it_leaves_no_table_behind(engine: Engine) -> None:
    from sqlglot import exp

    compared(engine, [row("A"), row("A")], [row("A")])
    left = engine.rows(exp.select("table_name").from_("information_schema.tables"))
    assert {name for (name,) in left} == {"old_rows", "new_rows"}
