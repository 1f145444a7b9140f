"""A rehearsal: the whole migration on a copy of the workspace, from the old release to its retirement, in minutes.

Everything is real but the place and the time: tapes run through queue and worker, shadow runs compare, a rollback is
drilled, the cutover is the one of production. The clock is set forward through the watched hours. Approvals are given
by four made-up people, and count for the plan of a rehearsal only. Production is read, and never written to.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from abaco_loans.errors import AbacoError, UsageError
from abaco_loans.operations.carry_out import Did
from abaco_loans.operations.rehearse_acts import ACTS, Asked, PhaseTold, Play, RehearseTools, go_back
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.workspace import Workspace


def rehearse(
    workspace: Workspace, asked: Asked, given: RehearseTools, tell: Callable[[PhaseTold], None] = lambda told: None
) -> dict[str, Any]:
    """Rehearse the migration of a workspace.

    Args:
        workspace: production; read only.
        tell: takes every phase as it ends.

    Returns:
        ``verdict`` (passed or failed), ``failed_phase``, ``active_release`` (of the copy, at the end), ``from``,
        ``to``, ``tapes``, ``phases`` (``name, status, seconds, words``), ``checkpoints`` (``hour, status, checked``:
        whether the five checks ran at it), ``kept``.

    Raises:
        ConfigError: ``REL-103`` there is no such release.
        UsageError: ``CUT-103`` both releases are the same; ``CUT-212`` the folder to keep is not empty.
        WorldError: the copy cannot be made.
    """
    for name in (asked.baseline, asked.to):
        workspace.any_release(name)
    if asked.baseline == asked.to:
        raise UsageError(f"{asked.to} cannot follow itself", code="CUT-103", hint="name two releases: --from and --to")
    workspace = replace(workspace, root=workspace.root.resolve())  # sides of a shadow run work in other folders
    with ExitStack() as stack:
        folder = asked.keep.resolve() if asked.keep else stack.enter_context(scratch_folder(workspace)) / "rehearsal"
        copied = given.drill.copied(workspace, folder)
        copy = replace(copied, settings=replace(copied.settings, release=asked.baseline, shadow=""))
        play = Play(copy, asked, given, tell)
        failed = _played(play)
        with given.drill.of(copy).tools.open_records() as records:
            active = records.production_reader.pointer().active
    return {
        "verdict": "failed" if failed else "passed",
        "failed_phase": failed or None,
        "active_release": active,
        "from": asked.baseline,
        "to": asked.to,
        "tapes": [job.tape_name for job in play.jobs],
        "phases": [
            {"name": item.name, "status": item.status, "seconds": f"{item.seconds:.2f}", "words": item.words}
            for item in play.phases
        ],
        "checkpoints": play.checkpoints,
        "kept": str(asked.keep) if asked.keep else None,
    }


def _played(play: Play) -> str:
    """Play phase after phase, until one fails; its name, or empty."""
    for name, act in ACTS:
        begin = play.given.stopwatch()
        try:
            did = act(play)
        except AbacoError as error:
            did = Did(passed=False, words=f"{error.what} ({error.code})")
        status = {True: "done", None: "not rehearsed"}.get(did.passed, "failed")
        play.say(name, status, play.given.stopwatch() - begin, did.words)
        if status == "failed":
            go_back(play, did.words)
            return name
    return ""
