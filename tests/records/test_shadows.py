"""Shadow runs and sealed gates, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import NullPool, create_engine

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import ConfigError, InvariantError, WorldError
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.migrations import HEAD
from abaco_loans.records.run_rows import seal
from abaco_loans.records.runs import KpiRow, RunFinish, RunStart
from abaco_loans.records.schema import metadata
from abaco_loans.records.shadow_rows import GATES_SEALED, SHADOW_SEALED
from abaco_loans.records.shadows import (
    MOVES,
    STATE_ACTIONS,
    GateSeal,
    NewSeal,
    ShadowPlan,
    ShadowReader,
    ShadowRecord,
    ShadowStatus,
    ShadowWriter,
    in_force,
)
from abaco_loans.records.store import Store, open_store

Plan = Callable[..., ShadowPlan]
Seal = Callable[..., NewSeal]
Child = Callable[[Callable[[], None]], int]
Outcome = Callable[[int], int]

ERROR = {"what": "the candidate's folder is gone", "code": "SHADOW-1", "where": "releases/v2", "hint": "look"}
DIGESTS = {"gates_digest": "g2", "expected_digest": "x1"}


@pytest.fixture
def url(url_of_each: str) -> str:
    return url_of_each


def judged(
    store: Store, plan: ShadowPlan, verdict: str = "pass", *, dry_run: bool = False, **more: Any
) -> ShadowRecord:
    store.shadow_writer.plan(plan)
    return store.shadow_writer.finish(plan.shadow_id, verdict=verdict, dry_run=dry_run, report_sha256="r" * 64, **more)


def actions(store: Store) -> list[str]:
    return [event.action for event in store.events()]


def rows(store: Store, statement: str) -> list[dict[str, Any]]:
    with store._database.write() as connection:
        return connection.rows(statement)


def history(store: Store, candidate: str = "v2") -> tuple[ShadowRecord, ...]:
    return store.shadow_reader.history(candidate, candidate_meaning="m2", baseline_meaning="m1")


# --- shadow runs ---


def test_a_shadow_run_comes_back_as_it_was_recorded(store: Store, clock: FixedClock, shadow_plan: Plan) -> None:
    reader: ShadowReader = store.shadow_reader
    writer: ShadowWriter = store.shadow_writer
    plan = shadow_plan()
    note = NewEvent(action="noted", subject="s1", payload={})
    planned = writer.plan(plan, [note])
    began = clock.now()
    assert {name: getattr(planned, name) for name in ShadowPlan.__slots__} == dataclasses.asdict(plan)
    assert (planned.status, planned.verdict, planned.dry_run, planned.finished_at) == ("planned", None, None, None)
    assert reader.get("s1") == planned
    clock.move_to(began + timedelta(hours=1))
    finished = writer.finish(
        "s1", verdict="fail", dry_run=True, report_sha256="r", facts={"seal": "no", "score": "99.5"}, events=[note]
    )
    assert finished == dataclasses.replace(
        planned,
        status="finished",
        verdict="fail",
        dry_run=True,
        report_sha256="r",
        finished_at=began + timedelta(hours=1),
        event_seq=3,
    )
    assert reader.get("s1") == finished == reader.list()[0] == history(store)[0]
    assert actions(store) == ["shadow.planned", "noted", "shadow.finished", "noted"]
    told = [event.payload for event in store.events()]
    assert told[0].items() >= (dataclasses.asdict(plan) | {"as_of": "2026-03-31"}).items()
    assert (told[2]["verdict"], told[2]["dry_run"], told[2]["facts"]["score"]) == ("fail", True, "99.5")
    assert (store.verify().ok, store.faults(), reader.get("s2")) == (True, (), None)


def test_a_shadow_run_that_broke(store: Store, shadow_plan: Plan) -> None:
    store.shadow_writer.plan(shadow_plan())
    failed = store.shadow_writer.fail("s1", ERROR)
    assert (failed.status, failed.error, failed.verdict) == ("failed", ERROR, None)
    assert store.shadow_reader.get("s1") == failed
    assert history(store) == ()
    assert actions(store) == ["shadow.planned", "shadow.failed"]
    assert store.faults() == ()


def test_every_pair_of_states(store: Store, shadow_plan: Plan) -> None:
    writer = store.shadow_writer
    states: tuple[ShadowStatus, ...] = get_args(ShadowStatus)

    def move(shadow_id: str, to: ShadowStatus) -> None:
        match to:
            case "planned":
                writer.plan(shadow_plan(shadow_id))
            case "finished":
                writer.finish(shadow_id, verdict="pass", dry_run=False, report_sha256="r")
            case "failed":
                writer.fail(shadow_id, ERROR)

    for old, new in product(("", *states), states):
        shadow_id = f"{old or 'none'}-{new}"
        if old:
            move(shadow_id, "planned")
        if old not in ("", "planned"):
            move(shadow_id, old)  # type: ignore[arg-type]
        before = store.head()
        if (old, new) in MOVES:
            move(shadow_id, new)
            assert store.shadow_reader.get(shadow_id).status == new  # type: ignore[union-attr]
            assert store.head().count == before.count + 1
        else:
            with pytest.raises(InvariantError, match="no move"):
                move(shadow_id, new)
            assert store.head() == before
    assert store.faults() == ()


def test_what_no_shadow_run_can_say_is_refused(store: Store, shadow_plan: Plan) -> None:
    store.shadow_writer.plan(shadow_plan())
    for word in ("not judged", "PASS", ""):
        with pytest.raises(InvariantError, match="no verdict"):
            store.shadow_writer.finish("s1", verdict=word, dry_run=False, report_sha256="r")
    with pytest.raises(InvariantError):
        store.shadow_writer.finish("s1", verdict="pass", dry_run=False, report_sha256="r", facts={"score": 0.5})
    for action in STATE_ACTIONS:
        with pytest.raises(InvariantError, match="itself"):
            store.shadow_writer.fail("s1", ERROR, [NewEvent(action=action, subject="s1", payload={})])
    with pytest.raises(InvariantError, match="0 times"):
        dataclasses.replace(shadow_plan(), repeats=0)
    assert actions(store) == ["shadow.planned"]


def test_lists_are_newest_first_and_history_oldest_first(store: Store, clock: FixedClock, shadow_plan: Plan) -> None:
    for name in ("a", "b", "c"):
        store.shadow_writer.plan(shadow_plan(name))
    clock.move_to(clock.now() - timedelta(days=900))  # order never comes from the clock
    judged(store, shadow_plan("other", candidate="v3"))
    judged(store, shadow_plan("another baseline", baseline="m9"))
    for name, verdict in (("c", "inconclusive"), ("a", "pass")):
        store.shadow_writer.finish(name, verdict=verdict, dry_run=name == "c", report_sha256="r")
    listed = store.shadow_reader.list()
    assert [item.shadow_id for item in listed] == ["a", "c", "another baseline", "other", "b"]
    assert [item.shadow_id for item in store.shadow_reader.list(limit=2, candidate="v2")] == ["a", "c"]
    assert [item.shadow_id for item in store.shadow_reader.list(candidate="v3")] == ["other"]
    assert [(item.shadow_id, item.verdict, item.dry_run) for item in history(store)] == [
        ("c", "inconclusive", True),
        ("a", "pass", False),
    ]
    assert [item.shadow_id for item in history(store, "v3")] == ["other"]
    assert store.shadow_reader.history("v2", candidate_meaning="m3", baseline_meaning="m1") == ()
    (beside,) = store.shadow_reader.history("v2", candidate_meaning="m2", baseline_meaning="m9")
    assert beside.shadow_id == "another baseline"


# --- sealed gates ---


def test_a_seal_comes_back_and_the_same_gates_are_sealed_once(
    store: Store, clock: FixedClock, url: str, new_seal: Seal
) -> None:
    new = new_seal("g1")
    made = store.shadow_writer.seal(new)
    assert {name: getattr(made, name) for name in NewSeal.__slots__} == dataclasses.asdict(new)
    assert (made.sealed_by, made.sealed_at, made.pending) == ("ana", clock.now(), False)
    with open_store(url, clock=clock, actor="bob") as other:
        assert other.shadow_writer.seal(new) == made
        other.shadow_writer.seal(new_seal("g1", candidate="v3"))
        tighter = other.shadow_writer.seal(new_seal("g1", expected="x2"))
    back = store.shadow_writer.seal(new)
    assert store.shadow_reader.seals("v2") == (made, tighter, back)
    assert (tighter.sealed_by, back.id > tighter.id > made.id) == ("bob", True)
    assert [(event.action, event.subject) for event in store.events()] == [
        ("gates.sealed", name) for name in ("v2", "v3", "v2", "v2")
    ]
    assert store.shadow_reader.seals("v9") == ()
    assert store.faults() == ()


def test_looser_gates_wait_for_a_second_person(store: Store, clock: FixedClock, url: str, new_seal: Seal) -> None:
    first = store.shadow_writer.seal(new_seal("g1"))
    loose = store.shadow_writer.seal(new_seal("g2", "tapes_min 3 -> 1", "é: no longer critical"))
    assert loose.pending
    assert in_force(store.shadow_reader.seals("v2")) == first
    for actor in ("ana", "Ana "):
        with (
            open_store(url, clock=clock, actor=actor) as same,
            pytest.raises(ConfigError, match="GATE-106"),
        ):
            same.shadow_writer.approve("v2", **DIGESTS, reason="I say so")
    with open_store(url, clock=clock, actor="bob") as second:
        for reason in ("", "  ", "two\nlines", "\x1b[2J", "\udcff"):
            with pytest.raises(ConfigError, match="GATE-107"):
                second.shadow_writer.approve("v2", **DIGESTS, reason=reason)
        assert store.shadow_reader.seals("v2") == (first, loose)
        approved = second.shadow_writer.approve("v2", **DIGESTS, reason="one tape a month is all there is")
    assert approved == dataclasses.replace(
        loose,
        approved_by="bob",
        approved_at=clock.now(),
        reason="one tape a month is all there is",
        event_seq=loose.event_seq + 1,
    )
    assert not approved.pending
    assert store.shadow_reader.seals("v2") == (first, approved)
    assert in_force(store.shadow_reader.seals("v2")) == approved
    events = [*store.events()]
    assert [event.action for event in events] == ["gates.sealed", "gates.loosened", "gates.approved"]
    assert events[1].payload["loosened"] == list(loose.loosened) == events[2].payload["loosened"]
    assert (events[2].actor, events[2].payload["sealed_by"]) == ("bob", "ana")
    assert (store.verify().ok, store.faults()) == (True, ())


def test_only_what_is_pending_is_approved(store: Store, clock: FixedClock, url: str, new_seal: Seal) -> None:
    with open_store(url, clock=clock, actor="bob") as second:

        def refused(**digests: str) -> None:
            with pytest.raises(ConfigError, match="GATE-105"):
                second.shadow_writer.approve("v2", **DIGESTS | digests, reason="agreed")

        refused()
        store.shadow_writer.seal(new_seal("g1"))
        refused(gates_digest="g1")
        store.shadow_writer.seal(new_seal("g2", "tapes_min"))
        refused(gates_digest="g1")
        refused(expected_digest="x9")
        second.shadow_writer.approve("v2", **DIGESTS, reason="agreed")
        refused()
        store.shadow_writer.seal(new_seal("g3", "tapes_min"))
        store.shadow_writer.seal(new_seal("g4", "tapes_min"))
        refused(gates_digest="g3")
    seals = store.shadow_reader.seals("v2")
    assert [item.pending for item in seals] == [False, False, True, True]
    assert in_force(seals) == seals[1]
    assert in_force(()) is None


# --- what is altered is found ---

COPY = (
    "INSERT INTO shadow_runs SELECT 's9', baseline, candidate, baseline_meaning, candidate_meaning, tape_sha256,"
    " tape_name, as_of, repeats, gates_digest, expected_digest, status, verdict, dry_run, report_sha256, error,"
    " planned_at, finished_at, seal, event_seq FROM shadow_runs WHERE shadow_id = 's2'"
)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE shadow_runs SET verdict = 'pass'", {"shadow run s1"}),
        ("UPDATE shadow_runs SET tape_sha256 = 'other' WHERE shadow_id = 's2'", {"shadow run s2"}),
        ("UPDATE shadow_runs SET candidate = 'v3' WHERE shadow_id = 's1'", {"shadow run s1"}),
        ("UPDATE shadow_runs SET event_seq = 1 WHERE shadow_id = 's1'", {"shadow run s1"}),
        ("DELETE FROM shadow_runs WHERE shadow_id = 's1'", {"shadow run s1"}),
        (COPY, {"shadow run s9"}),
        ("UPDATE gate_seals SET loosened = '[]' WHERE gates_digest = 'g2'", {"the sealed gates of v2"}),
        ("UPDATE gate_seals SET gates = '' WHERE gates_digest = 'g1'", {"the sealed gates of v2"}),
        ("DELETE FROM gate_seals WHERE gates_digest = 'g2'", {"the sealed gates of v2"}),
        ("DELETE FROM gate_seals", {"the sealed gates of v2"}),
        ("UPDATE events SET payload = '[]' WHERE action = 'gates.approved'", {"the sealed gates of v2"}),
    ],
)
def test_altered_rows_are_never_shown(
    statement: str, found: set[str], store: Store, url: str, clock: FixedClock, shadow_plan: Plan, new_seal: Seal
) -> None:
    judged(store, shadow_plan("s1"), "fail")
    judged(store, shadow_plan("s2"))
    loosened_and_approved(store, url, clock, new_seal)
    assert (len(history(store)), len(store.shadow_reader.seals("v2")), store.faults()) == (2, 2, ())
    rows(store, statement)
    ending = ": what is stored is not what was written"
    assert set(store.faults()) == {what + ending for what in found}
    (what,) = found
    read: Callable[[], object] = (
        (lambda: history(store)) if what.startswith("shadow") else (lambda: store.shadow_reader.seals("v2"))
    )
    with pytest.raises(WorldError, match="REC-105"):
        read()
    if what.startswith("shadow"):
        with pytest.raises(WorldError, match="REC-105"):
            store.shadow_reader.get(what.removeprefix("shadow run "))


def loosened_and_approved(store: Store, url: str, clock: FixedClock, new_seal: Seal) -> GateSeal:
    store.shadow_writer.seal(new_seal("g1"))
    store.shadow_writer.seal(new_seal("g2", "tapes_min"))
    with open_store(url, clock=clock, actor="bob") as second:
        return second.shadow_writer.approve("v2", **DIGESTS, reason="agreed")


@pytest.mark.parametrize(
    ("table", "sealed", "change", "found"),
    [
        ("shadow_runs", SHADOW_SEALED, {"verdict": "pass"}, "shadow run s1"),
        ("gate_seals", GATES_SEALED, {"approved_by": "bob", "reason": "agreed"}, "the sealed gates of v2"),
    ],
)
def test_a_row_with_a_fresh_seal_is_found_by_the_ledger(
    table: str,
    sealed: list[str],
    change: dict[str, str],
    found: str,
    store: Store,
    shadow_plan: Plan,
    new_seal: Seal,
) -> None:
    judged(store, shadow_plan("s1"), "fail")
    store.shadow_writer.seal(new_seal("g1", "tapes_min"))
    (row,) = rows(store, f"SELECT * FROM {table}")
    forged = change | {"seal": seal(row | change, sealed)}
    rows(store, f"UPDATE {table} SET {', '.join(f'{name} = {value!r}' for name, value in forged.items())}")
    assert store.faults() == (f"{found}: what is stored is not what was written",)
    with pytest.raises(WorldError, match="REC-105"):
        (lambda: history(store) if table == "shadow_runs" else store.shadow_reader.seals("v2"))()


def test_a_row_that_is_put_back_as_it_was_is_found(
    store: Store, url: str, clock: FixedClock, shadow_plan: Plan, new_seal: Seal
) -> None:
    """Its seal is right, and an event says it: but not the last one."""
    store.shadow_writer.plan(shadow_plan("s1"))
    store.shadow_writer.finish("s1", verdict="fail", dry_run=False, report_sha256="r")
    loosened_and_approved(store, url, clock, new_seal)
    first, *_ = store.events()
    rows(
        store,
        "UPDATE shadow_runs SET status = 'planned', verdict = NULL, dry_run = NULL, report_sha256 = NULL,"
        f" finished_at = NULL, event_seq = 1, seal = '{first.payload['seal']}'",
    )
    assert store.faults() == ("shadow run s1: what is stored is not what was written",)
    for read in (lambda: store.shadow_reader.get("s1"), store.shadow_reader.list, lambda: history(store)):
        with pytest.raises(WorldError, match="REC-105"):
            read()
    with pytest.raises(WorldError, match="REC-105"):
        store.shadow_writer.finish("s1", verdict="pass", dry_run=False, report_sha256="r")


def test_an_event_that_no_row_follows_is_found(store: Store, new_seal: Seal) -> None:
    made = store.shadow_writer.seal(new_seal("g1"))
    store.append([NewEvent(action="gates.approved", subject="v2", payload={"seal": "0" * 64})])
    store.append([NewEvent(action="shadow.finished", subject="s1", payload={})])
    assert len(store.faults()) == 2
    with pytest.raises(WorldError, match="REC-105"):
        store.shadow_writer.seal(new_seal("g2"))
    assert made.candidate == "v2"


# --- releases ---


def test_releases_are_listed_without_mappings(
    store: Store, clock: FixedClock, run_start: Callable[..., RunStart]
) -> None:
    assert store.reader.releases() == ()
    digests = {"meaning_digest": "m", "policy_digest": "p"}
    store.writer.ensure_release("v2", kind="catalogue", role="active", **digests)
    store.writer.ensure_release("v1", kind="command", role="standby", **digests)
    store.writer.ensure_release("mappings/servicing", kind="mapping", role="active", **digests)
    store.writer.start(run_start())
    found = store.reader.releases()
    assert [(item.name, item.kind, item.role) for item in found] == [
        ("v1", "command", "standby"),
        ("v2", "catalogue", "active"),
    ]
    assert [item.first_run_at for item in found] == [None, clock.now()]
    assert {(item.meaning_digest, item.policy_digest, item.recorded_at) for item in found} == {("m", "p", clock.now())}


# --- processes, and older records ---


def test_three_processes_at_once(
    url: str, clock: FixedClock, in_child: Child, outcome: Outcome, shadow_plan: Plan, new_seal: Seal
) -> None:
    """The same gates are sealed once, a shadow run ends once, an approval is given once; readers see no damage."""
    with open_store(url, clock=clock, actor="ana") as store:
        store.shadow_writer.plan(shadow_plan("shared"))
        store.shadow_writer.seal(new_seal("g2", "tapes_min", candidate="v3"))

    def work(number: int) -> None:
        won = 0
        with open_store(url, clock=SystemClock(), actor=f"p{number}", timeout_s=30) as mine:
            mine.shadow_writer.seal(new_seal("g1"))
            for turn in range(5):
                judged(mine, shadow_plan(f"{number}-{turn}"))
                history(mine)
                mine.shadow_reader.list()
            assert mine.faults() == ()
            with contextlib.suppress(InvariantError):
                mine.shadow_writer.finish("shared", verdict="pass", dry_run=False, report_sha256="r")
                won += 1
            with contextlib.suppress(ConfigError):
                mine.shadow_writer.approve("v3", **DIGESTS, reason="agreed")
                won += 1
            mine.append([NewEvent(action="won", subject=str(number), payload={"times": won})])

    children = [in_child(lambda number=number: work(number)) for number in range(3)]  # type: ignore[misc]
    assert [outcome(pid) for pid in children] == [0, 0, 0]
    with open_store(url, clock=clock, actor="ana") as store:
        assert (store.verify().ok, store.faults()) == (True, ())
        assert len(store.shadow_reader.seals("v2")) == 1
        assert len(history(store)) == 16
        assert sum(event.payload["times"] for event in store.events() if event.action == "won") == 2


@pytest.mark.usefixtures("no_memory")
def test_older_records_are_kept(
    url: str,
    clock: FixedClock,
    run_start: Callable[..., RunStart],
    run_finish: RunFinish,
    kpi: Callable[..., KpiRow],
    shadow_plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upgrade = alembic.command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(alembic.command, "upgrade", lambda config, _: upgrade(config, "0001"))
        with open_store(url, clock=clock, actor="ana") as old:
            assert old.facts().revision == "0001"
            old.writer.ensure_release("v2", kind="catalogue", role="active", meaning_digest="m", policy_digest="p")
            old.writer.start(run_start())
            record = old.writer.finish("r1", run_finish, [kpi()])
            events = tuple(old.events())
    with open_store(url, clock=clock, actor="ana") as store:
        assert store.facts().revision == HEAD
        assert (store.reader.list(), store.reader.kpi_values("r1"), tuple(store.events())) == (
            (record,),
            (kpi(),),
            events,
        )
        judged(store, shadow_plan())
        assert (store.verify().ok, store.faults()) == (True, ())
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
