"""A rollback drill: all of a rollback, on a copy of production beside it, timed. Production itself is not touched.

The copy is made to be where production would be after the cutover: the release that would be active is, and it has
served the tapes that count now. Then it goes back. What is recorded in production is the plan and what came of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abaco_loans.clock import Clock
from abaco_loans.errors import UsageError
from abaco_loans.operations.carry_out import Carrier, carry_out, plan_record
from abaco_loans.operations.cut_over import CutoverTools
from abaco_loans.operations.cutover_hands import CutoverHands, Works
from abaco_loans.operations.plan_cutover import plan_rollback
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.tools import Records
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.cutovers import CutoverRecord, NewCutover
from abaco_loans.releases.cutover import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTools:
    """What `wiring` picks for a drill.

    Attributes:
        of: cutover tools for a workspace: production, or the copy.
        copied: a copy of a workspace in a folder.
        worker: a worker for a workspace.
        sampled: puts a tape into the queue of a workspace that has none.
        stopwatch: seconds from any beginning.
    """

    of: Callable[[Workspace], CutoverTools]
    copied: Callable[[Workspace, Path], Workspace]
    worker: Callable[[Workspace], Works]
    sampled: Callable[[Workspace, Records], None]
    clock: Clock
    stopwatch: Callable[[], float] = time.perf_counter


def drill_rollback(workspace: Workspace, given: DrillTools, planner: str, release: str | None = None) -> dict[str, Any]:
    """Drill the rollback from a release that would be active to the one that is.

    Args:
        workspace: production.
        planner: who asks for it.
        release: that would be active; by default the one of the latest plan, or the other one where there are two.

    Returns:
        ``drill_id, passed, words, seconds, from, to, jobs, steps``.

    Raises:
        UsageError: ``CUT-110`` which release is not said.
    """
    production = given.of(workspace)
    with ExitStack() as stack:
        records = stack.enter_context(production.tools.open_records())
        pointer = records.production_writer.ensure(workspace.settings.release)
        candidate = release or _other(workspace, records, pointer.active)
        scratch = stack.enter_context(scratch_folder(workspace))
        copy = given.copied(workspace, scratch / "drill")
        record, jobs, seconds, steps = _in_copy(copy, given, candidate, planner)
        passed = record.status == "completed"
        outcome = {"jobs": jobs, "seconds": f"{seconds:.3f}", "passed": passed}
        drill_id = _recorded(record, outcome, passed, records)
        production.tools.anchor()
    return {
        "drill_id": drill_id,
        "passed": passed,
        "words": f"{record.from_release} → {record.to_release}, {jobs} tape(s) run again",
        "seconds": f"{seconds:.2f}",
        "from": record.from_release,
        "to": record.to_release,
        "jobs": jobs,
        "steps": steps,
    }


def _other(workspace: Workspace, records: Records, active: str) -> str:
    """The release that would be active."""
    planned = [item.to_release for item in records.cutover_reader.list() if item.kind == "cutover"]
    others = [name for name in workspace.release_names() if name != active]
    previous = records.production_reader.pointer().previous
    alone = others if len(others) == 1 else []
    candidates: list[str] = [*planned, workspace.settings.shadow, previous, *alone]
    for name in candidates:
        if name and name in others:
            return name
    raise UsageError(
        "which release would be active is not said",
        code="CUT-110",
        where="rollback --drill",
        hint=f"give --release {' or '.join(others)}" if others else "make a second release first",
    )


def _in_copy(
    copy: Workspace, given: DrillTools, candidate: str, planner: str
) -> tuple[CutoverRecord, int, float, list[Mapping[str, Any]]]:
    """Bring the copy to where production would be, and go back; the record, tapes run again, seconds, steps."""
    tools = given.of(copy)
    with tools.tools.open_records() as records:
        writer = records.production_writer
        pointer = writer.ensure(copy.settings.release)
        if not any(records.production_reader.counts().values()):
            given.sampled(copy, records)
        if pointer.active != candidate:
            holder = f"drill-{secrets.token_hex(3)}"
            writer.hold(holder)
            writer.fence_running(holder)
            switched = writer.switch(holder, candidate, expected=pointer.active)
            writer.requeue_since(holder, switched.epoch - 1)
            writer.unhold(holder)
        worker = given.worker(copy)
        while worker.work_once() is not None:
            pass
        planned = plan_rollback("a drill", planner, tools.tools, records, drill=True)
        _, plan = plan_record(planned.cutover_id, records.cutover_reader)
        hands = CutoverHands(tools.ground(planned.cutover_id, plan, tools.tools, records))
        carrier = Carrier(
            reader=records.cutover_reader,
            writer=records.cutover_writer,
            hands=hands,
            clock=given.clock,
            tell=tools.tell,
        )
        started = given.stopwatch()
        record = carry_out(planned.cutover_id, Event.START, carrier)
        seconds = given.stopwatch() - started
        steps = records.cutover_reader.steps(planned.cutover_id)
    again: list[str] = next((item.evidence["jobs"] for item in steps if "runs" in item.evidence), [])
    told: list[Mapping[str, Any]] = [
        {"name": item.name, "status": item.status, "evidence": dict(item.evidence)} for item in steps
    ]
    return record, len(again), seconds, told


def _recorded(drilled: CutoverRecord, outcome: Mapping[str, Any], passed: bool, records: Records) -> str:
    """Record the drill in production: evidence that phase 0 asks for."""
    writer = records.cutover_writer
    writer.add(
        NewCutover(
            cutover_id=drilled.cutover_id,
            kind="drill",
            from_release=drilled.from_release,
            to_release=drilled.to_release,
            plan=drilled.plan,
            plan_hash=drilled.plan_hash,
        )
    )
    writer.move(drilled.cutover_id, "running")
    writer.move(drilled.cutover_id, "completed" if passed else "stopped", outcome)
    return drilled.cutover_id
