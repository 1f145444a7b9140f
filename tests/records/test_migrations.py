from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import alembic.command
import alembic.script
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import WorldError
from abaco_loans.records import migrations
from abaco_loans.records.locks import exclusive
from abaco_loans.records.migrations import HEAD, REVISIONS
from abaco_loans.records.schema import metadata
from abaco_loans.records.store import Store, open_store
from abaco_loans.tape.memory import Memory, using

Child = Callable[[Callable[[], None]], int]
Outcome = Callable[[int], int]

pytestmark = pytest.mark.usefixtures("no_memory")


def tables(path: Path) -> set[str]:
    raw = sqlite3.connect(path)
    try:
        return {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        raw.close()


def test_migrations_make_what_the_code_sees(store: Store) -> None:
    with create_engine(f"sqlite:///{store.path}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_schema_that_is_remembered_is_that_of_the_migrations(tmp_path: Path, clock: FixedClock) -> None:
    def made(name: str) -> list[str]:
        open_store(f"sqlite:///{tmp_path / name}", clock=clock, actor="ana").close()
        with closing(sqlite3.connect(tmp_path / name)) as raw:
            return list(raw.iterdump())

    migrated, memory = made("migrated.db"), Memory({})
    with using(memory):
        assert made("first.db") == migrated
    with using(Memory(memory.entries())):
        assert made("again.db") == migrated
    assert memory.has_new


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    folder = Path(str(migrations.__file__)).parent
    script = alembic.script.ScriptDirectory(str(folder))
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == REVISIONS
    assert script.get_current_head() == HEAD


def test_newer_schema_is_refused_and_left_alone(url: str, tmp_path: Path, clock: FixedClock) -> None:
    open_store(url, clock=clock, actor="ana").close()
    path = tmp_path / "abaco.db"
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(WorldError, match="REC-106") as caught:
        open_store(url, clock=clock, actor="ana")
    assert "9999" in caught.value.what
    assert "newer" in caught.value.what
    assert path.read_bytes() == before


def test_killed_migration_leaves_the_old_or_the_new_schema(
    url: str, tmp_path: Path, in_child: Child, outcome: Outcome
) -> None:
    path = tmp_path / "abaco.db"

    def work(point: int) -> None:
        seen = 0

        def die(*_: object) -> None:
            nonlocal seen
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "after_cursor_execute", die)
        event.listen(Engine, "commit", die)
        open_store(url, clock=SystemClock(), actor="ana").close()

    point, died = 0, 0
    while True:
        point += 1
        path.unlink(missing_ok=True)
        code = outcome(in_child(lambda point=point: work(point)))  # type: ignore[misc]
        if code == 0:
            break
        assert code == -signal.SIGKILL
        died += 1
        assert tables(path) == set(), f"half a schema after statement {point}"
    assert died > 12
    assert tables(path) == {*metadata.tables, "alembic_version"}
    open_store(url, clock=SystemClock(), actor="ana").close()


def test_two_processes_make_the_database_once(url: str, in_child: Child, outcome: Outcome) -> None:
    def work() -> None:
        open_store(url, clock=SystemClock(), actor="ana").close()

    assert [outcome(pid) for pid in [in_child(work) for _ in range(3)]] == [0, 0, 0]
    open_store(url, clock=SystemClock(), actor="ana").close()


def test_migration_waits_for_the_lock(
    url: str, tmp_path: Path, clock: FixedClock, in_child: Child, outcome: Outcome
) -> None:
    go, tell = os.pipe()

    def work() -> None:  # forked before the lock is taken: a child shares its parent's locks
        os.read(go, 1)
        open_store(url, clock=clock, actor="ana").close()

    pid = in_child(work)
    with exclusive(tmp_path / "abaco.db.migration-lock", timeout_s=0, who="other"):
        os.write(tell, b"x")
        time.sleep(0.5)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        assert tables(tmp_path / "abaco.db") == set()
    os.close(go)
    os.close(tell)
    assert outcome(pid) == 0
    assert "runs" in tables(tmp_path / "abaco.db")


def test_disk_full_while_migrating_leaves_nothing(url: str, tmp_path: Path, in_child: Child, outcome: Outcome) -> None:
    import resource

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(WorldError, match="REC-104"):
            open_store(url, clock=SystemClock(), actor="ana")

    assert outcome(in_child(work)) == 0
    assert tables(tmp_path / "abaco.db") == set()
    open_store(url, clock=SystemClock(), actor="ana").close()
