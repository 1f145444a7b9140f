"""Run a tape under a release of either kind: formulas of this engine, or a program."""

from __future__ import annotations

from collections.abc import Mapping

from abaco_loans.operations.run_program import run_program
from abaco_loans.operations.run_tape import RunRequest, run_tape
from abaco_loans.operations.tools import Tools
from abaco_loans.records.runs import RunRecord


def run_release(request: RunRequest, tools: Tools, environment: Mapping[str, str]) -> RunRecord:
    """Run as `abaco run` does; the same tape again finds the earlier result.

    Args:
        environment: where the variables that a program may have are taken from.

    Raises:
        AbacoError: whatever a run of that kind raises.
    """
    release = request.release or tools.workspace.settings.release
    if tools.workspace.release_kind(release) == "command":
        return run_program(request, tools, environment).record
    return run_tape(request, tools).record
