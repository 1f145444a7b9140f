"""Carry out a plan: a cutover, a rollback or a drill, step by step, as its journal and the table of moves say.

Invariants: what a plan may do next is decided by `releases.cutover` from the journal alone, so whoever resumes goes on
where the journal stands; a step is journalled as begun before it has an effect, and as done only with all its evidence;
a step that raises has failed, never passed. One process at a time carries plans out (a kernel lock).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from abaco_loans.clock import Clock
from abaco_loans.errors import AbacoError, InvariantError, UsageError
from abaco_loans.operations.tracing import span
from abaco_loans.records.cutovers import CutoverReader, CutoverRecord, CutoverWriter
from abaco_loans.releases.cutover import (
    ENDS,
    Action,
    Event,
    Stage,
    State,
    Status,
    StepEntry,
    StepStatus,
    judged,
    next_move,
    state_of,
    waking,
)
from abaco_loans.releases.plan import Plan, StepSpec, plan_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """What came of a step: whether it passed (None: that cannot be said), what shows it, and that in words."""

    passed: bool | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A line for people: a step begins (``status`` started), or how it ended; ``held`` waits for what is missing."""

    at: datetime
    step: StepSpec
    status: str
    seconds: float | None = None
    words: str = ""


class Hands(Protocol):
    """Carries out single steps."""

    def do(self, step: StepSpec) -> Did:
        """Carry out a step; once more, it changes nothing more. What goes wrong may be raised as AbacoError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """What carrying out needs.

    Attributes:
        tell: takes lines for people, as it goes.
        wait: sleeps for so many seconds while a step is held; None: leave a held plan to a later `resume`.
        poll_s: how often a held step is tried again.
    """

    reader: CutoverReader
    writer: CutoverWriter
    hands: Hands
    clock: Clock
    tell: Callable[[Told], None] = lambda told: None
    wait: Callable[[float], None] | None = None
    poll_s: float = 5.0


@span("abaco.cutover")
def carry_out(cutover_id: str, event: Event, carrier: Carrier) -> CutoverRecord:
    """Carry a plan out from where it stands, until it ends or is held.

    Args:
        cutover_id: of a recorded plan.
        event: `START`, `RESUME` or `ABORT`.
        carrier: records, hands and voice.

    Raises:
        UsageError: ``CUT-105`` there is no such plan; ``CUT-101`` the event is not possible where it stands.
        WorldError: the records failed; the plan stands where its journal says.
        Exception: a defect of this program; whatever had changed has gone back first.
    """
    try:
        return _carried_out(cutover_id, event, carrier)
    except AbacoError:
        raise
    except Exception as error:
        _, state = _stands(cutover_id, carrier)
        if state.status is Status.RUNNING and state.stage is not Stage.BACK:
            _fail_at_hand(cutover_id, state, f"a defect of this program: {type(error).__name__}", carrier)
            _carried_out(cutover_id, Event.ABORT, carrier)
        raise


def _carried_out(cutover_id: str, event: Event, carrier: Carrier) -> CutoverRecord:
    plan, state = _stands(cutover_id, carrier)
    if event is Event.RESUME and state.status is Status.HELD:
        event = _woken(cutover_id, plan, state, carrier)
    until: dict[int | None, datetime] = {}
    while True:
        if event in (Event.ABORT, Event.DEADLINE) and state.stage is not Stage.BACK:
            said = "its time was over" if event is Event.DEADLINE else "it was aborted"
            _fail_at_hand(cutover_id, state, said, carrier)
        move = next_move(state, event)
        record = _recorded(cutover_id, carrier)
        if move.status.value != record.status:
            record = carrier.writer.move(cutover_id, move.status.value)
        match move.action:
            case Action.RUN | Action.GO_BACK:
                if move.step is None:
                    raise InvariantError(f"{cutover_id}: a move without a step")
                event = _carried(cutover_id, plan.step(move.step), carrier)
            case Action.HOLD:
                # On the way back nothing is left to go back to: whoever waits is told, and may resume.
                over = state.stage is Stage.BACK and _is_over(plan, state, until, carrier)
                if carrier.wait is None or over:
                    return record
                carrier.wait(carrier.poll_s)
                event = _woken(cutover_id, plan, state, carrier)
            case _:
                return record
        _, state = _stands(cutover_id, carrier)


def plan_record(cutover_id: str, reader: CutoverReader) -> tuple[CutoverRecord, Plan]:
    """A recorded plan.

    Raises:
        UsageError: ``CUT-105`` there is none of that name.
        WorldError: ``CUT-102`` it is no longer the one that was made.
    """
    record = cutover_record(cutover_id, reader)
    return record, plan_of(json.loads(record.plan))


def cutover_record(cutover_id: str, reader: CutoverReader) -> CutoverRecord:
    """A cutover or rollback as recorded; its plan is not looked at.

    Raises:
        UsageError: ``CUT-105`` there is none of that name.
    """
    record = reader.get(cutover_id)
    if record is None:
        raise UsageError(
            f"there is no plan {cutover_id!r}",
            code="CUT-105",
            where="cutover",
            hint="`abaco cutover status` shows the plans that there are",
        )
    return record


def standing_state(record: CutoverRecord, plan: Plan, reader: CutoverReader) -> State:
    """Where a plan stands, as its journal says."""
    journal = [
        StepEntry(number=step.number, status=StepStatus(step.status)) for step in reader.steps(record.cutover_id)
    ]
    return state_of(plan, Status(record.status), journal)


def has_ended(record: CutoverRecord) -> bool:
    """Whether nothing more can happen to a plan."""
    return Status(record.status) in ENDS


def _recorded(cutover_id: str, carrier: Carrier) -> CutoverRecord:
    return plan_record(cutover_id, carrier.reader)[0]


def _stands(cutover_id: str, carrier: Carrier) -> tuple[Plan, State]:
    record, plan = plan_record(cutover_id, carrier.reader)
    return plan, standing_state(record, plan, carrier.reader)


def _carried(cutover_id: str, step: StepSpec, carrier: Carrier) -> Event:
    """Carry one step out; what it came to."""
    entry = carrier.writer.begin_step(cutover_id, step.number, int(step.phase), step.name)
    _tell(carrier, Told(at=entry.started_at, step=step, status="started"))
    try:
        with span(f"abaco.cutover.{step.phase.name.lower()}", step=step.name):
            did = carrier.hands.do(step)
    except AbacoError as error:
        did = Did(passed=False, evidence={"error": error.as_dict()}, words=f"{error.what} ({error.code})")
    event = judged(step, passed=did.passed, evidence=did.evidence)
    now = carrier.clock.now()
    seconds = (now - entry.started_at).total_seconds()
    words = did.words
    match event:
        case Event.STEP_DONE:
            status = StepStatus.DONE
            carrier.writer.end_step(cutover_id, step.number, "done", did.evidence)
        case Event.STEP_FAILED:
            status = StepStatus.FAILED
            carrier.writer.end_step(cutover_id, step.number, "failed", {**did.evidence, "words": did.words})
        case _:
            status = StepStatus.STARTED
            missing = ", ".join(name for name in step.evidence if did.evidence.get(name) is None)
            words = words or f"not known: {missing or 'whether it passed'}"
    told = "held" if status is StepStatus.STARTED else status.value
    _tell(carrier, Told(at=now, step=step, status=told, seconds=seconds, words=words))
    return event


def _tell(carrier: Carrier, told: Told) -> None:
    """Tell, if that is possible: a full disk or a closed terminal stops nothing half way. The journal has it all."""
    with suppress(AbacoError, OSError):
        carrier.tell(told)


def _woken(cutover_id: str, plan: Plan, state: State, carrier: Carrier) -> Event:
    """What happens to a held plan now: it is tried again, or its time is over."""
    if state.step is None:
        return Event.RESUME
    begun = [step.started_at for step in carrier.reader.steps(cutover_id) if step.number == state.step]
    now = carrier.clock.now()
    return waking(plan.step(state.step), begun_at=begun[0] if begun else now, now=now)


def _is_over(plan: Plan, state: State, until: dict[int | None, datetime], carrier: Carrier) -> bool:
    """Whether a step has been tried for as long as it may take, since it was first held here."""
    if state.step is None:
        return True
    now = carrier.clock.now()
    limit = timedelta(seconds=plan.step(state.step).timeout_s)
    return now >= until.setdefault(state.step, now + limit)


def _fail_at_hand(cutover_id: str, state: State, said: str, carrier: Carrier) -> None:
    """Journal an abort, a deadline or a defect as the failure of the step at hand, if that was begun."""
    at_hand = [step for step in carrier.reader.steps(cutover_id) if step.number == state.step]
    if at_hand and at_hand[0].status == "started":
        carrier.writer.end_step(cutover_id, at_hand[0].number, "failed", {"words": said})
