"""A cutover or rollback in a process of its own, with instant workers, and with tapes that arrive all the while."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from abaco_loans.operations.cut_over import resume_cutover, roll_back, start_cutover
from abaco_loans.releases.plan import StepKind
from tests.operations.cutover_desk import PLANNER, CutoverDesk

# When a tape arrives: while the queue is open, closed, and open again.
ARRIVALS = (
    StepKind.CHECK_POINTER,
    StepKind.DRAIN,
    StepKind.FENCE_RUNNING,
    StepKind.RUN_AGAIN,
    StepKind.COMPARE_BASELINE,
)


def arrivals(desk: CutoverDesk, acknowledged: Path) -> None:
    """Have tapes arrive; what was acknowledged is written down before anything else happens."""

    def arrives(number: int) -> Callable[[], None]:
        def now() -> None:
            (job,) = desk.arrive(number)
            handle = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(handle, f"{job}\n".encode())
            os.close(handle)

        return now

    for number, kind in enumerate(ARRIVALS, 10):
        desk.during[kind] = arrives(number)


def main(arguments: Sequence[str]) -> int:
    """``start|rollback|resume WORKSPACE ACKNOWLEDGED PLAN``; 0 where it completed."""
    verb, workspace, acknowledged, plan = arguments
    desk = CutoverDesk(Path(workspace), fresh=False)
    desk.instant = True
    arrivals(desk, Path(acknowledged))
    match verb:
        case "start":
            ended = start_cutover(plan, desk.given())
        case "resume":
            ended = resume_cutover(plan, desk.given())
        case _:
            ended = roll_back("killed", PLANNER, desk.given())
    return int(ended.status != "completed")
