"""Opening, transactions, and what a person is told when the world fails."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import ConfigError, WorldError
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.migrations import HEAD
from abaco_loans.records.runs import KpiRow, RunFinish, RunStart
from abaco_loans.records.shadows import NewSeal, ShadowPlan
from abaco_loans.records.store import Store, journal_mode_for, open_store

Start = Callable[..., RunStart]
Kpi = Callable[..., KpiRow]
Child = Callable[[Callable[[], None]], int]
Outcome = Callable[[int], int]

NOTE = NewEvent(action="noted", subject="s", payload={"text": "x" * 200})


@pytest.mark.parametrize(
    ("version", "journal", "bug"),
    [
        ((3, 6, 23), "delete", False),
        ((3, 7, 0), "delete", True),
        ((3, 40, 1), "delete", True),
        ((3, 44, 5), "delete", True),
        ((3, 44, 6), "wal", False),
        ((3, 44, 9), "wal", False),
        ((3, 45, 0), "delete", True),
        ((3, 50, 6), "delete", True),
        ((3, 50, 7), "wal", False),
        ((3, 51, 0), "delete", True),
        ((3, 51, 2), "delete", True),
        ((3, 51, 3), "wal", False),
        ((3, 52, 0), "wal", False),
        ((4, 0), "wal", False),
    ],
)
def test_journal_by_version(version: tuple[int, ...], journal: str, bug: bool) -> None:
    mode = journal_mode_for(version)
    assert (mode.journal, mode.wal_reset_bug) == (journal, bug)
    assert mode.synchronous == {"wal": "full", "delete": "extra"}[journal]


@pytest.mark.parametrize(
    ("version", "facts"),
    [((3, 40, 1), ("delete", "extra", True)), ((3, 51, 3), ("wal", "full", False))],
)
def test_the_file_is_kept_as_the_version_needs(
    version: tuple[int, ...],
    facts: tuple[str, str, bool],
    url: str,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with open_store(url, clock=clock, actor="ana") as store:
        said = store.facts()
        assert (said.journal, said.synchronous, said.wal_reset_bug) == facts
        assert said.revision == HEAD
        store.append([NOTE])


def test_a_wal_file_comes_back_to_a_rollback_journal(
    url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    with open_store(url, clock=clock, actor="ana") as store:
        store.append([NOTE])
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    with open_store(url, clock=clock, actor="ana") as store:
        assert store.facts().journal == "delete"
        assert store.head().count == 1


def test_foreign_keys_are_on_and_the_file_is_private(url: str, clock: FixedClock) -> None:
    old = os.umask(0)
    try:
        store = open_store(url, clock=clock, actor="ana")
    finally:
        os.umask(old)
    with store:
        assert store.path is not None
        assert store.path.stat().st_mode & 0o777 == 0o600
        with store._database.read() as connection:
            assert connection.rows("PRAGMA foreign_keys") == [{"foreign_keys": 1}]


def test_opening_again_needs_no_alembic(url: str, clock: FixedClock) -> None:
    open_store(url, clock=clock, actor="ana").close()
    code = (
        "import sys; from abaco_loans.records import runs, ledger, anchors, locks\n"
        "assert not {'sqlalchemy', 'alembic', 'cryptography'} & set(sys.modules)\n"
        "from abaco_loans.records.store import open_store; from abaco_loans.clock import SystemClock\n"
        f"open_store({url!r}, clock=SystemClock(), actor='x').close()\n"
        "assert not {'sqlalchemy', 'alembic', 'psycopg', 'cryptography'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///:memory:", "mysql://h/x", "no url", ""])
def test_wrong_url(bad: str) -> None:
    with pytest.raises(ConfigError, match="REC-120"):
        open_store(bad, clock=SystemClock(), actor="ana")


# --- two processes, and processes that die ---


def test_two_processes_append_without_a_fork(url: str, in_child: Child, outcome: Outcome) -> None:
    open_store(url, clock=SystemClock(), actor="ana").close()

    def work() -> None:
        with open_store(url, clock=SystemClock(), actor=f"p{os.getpid()}", timeout_s=30) as store:
            for _ in range(25):
                store.append([NOTE, NOTE])

    assert [outcome(pid) for pid in (in_child(work), in_child(work))] == [0, 0]
    with open_store(url, clock=SystemClock(), actor="ana") as store:
        found = store.verify()
        assert (found.ok, found.events) == (True, 100)
        assert len({event.actor for event in store.events()}) == 2


def test_locked_is_told_after_a_bounded_wait(url: str, clock: FixedClock, store: Store) -> None:
    assert store.path is not None
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with open_store(url, clock=clock, actor="bob", timeout_s=0.3) as second:
        with pytest.raises(WorldError, match="REC-101") as caught:
            second.append([NOTE])
        assert 0.3 <= time.monotonic() - began < 5
        assert caught.value.where == str(store.path)
        other.execute("ROLLBACK")
        other.close()
        second.append([NOTE])


def seen(store: Store) -> tuple[object, ...]:
    shadows = store.shadow_reader
    return store.reader.get("r1"), shadows.list(), shadows.seals("v2")


@pytest.mark.parametrize(
    ("call", "events"),
    [("start", 2), ("finish", 2), ("refuse", 2), ("fail", 2), ("plan", 2), ("judge", 2), ("seal", 1), ("approve", 1)],
)
def test_killed_between_any_two_statements_leaves_both_or_neither(
    call: str,
    events: int,
    url: str,
    clock: FixedClock,
    run_start: Start,
    run_finish: RunFinish,
    kpi: Kpi,
    shadow_plan: Callable[..., ShadowPlan],
    new_seal: Callable[..., NewSeal],
    kill_between: Callable[[Callable[[Store], object], Callable[[Store], object]], None],
) -> None:
    with open_store(url, clock=clock, actor="bob") as store:
        if call != "start":
            store.writer.start(run_start())
        store.shadow_writer.plan(shadow_plan("s1"))
        store.shadow_writer.seal(new_seal("g1", "tapes_min"))
        count = store.head().count

    moves: dict[str, Callable[[Store], object]] = {
        "start": lambda store: store.writer.start(run_start(), [NOTE]),
        "finish": lambda store: store.writer.finish("r1", run_finish, [kpi()], events=[NOTE]),
        "refuse": lambda store: store.writer.refuse("r1", {"code": "X"}, events=[NOTE]),
        "fail": lambda store: store.writer.fail("r1", {"code": "X"}, [NOTE]),
        "plan": lambda store: store.shadow_writer.plan(shadow_plan("s2"), [NOTE]),
        "judge": lambda store: store.shadow_writer.finish(
            "s1", verdict="pass", dry_run=False, report_sha256="r", events=[NOTE]
        ),
        "seal": lambda store: store.shadow_writer.seal(new_seal("g2")),
        "approve": lambda store: store.shadow_writer.approve(
            "v2", gates_digest="g1", expected_digest="x1", reason="agreed"
        ),
    }
    kill_between(moves[call], seen)
    with open_store(url, clock=clock, actor="ana") as store:
        assert store.head().count == count + events


# --- what the disk does ---


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own is closed to them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_read_only_file_can_be_read_and_says_so_when_written(
    open_folder: Path, clock: FixedClock, in_child: Child, outcome: Outcome, as_nobody: Callable[[], None]
) -> None:
    path = open_folder / "abaco.db"
    with open_store(f"sqlite:///{path}", clock=clock, actor="ana") as store:
        store.append([NOTE])
    path.chmod(0o444)

    def work() -> None:
        as_nobody()
        with open_store(f"sqlite:///{path}", clock=clock, actor="ana") as store:
            assert store.verify().events == 1
            with pytest.raises(WorldError, match="REC-102") as caught:
                store.append([NOTE])
            assert caught.value.where == str(path)
            assert "writable" in caught.value.hint

    assert outcome(in_child(work)) == 0


def test_no_permission_names_path_and_remedy(
    open_folder: Path, clock: FixedClock, in_child: Child, outcome: Outcome, as_nobody: Callable[[], None]
) -> None:
    closed = open_folder / "closed.db"
    with open_store(f"sqlite:///{closed}", clock=clock, actor="ana"):
        closed.chmod(0o000)
    sealed = open_folder / "sealed"
    sealed.mkdir(mode=0o555)

    def work() -> None:
        as_nobody()
        for path in (
            closed,
            sealed / "abaco.db",
            sealed / "records" / "abaco.db",
            sealed / "a" / "b" / "abaco.db",
        ):
            with pytest.raises(WorldError, match="REC-103") as caught:
                open_store(f"sqlite:///{path}", clock=clock, actor="ana")
            assert caught.value.where == str(path)
            assert caught.value.hint

    assert outcome(in_child(work)) == 0


def test_too_many_open_files_names_the_path(
    url: str, store: Store, clock: FixedClock, in_child: Child, outcome: Outcome
) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with contextlib.suppress(OSError):
            while True:
                os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(WorldError, match="REC-103") as caught:
            open_store(url, clock=clock, actor="ana")
        assert "ulimit" in caught.value.hint
        assert caught.value.where == str(store.path)

    assert outcome(in_child(work)) == 0


def test_disk_full_keeps_what_was_there(url: str, clock: FixedClock, in_child: Child, outcome: Outcome) -> None:
    with open_store(url, clock=clock, actor="ana") as store:
        store.append([NOTE])
        assert store.path is not None
        size = store.path.stat().st_size

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with open_store(url, clock=clock, actor="ana") as store:
            with pytest.raises(WorldError, match="REC-104") as caught:
                store.append([NOTE] * 500)
            assert "disk full" in caught.value.what
            assert "MB free" in caught.value.what
            assert caught.value.where == str(store.path)
            assert store.verify().events == 1

    assert outcome(in_child(work)) == 0
    with open_store(url, clock=clock, actor="ana") as store:
        assert (store.verify().ok, store.faults(), store.head().count) == (True, (), 1)
        store.append([NOTE])


def test_sqlite_full_is_disk_full(store: Store) -> None:
    def fill() -> None:
        with store._database.write() as connection:
            pages = connection.rows("PRAGMA page_count")[0]["page_count"]
            connection.rows(f"PRAGMA max_page_count = {pages}")
            connection.rows("CREATE TABLE filler AS SELECT randomblob(1000000)")

    with pytest.raises(WorldError, match="REC-104"):
        fill()


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be one" * 200, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database(content: bytes, tmp_path: Path, clock: FixedClock) -> None:
    path = tmp_path / "abaco.db"
    path.write_bytes(content)
    with pytest.raises(WorldError, match="REC-105") as caught:
        open_store(f"sqlite:///{path}", clock=clock, actor="ana")
    assert caught.value.where == str(path)
    assert path.read_bytes() == content


def test_a_flipped_bit_in_what_was_recorded_is_found(
    url: str, tmp_path: Path, clock: FixedClock, run_start: Start, run_finish: RunFinish, kpi: Kpi
) -> None:
    """One bit at many places: SQLite, a seal or the ledger finds it, or nothing that is read has changed."""
    path = tmp_path / "abaco.db"
    with open_store(url, clock=clock, actor="ana") as store:
        store.writer.start(run_start(), [NOTE])
        store.writer.finish("r1", run_finish, [kpi()])
        good = (tuple(store.events()), store.reader.list(), store.reader.kpi_values("r1"))
    whole = path.read_bytes()
    places = [place for place in range(0, len(whole), 131) if whole[place]]
    places += [
        whole.index(b"175000.0000"),
        whole.index(b"2.40"),
        whole.index(b"run.started"),
        whole.rindex(b"tape.csv"),
    ]
    found = 0
    told: set[str] = set()
    for place in places:
        spoiled = bytearray(whole)
        spoiled[place] ^= 4
        path.write_bytes(spoiled)
        try:
            with open_store(url, clock=clock, actor="ana") as store:
                bad = not store.verify().ok or store.faults() != ()
                found += bad
                if not bad:
                    assert (tuple(store.events()), store.reader.list(), store.reader.kpi_values("r1")) == good
        except WorldError as error:
            told.add(error.code)
            found += 1
        if place in places[-4:]:
            assert found, place
    assert found > 20
    assert told <= {"REC-105", "REC-106", "REC-100"}
