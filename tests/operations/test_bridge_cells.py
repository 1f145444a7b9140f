"""Bridges in the cells of segments: by hand over small random books, and what must not be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.operations.bridge_kpis import LISTED_IN_CELL, bridge_places
from abaco_loans.operations.bridge_stations import LoanRows, Side
from abaco_loans.releases.bridge import Bridge, Cause
from abaco_loans.releases.comparison import Key
from abaco_loans.tape.definition import Boundary
from tests.kpi.tables import builtin_release, put

LATE, WHOLE = "dpd_30_60_usd", "total_receivable_usd"
MONEY = (WHOLE, LATE, "dpd_60_90_usd", "dpd_90_plus_usd")
COLUMNS = ("loan_id", "customer_id", "product", "region", *MONEY)
PAR = "risk.par_30"
RELEASE = builtin_release()
OLD = Side(definition=RELEASE.definitions["investor"], catalogue=RELEASE.catalogue)
NEW = replace(OLD, definition=replace(OLD.definition, boundary=Boundary.MORE_THAN))
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = DuckDB(scratch=tmp_path_factory.mktemp("cells"), folders=[], memory_mb=400, threads=1)
    yield engine
    engine.close()


def rows_of(amounts: Sequence[tuple[Decimal, Decimal]], products: Sequence[str | None] = ("A", "B", None)) -> Rows:
    """Loans of the products in turn, each of a customer of its own: (receivable, of it late)."""
    return [
        {
            "loan_id": f"L{n:02}", "customer_id": f"C{n}", "product": products[n % len(products)],
            "region": "North" if n % 2 else "South", **dict.fromkeys(MONEY, Decimal(0)), WHOLE: whole, LATE: late,
        }
        for n, (whole, late) in enumerate(amounts)
    ]  # fmt: skip


def bridged(
    engine: Engine, before: Rows, after: Rows, places: Sequence[Key], given: Rows | None = None, side: Side = NEW
) -> dict[Key, Bridge]:
    """From ``before`` through a switched boundary to ``after``, and to the rows that the candidate gave."""
    worlds = [put(engine, COLUMNS, rows, name) for rows, name in ((before, "before"), (after, "after"))]
    if given is not None:
        put(engine, COLUMNS, given, "given")
        side = replace(side, rows=LoanRows(relation="given", columns=COLUMNS))
    made = iter(worlds)
    return bridge_places(engine, lambda _: next(made), OLD, side, places)


def inside(rows: Rows, place: Key) -> Rows:
    return [row for row in rows if not place.segment or (row[place.segment] or "(none)") == place.segment_value]


def par(rows: Rows) -> tuple[Fraction, Fraction]:
    return Fraction(sum(row[LATE] for row in rows)), Fraction(sum(row[WHOLE] for row in rows))


def shares(before: Rows, after: Rows) -> dict[str, Fraction]:
    """What each loan adds: (n1 - n0) / D1 - N0 (d1 - d0) / (D0 D1), where anything of it differs."""
    (late, whole), (_, whole_after) = par(before), par(after)
    found = {}
    for old, new in zip(before, after, strict=True):
        more_late, more = Fraction(new[LATE] - old[LATE]), Fraction(new[WHOLE] - old[WHOLE])
        if more_late or more:
            found[old["loan_id"]] = 100 * (more_late / whole_after - late * more / (whole * whole_after))
    return found


PLACES = [
    Key(kpi=PAR),
    *(Key(kpi=PAR, segment="product", segment_value=value) for value in ("A", "B", "(none)")),
    *(Key(kpi=PAR, segment="region", segment_value=value) for value in ("North", "South")),
]
CENTS = st.integers(1, 10**7).map(lambda cents: Decimal(cents) / 100)
LOANS = st.lists(st.tuples(CENTS, CENTS, st.booleans(), CENTS, CENTS), min_size=12, max_size=16)


@settings(max_examples=6, deadline=None)
@given(loans=LOANS)
def test_every_cell_is_bridged_by_its_own_loans(engine: Engine, loans: list[tuple[Any, ...]]) -> None:
    before = rows_of([(whole, late) for whole, late, *_ in loans])
    after = rows_of([item[3:] if item[2] else item[:2] for item in loans])
    found = bridged(engine, before, after, PLACES)
    assert list(found) == PLACES
    for place, bridge in found.items():
        old, new = inside(before, place), inside(after, place)
        ends = [100 * late / whole for late, whole in (par(old), par(new))]
        assert [bridge.baseline, bridge.candidate] == ends
        assert (bridge.not_bridged, bridge.not_by_loan) == ("", "")
        assert sum((part.contribution for part in bridge.parts), Fraction(0)) == ends[1] - ends[0]
        wanted = shares(old, new)
        parts = [part for part in bridge.parts if part.contribution or wanted]
        assert [part.cause for part in parts] == ([Cause.BOUNDARY] if wanted and (parts or ends[0] != ends[1]) else [])
        for part in parts:
            assert part.loans == len(wanted)
            listed = 10 if not place.segment else LISTED_IN_CELL
            assert len(part.top) == min(listed, len(wanted))
            assert all(loan.contribution == wanted[loan.loan_id] for loan in part.top)
            sizes = sorted((abs(share) for share in wanted.values()), reverse=True)
            assert [abs(loan.contribution) for loan in part.top] == sizes[: len(part.top)]


BOOK = rows_of([(Decimal(100 + n), Decimal(n)) for n in range(12)])


def changed(rows: Rows, loan: str, **values: Any) -> Rows:
    return [{**row, **values} if row["loan_id"] == loan else row for row in rows]


def causes(bridge: Bridge) -> dict[Cause, list[str]]:
    return {part.cause: [loan.loan_id for loan in part.top] for part in bridge.parts if part.contribution}


def test_one_wrong_balance_is_unexplained_in_its_own_cells_only(engine: Engine) -> None:
    found = bridged(engine, BOOK, BOOK, PLACES, changed(BOOK, "L04", **{LATE: Decimal("4.01")}))
    for place, bridge in found.items():
        there = place.segment_value in ("", "B", "South")
        assert causes(bridge) == ({Cause.UNEXPLAINED: ["L04"]} if there else {})
        assert bridge.unexplained == bridge.difference
        assert bool(bridge.difference) is there


def test_a_loan_that_changed_its_cell_leaves_one_and_comes_to_the_other(engine: Engine) -> None:
    found = bridged(engine, BOOK, BOOK, PLACES, changed(BOOK, "L04", product="A"))
    for place, bridge in found.items():
        there = place.segment_value in ("A", "B")
        assert causes(bridge) == ({Cause.UNEXPLAINED: ["L04"]} if there else {})
        assert bool(bridge.difference) is there
    (leaves,), (comes,) = (
        [part.top[0] for part in found[replace(PLACES[1], segment_value=value)].parts] for value in ("B", "A")
    )
    assert set(leaves.after.values()) == set(comes.before.values()) == {0}
    assert max(leaves.before.values()) == max(comes.after.values()) == 104


def test_a_loan_that_stands_twice_in_two_cells_gives_amounts_without_loans(engine: Engine) -> None:
    twice = [*BOOK, {**BOOK[4], "product": "A"}]
    found = bridged(engine, BOOK, BOOK, PLACES, twice)
    for place in PLACES[1:3]:
        bridge = found[place]
        assert sum((part.contribution for part in bridge.parts), Fraction(0)) == bridge.difference
    comes = found[PLACES[1]]
    assert (comes.not_by_loan, [part.loans for part in comes.parts]) == ("a loan stands in several cells", [None])
    assert comes.unexplained == comes.difference != 0
    assert causes(found[PLACES[0]]) == {Cause.DUPLICATES: ["L04"]}


def test_a_cell_of_few_customers_shows_nothing(engine: Engine) -> None:
    """Two customers in a cell: neither its value nor its loans; nor those of the cell that would give it away."""
    small = [{**row, "product": "S" if row["loan_id"] in ("L00", "L01") else row["product"] or "A"} for row in BOOK]
    after = [{**row, LATE: row[LATE] + 1} for row in small]
    places = [Key(kpi=PAR, segment="product", segment_value=value) for value in ("S", "A", "B")]
    found = bridged(engine, small, after, places)
    hidden = [bridge for bridge in found.values() if bridge.not_bridged]
    assert len(hidden) == 2 and found[places[0]] in hidden
    for bridge in hidden:
        assert (bridge.baseline, bridge.candidate, bridge.parts) == (None, None, ())
        assert "fewer than 3 customers" in bridge.not_bridged
    (shown,) = (bridge for bridge in found.values() if not bridge.not_bridged)
    assert {loan for loans in causes(shown).values() for loan in loans} <= {
        row["loan_id"] for row in small if row["product"] != "S"
    }


def test_what_a_side_said_of_a_cell_and_its_rows_do_not_give_is_unexplained(engine: Engine) -> None:
    place = PLACES[1]
    exact = bridged(engine, BOOK, BOOK, [place])[place].candidate
    assert exact is not None
    said = Decimal(5)
    bridge = bridged(engine, BOOK, BOOK, [place], side=replace(NEW, said={place: said}))[place]
    (part,) = bridge.parts
    assert (part.cause, part.text) == (Cause.UNEXPLAINED, "the candidate said 5")
    assert part.contribution == Fraction(said) - exact == bridge.difference
    rounded = bridged(engine, BOOK, BOOK, [place], side=replace(NEW, printed={place: round(Decimal("4.85"), 1)}))
    assert rounded[place].candidate == Fraction("4.8")
