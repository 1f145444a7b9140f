"""Takes snapshots in processes that are killed, or whose calls fail: `python -m tests.operations.snapshot_faults`.

Started with the shim (tests/faults/shim.c) in front of the C library, it forks a process a fault and prints one JSON
list: for each fault how the process ended, and what a next one found.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from abaco_loans.clock import FixedClock
from abaco_loans.errors import WorldError
from abaco_loans.operations.take_snapshot import ROLLBACK_FOLDER, take_snapshot, verify_snapshot
from abaco_loans.operations.workspace import Workspace, open_workspace
from abaco_loans.outputs.publish import remove
from abaco_loans.records.store import open_store

CUTOVER = "c-1"


def taken(workspace: Workspace) -> str:
    """The digest of the snapshot, taken or found."""
    clock = FixedClock(datetime(2026, 3, 31, tzinfo=UTC))
    with open_store(workspace.records_url, clock=clock, actor="ana") as store:
        return take_snapshot(workspace, CUTOVER, store, clock).manifest_digest


def in_child(workspace: Workspace, order: str) -> tuple[int, str]:
    """How a process ended in which this goes wrong, and the code of the error that it met."""
    come, go = os.pipe()
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).fault_shim_order(order.encode())
        try:
            taken(workspace)
        except WorldError as error:
            os.write(go, error.code.encode())
            os._exit(4)
        os._exit(0)
    os.close(go)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(come) as stream:
        return code, stream.read()


def after(workspace: Workspace, order: str) -> dict[str, Any]:
    """What a fault leaves, and what the next process makes of it."""
    folder = workspace.root / ROLLBACK_FOLDER
    if (folder / CUTOVER).exists():
        for place, _, _ in os.walk(folder / CUTOVER):
            Path(place).chmod(0o700)
        remove(folder / CUTOVER)
    code, error = in_child(workspace, order)
    named = (folder / CUTOVER).exists()
    left = sorted(path.name for path in folder.glob(".*")) if folder.exists() else []
    digest = taken(workspace)
    return {
        "order": order,
        "code": code,
        "error": error,
        "named": named,
        "left": left,
        "files": verify_snapshot(workspace, CUTOVER, digest),
        "places": sorted(path.name for path in folder.iterdir()),
    }


def main() -> None:
    """Arguments: the workspace, a log, then orders for the shim; ``sweep=n`` stands for about n kills."""
    workspace, log = open_workspace(Path(sys.argv[1]), {}), Path(sys.argv[2])
    taken(workspace)
    orders = list(sys.argv[3:])
    if orders[0].startswith("sweep="):
        points = int(orders.pop(0).removeprefix("sweep="))
        after(workspace, f"action=count;log={log}")
        lines = log.read_text(encoding="utf-8").splitlines()
        # The end is where a snapshot gets its name: every call of it; before, some.
        tail = range(max(1, len(lines) - points // 2), len(lines) + 1)
        head = range(1, tail[0], max(1, 2 * tail[0] // points))
        orders = [f"action=kill;at={number}" for number in (*head, *tail)]
        orders += [f"action=torn;calls=write,pwrite64;at={number}" for number in range(1, 20, 7)]
    json.dump([after(workspace, order) for order in orders], sys.stdout)


if __name__ == "__main__":
    main()
