from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.records.runs import KpiRow, RowCounts, RunFinish, RunStart
from abaco_loans.records.shadows import NewSeal, ShadowPlan
from abaco_loans.records.store import Store, open_store

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)

Child: TypeAlias = Callable[[Callable[[], None]], int]
Sweep: TypeAlias = Callable[[Callable[[Store], object], Callable[[Store], object]], None]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'abaco.db'}"


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def store(url: str, clock: FixedClock) -> Iterator[Store]:
    with open_store(url, clock=clock, actor="ana") as made:
        yield made


@pytest.fixture
def file_store(sqlite_url: str, clock: FixedClock) -> Iterator[Store]:
    """A store on SQLite, also where ``store`` is on each database in turn."""
    with open_store(sqlite_url, clock=clock, actor="ana") as made:
        yield made


@pytest.fixture
def run_start() -> Callable[..., RunStart]:
    def make(run_id: str = "r1", *, as_of: date = date(2026, 3, 31), definition: str = "portfolio") -> RunStart:
        return RunStart(
            run_id=run_id,
            release="v2",
            release_digest="d" * 64,
            tape_sha256="e" * 64,
            tape_path="tape.csv",
            layout="snapshot",
            as_of=as_of,
            definition=definition,
        )

    return make


@pytest.fixture
def run_finish() -> RunFinish:
    return RunFinish(
        rows=RowCounts(rows_in=10, accepted=8, quarantined=1, duplicate=1),
        output_folder="r1",
        manifest_sha256="f" * 64,
        timings={"ingestion": 0.25},
        warnings=({"code": "W1", "rows": 3},),
    )


@pytest.fixture
def kpi() -> Callable[..., KpiRow]:
    def make(
        run_id: str = "r1",
        kpi_id: str = "risk.par_30",
        value: str | None = "2.40",
        *,
        segment: str = "",
        segment_value: str = "",
        as_of: date = date(2026, 3, 31),
    ) -> KpiRow:
        number = None if value is None else Decimal(value)
        return KpiRow(
            run_id=run_id,
            kpi_id=kpi_id,
            segment=segment,
            segment_value=segment_value,
            as_of=as_of,
            recorded_at=NOON,
            definition="portfolio",
            release="v2",
            value=number,
            value_exact=number,
            unit="%",
            status="ok" if number is not None else "not_computable",
            reason="" if number is not None else "no rows",
            components={"late": "4200.0000", "total": "175000.0000"},
        )

    return make


@pytest.fixture
def shadow_plan() -> Callable[..., ShadowPlan]:
    def make(shadow_id: str = "s1", *, candidate: str = "v2", tape: str = "e" * 64, baseline: str = "m1") -> ShadowPlan:
        return ShadowPlan(
            shadow_id=shadow_id,
            baseline="v1",
            candidate=candidate,
            baseline_meaning=baseline,
            candidate_meaning="m2",
            tape_sha256=tape,
            tape_name="tape.csv",
            as_of=date(2026, 3, 31),
            repeats=2,
            gates_digest="g1",
            expected_digest="x1",
        )

    return make


@pytest.fixture
def new_seal() -> Callable[..., NewSeal]:
    def make(gates: str = "g1", *loosened: str, candidate: str = "v2", expected: str = "x1") -> NewSeal:
        return NewSeal(
            candidate=candidate,
            gates_digest=gates,
            expected_digest=expected,
            gates=f"# {gates}\ntapes_min: 3\n",
            expected="expected: []\n",
            loosened=loosened,
        )

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def url_of_each(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """A file, then a server, which is left empty."""
    server: Callable[[], str] = lambda: request.getfixturevalue("server_url")  # noqa: E731
    return sqlite_url if request.param == "sqlite" else server()


@pytest.fixture
def kill_between(sqlite_url: str, clock: FixedClock, in_child: Child, outcome: Callable[[int], int]) -> Sweep:
    """Makes a call in children of its own, killed before each of its statements in turn, and at last left alone.

    What a killed one leaves must be what was there before, and whole. On SQLite.
    """

    def work(call: Callable[[Store], object], point: int) -> None:
        with open_store(sqlite_url, clock=clock, actor="ana") as store:
            statement = 0

            def die(*_: object) -> None:
                nonlocal statement
                statement += 1
                if statement == point:
                    os.kill(os.getpid(), signal.SIGKILL)

            (handle,) = store._database._idle
            handle.set_trace_callback(die)  # before each statement, COMMIT too
            call(store)

    def sweep(call: Callable[[Store], object], seen: Callable[[Store], object]) -> None:
        with open_store(sqlite_url, clock=clock, actor="ana") as store:
            before = store.head(), seen(store)
        point = 0
        while True:
            point += 1
            code = outcome(in_child(lambda point=point: work(call, point)))  # type: ignore[misc]
            with open_store(sqlite_url, clock=clock, actor="ana") as store:
                assert store.verify().ok
                assert store.faults() == ()
                if code == 0:
                    assert store.head().count > before[0].count
                    break
                assert code == -signal.SIGKILL
                assert (store.head(), seen(store)) == before
        assert point > 5

    return sweep


@pytest.fixture
def in_child() -> Iterator[Child]:
    """Runs a function in a real process of its own; gives a function that starts it and returns its id."""
    started: list[int] = []

    def start(work: Callable[[], None]) -> int:
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads; pytest-xdist has one that the child does not need.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            started.append(pid)
            return pid
        code = 1
        try:
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc(file=sys.__stderr__)
            os._exit(code)

    yield start
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


@pytest.fixture
def outcome() -> Callable[[int], int]:
    """Waits for a child: its exit code, or minus the signal that killed it."""

    def wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return wait


@pytest.fixture
def as_nobody() -> Callable[[], None]:
    """Gives up root's rights (in a child), which no permission stops."""

    def drop() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

    return drop
