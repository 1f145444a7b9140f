"""`abaco watch`: what it prints, and its exit codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.operations.watch_production import tick
from tests.cli.conftest import Abaco
from tests.operations.watch_desk import CALM, Machine, WatchDesk


@pytest.fixture
def desk(tmp_path: Path) -> WatchDesk:
    """A watch that began eight and a half hours ago; no tape was run."""
    desk = WatchDesk(tmp_path / "workspace")
    desk.clock = FixedClock(datetime.now(UTC) - timedelta(hours=8.5))
    desk.begin()
    return desk


def ticks(desk: WatchDesk, hours: float) -> None:
    """Tick every half hour, for so long."""
    for _ in range(round(hours * 2)):
        desk.clock.move_to(desk.clock.now() + timedelta(minutes=30))
        tick(desk.tools())


def test_the_status_of_a_watch(desk: WatchDesk, abaco: Abaco) -> None:
    ticks(desk, 3.5)
    desk.machine = Machine(metrics={**CALM, "memory_mb": None})
    ticks(desk, 4.5)
    said = abaco("watch", "status", "-w", desk.workspace.root)
    assert said.code == 0
    assert "watch c1: release v2 beside v1, watching" in said.out
    lines = [line.split() for line in said.out.splitlines()]
    assert [line[0] for line in lines if line[4:5] == ["UNKNOWN"]][:3] == ["1", "2", "2.5"]  # nothing was compared
    assert "decision at hour 8: reduce the frequency, keep it, or investigate?" in said.out
    assert "not met: all checkpoints are PASS (not PASS: hour 1," in said.out
    assert "next: hour 10, due" in said.out
    document = abaco("watch", "status", "-w", desk.workspace.root, "--json").document
    assert (document["next"]["hour"], document["watch"]["status"]) == ("10", "watching")
    assert [line["hour"] for line in document["timeline"] if "metrics" in line][-1] == "8"


def test_a_decision_is_refused_or_made_in_the_name_of_the_caller(desk: WatchDesk, abaco: Abaco) -> None:
    ticks(desk, 8)
    where = ("-w", desk.workspace.root)
    refused = abaco("watch", "decide", "8", "reduce", "--reason", "it looks fine", *where, "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "WAT-105")
    assert refused.document["unmet"]
    made = abaco("watch", "decide", "8", "investigate", "--reason", "no tape came", *where, "--json")
    assert made.code == 0
    assert (made.document["decision"], made.document["by_default"]) == ("investigate", False)
    assert made.document["decided_by"]
    again = abaco("watch", "decide", "8", "keep", "--reason", "again", *where)
    assert (again.code, "WAT-102" in again.err) == (2, True)
    assert "investigate, by" in abaco("watch", "status", *where).out


def test_a_tick_with_nothing_to_do_and_one_that_proposes_a_rollback(desk: WatchDesk, abaco: Abaco) -> None:
    ticks(desk, 8)
    where = ("-w", desk.workspace.root)
    calm = abaco("watch", "tick", *where)
    assert calm.code == 0
    assert "no checkpoint is due; the watch is watching" in calm.out
    submitted = desk.submit(desk.tape())
    (desk.workspace.root / submitted.job.spool).unlink()
    loud = abaco("watch", "tick", *where)
    assert loud.code == 1
    assert "ROLLBACK PROPOSED: data_loss: 1 tapes are lost" in loud.err
    document = abaco("watch", "tick", *where, "--json").document
    assert (document["rollback_proposed"], document["done"]) == (True, None)


def test_a_workspace_that_is_not_watched(tmp_path: Path, abaco: Abaco) -> None:
    desk = WatchDesk(tmp_path / "workspace")
    where = ("-w", desk.workspace.root)
    for command in ("tick", "status"):
        said = abaco("watch", command, *where)
        assert (said.code, "watched" in said.out) == (0, True)
        assert abaco("watch", command, *where, "--json").document["watch"] is None
    refused = abaco("watch", "decide", "8", "keep", "--reason", "so", *where)
    assert (refused.code, "WAT-101" in refused.err) == (2, True)
