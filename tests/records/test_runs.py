from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.errors import ConfigError, InvariantError, WorldError
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.run_rows import RUN_SEALED, seal, value_columns
from abaco_loans.records.runs import (
    MOVES,
    STATE_ACTIONS,
    KpiRow,
    QuarantineCount,
    RowCounts,
    RunFinish,
    RunReader,
    RunStart,
    RunStatus,
    RunWriter,
)
from abaco_loans.records.store import Store

Start = Callable[..., RunStart]
Kpi = Callable[..., KpiRow]

COUNTS = (
    QuarantineCount(file="tape.csv", column="dpd", code="not_a_number", rows=1, amount=Decimal("10.50")),
    QuarantineCount(file="tape.csv", column="balance", code="negative", rows=2),
)
COPY_OF_A_VALUE = (
    "INSERT INTO kpi_values SELECT 99, run_id, 'new', segment, segment_value, as_of, recorded_at, definition,"
    " release, value, value_exact, unit, status, reason, low, high, components, seal FROM kpi_values LIMIT 1"
)
ERROR = {"what": "too many", "code": "TAPE-201", "where": "tape.csv", "hint": "look"}


def actions(store: Store) -> list[str]:
    return [event.action for event in store.events()]


def sql(store: Store, statement: str) -> None:
    assert store.path is not None
    with sqlite3.connect(store.path) as raw:
        raw.execute(statement)
    raw.close()


def test_the_store_hands_out_the_protocols(store: Store) -> None:
    reader: RunReader = store.reader
    writer: RunWriter = store.writer
    assert (reader.list(), reader.latest_finished(), reader.get("r1")) == ((), None, None)
    assert writer is not None


def test_a_run_comes_back_as_it_was_recorded(store: Store, run_start: Start, run_finish: RunFinish, kpi: Kpi) -> None:
    started = store.writer.start(run_start(), [NewEvent(action="tape.staged", subject="r1", payload={"bytes": 5})])
    assert (started.status, started.attempt, started.rows, started.finished_at) == ("running", 1, None, None)
    values = [
        kpi(),
        kpi(kpi_id="risk.par_90", value=None),
        kpi(value="1E+2", segment="product", segment_value="fácil"),
        dataclasses.replace(kpi(kpi_id="x"), low=Decimal("-0.10"), high=Decimal("33.333333333333333333333333333")),
    ]
    finished = store.writer.finish(
        "r1", run_finish, values, COUNTS, [NewEvent(action="published", subject="r1", payload={})]
    )
    assert store.reader.get("r1") == finished == store.reader.latest_finished() == store.reader.list()[0]
    assert (finished.status, finished.rows, finished.warnings) == (
        "finished",
        run_finish.rows,
        run_finish.warnings,
    )
    assert store.reader.kpi_values("r1") == tuple(values)
    assert [str(row.value) for row in store.reader.kpi_values("r1")] == ["2.40", "None", "1E+2", "2.40"]
    assert set(store.reader.quarantine_counts("r1")) == set(COUNTS)
    assert actions(store) == ["run.started", "tape.staged", "run.finished", "published"]
    assert store.verify().ok
    assert store.faults() == ()


def test_every_pair_of_states(store: Store, run_start: Start, run_finish: RunFinish) -> None:
    writer = store.writer
    states: tuple[RunStatus, ...] = get_args(RunStatus)

    def move(run_id: str, to: RunStatus) -> None:
        match to:
            case "running":
                writer.start(run_start(run_id))
            case "finished":
                writer.finish(run_id, run_finish, [])
            case "refused":
                writer.refuse(run_id, ERROR)
            case "failed":
                writer.fail(run_id, ERROR)

    for old, new in product(("", *states), states):
        run_id = f"{old or 'none'}-{new}"
        if old:
            move(run_id, "running")
        if old not in ("", "running"):
            move(run_id, old)  # type: ignore[arg-type]
        before = store.head()
        if (old, new) in MOVES:
            move(run_id, new)
            assert store.reader.get(run_id).status == new  # type: ignore[union-attr]
            assert store.head().count == before.count + 1
        else:
            with pytest.raises(InvariantError, match="no move"):
                move(run_id, new)
            assert store.head() == before


def test_restart_clears_the_failed_attempt(store: Store, run_start: Start, run_finish: RunFinish, kpi: Kpi) -> None:
    store.writer.start(run_start())
    refused = store.writer.refuse("r1", ERROR, COUNTS, RowCounts(rows_in=3, accepted=0, quarantined=3, duplicate=0))
    assert refused.error == ERROR
    assert len(store.reader.quarantine_counts("r1")) == 2
    again = store.writer.start(run_start())
    assert (again.attempt, again.error, again.rows, again.finished_at) == (2, None, None, None)
    assert store.reader.quarantine_counts("r1") == ()
    store.writer.finish("r1", run_finish, [kpi()], COUNTS[:1])
    assert store.reader.quarantine_counts("r1") == COUNTS[:1]
    assert actions(store) == ["run.started", "run.refused", "run.restarted", "run.finished"]
    assert [event.payload["attempt"] for event in store.events()] == [1, 1, 2, 2]
    assert store.faults() == ()


def test_restart_of_a_finished_run_is_refused(store: Store, run_start: Start, run_finish: RunFinish) -> None:
    store.writer.start(run_start())
    store.writer.finish("r1", run_finish, [])
    with pytest.raises(InvariantError):
        store.writer.start(run_start())
    assert store.reader.get("r1").attempt == 1  # type: ignore[union-attr]


def test_restart_with_other_inputs_is_refused(store: Store, run_start: Start) -> None:
    store.writer.start(run_start())
    with pytest.raises(InvariantError, match="tape_sha256"):
        store.writer.start(dataclasses.replace(run_start(), tape_sha256="0" * 64))
    store.writer.start(dataclasses.replace(run_start(), tape_path="copy of tape.csv"))


def test_late_write_of_an_attempt_that_was_taken_over(store: Store, run_start: Start, run_finish: RunFinish) -> None:
    first = store.writer.start(run_start())
    second = store.writer.start(run_start())
    with pytest.raises(WorldError, match="REC-109"):
        store.writer.finish("r1", run_finish, [], attempt=first.attempt)
    assert store.writer.finish("r1", run_finish, [], attempt=second.attempt).status == "finished"


@pytest.mark.parametrize("action", sorted(STATE_ACTIONS))
def test_callers_cannot_make_state_events(action: str, store: Store, run_start: Start) -> None:
    with pytest.raises(InvariantError, match="itself"):
        store.writer.start(run_start(), [NewEvent(action=action, subject="r1", payload={})])
    assert store.reader.get("r1") is None


def test_what_is_no_number_or_no_moment_is_refused(
    store: Store, run_start: Start, run_finish: RunFinish, kpi: Kpi
) -> None:
    store.writer.start(run_start())
    wrong: list[Any] = [
        kpi(value="NaN"),
        kpi(value="Infinity"),
        kpi(run_id="other"),
        dataclasses.replace(kpi(), recorded_at=datetime(2026, 1, 1)),  # noqa: DTZ001
    ]
    for value in wrong:
        with pytest.raises(InvariantError):
            store.writer.finish("r1", run_finish, [value])
    with pytest.raises(InvariantError, match="refused a row"):
        store.writer.finish("r1", run_finish, [kpi(), kpi()])
    with pytest.raises(InvariantError, match="add up"):
        RowCounts(rows_in=3, accepted=1, quarantined=1, duplicate=0)
    assert actions(store) == ["run.started"]
    assert store.reader.kpi_values("r1") == ()


def finish_run(store: Store, start: RunStart, finish: RunFinish, *values: KpiRow) -> None:
    store.writer.start(start)
    store.writer.finish(start.run_id, finish, values)


def test_history_keeps_what_was_said_before(store: Store, run_start: Start, run_finish: RunFinish, kpi: Kpi) -> None:
    march, april = date(2026, 3, 31), date(2026, 4, 30)
    finish_run(store, run_start("b", as_of=april), run_finish, kpi("b", value="3", as_of=april))
    finish_run(
        store,
        run_start("a"),
        run_finish,
        kpi("a", value="1"),
        kpi("a", value="9", segment="p", segment_value="x"),
    )
    finish_run(store, run_start("c"), run_finish, kpi("c", value="2"))
    said = store.reader.history("risk.par_30")
    assert [(row.as_of, row.value) for row in said] == [
        (march, Decimal(1)),
        (march, Decimal(2)),
        (april, Decimal(3)),
    ]
    assert [row.run_id for row in store.reader.history("risk.par_30", as_of=march)] == ["a", "c"]
    assert [row.value for row in store.reader.history("risk.par_30", segment="p", segment_value="x")] == [Decimal(9)]
    assert [run.run_id for run in store.reader.list()] == ["c", "a", "b"]
    assert [run.run_id for run in store.reader.list(limit=1)] == ["c"]


def test_previous_values(store: Store, clock: FixedClock, run_start: Start, run_finish: RunFinish, kpi: Kpi) -> None:
    jan, feb, mar = date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)
    finish_run(store, run_start("feb1", as_of=feb), run_finish, kpi("feb1", value="1", as_of=feb))
    clock.move_to(datetime.fromisoformat("2020-01-01T00:00:00+00:00"))  # order never comes from the clock
    finish_run(
        store,
        run_start("feb2", as_of=feb),
        run_finish,
        kpi("feb2", value="2", as_of=feb),
        kpi("feb2", value="7", as_of=jan),
        kpi("feb2", value="8", as_of=feb, segment="p", segment_value="x"),
    )
    finish_run(store, run_start("jan", as_of=jan), run_finish, kpi("jan", value="3", as_of=jan))
    finish_run(store, run_start("mar", as_of=mar), run_finish, kpi("mar", value="4", as_of=mar))
    finish_run(store, run_start("other", as_of=feb, definition="all"), run_finish)
    store.writer.start(run_start("unfinished", as_of=date(2026, 3, 1)))

    def previous(before: date, **more: str) -> dict[str, str]:
        found = store.reader.previous_values(before=before, definition="portfolio", **more)
        return {kpi_id: row.run_id for kpi_id, row in found.items()}

    assert previous(mar) == {"risk.par_30": "feb2"}
    assert store.reader.previous_values(before=mar, definition="portfolio")["risk.par_30"].value == Decimal(2)
    assert previous(feb) == {"risk.par_30": "jan"}
    assert previous(jan) == {}
    assert previous(mar, release="v1") == {}


def test_releases_are_recorded_amended_and_never_change_meaning(store: Store, run_start: Start) -> None:
    given = {"kind": "catalogue", "role": "active", "meaning_digest": "m1", "policy_digest": "p1"}
    assert store.writer.ensure_release("v2", **given)
    assert not store.writer.ensure_release("v2", **given)
    assert actions(store) == ["release.recorded"]
    assert not store.writer.ensure_release("v2", **given | {"role": "standby", "policy_digest": "p2"})
    assert actions(store)[1:] == ["release.role_changed", "release.amended"]
    with pytest.raises(ConfigError, match="REC-121"):
        store.writer.ensure_release("v2", **given | {"meaning_digest": "m2"})
    store.writer.start(run_start())
    assert store.path is not None
    raw = sqlite3.connect(store.path)
    assert raw.execute("SELECT policy_digest, first_run_at FROM releases").fetchall() == [
        ("p2", "2026-03-31T12:00:00.000000+00:00")
    ]
    raw.close()


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE kpi_values SET value = '1.40'", "kpi_values"),
        ("UPDATE kpi_values SET value = '1.40'", "history"),
        ("UPDATE kpi_values SET components = '{}'", "previous_values"),
        ("DELETE FROM kpi_values WHERE kpi_id = 'risk.par_90'", "kpi_values"),
        (COPY_OF_A_VALUE, "kpi_values"),
        ("UPDATE runs SET rows_accepted = 9, rows_quarantined = 0", "get"),
        ("UPDATE runs SET warnings = '[]'", "list"),
        ("UPDATE runs SET manifest_sha256 = 'x'", "latest_finished"),
        ("UPDATE quarantine_counts SET rows = 0", "quarantine_counts"),
        ("DELETE FROM quarantine_counts", "quarantine_counts"),
    ],
)  # fmt: skip
def test_altered_results_are_never_shown(
    statement: str, read: str, store: Store, run_start: Start, run_finish: RunFinish, kpi: Kpi
) -> None:
    store.writer.start(run_start())
    store.writer.finish("r1", run_finish, [kpi(), kpi(kpi_id="risk.par_90")], COUNTS)
    reads: dict[str, Callable[[], object]] = {
        "kpi_values": lambda: store.reader.kpi_values("r1"),
        "history": lambda: store.reader.history("risk.par_30"),
        "previous_values": lambda: store.reader.previous_values(before=date(2027, 1, 1), definition="portfolio"),
        "get": lambda: store.reader.get("r1"),
        "list": store.reader.list,
        "latest_finished": store.reader.latest_finished,
        "quarantine_counts": lambda: store.reader.quarantine_counts("r1"),
    }
    assert reads[read]()
    sql(store, statement)
    with pytest.raises(WorldError, match="REC-105"):
        reads[read]()
    assert store.faults() != ()


def test_a_run_with_a_fresh_seal_is_found_by_the_ledger(store: Store, run_start: Start, run_finish: RunFinish) -> None:
    store.writer.start(run_start("r1"))
    store.writer.finish("r1", run_finish, [])
    with store._database.read() as connection:
        row = connection.rows("SELECT * FROM runs")[0] | {"output_folder": "elsewhere"}
    sql(store, f"UPDATE runs SET output_folder = 'elsewhere', seal = '{seal(row, RUN_SEALED)}'")
    assert store.faults() == ("run r1: what is stored is not what was written",)


def test_an_alteration_with_a_fresh_seal_is_found_by_the_ledger(
    store: Store, run_start: Start, run_finish: RunFinish, kpi: Kpi
) -> None:
    store.writer.start(run_start())
    store.writer.finish("r1", run_finish, [kpi()])
    forged = value_columns(kpi(value="0.10"), "r1")
    sql(store, f"UPDATE kpi_values SET value = '0.10', value_exact = '0.10', seal = '{forged['seal']}'")
    with pytest.raises(WorldError, match="REC-105"):
        store.reader.kpi_values("r1")
    assert store.faults() == ("the KPI values of run r1: what is stored is not what was written",)
