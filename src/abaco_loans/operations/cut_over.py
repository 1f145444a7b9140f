"""The verbs of a cutover: start, resume, abort, roll back. What happens in them is in `carry_out` and its hands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.carry_out import Carrier, Told, carry_out, plan_record
from abaco_loans.operations.cutover_hands import CutoverHands, Ground
from abaco_loans.operations.plan_cutover import plan_rollback
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.outputs.publish import world
from abaco_loans.records.cutovers import CutoverRecord
from abaco_loans.records.locks import exclusive
from abaco_loans.releases.cutover import Event
from abaco_loans.releases.plan import Phase, Plan, StepKind


class MakeGround(Protocol):
    """Makes what the hands work with, for one plan."""

    def __call__(self, cutover_id: str, plan: Plan, tools: Tools, records: Records) -> Ground:
        """See :class:`Ground`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoverTools:
    """What `wiring` picks for a cutover.

    Attributes:
        tools: of the workspace.
        ground: makes what the hands work with.
        tell: takes lines for people, as it goes.
        wait: sleeps while a step is held; None: a held plan is left to a later `resume`.
        completed: is told of a cutover that is completed, so that it is watched.
    """

    tools: Tools
    ground: MakeGround
    tell: Callable[[Told], None] = lambda told: None
    wait: Callable[[float], None] | None = None
    completed: Callable[[CutoverRecord], None] = lambda record: None


def start_cutover(cutover_id: str, given: CutoverTools) -> CutoverRecord:
    """Carry a plan out. Raises as :func:`carry_out` does."""
    return _carried(cutover_id, Event.START, given)


def resume_cutover(cutover_id: str | None, given: CutoverTools) -> CutoverRecord:
    """Go on with a plan that is held, or whose process died; by default the one that is under way."""
    return _carried(cutover_id, Event.RESUME, given)


def abort_cutover(cutover_id: str | None, given: CutoverTools) -> CutoverRecord:
    """Stop a plan: before anything changed nothing has, after that the old release comes back."""
    return _carried(cutover_id, Event.ABORT, given)


def roll_back(reason: str, planner: str, given: CutoverTools) -> CutoverRecord:
    """Go back to the release before the active one, and run what arrived since again.

    Raises:
        UsageError: ``CUT-106`` there is nothing to go back to.
    """
    with given.tools.open_records() as records:
        record = plan_rollback(reason, planner, given.tools, records)
    return _carried(record.cutover_id, Event.START, given)


def roll_back_whole(reason: str, planner: str, given: CutoverTools) -> str:
    """Go back as `roll_back` does, with nobody there to go on with it; the id of the rollback.

    Raises:
        WorldError: ``WAT-107`` it did not come to its end.
    """
    record = roll_back(reason, planner, given)
    if record.status != "completed":
        raise WorldError(
            f"rollback {record.cutover_id} is {record.status}",
            code="WAT-107",
            where="watch tick",
            hint="`abaco cutover status` says what holds it; `abaco cutover resume` goes on",
        )
    return record.cutover_id


def dry_run(cutover_id: str, given: CutoverTools) -> list[tuple[str, bool | None, str]]:
    """Walk through everything of a plan that changes nothing: what each step says now, and what would block.

    Nothing is journalled.
    """
    found: list[tuple[str, bool | None, str]] = []
    with given.tools.open_records() as records:
        _, plan = plan_record(cutover_id, records.cutover_reader)
        hands = CutoverHands(given.ground(cutover_id, plan, given.tools, records))
        for step in plan.steps:
            if step.phase is Phase.VALIDATION or step.kind in (StepKind.CHECK_SUITE, StepKind.STAGE_RUN):
                did = hands.do(step)
                found.append((step.name, did.passed, did.words))
    return found


def _carried(cutover_id: str | None, event: Event, given: CutoverTools) -> CutoverRecord:
    tools = given.tools
    with ExitStack() as stack:
        stack.enter_context(_alone(tools))
        records = stack.enter_context(tools.open_records())
        chosen = cutover_id or _under_way(records)
        _, plan = plan_record(chosen, records.cutover_reader)
        carrier = Carrier(
            reader=records.cutover_reader,
            writer=records.cutover_writer,
            hands=CutoverHands(given.ground(chosen, plan, tools, records)),
            clock=tools.clock,
            tell=given.tell,
            wait=given.wait,
        )
        record = carry_out(chosen, event, carrier)
        tools.anchor()
    if record.kind == "cutover" and record.status == "completed":
        given.completed(record)
    return record


def _under_way(records: Records) -> str:
    record = records.cutover_reader.running()
    if record is None:
        raise UsageError(
            "no cutover or rollback is under way",
            code="CUT-109",
            where="cutover",
            hint="`abaco cutover status` shows plans; start one with `abaco cutover start PLAN`",
        )
    return record.cutover_id


def _alone(tools: Tools) -> AbstractContextManager[None]:
    """One process carries plans out; another is told who does."""
    with world(tools.workspace.locks):
        tools.workspace.locks.mkdir(parents=True, exist_ok=True)
    return exclusive(tools.workspace.locks / "cutover.lock", clock=tools.clock, who=tools.who, timeout_s=0)
