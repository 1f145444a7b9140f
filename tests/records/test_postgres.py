"""The same code on PostgreSQL: a real server, started for these tests (fixture ``postgres_url``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import WorldError
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.ledger_table import append, read_head
from abaco_loans.records.runs import KpiRow, QuarantineCount, RunFinish, RunStart
from abaco_loans.records.store import Store, open_store

NOTE = NewEvent(action="noted", subject="s", payload={})


@pytest.fixture
def store(clock: FixedClock, postgres_url: str, clean: Callable[[Store], None]) -> Iterator[Store]:
    with open_store(postgres_url, clock=clock, actor="ana", timeout_s=0.5) as made:
        yield made
        clean(made)


def test_a_run_and_its_ledger(
    store: Store, run_start: Callable[..., RunStart], run_finish: RunFinish, kpi: Callable[..., KpiRow]
) -> None:
    counts = (QuarantineCount(file="f", column="c", code="x", rows=2),)
    store.writer.ensure_release("v2", kind="catalogue", role="active", meaning_digest="m", policy_digest="p")
    store.writer.start(run_start())
    finished = store.writer.finish("r1", run_finish, [kpi(), kpi(kpi_id="y")], counts, [NOTE])
    assert store.reader.latest_finished() == finished
    assert store.reader.kpi_values("r1") == (kpi(), kpi(kpi_id="y"))
    assert store.reader.quarantine_counts("r1") == counts
    assert (store.verify().ok, store.faults(), store.head().count) == (True, (), 4)
    assert store.facts().backend == "postgresql"


def test_two_processes_append_without_a_fork(
    store: Store, postgres_url: str, in_child: Callable[[Callable[[], None]], int], outcome: Callable[[int], int]
) -> None:
    def work() -> None:
        with open_store(postgres_url, clock=SystemClock(), actor=str(os.getpid()), timeout_s=30) as mine:
            for _ in range(30):
                mine.append([NOTE])

    assert [outcome(pid) for pid in (in_child(work), in_child(work))] == [0, 0]
    assert (store.verify().ok, store.head().count) == (True, 60)


def test_what_a_reader_sees_does_not_move(store: Store, postgres_url: str, clock: FixedClock) -> None:
    """Else a row and the event that tells of it, read one after the other, look like damage."""
    with open_store(postgres_url, clock=clock, actor="bob") as other, store._database.read() as connection:
        assert read_head(connection)[0] == 0
        other.append([NOTE])
        assert read_head(connection)[0] == 0
    assert store.head().count == 1


def test_another_writer_is_waited_for_and_told(store: Store, postgres_url: str, clock: FixedClock) -> None:
    with (
        open_store(postgres_url, clock=clock, actor="bob") as other,
        other._database.write(),
        pytest.raises(WorldError, match="REC-101"),
    ):
        store.append([NOTE])


def test_a_server_that_goes_away_in_a_transaction(store: Store) -> None:
    def lose_it() -> None:
        with store._database.write() as connection:
            append(connection, [NOTE], at=datetime.now(UTC), actor="ana")
            backend = connection.rows("SELECT pg_backend_pid() AS id")[0]["id"]
            with store._database.read() as other:
                other.rows("SELECT pg_terminate_backend(:id)", id=backend)
            append(connection, [NOTE], at=datetime.now(UTC), actor="ana")

    with pytest.raises(WorldError, match="REC-108"):
        lose_it()
    assert store.head().count == 0
    store.append([NOTE])


def test_two_processes_make_the_schema_once(
    postgres_url: str,
    in_child: Callable[[Callable[[], None]], int],
    outcome: Callable[[int], int],
    clean: Callable[[Store], None],
) -> None:
    def work() -> None:
        open_store(postgres_url, clock=SystemClock(), actor="x").close()

    assert [outcome(pid) for pid in [in_child(work) for _ in range(3)]] == [0, 0, 0]
    with open_store(postgres_url, clock=SystemClock(), actor="x") as store:
        clean(store)


def test_a_server_that_is_not_there(clock: FixedClock) -> None:
    with pytest.raises(WorldError, match="REC-108") as caught:
        open_store("postgresql://ana:s3cret@127.0.0.1:1/x?password=s3cret", clock=clock, actor="ana")
    assert "s3cret" not in str(caught.value)
