"""A desk whose worker has run a tape, and in whose queue another waits; made once, copied for each test."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from abaco_loans.clock import FixedClock
from abaco_loans.operations.workspace import Workspace
from abaco_loans.wiring import write_anchor
from tests.operations.queue_desk import QueueDesk


def served_desk(folder: Path) -> QueueDesk:
    """Make it."""
    desk = QueueDesk(folder / "workspace")
    with desk.records() as records:
        records.production_writer.ensure("v2")
    desk.submit(desk.tape("one.csv"))
    assert desk.worker().work_once() is not None
    desk.submit(desk.tape("two.csv", amount=2000))
    write_anchor(desk.workspace, desk.clock)
    (desk.workspace.root / "roles.yml").write_text("people: {}\n", encoding="utf-8")
    return desk


def desk_at(desk: QueueDesk, workspace: Workspace) -> QueueDesk:
    """A desk in another workspace, with a clock of its own."""
    other = QueueDesk.__new__(QueueDesk)
    other.environment, other.clock, other.said = desk.environment, FixedClock(desk.clock.now()), []
    other.workspace = workspace
    return other


def own_desk(desk: QueueDesk, folder: Path) -> QueueDesk:
    """The desk of a test: everything is copied, nothing shared."""
    root = folder / "workspace"
    shutil.copytree(desk.workspace.root, root, symlinks=True)
    return desk_at(desk, replace(desk.workspace, root=root))
