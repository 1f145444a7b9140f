"""Kill `abaco run` at every call by which it changes the disk (FAULTS 1, 2).

After the kill a reader sees the old result whole or the new one whole; a plain run again ends with what an
undisturbed run says; nothing is left over; the ledger verifies.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.harness import Bench, Done, environment, finished_runs, lines_of, write_tape

SHARES = 8
Point = tuple[int, str, str]


@pytest.fixture(scope="session")
def calls(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    """Every call of an undisturbed run that changes the disk, in order."""
    folder = tmp_path_factory.mktemp("calls")
    workspace, log = bench.copy(folder), folder / "log"
    done = bench.server.run("run", bench.new, "-w", workspace, order=f"action=count;log={log}")
    assert done.code == 0, done.err
    found = [(number, call, path.replace(str(workspace), "")) for number, call, path in lines_of(log)]
    shutil.rmtree(workspace)
    return found


def publication(calls: list[Point]) -> int:
    """The number of the first call that publishes."""
    return next(number for number, call, path in calls if call == "chmod" and "/output/" in path)


def spread(calls: list[Point]) -> list[int]:
    """Points for every day: from publication on every call, but of a row of like ones its ends; before, each 12th."""
    first = publication(calls)
    points = {number for number, _, _ in calls if number < first and number % 16 == 1}
    for _, group in itertools.groupby(calls, key=lambda item: item[1:]):
        row = [number for number, _, _ in group]
        points |= {number for number in (row[0], row[-1]) if number >= first}
    return sorted(points)


def kill_at(bench: Bench, folder: Path, number: int, action: str = "kill") -> Done:
    """A run that dies at its call `number` (or at its last one, should it have a few less this time)."""
    for _ in range(5):
        workspace, log = bench.copy(folder), folder / "log"
        log.unlink(missing_ok=True)
        done = bench.server.run("run", bench.new, "-w", workspace, order=f"action={action};at={number};log={log}")
        if done.code != 0:
            break
        made = len(list(lines_of(log)))
        assert number - 10 < made < number, f"call {number} of {made} came, and it lived"
        number = made
    assert done.code == -signal.SIGKILL, (number, done)
    return done


def survives(bench: Bench, folder: Path, number: int, action: str = "kill") -> None:
    kill_at(bench, folder, number, action)
    workspace = folder / "workspace"
    assert set(bench.old_is_whole(workspace)) <= {bench.sha(bench.old), bench.sha(bench.new)}
    bench.run_again(workspace)


def test_the_sweep_begins_before_the_first_write_and_ends_after_the_last_one(calls: list[Point]) -> None:
    names = {call for _, call, _ in calls}
    assert {"open", "write", "fsync", "rename", "mkdir", "rmdir", "unlinkat", "chmod"} <= names
    assert {"pwrite64", "fdatasync", "unlink"} <= names, "SQLite is not seen"
    assert any(call.startswith("pwrite") and ".parquet" in path for _, call, path in calls), "the engine is not seen"
    assert 150 < len(calls) < 1000
    assert calls[-1][0] == len(calls)
    assert 40 <= len(spread(calls)) <= 80


# One of the shares at every change, the others with `make sweep`.
SHARES_SEEN = [0, *(pytest.param(share, marks=pytest.mark.sweep) for share in range(1, SHARES))]


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES_SEEN)
def test_killed_where_it_matters(share: int, bench: Bench, calls: list[Point], tmp_path: Path) -> None:
    for number in spread(calls)[share::SHARES]:
        survives(bench, tmp_path, number)


@pytest.mark.sweep
@pytest.mark.parametrize("share", range(16))
def test_killed_at_every_call(share: int, bench: Bench, calls: list[Point], tmp_path: Path) -> None:
    for number, _, _ in calls[share::16]:
        survives(bench, tmp_path, number)


@pytest.mark.sweep
@pytest.mark.parametrize("share", range(16))
def test_killed_in_the_middle_of_every_write(share: int, bench: Bench, calls: list[Point], tmp_path: Path) -> None:
    writes = [number for number, call, _ in calls if "write" in call]
    for number in writes[share::16]:
        survives(bench, tmp_path, number, "torn")


def first_points(bench: Bench, folder: Path, tape: Path, every: int) -> list[int]:
    """Points of a run in a workspace that has never run anything."""
    log = folder / "log"
    fresh = fresh_workspace(bench, folder)
    bench.server.run("run", tape, "-w", fresh, order=f"action=count;log={log}")
    total = len(list(lines_of(log)))
    return [*range(1, total - 1, every), total - 1]


def fresh_workspace(bench: Bench, folder: Path) -> Path:
    target = bench.copy(folder)
    shutil.rmtree(target / "records")
    shutil.rmtree(target / "outputs")
    shutil.rmtree(target / ".scratch")
    shutil.rmtree(target / ".cache")
    (target / "keys" / "ledger.key").unlink()
    for name in ("records/locks", "records/anchors", "outputs"):
        (target / name).mkdir(parents=True)
    return target


def killed_at_first(bench: Bench, folder: Path, number: int) -> None:
    workspace = fresh_workspace(bench, folder)
    done = bench.server.run("run", bench.new, "-w", workspace, order=f"action=kill;at={number}")
    assert done.code == -signal.SIGKILL, (number, done)
    done = bench.server.run("run", bench.new, "-w", workspace)
    assert done.code == 0, (number, done.err)
    (record,) = finished_runs(workspace).values()
    assert (workspace / "outputs" / (record.output_folder or "") / "kpis.json").read_bytes() == bench.wanted
    left = [path.name for path in (workspace / "keys").iterdir()]
    assert sorted(left) == ["ledger.key", "masking.key"], (number, left)


@pytest.mark.sweep
def test_the_first_run_of_all_killed(bench: Bench, tmp_path: Path) -> None:
    """Records, schema and signing key are being made."""
    for number in first_points(bench, tmp_path, bench.new, 60):
        killed_at_first(bench, tmp_path, number)


@pytest.mark.sweep
@pytest.mark.parametrize("share", range(8))
def test_the_first_run_of_all_killed_at_every_call(share: int, bench: Bench, tmp_path: Path) -> None:
    for number in first_points(bench, tmp_path, bench.new, 1)[share::8]:
        killed_at_first(bench, tmp_path, number)


def refused_points(bench: Bench, folder: Path, tape: Path) -> list[Point]:
    log = folder / "log"
    log.unlink(missing_ok=True)
    done = bench.server.run("run", tape, "-w", bench.copy(folder), order=f"action=count;log={log}")
    assert done.code == 3
    return list(lines_of(log))


def refusal_survives(bench: Bench, folder: Path, tape: Path, number: int) -> None:
    """A refused tape is recorded as refused, once, with its quarantine, whatever happened on the way."""
    workspace = bench.copy(folder)
    done = bench.server.run("run", tape, "-w", workspace, order=f"action=kill;at={number}")
    assert done.code == -signal.SIGKILL, (number, done)
    assert set(bench.old_is_whole(workspace)) == {bench.sha(bench.old)}
    done = bench.server.run("run", tape, "-w", workspace)
    assert done.code == 3 and "RUN-103" in done.err, (number, done.err)
    bench.old_is_whole(workspace)
    quarantines = list((workspace / "outputs" / "refused").glob("*/quarantine.csv"))
    assert len(quarantines) == 1 and "TAPE-204" in quarantines[0].read_text()


@pytest.mark.slow
def test_a_refusal_killed(bench: Bench, tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "bad.csv", bad=12)
    calls = refused_points(bench, tmp_path, tape)
    around = [number for number, _, path in calls if "/refused" in path]
    assert around
    for number in sorted({*around, *range(1, len(calls) - 4, max(1, len(calls) // 3))}):
        refusal_survives(bench, tmp_path, tape, number)


@pytest.mark.sweep
def test_a_refusal_killed_at_every_call(bench: Bench, tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "bad.csv", bad=12)
    for number, _, _ in refused_points(bench, tmp_path, tape)[:-4]:
        refusal_survives(bench, tmp_path, tape, number)


def test_a_process_from_scratch_dies_the_same_way(bench: Bench, shim: Path, tmp_path: Path) -> None:
    """The forked processes of the sweep are no special case."""
    workspace = bench.copy(tmp_path)
    order = "action=kill;at=1;calls=rename;path=/outputs/"
    ended = subprocess.run(
        [sys.executable, "-m", "abaco_loans", "run", bench.new, "-w", workspace],
        env=environment() | {"LD_PRELOAD": str(shim), "FAULT_SHIM": order},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    bench.old_is_whole(workspace)
    bench.run_again(workspace)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_the_shim_misses_no_call_that_the_kernel_sees(bench: Bench, shim: Path, tmp_path: Path) -> None:
    workspace, log, trace = bench.copy(tmp_path), tmp_path / "log", tmp_path / "trace"
    names = "write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,ftruncate"
    ended = subprocess.run(
        [
            *("strace", "-f", "-qq", "-y", "-o", trace, "-e", f"trace={names}"),
            *(sys.executable, "-m", "abaco_loans", "run", bench.new, "-w", workspace),
        ],
        env=environment() | {"LD_PRELOAD": str(shim), "FAULT_SHIM": f"action=count;log={log}"},
        capture_output=True,
        check=False,
    )
    if ended.returncode != 0 and b"ptrace" in ended.stderr.lower():
        assert not os.environ.get("CI"), ended.stderr
        pytest.skip("ptrace is not allowed here")
    assert ended.returncode == 0, ended.stderr
    kernel = [line.split(None, 1)[1] for line in trace.read_text(errors="replace").splitlines() if "(" in line]
    kernel = [line for line in kernel if str(log) not in line and not line.startswith("<...")]
    kernel = [line for line in kernel if str(workspace) in line or line.startswith(("unlinkat", "rmdir"))]
    ours = [call for _, call, _ in lines_of(log) if call.removesuffix("64") in names or call in names]
    assert len(kernel) == len(ours), (len(kernel), len(ours))


KEPT = ["release-v2.json", "settings.json", "statements.json"]


@pytest.mark.sweep
def test_killed_while_it_keeps_what_it_read(bench: Bench, tmp_path: Path) -> None:
    """The cache is old, new or absent; the next run works, and keeps it."""
    at = 0
    while True:
        at += 1
        workspace = bench.copy(tmp_path)
        shutil.rmtree(workspace / ".cache")
        done = bench.server.run("run", bench.new, "-w", workspace, order=f"action=kill;path=/.cache;at={at}")
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, (at, done)
        bench.run_again(workspace)
        assert sorted(path.name for path in (workspace / ".cache").iterdir()) == KEPT
    assert at > 4, "nothing was written there"
