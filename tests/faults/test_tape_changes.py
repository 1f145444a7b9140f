"""A tape that is still being written, or swapped, while it is read (FAULTS 16)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_NEW, Bench, explained, stopped, until, write_tape

COPYING = "action=stop;at=1;calls=write;path=/00-tape"


def grows(tape: Path) -> None:
    with tape.open("a") as stream:
        stream.write(f"L9999,{AS_OF_NEW},C001,5.00,0,factoring,North\n")


def is_rewritten(tape: Path) -> None:
    text = tape.read_text()
    tape.write_text(text.replace("factoring", "factorinG"))


def is_swapped(tape: Path) -> None:
    other = write_tape(tape.with_name("other.csv"), rows=40_000, start=2, product="leasing")
    other.rename(tape)


def is_cut(tape: Path) -> None:
    os.truncate(tape, tape.stat().st_size - 10)


def is_gone(tape: Path) -> None:
    tape.unlink()


@pytest.mark.parametrize("change", [grows, is_rewritten, is_swapped, is_cut])
def test_a_tape_that_changes_is_not_ready(change: Callable[[Path], None], bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    tape = write_tape(tmp_path / "tape.csv", rows=40_000)
    assert tape.stat().st_size > 1 << 20, "it must take more than one read"
    going = bench.server.start("run", tape, "-w", workspace, order=COPYING)
    until(lambda: stopped(going.pid))
    change(tape)
    os.kill(going.pid, signal.SIGCONT)
    explained(bench.server.wait(going), 3, "SRC-103", "not ready", "tape.csv")
    bench.old_is_whole(workspace)


def test_a_tape_that_goes_away_while_it_is_read(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    tape = write_tape(tmp_path / "tape.csv", rows=40_000)
    going = bench.server.start("run", tape, "-w", workspace, order=COPYING)
    until(lambda: stopped(going.pid))
    is_gone(tape)
    os.kill(going.pid, signal.SIGCONT)
    explained(bench.server.wait(going), 2, "tape.csv", "no such file")
    bench.old_is_whole(workspace)


def test_what_is_recorded_is_what_was_parsed(bench: Bench, tmp_path: Path) -> None:
    """Swapped after the copy: the copy is what counts, for hash and numbers alike."""
    workspace = bench.copy(tmp_path)
    tape = Path(shutil.copy(bench.new, tmp_path / "tape.csv"))
    before = hashlib.sha256(tape.read_bytes()).hexdigest()
    going = bench.server.start("run", tape, "-w", workspace, order="action=stop;at=1;calls=mkdir;path=/spill")
    until(lambda: stopped(going.pid))
    is_rewritten(tape)
    os.kill(going.pid, signal.SIGCONT)
    assert bench.server.wait(going).code == 0
    (folder,) = (workspace / "outputs" / AS_OF_NEW).iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["tape"]["sha256"] == before
    assert (folder / "kpis.json").read_bytes() == bench.wanted
