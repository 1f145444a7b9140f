"""Series and restatements from a real store, with runs of one date and of many."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.operations.kpi_history import KpiHistory, LeftOut, kpi_history
from abaco_loans.portfolio.series import Change, Every
from abaco_loans.records.store import Store, open_store
from tests.operations.said import NOON, say

PAR = "risk.par_30"
SEP, OCT, NOV = date(2025, 9, 30), date(2025, 10, 31), date(2025, 11, 30)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'abaco.db'}", clock=FixedClock(NOON), actor="ana") as made:
        yield made


def values(found: KpiHistory) -> dict[date, str]:
    return {point.row.as_of: str(point.row.value) for point in found.series}


def test_of_each_date_the_value_said_last(store: Store) -> None:
    say(store, "r-oct", {OCT: "5"})
    say(store, "panel-1", {SEP: "4", OCT: "6", NOV: "7"})
    say(store, "r-sep", {SEP: "4.5"}, tape="corrected.csv")
    found = kpi_history(store.reader, PAR)
    assert values(found) == {SEP: "4.50", OCT: "6.00", NOV: "7.00"}
    assert [point.row.run_id for point in found.series] == ["r-sep", "panel-1", "panel-1"]
    assert (found.unit, found.definition, found.release, found.left_out) == ("%", "investor", "v2", ())
    assert found.said == ()


def test_one_definition_and_release_those_of_the_run_that_finished_last(store: Store) -> None:
    say(store, "a", {SEP: "1", NOV: "3"}, definition="original", release="v1")
    say(store, "b", {OCT: "2"}, definition="original")
    earlier = NOON - timedelta(days=900)  # the order of what was said never comes from the clock
    say(store, "c", {SEP: "9"}, recorded_at=earlier)
    for number in range(60):
        say(store, f"other{number}", {NOV: "1"}, kpi_id="finance.outstanding")

    found = kpi_history(store.reader, PAR)
    assert (found.definition, found.release, values(found)) == ("investor", "v2", {SEP: "9.00"})
    assert found.left_out == (
        LeftOut(definition="original", release="v1", rows=2),
        LeftOut(definition="original", release="v2", rows=1),
    )
    original = kpi_history(store.reader, PAR, definition="original")
    assert (original.release, values(original)) == ("v2", {OCT: "2.00"})
    first = kpi_history(store.reader, PAR, release="v1")
    assert (first.definition, values(first)) == ("original", {SEP: "1.00", NOV: "3.00"})
    assert sum(item.rows for item in first.left_out) == 2
    none = kpi_history(store.reader, PAR, definition="iris")
    assert (none.series, none.definition, none.release, none.unit) == ((), "iris", None, "")
    assert sum(item.rows for item in none.left_out) == 4


def test_changes_look_back_at_every_date_and_the_series_shows_some(store: Store) -> None:
    days = [SEP + timedelta(days=n) for n in range(65)]  # to 3 December
    say(store, "panel-1", {day: f"{n}.005" for n, day in enumerate(days)})
    by_month = kpi_history(store.reader, PAR, every=Every.MONTH)
    assert list(values(by_month)) == [SEP, OCT, NOV]
    assert by_month.series[1].changes == {
        "month": Change(absolute=Decimal("31.000"), relative=Decimal(6200)),
        "quarter": None,
        "year": None,
    }
    by_week = kpi_history(store.reader, PAR, every=Every.WEEK)
    assert [point.row.as_of.isoweekday() for point in by_week.series] == [7] * 9 + [3]
    moved = by_week.series[-1].changes["month"]
    assert moved is not None
    assert moved.absolute == 30
    assert len(kpi_history(store.reader, PAR).series) == 65


def test_unusual_among_the_dates_that_are_shown(store: Store) -> None:
    days = [date(2025, 1, 1) + timedelta(days=n) for n in range(365)]
    spike = date(2025, 10, 31)
    say(store, "panel-1", {day: "50" if day == spike else f"{5 + day.month % 3}" for day in days})
    found = {point.row.as_of: point.anomaly for point in kpi_history(store.reader, PAR, every=Every.MONTH).series}
    assert len(found) == 12
    assert [day for day, item in found.items() if item and item.flagged] == [spike]
    assert [item and item.before for item in found.values()] == [None] * 6 + [6, 7, 8, 9, 10, 11]


def test_a_date_without_a_value_stays_in_the_series(store: Store) -> None:
    say(store, "panel-1", {SEP: "4", OCT: None, NOV: "7"})
    found = kpi_history(store.reader, PAR)
    assert [(point.row.value, point.row.status) for point in found.series] == [
        (Decimal("4.00"), "ok"),
        (None, "not_computable"),
        (Decimal("7.00"), "ok"),
    ]
    assert [point.changes["month"] for point in found.series] == [None] * 3
    assert found.series[1].as_dict() == {
        "as_of": "2025-10-31",
        "value": None,
        "value_exact": None,
        "status": "not_computable",
        "reason": "no rows",
        "change_month": None,
        "change_quarter": None,
        "change_year": None,
        "anomaly": None,
        "run_id": "panel-1",
        "recorded_at": NOON.isoformat(),
    }


def test_restatements_say_what_went_into_each_value(store: Store) -> None:
    say(store, "a", {OCT: "4"})
    say(store, "b", {OCT: "5"}, tape="b.csv")
    say(store, "panel-1", {SEP: "1", OCT: "5"}, tape="b.csv")
    say(store, "c", {OCT: None}, tape="b.csv", definition="iris", release="v3")
    say(store, "d", {OCT: "6"}, definition="iris", release="v3")
    digests = {name: sha256(name.encode()).hexdigest()[:12] for name in ("a.csv", "b.csv")}
    say(store, "e", {OCT: "7"}, definition="iris", release="v3")
    found = kpi_history(store.reader, PAR, as_of=OCT)
    assert [(item.row.run_id, item.why) for item in found.said] == [
        ("a", (f"said first (a.csv, {digests['a.csv']})",)),
        ("b", (f"another tape (b.csv, {digests['b.csv']})",)),
        ("panel-1", ("same tape, release and definition",)),
        ("c", ("another release (v3)", "another definition (iris)")),
        ("d", (f"another tape (a.csv, {digests['a.csv']})",)),
        ("e", ("same tape, release and definition; read by another mapping, or in another currency",)),
    ]
    assert [item.change for item in found.said] == [
        None,
        Change(absolute=Decimal(1), relative=Decimal("0.25")),
        Change(absolute=Decimal(0), relative=Decimal(0)),
        None,
        None,
        Change(absolute=Decimal(1), relative=Decimal(1) / 6),
    ]
    investor = kpi_history(store.reader, PAR, as_of=OCT, definition="investor")
    assert [item.row.run_id for item in investor.said] == ["a", "b", "panel-1"]
    assert kpi_history(store.reader, PAR, as_of=NOV).said == ()


def test_cells_have_histories_of_their_own(store: Store) -> None:
    say(store, "a", {OCT: "4"})
    say(store, "b", {OCT: "5"}, segment=("product", "leasing"))
    found = kpi_history(store.reader, PAR, segment="product", segment_value="leasing", as_of=OCT)
    assert values(found) == {OCT: "5.00"}
    assert [item.row.run_id for item in found.said] == ["b"]


def test_of_what_was_never_said_there_is_nothing(store: Store) -> None:
    found = kpi_history(store.reader, PAR, as_of=OCT)
    assert found == KpiHistory(kpi=PAR, unit="", definition=None, release=None, left_out=(), series=(), said=())
