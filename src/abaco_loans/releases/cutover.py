"""The state machine of cutovers, rollbacks and drills: a table of allowed moves. Whatever is not in it is refused.

What must hold, whatever happens:

1. One release is active at every moment, and jobs are taken, outside phases 3 and 4 (and the part of the way back
   before the queue opens again).
2. An approval never counts for another plan.
3. A gate that failed never ends in the new release, and one that is unknown does not while it is: it holds until a
   deadline, then the old release goes on serving.
4. Nothing that was acknowledged is lost, and nothing counts twice.

Where a plan stands is read from the journal (:func:`state_of`), never remembered: a crash changes nothing, and whoever
resumes sees what whoever crashed saw. The journal says that a step is begun before it has an effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, assert_never

from abaco_loans.errors import InvariantError, UsageError
from abaco_loans.releases.plan import Phase, Plan, PlanKind, StepSpec


class Status(StrEnum):
    """Where a plan stands. The last three are ends."""

    PLANNED = "planned"
    RUNNING = "running"
    HELD = "held"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"


class StepStatus(StrEnum):
    """What the journal says of a step. `STARTED` may have had any part of its effect; an unknown step stays so."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


class Event(StrEnum):
    """What happens to a plan. `DEADLINE`: the step's time is over, waiting included. `CRASH` is told by nobody."""

    START = "start"
    STEP_DONE = "step_done"
    STEP_FAILED = "step_failed"
    STEP_UNKNOWN = "step_unknown"
    RESUME = "resume"
    ABORT = "abort"
    DEADLINE = "deadline"
    CRASH = "crash"


class Stage(StrEnum):
    """How far a plan has got: production is as it was, it is being changed, or it is on its way back."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    BACK = "back"


class Action(StrEnum):
    """What to do next."""

    RUN = "run"
    HOLD = "hold"
    STOP = "stop"
    GO_BACK = "go_back"
    FINISH = "finish"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntry:
    """What the journal says of the step of that number."""

    number: int
    status: StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a plan stands.

    Attributes:
        phase: of the furthest step that was begun; phase 0 before the first.
        step: number of the step at hand, the first that is not done in this direction; None after the last.
        first_back: number of the first step of the way back; None where the plan has none of its own.
        failed: a step has failed on the way forward, and what follows from it has not been done yet.
    """

    kind: PlanKind
    status: Status
    phase: Phase
    step: int | None
    first_back: int | None
    failed: bool = False

    @property
    def stage(self) -> Stage:
        """How far it has got. A drill works on a copy, so it changes nothing."""
        if self.kind is PlanKind.DRILL:
            return Stage.UNCHANGED
        if self.phase is Phase.WAY_BACK:
            return Stage.BACK
        return Stage.CHANGED if self.phase >= Phase.SHUTDOWN else Stage.UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What to do: the status to record first, and the number of the step to run (with `RUN` and `GO_BACK`)."""

    action: Action
    status: Status
    step: int | None = None


ENDS = frozenset({Status.COMPLETED, Status.ROLLED_BACK, Status.STOPPED})

# From status to status; the records refuse everything else.
STATUS_MOVES: Mapping[Status, frozenset[Status]] = {
    Status.PLANNED: frozenset({Status.RUNNING, Status.STOPPED}),
    Status.RUNNING: frozenset({Status.HELD, *ENDS}),
    Status.HELD: frozenset({Status.RUNNING, Status.ROLLED_BACK, Status.STOPPED}),
    **{end: frozenset() for end in ENDS},
}

_ON_ITS_WAY = {Event.STEP_DONE: Action.RUN, Event.STEP_UNKNOWN: Action.HOLD, Event.RESUME: Action.RUN}
_STOPS = dict.fromkeys((Event.STEP_FAILED, Event.ABORT, Event.DEADLINE), Action.STOP)
_GOES_BACK = dict.fromkeys((Event.STEP_FAILED, Event.ABORT, Event.DEADLINE), Action.GO_BACK)
# Whoever is on the way back goes on: it ends in the release that is known to be good, and an abort asks for that.
_GOES_ON = {Event.STEP_FAILED: Action.HOLD, Event.ABORT: Action.RUN, Event.DEADLINE: Action.HOLD}

TABLE: Mapping[tuple[Status, Stage], Mapping[Event, Action]] = {
    (Status.PLANNED, Stage.UNCHANGED): {Event.START: Action.RUN, Event.ABORT: Action.STOP},
    (Status.RUNNING, Stage.UNCHANGED): {**_ON_ITS_WAY, **_STOPS},
    (Status.RUNNING, Stage.CHANGED): {**_ON_ITS_WAY, **_GOES_BACK},
    (Status.RUNNING, Stage.BACK): {**_ON_ITS_WAY, **_GOES_ON},
    (Status.HELD, Stage.UNCHANGED): {
        Event.RESUME: Action.RUN,
        Event.ABORT: Action.STOP,
        Event.DEADLINE: Action.STOP,
    },
    (Status.HELD, Stage.CHANGED): {
        Event.RESUME: Action.RUN,
        Event.ABORT: Action.GO_BACK,
        Event.DEADLINE: Action.GO_BACK,
    },
    (Status.HELD, Stage.BACK): {
        Event.RESUME: Action.RUN,
        Event.ABORT: Action.RUN,
        Event.DEADLINE: Action.RUN,
    },
}


def next_move(state: State, event: Event) -> Move:
    """What to do when the event happens; the state is what the journal says after it.

    An abort or a deadline on the way forward is journalled, too, as the failure of the step at hand if that was begun:
    else a crash right after it would let the step be tried again.

    Raises:
        UsageError: ``CUT-101`` the event is not allowed there.
    """
    allowed = TABLE.get((state.status, state.stage), {})
    if event is Event.CRASH:
        return _move(state, Action.NOTHING)
    if event not in allowed:
        raise UsageError(
            f"the {state.kind.value} is {state.status.value}: {event.value} is not possible now",
            code="CUT-101",
            hint="`abaco cutover status` says where it stands and what is possible",
        )
    # A gate that failed just before a crash has failed: resuming does not ask it again.
    if event is Event.RESUME and state.failed and state.stage is not Stage.BACK:
        return _move(state, TABLE[Status.RUNNING, state.stage][Event.STEP_FAILED])
    return _move(state, allowed[event])


def state_of(plan: Plan, status: Status, journal: Sequence[StepEntry]) -> State:
    """Where the plan stands, by its recorded status and its journal (in any order)."""
    said = {entry.number: entry.status for entry in journal}
    back = any(step.number in said for step in plan.way_back)
    steps = plan.way_back if back else plan.steps
    begun = [step for step in steps if step.number in said]
    if len(said) < len(journal) or begun != list(steps[: len(begun)]):
        raise InvariantError("the journal is not in the order of the plan's steps")
    if not back and len(begun) < len(said):
        raise InvariantError("the journal has a step that the plan has not")
    return State(
        kind=plan.kind,
        status=status,
        phase=begun[-1].phase if begun else Phase.VALIDATION,
        step=next((step.number for step in steps if said.get(step.number) is not StepStatus.DONE), None),
        first_back=plan.way_back[0].number if plan.way_back else None,
        failed=not back and StepStatus.FAILED in said.values(),
    )


def judged(step: StepSpec, *, passed: bool | None, evidence: Mapping[str, Any]) -> Event:
    """What a step comes to. It is done only when it passed and left, as JSON data, all the evidence that it must leave.

    Evidence that is absent, None or no finite number (or holds such a number) is missing.
    """
    if passed is False:
        return Event.STEP_FAILED
    missing = [name for name in step.evidence if not _measured(evidence.get(name))]
    return Event.STEP_UNKNOWN if missing or passed is None else Event.STEP_DONE


def waking(step: StepSpec, *, begun_at: datetime, now: datetime) -> Event:
    """What happens to a plan that is held at the step: its time is over, or it may be tried again.

    ``begun_at`` is that of the first attempt. A clock that jumped back by more than the step's time says nothing of how
    long it has been held, so its time is over.
    """
    return Event.DEADLINE if abs((now - begun_at).total_seconds()) >= step.timeout_s else Event.RESUME


def _move(state: State, action: Action) -> Move:
    match action:
        case Action.RUN:
            if state.step is None:
                return _move(state, Action.FINISH)
            return Move(action=action, status=Status.RUNNING, step=state.step)
        case Action.GO_BACK:
            return Move(action=action, status=Status.RUNNING, step=state.first_back)
        case Action.HOLD:
            return Move(action=action, status=Status.HELD)
        case Action.STOP:
            return Move(action=action, status=Status.STOPPED)
        case Action.FINISH:
            back = state.kind is PlanKind.CUTOVER and state.stage is Stage.BACK
            return Move(action=action, status=Status.ROLLED_BACK if back else Status.COMPLETED)
        case Action.NOTHING:
            return Move(action=action, status=state.status)
        case _:
            assert_never(action)


def _measured(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_measured, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_measured, value))
    if isinstance(value, float | Decimal):
        return math.isfinite(value)
    return value is not None
