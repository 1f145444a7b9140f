"""Workers and submissions that die, sleep or fight over jobs (FAULTS 1, 2, 9, 12, 13, 16): one result a tape."""

from __future__ import annotations

import importlib
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.operations.submit_tape import tape_digest
from abaco_loans.outputs.publish import damaged_files
from abaco_loans.records.store import Store, open_store
from tests.faults.harness import Bench, Going, finished_runs, lines_of, nothing_left_over, stopped, until, write_tape
from tests.operations.desk import bucketed_row, write_csv

# Short leases, so that a dead worker's job is soon another's; and no end to the attempts, as deaths are not its fault.
OFTEN = {"ABACO_JOB_LEASE_S": "2", "ABACO_JOB_ATTEMPTS_MAX": "1000"}


def records_at(url: str) -> Store:
    return open_store(url, clock=FixedClock(datetime(2026, 3, 31, tzinfo=UTC)), actor="reader")


def sqlite_of(workspace: Path) -> str:
    return f"sqlite:///{workspace / 'records' / 'abaco.db'}"


def start_worker(bench: Bench, workspace: Path, environment: Mapping[str, str] = OFTEN, order: str = "") -> Going:
    return bench.server.start(
        "worker", "--until-idle", "--poll", "0.1", "-w", workspace, environment=environment, order=order
    )


def served_once(url: str, workspace: Path, tapes: list[Path]) -> None:
    """Every tape has one job, it is done with one result, and the run behind it is whole; ledger and rows hold."""
    with records_at(url) as records:
        assert records.verify().ok and records.faults() == ()
        jobs = {job.tape_sha256: job for job in records.production_reader.jobs(limit=10_000)}
        assert set(jobs) == {tape_digest(tape) for tape in tapes} and len(jobs) == len(tapes)
        assert {job.status for job in jobs.values()} == {"done"}
        results = [records.production_reader.served(job.job_id) for job in jobs.values()]
        assert [len(item) for item in results] == [1] * len(tapes)
        assert len({item.run_id for (item,) in results}) == len(tapes)
        for job, (result,) in zip(jobs.values(), results, strict=True):
            run = records.reader.get(result.run_id)
            assert run is not None and run.status == "finished" and run.tape_sha256 == job.tape_sha256
            assert not damaged_files(workspace / "outputs", run.output_folder or "", run.manifest_sha256 or "")


PUBLISHING = "calls=rename;path=/outputs/"


@pytest.mark.parametrize("where", [PUBLISHING, "calls=open;path=/output/kpis.json", "calls=fsync;path=/outputs/"])
def test_a_worker_is_killed_during_a_job_and_another_ends_it(where: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    assert bench.server.run("submit", bench.new, "-w", workspace).code == 0
    died = bench.server.wait(start_worker(bench, workspace, order=f"action=kill;at=1;{where}"))
    assert died.code == -signal.SIGKILL
    with records_at(sqlite_of(workspace)) as records:
        (job,) = records.production_reader.jobs("leased")
        dead = job.owner
    done = bench.server.wait(start_worker(bench, workspace))
    assert done.code == 0 and "done: new.csv" in done.out, (done.out, done.err)
    with records_at(sqlite_of(workspace)) as records:
        (job,) = records.production_reader.jobs()
        assert (job.status, job.attempts, job.owner != dead) == ("done", 2, True)
    served_once(sqlite_of(workspace), workspace, [bench.new])
    bench.run_again(workspace)


def test_a_worker_sleeps_longer_than_its_lease_and_its_result_is_refused(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    assert bench.server.run("submit", bench.new, "-w", workspace).code == 0
    sleeper = start_worker(bench, workspace, order="action=stop;at=1;calls=open;path=/output/kpis.json")
    until(lambda: stopped(sleeper.pid))
    other = start_worker(bench, workspace)
    try:
        until(lambda: leases(workspace) == 2)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    late, done = bench.server.wait(sleeper), bench.server.wait(other)
    assert (late.code, done.code) == (0, 0), (late.err, done.err)
    assert "dropped: new.csv" in late.out and "REC-131" in late.out
    assert "done: new.csv" in done.out
    served_once(sqlite_of(workspace), workspace, [bench.new])


def leases(workspace: Path) -> int:
    """How often the only job was taken."""
    with records_at(sqlite_of(workspace)) as records:
        (job,) = records.production_reader.jobs()
        return job.attempts


def test_a_worker_that_is_asked_to_stop_ends_its_job_first(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    tapes = [write_tape(tmp_path / f"t{number}.csv", start=100 * number) for number in (1, 2, 3)]
    assert bench.server.run("submit", *tapes, "-w", workspace).code == 0
    worker = start_worker(bench, workspace, order="action=stop;at=1;calls=open;path=/output/kpis.json")
    until(lambda: stopped(worker.pid))
    os.kill(worker.pid, signal.SIGTERM)
    os.kill(worker.pid, signal.SIGCONT)
    done = bench.server.wait(worker)
    assert done.code == 0 and done.out.count(" done: ") == 1, (done.out, done.err)
    with records_at(sqlite_of(workspace)) as records:
        assert records.production_reader.counts() == {"queued": 2, "leased": 0, "done": 1, "failed": 0}


def test_a_submission_is_killed_at_every_step(bench: Bench, tmp_path: Path) -> None:
    """What was acknowledged is there; submitted again it is one job with one copy."""
    log, workspace = tmp_path / "log", bench.copy(tmp_path)
    done = bench.server.run("submit", bench.new, "-w", workspace, order=f"action=count;log={log}")
    assert done.code == 0, done.err
    points = [number for number, call, path in lines_of(log) if "abaco.db" not in path]
    points += [number for number, _, path in lines_of(log) if "abaco.db" in path][::8]
    assert {"fsync", "rename"} <= {call for _, call, path in lines_of(log) if "/queue" in path}
    for number in points:
        workspace = bench.copy(tmp_path)
        died = bench.server.run("submit", bench.new, "-w", workspace, order=f"action=kill;at={number}")
        with records_at(sqlite_of(workspace)) as records:
            jobs = records.production_reader.jobs()
            assert records.faults() == () and records.verify().ok
        if died.code == 0 or died.out:
            assert len(jobs) == 1, (number, died)
        for job in jobs:
            assert tape_digest(workspace / job.spool) == bench.sha(bench.new), number
        again = bench.server.run("submit", bench.new, "-w", workspace, "--json")
        assert again.code == 0, (number, again.err)
        copies = [path for path in (workspace / "queue").rglob("*") if path.is_file()]
        assert len(copies) == 1 and tape_digest(copies[0]) == bench.sha(bench.new), (number, copies)
        assert [path for path in (workspace / ".scratch").iterdir() if path.suffix != ".lock"] == [], number


@pytest.mark.sweep
def test_a_worker_is_killed_while_it_empties_the_inbox(bench: Bench, tmp_path: Path) -> None:
    log, workspace = tmp_path / "log", with_inbox(bench, tmp_path)
    done = bench.server.run("worker", "--once", "-w", workspace, order=f"action=count;log={log}")
    assert done.code == 0 and "done: new.csv" in done.out, done
    calls = [item for item in lines_of(log) if "/inbox/" in item[2] or "/queue" in item[2]]
    points = {number for number, call, _ in calls if call.startswith("rename")}
    assert len(points) >= 5
    for number in sorted(points | {number for number, _, _ in calls[::8]}):
        workspace = with_inbox(bench, tmp_path)
        died = bench.server.run("worker", "--once", "-w", workspace, order=f"action=kill;at={number}")
        assert died.code == -signal.SIGKILL, number
        done = bench.server.run("worker", "--once", "-w", workspace)
        assert done.code == 0 and "done: new.csv" in done.out, (number, done)
        served_once(sqlite_of(workspace), workspace, [bench.new])
        (tape,) = [path for path in (workspace / "inbox" / "taken").iterdir() if path.suffix == ".csv"]
        assert tape.read_bytes() == bench.new.read_bytes(), number
        assert not list((workspace / "inbox" / ".taking").glob("*.csv")), number


def with_inbox(bench: Bench, folder: Path) -> Path:
    """A workspace in whose inbox a whole tape lies."""
    workspace = bench.copy(folder)
    (workspace / "inbox").mkdir()
    (workspace / "inbox" / "new.csv").write_bytes(bench.new.read_bytes())
    (workspace / "inbox" / "new.csv.done").touch()
    return workspace


def murder(bench: Bench, workspace: Path, url: str, tapes: list[Path], kills: int) -> None:
    """Two workers, killed and started at random moments, until every tape is served."""
    luck = random.Random(20261122)
    environment = {**OFTEN, "ABACO_RECORDS_URL": url}
    asked = bench.server.run("submit", *tapes[::2], "-w", workspace, environment=environment)
    assert asked.code == 0, asked.err
    going = [start_worker(bench, workspace, environment) for _ in range(2)]
    (workspace / "inbox").mkdir(exist_ok=True)
    died = 0
    for number in range(kills):
        time.sleep(luck.uniform(0.05, 0.9))
        for tape in tapes[1::2][number * len(tapes) // kills : (number + 1) * len(tapes) // kills]:
            (workspace / "inbox" / f".{tape.name}").write_bytes(tape.read_bytes())
            (workspace / "inbox" / f".{tape.name}").rename(workspace / "inbox" / tape.name)
            (workspace / "inbox" / f"{tape.name}.done").touch()
        victim = luck.randrange(2)
        os.kill(going[victim].pid, signal.SIGKILL)
        died += bench.server.wait(going[victim]).code == -signal.SIGKILL
        going[victim] = start_worker(bench, workspace, environment)
    ended = [bench.server.wait(item) for item in [*going, start_worker(bench, workspace, environment)]]
    assert [item.code for item in ended] == [0, 0, 0], [item.err for item in ended]
    assert died >= kills // 2, "nobody died at work"
    served_once(url, workspace, tapes)
    assert not [path for path in (workspace / "inbox").iterdir() if path.is_file()]


def many(folder: Path, count: int) -> list[Path]:
    """Tapes that are run as quickly as tapes can be."""
    return [write_csv(folder / f"t{number:04d}.csv", [bucketed_row("A", number + 1)]) for number in range(count)]


@pytest.fixture
def server_url(postgres_url: str) -> Iterator[str]:
    """A new database on the real PostgreSQL server."""
    psycopg = importlib.import_module("psycopg")
    base, _, rest = postgres_url.partition("?")
    name = f"queue_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{rest}" if rest else "")
    with suppress(psycopg.OperationalError), psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
def test_forty_tapes_and_two_workers_that_die_at_random(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    murder(bench, workspace, sqlite_of(workspace), many(tmp_path, 40), kills=8)
    assert bench.server.run("run", bench.old, "-w", workspace).code == 0
    nothing_left_over(workspace, finished_runs(workspace))


@pytest.mark.sweep
def test_sixty_tapes_on_postgresql(bench: Bench, server_url: str, tmp_path: Path) -> None:
    murder(bench, bench.copy(tmp_path), server_url, many(tmp_path, 60), kills=8)


@pytest.mark.sweep
@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_soak_a_thousand_tapes(backend: str, bench: Bench, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    url = sqlite_of(workspace) if backend == "sqlite" else request.getfixturevalue("server_url")
    murder(bench, workspace, url, many(tmp_path, 1000), kills=150)
