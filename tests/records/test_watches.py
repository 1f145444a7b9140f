"""Watches, their checkpoints and decisions, on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.cutovers import NewCutover
from abaco_loans.records.run_rows import seal
from abaco_loans.records.store import Store, open_store
from abaco_loans.records.watch_rows import CHECKPOINT_SEALED, DECISION_SEALED, WATCH_SEALED
from abaco_loans.records.watches import MOVES, NewCheckpoint, NewWatch, WatchReader, WatchStatus, WatchWriter
from tests.records.conftest import NOON

Sweep = Callable[[Callable[[Store], object], Callable[[Store], object]], None]

STATUSES: tuple[WatchStatus, ...] = get_args(WatchStatus)
PATHS: dict[WatchStatus, tuple[WatchStatus, ...]] = {
    "watching": (),
    "extended": ("extended",),
    "signed_off": ("extended", "signed_off"),
    "ended": ("ended",),
}
ENDING = ": what is stored is not what was written"


@pytest.fixture
def url(url_of_each: str) -> str:
    return url_of_each


def new(watch_id: str = "c1") -> NewWatch:
    return NewWatch(
        watch_id=watch_id, release="v2", baseline_release="v1", started_at=NOON, baseline={"memory_mb": "105.5"}
    )


def start(store: Store, watch_id: str = "c1") -> None:
    """Begin a watch of a cutover, which must be there."""
    store.cutover_writer.add(
        NewCutover(cutover_id=watch_id, kind="cutover", from_release="v1", to_release="v2", plan="{}", plan_hash="h")
    )
    store.watch_writer.start(new(watch_id))


def checkpoint(hour: str = "1", *, missed: bool = False, **more: Any) -> NewCheckpoint:
    made = NewCheckpoint(
        watch_id="c1",
        hour=hour,
        due_at=NOON + timedelta(hours=float(hour)),
        done_at=None if missed else NOON + timedelta(hours=float(hour), minutes=2),
        metrics={} if missed else {"memory_mb": "105.1", "cpu_percent": None},
        judged={} if missed else {"status": "UNKNOWN", "triggers": []},
    )
    return dataclasses.replace(made, **more)


def rows(store: Store, statement: str, **values: object) -> list[dict[str, Any]]:
    with store._database.write() as connection:
        return connection.rows(statement, **values)


def whole(store: Store) -> bool:
    return store.verify().ok and store.faults() == ()


def test_a_watch_comes_back_as_it_was_recorded(store: Store, clock: FixedClock) -> None:
    reader: WatchReader = store.watch_reader
    writer: WatchWriter = store.watch_writer
    start(store)
    watch = reader.get("c1")
    assert watch is not None
    assert {name: getattr(watch, name) for name in NewWatch.__slots__} == dataclasses.asdict(new())
    assert (watch.status, watch.ends_at, watch.event_seq) == ("watching", None, 2)
    assert reader.current() == watch == reader.list()[0]
    done, is_new = writer.checkpoint(checkpoint())
    assert is_new
    assert {name: getattr(done, name) for name in NewCheckpoint.__slots__} == dataclasses.asdict(checkpoint())
    assert done.status == "done"
    missed, _ = writer.checkpoint(checkpoint("2", missed=True))
    assert (missed.status, missed.done_at, missed.metrics) == ("missed", None, {})
    half, _ = writer.checkpoint(checkpoint("2.5"))
    assert reader.checkpoints("c1") == (done, missed, half)
    asked, is_new = writer.ask("c1", "24", NOON + timedelta(hours=28))
    assert (is_new, asked.decision, asked.by_default, asked.asked_at) == (True, None, False, clock.now())
    early, _ = writer.ask("c1", "8", NOON + timedelta(hours=9))
    assert reader.decisions("c1") == (early, asked)
    late = writer.decide("c1", "8", "keep", "nobody decided", by_default=True, then=None)
    assert late == dataclasses.replace(
        early, decision="keep", reason="nobody decided", by_default=True, event_seq=late.event_seq
    )
    made = writer.decide("c1", "24", "sign_off", "all is calm", by_default=False, then="signed_off")
    assert (made.decided_by, made.decision, made.by_default) == ("ana", "sign_off", False)
    assert reader.decisions("c1") == (late, made)
    signed = reader.current()
    assert signed is not None
    assert signed.status == "signed_off"
    clock.move_to(NOON + timedelta(days=28))
    ended = writer.move("c1", "ended", "28 days are over")
    assert ended == dataclasses.replace(signed, status="ended", ends_at=clock.now(), event_seq=ended.event_seq)
    assert reader.current() is None
    assert (reader.get("c2"), reader.checkpoints("c2"), reader.decisions("c2")) == (None, (), ())
    assert [event.action for event in store.events()][1:] == [
        "watch.watching", "checkpoint.done", "checkpoint.missed", "checkpoint.done", "decision.asked",
        "decision.asked", "decision.defaulted", "decision.made", "watch.signed_off", "watch.ended",
    ]  # fmt: skip
    assert whole(store)


def test_every_pair_of_statuses(store: Store) -> None:
    for number, (old, to) in enumerate(product(STATUSES, STATUSES)):
        watch_id = f"c{number}"
        start(store, watch_id)
        for status in PATHS[old]:
            store.watch_writer.move(watch_id, status, "")
        before = store.head()
        if (old, to) in MOVES:
            assert store.watch_writer.move(watch_id, to, "why").status == to
        else:
            with pytest.raises(InvariantError, match="no move"):
                store.watch_writer.move(watch_id, to, "why")
            assert store.head() == before
    assert whole(store)


def test_everything_is_recorded_once(store: Store) -> None:
    start(store)
    writer = store.watch_writer
    first, _ = writer.checkpoint(checkpoint())
    asked, _ = writer.ask("c1", "8", NOON)
    before = store.head()
    assert writer.start(new()) == (store.watch_reader.get("c1"), False)
    assert writer.checkpoint(checkpoint(missed=True)) == (first, False)
    assert writer.checkpoint(checkpoint(metrics={"memory_mb": "1"})) == (first, False)
    assert writer.ask("c1", "8", NOON + timedelta(days=1)) == (asked, False)
    assert store.head() == before
    writer.decide("c1", "8", "keep", "", by_default=True, then=None)
    for point in ("8", "24"):
        with pytest.raises(InvariantError, match="no decision is open"):
            writer.decide("c1", point, "reduce", "late", by_default=False, then=None)
    writer.move("c1", "ended", "")
    before = store.head()
    calls: Sequence[Callable[[], object]] = (
        lambda: writer.checkpoint(checkpoint("2")),
        lambda: writer.ask("c1", "24", NOON),
        lambda: writer.decide("c1", "24", "keep", "", by_default=True, then=None),
    )
    for call in calls:
        with pytest.raises(InvariantError, match="has ended"):
            call()
    for watch_id in ("c9", ""):
        with pytest.raises(InvariantError, match="there is none"):
            writer.move(watch_id, "ended", "")
    with pytest.raises(InvariantError):
        writer.start(dataclasses.replace(new("c2"), baseline={"memory_mb": 105.5}))  # type: ignore[dict-item]
    assert store.head() == before
    assert whole(store)


def test_one_watch_at_a_time(store: Store) -> None:
    start(store, "c1")
    store.watch_writer.move("c1", "signed_off", "")
    start(store, "c2")
    first, current = store.watch_reader.get("c1"), store.watch_reader.current()
    assert first is not None
    assert current is not None
    assert (first.status, current.watch_id) == ("ended", "c2")
    assert [item.watch_id for item in store.watch_reader.list()] == ["c2", "c1"]
    assert [item.watch_id for item in store.watch_reader.list(limit=1)] == ["c2"]
    assert "c2 is watched instead" in [event.payload.get("reason", "") for event in store.events()][-2]
    assert whole(store)


def test_a_decision_and_where_it_leads_are_one(store: Store) -> None:
    start(store)
    store.watch_writer.ask("c1", "24", NOON)
    store.watch_writer.move("c1", "signed_off", "")
    before = store.head(), store.watch_reader.decisions("c1")
    with pytest.raises(InvariantError, match="no move"):
        store.watch_writer.decide("c1", "24", "extend", "late", by_default=False, then="extended")
    assert (store.head(), store.watch_reader.decisions("c1")) == before


@pytest.mark.parametrize("call", ["start", "checkpoint", "ask", "decide"])
def test_killed_between_any_two_statements_leaves_both_or_neither(
    call: str, sqlite_url: str, clock: FixedClock, kill_between: Sweep
) -> None:
    with open_store(sqlite_url, clock=clock, actor="ana") as store:
        start(store)
        store.watch_writer.ask("c1", "24", NOON)
        store.cutover_writer.add(
            NewCutover(cutover_id="c2", kind="cutover", from_release="v2", to_release="v3", plan="{}", plan_hash="h")
        )
    calls: dict[str, Callable[[Store], object]] = {
        "start": lambda store: store.watch_writer.start(new("c2")),
        "checkpoint": lambda store: store.watch_writer.checkpoint(checkpoint()),
        "ask": lambda store: store.watch_writer.ask("c1", "8", NOON),
        "decide": lambda store: store.watch_writer.decide("c1", "24", "extend", "", by_default=True, then="extended"),
    }

    def seen(store: Store) -> object:
        reader = store.watch_reader
        return reader.list(), reader.checkpoints("c1"), reader.decisions("c1")

    kill_between(calls[call], seen)


# --- what is altered is found ---


def played(store: Store) -> None:
    start(store, "c0")
    start(store)
    for hour in ("1", "2", "10"):
        store.watch_writer.checkpoint(checkpoint(hour, missed=hour == "2"))
    for point in ("8", "24"):
        store.watch_writer.ask("c1", point, NOON)
    store.watch_writer.decide("c1", "8", "keep", "", by_default=True, then=None)


WATCH, CHECKPOINTS, DECISIONS = "watch c1", "the checkpoints of watch c1", "the decisions of watch c1"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE watches SET status = 'signed_off' WHERE watch_id = 'c1'", WATCH),
        ("UPDATE watches SET baseline = '{}' WHERE watch_id = 'c1'", WATCH),
        ("UPDATE checkpoints SET status = 'done' WHERE hour = '2'", CHECKPOINTS),
        ("UPDATE checkpoints SET judged = '{}' WHERE hour = '1'", CHECKPOINTS),
        ("UPDATE checkpoints SET hour = '12' WHERE hour = '10'", CHECKPOINTS),
        ("DELETE FROM checkpoints WHERE hour = '2'", CHECKPOINTS),
        ("DELETE FROM checkpoints", CHECKPOINTS),
        ("UPDATE decisions SET by_default = 0, decided_by = 'ben' WHERE point = '8'", DECISIONS),
        ("UPDATE decisions SET deadline = '2030-01-01' WHERE point = '24'", DECISIONS),
        ("DELETE FROM decisions WHERE point = '24'", DECISIONS),
        ("UPDATE events SET payload = '[]' WHERE action = 'decision.defaulted'", DECISIONS),
    ],
)
def test_altered_rows_are_never_shown(statement: str, found: str, file_store: Store) -> None:
    store = file_store
    played(store)
    reader, writer = store.watch_reader, store.watch_writer
    assert (len(reader.checkpoints("c1")), len(reader.decisions("c1")), store.faults()) == (3, 2, ())
    rows(store, statement)
    assert store.faults() == (found + ENDING,)
    reads: dict[str, Sequence[Callable[[], object]]] = {
        WATCH: (reader.current, lambda: reader.get("c1"), lambda: writer.move("c1", "ended", "")),
        CHECKPOINTS: (lambda: reader.checkpoints("c1"), lambda: writer.checkpoint(checkpoint("12"))),
        DECISIONS: (lambda: reader.decisions("c1"), lambda: writer.ask("c1", "48", NOON)),
    }
    for read in reads[found]:
        with pytest.raises(WorldError, match="REC-105"):
            read()


@pytest.mark.parametrize(
    ("table", "sealed", "where", "change"),
    [
        ("watches", WATCH_SEALED, "watch_id = 'c1'", {"release": "v9"}),
        ("checkpoints", CHECKPOINT_SEALED, "hour = '1'", {"metrics": '{"memory_mb":"1"}'}),
        ("decisions", DECISION_SEALED, "point = '8'", {"decision": "reduce"}),
    ],
)
def test_a_row_with_a_fresh_seal_is_found_by_the_ledger(
    table: str, sealed: list[str], where: str, change: dict[str, str], store: Store
) -> None:
    played(store)
    (row,) = rows(store, f"SELECT * FROM {table} WHERE {where}")
    forged = change | {"seal": seal(row | change, sealed)}
    rows(store, f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in forged)} WHERE {where}", **forged)
    assert len(store.faults()) == 1


def test_a_watch_that_is_taken_out_is_found(file_store: Store) -> None:
    start(file_store)
    rows(file_store, "DELETE FROM watches")
    with pytest.raises(WorldError, match="REC-105"):
        file_store.watch_reader.current()
