"""Records on a real PostgreSQL, copied into a SQLite file: whole, of one moment, and fit to go on with."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import select

from abaco_loans.clock import FixedClock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.cutovers import NewApproval, NewCutover
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.production import NewJob
from abaco_loans.records.runs import KpiRow, QuarantineCount, RunFinish, RunStart
from abaco_loans.records.schema import metadata
from abaco_loans.records.server_copy import copy_server
from abaco_loans.records.shadows import NewSeal, ShadowPlan
from abaco_loans.records.store import Store, open_store
from abaco_loans.records.watches import NewCheckpoint, NewWatch
from abaco_loans.watch.alert import Notice, NoticeKind, Raise, Severity, Signal
from tests.records.conftest import NOON, Child

Tables: TypeAlias = dict[str, list[Row]]
Between: TypeAlias = Callable[[Connection, str, list[Row]], None]
HOUR = timedelta(hours=1)
COUNT = QuarantineCount(file="loans.csv", column="balance", code="CELL-101", rows=2, amount=None)


@pytest.fixture
def url(server_url: str) -> str:
    return server_url


@pytest.fixture
def full(
    store: Store,
    run_start: Callable[..., RunStart],
    run_finish: RunFinish,
    kpi: Callable[..., KpiRow],
    shadow_plan: Callable[..., ShadowPlan],
    new_seal: Callable[..., NewSeal],
) -> Store:
    """Records with something in every table; the queue is held by a cutover, and a job was fenced."""
    store.writer.ensure_release("v2", kind="catalogue", role="active", meaning_digest="m", policy_digest="p")
    store.writer.start(run_start())
    values = [kpi(), kpi(kpi_id="y", value=None), kpi(kpi_id="z", segment="región", segment_value="Ñuble 🏔 %s :id")]
    store.writer.finish("r1", run_finish, values, (COUNT,))
    store.shadow_writer.seal(new_seal())
    store.shadow_writer.plan(shadow_plan())
    store.shadow_writer.finish("s1", verdict="pass", dry_run=False, report_sha256="r" * 64)
    change_production(store)
    store.cutover_writer.end_step("c1", 1, "done", {"epoch": 2})
    watch = NewWatch(watch_id="c1", release="v2", baseline_release="v1", started_at=NOON, baseline={"memory_mb": "1"})
    store.watch_writer.start(watch)
    judged = {"status": "PASS", "triggers": []}
    store.watch_writer.checkpoint(
        NewCheckpoint(watch_id="c1", hour="1", due_at=NOON + HOUR, done_at=NOON + HOUR, metrics={}, judged=judged)
    )
    store.watch_writer.ask("c1", "8", NOON + 9 * HOUR)
    tell(store)
    return store


def change_production(store: Store) -> None:
    """Two jobs, one served and one fenced in the middle of a cutover that four people are asked to approve."""
    writer = store.production_writer
    writer.ensure("v1")
    for number in (1, 2):
        submit(store, number)
    serve(store, "r1")
    assert writer.take("w2", lease_s=60) is not None
    plan = NewCutover(cutover_id="c1", kind="cutover", from_release="v1", to_release="v2", plan="{}", plan_hash="h")
    store.cutover_writer.add(plan)
    approve(store, "ben")
    store.cutover_writer.move("c1", "running")
    store.cutover_writer.begin_step("c1", 1, 3, "switch")
    writer.hold("c1")
    writer.fence_running("c1")
    writer.switch("c1", "v2", expected="v1")


def submit(store: Store, number: int) -> None:
    store.production_writer.submit(
        NewJob(tape_sha256=f"{number:064x}", tape_name="tape.csv", as_of=None, spool=f"queue/{number}")
    )


def serve(store: Store, run_id: str) -> None:
    taken = store.production_writer.take("w1", lease_s=60)
    assert taken is not None
    store.production_writer.finish(
        taken.job.job_id, taken.fence, epoch=taken.epoch, release=taken.release, run_id=run_id
    )


def approve(store: Store, person: str) -> None:
    store.cutover_writer.approve(
        NewApproval(
            cutover_id="c1",
            plan_hash="h",
            role="ops",
            person=person,
            how="account",
            verified=True,
            reason="",
            expires_at=NOON + 12 * HOUR,
        )
    )


def tell(store: Store) -> None:
    """An alert that waits to be told through a channel that is down, and is silenced."""
    signal = Signal(rule="kpi_latency", subject="", severity=Severity.WARNING, words="120 ms")
    (alert,) = store.alert_writer.apply(
        [Raise(signal=signal)], owners={"kpi_latency": "data"}, runbooks={"kpi_latency": "docs"}, now=NOON
    )
    kind, severity = NoticeKind.RAISE, alert.severity
    store.alert_writer.queue([Notice(alert_id=alert.alert_id, kind=kind, severity=severity, step=0, channel="slack")])
    store.alert_writer.silence(alert.fingerprint, NOON + HOUR, "known")
    store.alert_writer.channel_failed("slack", "HTTP-500", opens_after=1, open_for=HOUR)


def tables(store: Store) -> Tables:
    """Every row of every table, in the order of their keys as Python has it."""
    found: Tables = {}
    with store._database.read() as connection:
        for table in metadata.sorted_tables:
            names = [column.name for column in table.primary_key]
            rows = connection.rows(str(select(table)))
            found[table.name] = sorted(rows, key=lambda row: [row[name] for name in names])
    return found


def opened(path: Path, clock: FixedClock) -> Store:
    return open_store(f"sqlite:///{path}", clock=clock, actor="ana")


def test_every_table_is_copied_as_it_is(full: Store, tmp_path: Path, clock: FixedClock) -> None:
    path = tmp_path / "copy.db"
    before = tables(full)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    full.copy_to(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with opened(path, clock) as copy:
        assert tables(copy) == before == tables(full)
        assert (copy.verify().ok, copy.faults(), copy.head()) == (True, (), full.head())
        assert (copy.facts().backend, copy.facts().revision) == ("sqlite", full.facts().revision)
        pointer = copy.production_reader.pointer()
        assert (pointer.active, pointer.previous, pointer.epoch, pointer.held_by) == ("v2", "v1", 2, "c1")
        assert {job.fence for job in copy.production_reader.jobs()} == {1, 2}
    with pytest.raises(InvariantError, match="new file"):
        full.copy_to(path)


class BusyConnection(Connection):
    """One that tells after every page of a table, before it is given away."""

    def __init__(self, handle: Any, backend: str, between: Between) -> None:
        super().__init__(handle, backend)
        self._between = between

    def pages(self, statement: str, size: int) -> Iterator[list[Row]]:
        for page in super().pages(statement, size):
            self._between(self, statement, page)
            yield page


class Busy(Database):
    """A server on which something happens while it is copied."""

    def __init__(self, url: str, between: Between) -> None:
        super().__init__(url, timeout_s=5)
        self._between = between

    def begin(self, handle: Any, *, writes: bool) -> Connection:
        super().begin(handle, writes=writes)
        return BusyConnection(handle, self.backend, self._between)


def test_it_is_of_one_moment_while_another_writes(full: Store, url: str, tmp_path: Path, clock: FixedClock) -> None:
    """After every page that is read somebody changes rows that were copied already and rows that are next."""
    full.production_writer.unhold("c1")
    before, head = tables(full), full.head()
    sizes: list[int] = []

    def write(_: Connection, __: str, page: list[Row]) -> None:
        sizes.append(len(page))
        submit(full, 10 + len(sizes))
        serve(full, f"r{len(sizes)}")
        full.watch_writer.ask("c1", str(len(sizes)), NOON + 9 * HOUR)

    with closing(Busy(url, write)) as source:
        copy_server(source, tmp_path / "copy.db", clock=clock, actor="ana", page_rows=3)
    assert (max(sizes), sum(sizes)) == (3, sum(len(rows) for rows in before.values()))
    assert full.head().count > head.count + len(sizes)
    with opened(tmp_path / "copy.db", clock) as copy:
        assert tables(copy) == before
        assert (copy.verify().ok, copy.faults(), copy.head()) == (True, (), head)
    assert (full.verify().ok, full.faults()) == (True, ())


def test_one_can_go_on_in_the_copy(
    full: Store, tmp_path: Path, clock: FixedClock, kpi: Callable[..., KpiRow], new_seal: Callable[..., NewSeal],
    run_start: Callable[..., RunStart], run_finish: RunFinish,
) -> None:  # fmt: skip
    """What the database counts goes on after the highest number that was copied."""
    before = tables(full)
    full.copy_to(tmp_path / "copy.db")
    clock.move_to(NOON + HOUR)
    with opened(tmp_path / "copy.db", clock) as copy:
        copy.production_writer.unhold("c1")
        serve(copy, "r2")
        approve(copy, "eva")
        copy.writer.start(run_start("r2"))
        copy.writer.finish("r2", run_finish, [kpi("r2")], (COUNT,))
        copy.shadow_writer.seal(new_seal("g2"))
        copy.cutover_writer.begin_step("c1", 2, 3, "open")
        copy.watch_writer.decide("c1", "8", "keep", "calm", by_default=False, then=None)
        copy.append([NewEvent(action="noted", subject="s", payload={})])
        after = tables(copy)
        for name in ("kpi_values", "served", "approvals", "gate_seals"):
            highest = max(row["id"] for row in before[name])
            assert [row["id"] for row in after[name][len(before[name]) :]] == [highest + 1], name
        assert (copy.verify().ok, copy.faults()) == (True, ())
    assert tables(full) == before


def empty(path: Path) -> bool:
    """Whether a half copy has no rows."""
    with open_store(f"sqlite:///{path}", clock=FixedClock(NOON), actor="ana") as left:
        return not any(tables(left).values())


def test_a_server_that_goes_away_meanwhile(full: Store, url: str, tmp_path: Path, clock: FixedClock) -> None:
    def end(connection: Connection, statement: str, _: list[Row]) -> None:
        if "FROM events" in statement:
            (own,) = connection.rows("SELECT pg_backend_pid() AS id")
            with full._database.read() as another:
                another.rows("SELECT pg_terminate_backend(:id)", **own)

    with closing(Busy(url, end)) as source, pytest.raises(WorldError, match="REC-108"):
        copy_server(source, tmp_path / "copy.db", clock=clock, actor="ana", page_rows=3)
    assert empty(tmp_path / "copy.db")


def test_no_room_for_the_copy(
    full: Store, url: str, tmp_path: Path, clock: FixedClock, in_child: Child, outcome: Callable[[int], int]
) -> None:
    """Of the copy, not of the server: that is what the error names."""
    full.append([NewEvent(action="noted", subject="s", payload={"text": "x" * 1000})] * 700)
    path = tmp_path / "copy.db"

    def work() -> None:
        with open_store(url, clock=clock, actor="bob") as mine:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
            with pytest.raises(WorldError, match="REC-104") as caught:
                mine.copy_to(path)
            assert caught.value.where == str(path)

    assert outcome(in_child(work)) == 0
    assert empty(path)


def test_a_server_that_newer_code_has_migrated_meanwhile(full: Store, tmp_path: Path) -> None:
    def marked(revision: Any) -> None:
        with full._database.write() as connection:
            connection.rows("UPDATE alembic_version SET version_num = :revision", revision=revision)

    known = full.facts().revision
    marked("9999")
    try:
        with pytest.raises(WorldError, match="REC-106"):
            full.copy_to(tmp_path / "copy.db")
    finally:
        marked(known)
