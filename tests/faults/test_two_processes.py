"""Two processes at once: one works, the other waits, is told for whom, and gets the result (FAULTS 9, 11)."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from tests.faults.harness import Bench, Going, explained, finished_runs, nothing_left_over, stopped, until, write_tape

AT_WORK = "action=stop;at=1;calls=open;path=/output/kpis.json"
PUBLISHING = "action=stop;at=1;calls=rename;path=/outputs/"


def paused(bench: Bench, workspace: Path, tape: Path, order: str) -> Going:
    """A run that stands still in the middle."""
    going = bench.server.start("run", tape, "-w", workspace, "--json", order=order)
    until(lambda: stopped(going.pid))
    return going


def test_one_tape_twice_at_once(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    first = paused(bench, workspace, bench.new, AT_WORK)
    terminal, end = os.openpty()
    second = bench.server.start("run", bench.new, "-w", workspace, "--json", err=Path(os.ttyname(end)))
    try:
        said = b""
        while b"waiting" not in said:
            assert select.select([terminal], [], [], 30)[0], said
            said += os.read(terminal, 4096)
        assert b"abaco run by" in said
    finally:
        os.kill(first.pid, signal.SIGCONT)
    done = [bench.server.wait(going) for going in (first, second)]
    os.close(end)
    os.close(terminal)
    assert [item.code for item in done] == [0, 0], done
    one, two = (item.document() for item in done)
    assert one["run_id"] == two["run_id"] and one["kpis"] == two["kpis"]
    assert (one["earlier"], two["earlier"]) == (False, True)
    nothing_left_over(workspace, bench.old_is_whole(workspace))


def test_a_holder_that_stands_still_is_named_after_a_bounded_wait(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    first = paused(bench, workspace, bench.new, AT_WORK)
    try:
        done = bench.server.run("run", bench.new, "-w", workspace, environment={"ABACO_LOCK_TIMEOUT_S": "1"})
    finally:
        os.kill(first.pid, signal.SIGCONT)
    explained(done, 4, "REC-111", f"process {first.pid}", "since 20", "abaco run by")
    assert bench.server.wait(first).code == 0
    assert bench.server.run("run", bench.new, "-w", workspace).code == 0


def test_a_holder_that_was_killed_holds_nothing(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    first = paused(bench, workspace, bench.new, PUBLISHING)
    os.kill(first.pid, signal.SIGKILL)
    assert bench.server.wait(first).code == -signal.SIGKILL
    bench.run_again(workspace)


def test_a_publisher_that_stands_still_keeps_others_only_for_a_while(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    other = write_tape(tmp_path / "other.csv", start=900)
    first = paused(bench, workspace, bench.new, PUBLISHING)
    try:
        done = bench.server.run("run", other, "-w", workspace, environment={"ABACO_LOCK_TIMEOUT_S": "1"})
    finally:
        os.kill(first.pid, signal.SIGCONT)
    explained(done, 4, "REC-111", f"process {first.pid}")
    assert bench.server.wait(first).code == 0
    assert bench.server.run("run", other, "-w", workspace).code == 0
    nothing_left_over(workspace, bench.old_is_whole(workspace))


def test_two_tapes_at_once_both_finish(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    tapes = [write_tape(tmp_path / f"t{number}.csv", start=100 * number + 1) for number in range(1, 4)]
    going = [bench.server.start("run", tape, "-w", workspace) for tape in tapes]
    done = [bench.server.wait(item) for item in going]
    assert [item.code for item in done] == [0, 0, 0], [item.err for item in done]
    assert len(finished_runs(workspace)) == 4
    nothing_left_over(workspace, bench.old_is_whole(workspace))


def test_a_second_run_leaves_the_scratch_data_of_a_living_one_alone(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    other = write_tape(tmp_path / "other.csv", start=900)
    first = paused(bench, workspace, bench.new, AT_WORK)
    try:
        assert bench.server.run("run", other, "-w", workspace).code == 0
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert bench.server.wait(first).code == 0
    nothing_left_over(workspace, bench.old_is_whole(workspace))
