"""Failures of a rehearsal that are real: what is damaged or missing lies in the copy, and the machine finds it itself.

The copy shares files with production (hard links), so nothing is written into: a damaged file is a new one, put there
by renaming.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from abaco_loans.operations.carry_out import Told
from abaco_loans.operations.submit_tape import QUEUE
from abaco_loans.operations.take_snapshot import ROLLBACK_FOLDER
from abaco_loans.operations.tools import Records
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world
from abaco_loans.releases.plan import Phase, StepKind
from abaco_loans.releases.policy_files import GATES_FILE

FAILURES = ("0", "1", "2", "3", "4", "5", "shadow", "drill", "approvals", "watch")


class Died(BaseException):
    """The process that carried the cutover out is gone: as when it is killed, nothing may catch this on the way."""


def fail_step(fail: str, told: Told, copy: Workspace, records: Records) -> None:
    """Let a phase of a cutover fail, when its step is told.

    Args:
        fail: the phase, 1 to 5; 0 fails before anything is told.

    Raises:
        Died: in phases 3 and 4.
    """
    if str(int(told.step.phase)) != fail:
        return
    begins = told.status == "started"
    match told.step.phase:
        case Phase.SNAPSHOTS if begins:
            block_snapshots(copy)
        case Phase.STAGING if begins:
            damage_tapes(copy)
        case Phase.SHUTDOWN if begins and told.step.kind is StepKind.FENCE_RUNNING:
            raise Died("before running jobs were fenced")
        case Phase.ACTIVATION if told.status == "done" and told.step.kind is StepKind.SWITCH:
            raise Died("right after the switch")
        case Phase.POST_VALIDATION if begins and told.step.kind is StepKind.VALIDATE_PRODUCTION:
            damage_numbers(copy, records)
        case _:
            pass


def tighten_gates(copy: Workspace, release: str) -> None:
    """Gates that ask for more tapes than there are."""
    path = copy.root / "releases" / release / GATES_FILE
    with world(path):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        text = re.sub(r"^(tapes_min|consecutive_passes):.*\n?", "", text, flags=re.MULTILINE)
        path.write_text(f"{text.rstrip()}\ntapes_min: 99\nconsecutive_passes: 99\n".lstrip(), encoding="utf-8")


def block_snapshots(copy: Workspace) -> None:
    """A file lies where the snapshots should be."""
    with world(copy.root):
        (copy.root / ROLLBACK_FOLDER).touch()


def damage_tapes(copy: Workspace) -> None:
    """No tape in the queue is any longer what was submitted."""
    for path in sorted((copy.root / QUEUE).rglob("*")):
        if path.is_file():
            _replace(path, b"damaged in a rehearsal\n")


def damage_numbers(copy: Workspace, records: Records) -> None:
    """The published numbers of the last run are no longer those that were recorded."""
    last = records.reader.latest_finished()
    if last is not None and last.output_folder is not None:
        _replace(copy.outputs / last.output_folder / "kpis.json", json.dumps({"kpis": {}}).encode())


def _replace(path: Path, content: bytes) -> None:
    with world(path):
        path.parent.chmod(0o700)
        new = path.with_name(f".{path.name}.damaged")
        new.write_bytes(content)
        new.replace(path)
