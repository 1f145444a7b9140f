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
from abaco_loans.records.store import Store, open_store

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)

Child: TypeAlias = Callable[[Callable[[], None]], int]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'abaco.db'}"


@pytest.fixture
def store(url: str, clock: FixedClock) -> Iterator[Store]:
    with open_store(url, clock=clock, actor="ana") as made:
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
