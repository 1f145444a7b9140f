"""Cutovers, their approvals and the journal of their steps, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.cutover_rows import APPROVAL_SEALED, CUTOVER_SEALED, STEP_SEALED
from abaco_loans.records.cutovers import (
    ENDED,
    MOVES,
    STEP_MOVES,
    CutoverKind,
    CutoverReader,
    CutoverStatus,
    CutoverWriter,
    NewApproval,
    NewCutover,
    StepStatus,
)
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.run_rows import seal
from abaco_loans.records.store import Store, open_store

Child = Callable[[Callable[[], None]], int]
Outcome = Callable[[int], int]
Sweep = Callable[[Callable[[Store], object], Callable[[Store], object]], None]

STATUSES: tuple[CutoverStatus, ...] = get_args(CutoverStatus)
# How a cutover gets to each status.
PATHS: dict[CutoverStatus, tuple[CutoverStatus, ...]] = {
    "planned": (),
    "running": ("running",),
    "held": ("running", "held"),
    "completed": ("running", "completed"),
    "rolled_back": ("running", "rolled_back"),
    "stopped": ("stopped",),
}
STEP_PATHS: dict[StepStatus, tuple[StepStatus, ...]] = {
    "started": ("started",),
    "done": ("started", "done"),
    "failed": ("started", "failed"),
    "undone": ("started", "undone"),
}
ENDING = ": what is stored is not what was written"


@pytest.fixture
def url(url_of_each: str) -> str:
    return url_of_each


def plan(cutover_id: str = "c1", kind: CutoverKind = "cutover") -> NewCutover:
    return NewCutover(
        cutover_id=cutover_id, kind=kind, from_release="v1", to_release="v2", plan='{"steps":[]}', plan_hash="h1"
    )


def approval(clock: FixedClock, person: str = "ben", **more: Any) -> NewApproval:
    new = NewApproval(
        cutover_id="c1",
        plan_hash="h1",
        role="ops",
        person=person,
        how="account",
        verified=True,
        reason="",
        expires_at=clock.now() + timedelta(hours=12),
    )
    return dataclasses.replace(new, **more)


def lead(store: Store, cutover_id: str, to: CutoverStatus, kind: CutoverKind = "cutover") -> None:
    """Record a cutover and move it to a status."""
    store.cutover_writer.add(plan(cutover_id, kind))
    for status in PATHS[to]:
        store.cutover_writer.move(cutover_id, status)


def step(store: Store, number: int, to: StepStatus) -> None:
    if to == "started":
        store.cutover_writer.begin_step("c1", number, 3, "switch")
    else:
        store.cutover_writer.end_step("c1", number, to, {"epoch": 2})


def rows(store: Store, statement: str, **values: object) -> list[dict[str, Any]]:
    with store._database.write() as connection:
        return connection.rows(statement, **values)


def whole(store: Store) -> bool:
    return store.verify().ok and store.faults() == ()


def test_a_cutover_and_its_journal_come_back_as_they_were_recorded(store: Store, clock: FixedClock) -> None:
    reader: CutoverReader = store.cutover_reader
    writer: CutoverWriter = store.cutover_writer
    began = clock.now()
    planned = writer.add(plan())
    assert {name: getattr(planned, name) for name in NewCutover.__slots__} == dataclasses.asdict(plan())
    assert (planned.status, planned.created_by, planned.created_at) == ("planned", "ana", began)
    assert (planned.started_at, planned.finished_at, planned.outcome, planned.event_seq) == (None, None, None, 1)
    assert reader.get("c1") == planned
    assert reader.running() is None

    clock.move_to(began + timedelta(minutes=1))
    running = writer.move("c1", "running")
    assert running == dataclasses.replace(planned, status="running", started_at=clock.now(), event_seq=2)
    assert reader.running() == running
    first = writer.begin_step("c1", 1, 0, "checks")
    assert (first.status, first.attempt, dict(first.evidence), first.finished_at) == ("started", 1, {}, None)
    clock.move_to(began + timedelta(minutes=2))
    done = writer.end_step("c1", 1, "done", {"gates": "passed", "tapes": [3]})
    assert done == dataclasses.replace(
        first, status="done", evidence={"gates": "passed", "tapes": [3]}, finished_at=clock.now(), event_seq=4
    )
    assert reader.steps("c1") == (done,)
    held = writer.move("c1", "held", {"waits": "metric missing"})
    assert held == dataclasses.replace(running, status="held", outcome={"waits": "metric missing"}, event_seq=5)
    again = writer.move("c1", "running")
    assert (again.started_at, again.outcome) == (running.started_at, held.outcome)
    ended = writer.move("c1", "completed", {"no_release_seconds": "1.2"})
    assert (ended.finished_at, ended.outcome) == (clock.now(), {"no_release_seconds": "1.2"})
    assert reader.get("c1") == ended == reader.list()[0]
    assert reader.running() is None
    assert (reader.get("c2"), reader.steps("c2"), reader.approvals("c2")) == (None, (), ())
    events = [*store.events()]
    assert [event.action for event in events] == [
        "cutover.planned", "cutover.running", "step.started", "step.done", "cutover.held", "cutover.running",
        "cutover.completed",
    ]  # fmt: skip
    assert {event.subject for event in events} == {"c1"}
    assert events[4].payload["outcome"] == {"waits": "metric missing"}
    assert whole(store)


def test_every_pair_of_moves_of_a_cutover(store: Store) -> None:
    def move(cutover_id: str, to: CutoverStatus) -> None:
        if to == "planned":
            store.cutover_writer.add(plan(cutover_id))
        else:
            store.cutover_writer.move(cutover_id, to)

    for old, new in product(STATUSES, STATUSES):
        cutover_id = f"{old}-{new}"
        lead(store, cutover_id, old)
        before = store.head()
        if (old, new) in MOVES:
            move(cutover_id, new)
            assert store.cutover_reader.get(cutover_id).status == new  # type: ignore[union-attr]
            assert store.head().count == before.count + 1
        else:
            with pytest.raises(InvariantError, match="no move"):
                move(cutover_id, new)
            assert store.head() == before
        if store.cutover_reader.running():
            store.cutover_writer.move(cutover_id, "stopped")
    for to in set(STATUSES) - {"planned"}:
        with pytest.raises(InvariantError, match="there is none"):
            move("never planned", to)
    assert whole(store)


def test_every_pair_of_moves_of_a_step(store: Store) -> None:
    lead(store, "c1", "running")
    states: tuple[StepStatus, ...] = get_args(StepStatus)
    for number, (old, new) in enumerate(product(("", *states), states)):
        for status in STEP_PATHS[old] if old else ():  # type: ignore[index]
            step(store, number, status)
        before = store.head()
        if (old, new) in STEP_MOVES:
            step(store, number, new)
            found = {item.number: item for item in store.cutover_reader.steps("c1")}[number]
            assert (found.status, found.attempt) == (new, 2 if old and new == "started" else 1)
            assert found.evidence == ({} if new == "started" else {"epoch": 2})
            assert store.head().count == before.count + 1
        else:
            with pytest.raises(InvariantError, match="no move"):
                step(store, number, new)
            assert store.head() == before
    with pytest.raises(InvariantError, match="does not end"):
        store.cutover_writer.end_step("c1", 0, "started")
    assert whole(store)


def test_steps_may_be_undone_from_the_last_one_back(store: Store) -> None:
    lead(store, "c1", "running")
    for number in (1, 2, 10):
        step(store, number, "started")
        step(store, number, "done")
    for number in (10, 2, 1):
        step(store, number, "undone")
    assert [(item.number, item.status) for item in store.cutover_reader.steps("c1")] == [
        (1, "undone"), (2, "undone"), (10, "undone"),
    ]  # fmt: skip
    assert whole(store)


def test_the_time_of_a_step_runs_from_its_first_attempt_until_it_ends(store: Store, clock: FixedClock) -> None:
    """Else every attempt would put its deadline off."""
    lead(store, "c1", "running")
    began = clock.now()

    def begun(after_hours: int) -> tuple[int, float]:
        clock.move_to(began + timedelta(hours=after_hours))
        made = store.cutover_writer.begin_step("c1", 1, 3, "switch")
        return made.attempt, (made.started_at - began) / timedelta(hours=1)

    assert [begun(hours) for hours in (0, 1, 2)] == [(1, 0), (2, 0), (3, 0)]
    step(store, 1, "failed")
    assert [begun(hours) for hours in (3, 4)] == [(4, 3), (5, 3)]
    step(store, 1, "done")
    step(store, 1, "undone")
    assert begun(5) == (6, 5)


def test_a_step_keeps_its_name_and_a_journal_is_closed_at_the_end(store: Store) -> None:
    lead(store, "c1", "running")
    step(store, 1, "started")
    for phase, name in ((4, "switch"), (3, "another")):
        with pytest.raises(InvariantError, match="step 1 is switch"):
            store.cutover_writer.begin_step("c1", 1, phase, name)
    with pytest.raises(InvariantError):
        store.cutover_writer.end_step("c1", 1, "done", {"seconds": 0.5})
    with pytest.raises(InvariantError):
        store.cutover_writer.move("c1", "held", {"seconds": 0.5})
    store.cutover_writer.move("c1", "stopped")
    for status in ENDED:
        lead(store, status, status)
    for cutover_id in ("c1", *ENDED):
        with pytest.raises(InvariantError, match="closed"):
            store.cutover_writer.begin_step(cutover_id, 2, 3, "late")
        with pytest.raises(InvariantError, match="closed"):
            store.cutover_writer.end_step(cutover_id, 1, "undone")
    with pytest.raises(InvariantError, match="there is none"):
        store.cutover_writer.begin_step("c9", 1, 3, "switch")
    assert whole(store)


def test_one_cutover_or_rollback_at_a_time(store: Store) -> None:
    writer = store.cutover_writer
    lead(store, "first", "running")
    kinds: tuple[CutoverKind, ...] = ("cutover", "rollback")
    for kind in kinds:
        writer.add(plan(kind, kind))
    statuses: tuple[CutoverStatus, ...] = ("held", "running")
    for status in statuses:
        writer.move("first", status)
        for kind in kinds:
            before = store.head()
            with pytest.raises(WorldError, match="REC-114") as caught:
                writer.move(kind, "running")
            assert "first is " + status in caught.value.what
            assert store.head() == before
    lead(store, "drill 1", "held", "drill")
    lead(store, "drill 2", "running", "drill")
    assert store.cutover_reader.running().cutover_id == "first"  # type: ignore[union-attr]
    writer.move("rollback", "stopped")
    writer.move("first", "rolled_back")
    assert store.cutover_reader.running() is None
    assert writer.move("cutover", "running") == store.cutover_reader.running()
    assert whole(store)


def test_the_database_refuses_a_second_one_too(store: Store) -> None:
    lead(store, "c1", "running")
    lead(store, "c2", "planned")
    with pytest.raises(InvariantError, match="refused a row"):
        rows(store, "UPDATE cutovers SET under_way = 1 WHERE cutover_id = 'c2'")


def test_one_of_many_that_start_at_once(url: str, store: Store, in_child: Child, outcome: Outcome) -> None:
    for number in range(3):
        lead(store, f"c{number}", "planned")

    def work(number: int) -> None:
        with (
            open_store(url, clock=SystemClock(), actor=f"p{number}", timeout_s=60) as mine,
            contextlib.suppress(WorldError),
        ):
            mine.cutover_writer.move(f"c{number}", "running")
            mine.append([NewEvent(action="won", subject=f"c{number}", payload={})])

    children = [in_child(lambda number=number: work(number)) for number in range(3)]  # type: ignore[misc]
    assert [outcome(pid) for pid in children] == [0, 0, 0]
    (won,) = [event.subject for event in store.events() if event.action == "won"]
    assert store.cutover_reader.running().cutover_id == won  # type: ignore[union-attr]
    assert whole(store)


def test_lists_are_newest_first(store: Store, clock: FixedClock) -> None:
    for name in ("a", "b", "c"):
        store.cutover_writer.add(plan(name))
        clock.move_to(clock.now() - timedelta(days=1))  # order never comes from the clock
    store.cutover_writer.move("a", "stopped")
    assert [item.cutover_id for item in store.cutover_reader.list()] == ["a", "c", "b"]
    assert [item.cutover_id for item in store.cutover_reader.list(limit=1)] == ["a"]


def test_approvals_come_back_and_are_of_this_plan(store: Store, clock: FixedClock) -> None:
    lead(store, "c1", "planned")
    new = approval(clock)
    first = store.cutover_writer.approve(new)
    assert {name: getattr(first, name) for name in NewApproval.__slots__} == dataclasses.asdict(new)
    assert first.at == clock.now()
    second = store.cutover_writer.approve(
        approval(clock, "cid", role="finance", how="token", verified=False, reason="the token has expired")
    )
    lead(store, "c2", "planned")
    store.cutover_writer.approve(approval(clock, cutover_id="c2"))
    assert store.cutover_reader.approvals("c1") == (first, second)
    before = store.head()
    for bad in ({"plan_hash": "h2"}, {"cutover_id": "c9"}, {"expires_at": clock.now().replace(tzinfo=None)}):
        with pytest.raises(InvariantError):
            store.cutover_writer.approve(approval(clock, **bad))
    assert store.head() == before
    told = [event.payload for event in store.events() if event.action == "cutover.approved"]
    assert [(item["person"], item["verified"]) for item in told] == [("ben", True), ("cid", False), ("ben", True)]
    assert whole(store)


@pytest.mark.parametrize("call", ["add", "move", "begin", "end", "approve"])
def test_killed_between_any_two_statements_leaves_both_or_neither(
    call: str, sqlite_url: str, clock: FixedClock, kill_between: Sweep
) -> None:
    with open_store(sqlite_url, clock=clock, actor="ana") as store:
        lead(store, "c1", "running")
        step(store, 1, "started")
    calls: dict[str, Callable[[Store], object]] = {
        "add": lambda store: store.cutover_writer.add(plan("c2")),
        "move": lambda store: store.cutover_writer.move("c1", "completed"),
        "begin": lambda store: store.cutover_writer.begin_step("c1", 2, 3, "switch"),
        "end": lambda store: store.cutover_writer.end_step("c1", 1, "done"),
        "approve": lambda store: store.cutover_writer.approve(approval(clock)),
    }

    def seen(store: Store) -> object:
        reader = store.cutover_reader
        return reader.list(), reader.steps("c1"), reader.approvals("c1")

    kill_between(calls[call], seen)


# --- what is altered is found ---


def played(store: Store, clock: FixedClock) -> None:
    lead(store, "c1", "planned")
    for person in ("ben", "cid"):
        store.cutover_writer.approve(approval(clock, person))
    store.cutover_writer.move("c1", "running")
    for number in (1, 2):
        step(store, number, "started")
        step(store, number, "done")
    lead(store, "c2", "planned")


COPY = (
    "INSERT INTO approvals SELECT id + 9, cutover_id, plan_hash, 'finance', 'dan', how, verified, reason, at,"
    " expires_at, seal, event_seq FROM approvals WHERE person = 'cid'"
)
STEPS, APPROVALS = "the steps of cutover c1", "the approvals of cutover c1"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE cutovers SET plan_hash = 'h2' WHERE cutover_id = 'c1'", "cutover c1"),
        ("UPDATE cutovers SET plan = '{}' WHERE cutover_id = 'c1'", "cutover c1"),
        ("UPDATE cutovers SET status = 'completed', under_way = NULL WHERE cutover_id = 'c1'", "cutover c1"),
        ("UPDATE cutovers SET event_seq = 1 WHERE cutover_id = 'c1'", "cutover c1"),
        ("DELETE FROM cutovers WHERE cutover_id = 'c2'", "cutover c2"),
        ("UPDATE cutover_steps SET status = 'undone' WHERE number = 1", STEPS),
        ("UPDATE cutover_steps SET evidence = '{}' WHERE number = 2", STEPS),
        ("UPDATE cutover_steps SET number = 3 WHERE number = 2", STEPS),
        ("DELETE FROM cutover_steps WHERE number = 2", STEPS),
        ("DELETE FROM cutover_steps", STEPS),
        ("UPDATE approvals SET role = 'security' WHERE person = 'cid'", APPROVALS),
        ("UPDATE approvals SET verified = 0", APPROVALS),
        ("DELETE FROM approvals WHERE person = 'cid'", APPROVALS),
        (COPY, APPROVALS),
        ("UPDATE events SET payload = '[]' WHERE action = 'cutover.approved'", APPROVALS),
    ],
)
def test_altered_rows_are_never_shown(statement: str, found: str, file_store: Store, clock: FixedClock) -> None:
    store = file_store
    played(store, clock)
    reader, writer = store.cutover_reader, store.cutover_writer
    assert (len(reader.steps("c1")), len(reader.approvals("c1")), store.faults()) == (2, 2, ())
    rows(store, statement)
    assert store.faults() == (found + ENDING,)
    reads: Sequence[Callable[[], object]] = (
        lambda: reader.get(found[-2:]),
        reader.running,
        lambda: writer.move("c2", "running"),
    )
    if found == STEPS:
        reads = (lambda: reader.steps("c1"), lambda: writer.begin_step("c1", 3, 3, "switch"))
    if found == APPROVALS:
        reads = (lambda: reader.approvals("c1"), lambda: writer.approve(approval(clock, "eve")))
    for read in reads:
        with pytest.raises(WorldError, match="REC-105"):
            read()


@pytest.mark.parametrize(
    ("table", "sealed", "where", "change"),
    [
        ("cutovers", CUTOVER_SEALED, "cutover_id = 'c2'", {"plan_hash": "h2"}),
        ("cutover_steps", STEP_SEALED, "number = 2", {"evidence": '{"epoch":9}'}),
        ("approvals", APPROVAL_SEALED, "person = 'cid'", {"role": "finance"}),
    ],
)
def test_a_row_with_a_fresh_seal_is_found_by_the_ledger(
    table: str, sealed: list[str], where: str, change: dict[str, str], store: Store, clock: FixedClock
) -> None:
    played(store, clock)
    (row,) = rows(store, f"SELECT * FROM {table} WHERE {where}")
    forged = change | {"seal": seal(row | change, sealed)}
    rows(store, f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in forged)} WHERE {where}", **forged)
    assert len(store.faults()) == 1


def test_a_step_that_is_put_back_as_it_was_is_found(store: Store, clock: FixedClock) -> None:
    """Its seal is right, and an event says it: but not the last one."""
    lead(store, "c1", "running")
    step(store, 1, "started")
    (before,) = rows(store, "SELECT * FROM cutover_steps")
    step(store, 1, "done")
    rows(store, f"UPDATE cutover_steps SET {', '.join(f'{name} = :{name}' for name in before)}", **before)
    assert store.faults() == (STEPS + ENDING,)
    with pytest.raises(WorldError, match="REC-105"):
        store.cutover_writer.begin_step("c1", 1, 3, "switch")
