"""The table of moves: every status, stage and event is walked, and everything that is not allowed is refused."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import InvariantError, UsageError
from abaco_loans.releases.cutover import (
    ENDS,
    STATUS_MOVES,
    TABLE,
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
from abaco_loans.releases.plan import Phase, Plan, PlanKind, StepKind, cutover_plan, rollback_plan
from tests.releases.plans import NOW, facts

PLAN = cutover_plan(facts())
BACK = facts(from_release="v2", to_release="v1")
ROLLBACK = rollback_plan(BACK)
DRILL = rollback_plan(BACK, drill=True)
FIRST_BACK = PLAN.way_back[0].number
D, F, S = StepStatus.DONE, StepStatus.FAILED, StepStatus.STARTED

# status → stage → event → what is done; "-" where it is refused. The order of events is that of the enumeration:
# start, step_done, step_failed, step_unknown, resume, abort, deadline, crash.
EXPECTED = {
    ("planned", "unchanged"): "run - - - - stop - nothing",
    ("running", "unchanged"): "- run stop hold run stop stop nothing",
    ("running", "changed"): "- run go_back hold run go_back go_back nothing",
    ("running", "back"): "- run hold hold run run hold nothing",
    ("held", "unchanged"): "- - - - run stop stop nothing",
    ("held", "changed"): "- - - - run go_back go_back nothing",
    ("held", "back"): "- - - - run run run nothing",
}
REFUSED = "- - - - - - - nothing"
PHASES = {Stage.UNCHANGED: Phase.STAGING, Stage.CHANGED: Phase.ACTIVATION, Stage.BACK: Phase.WAY_BACK}


def state(status: Status, stage: Stage, **said: Any) -> State:
    given = {"kind": PlanKind.CUTOVER, "step": 5, "first_back": FIRST_BACK, "phase": PHASES[stage], **said}
    return State(status=status, **given)


def moved(at: State, event: Event) -> tuple[Action, Status, int | None] | None:
    """Action, status and step of the next move; None when it is refused."""
    try:
        move = next_move(at, event)
    except UsageError:
        return None
    return move.action, move.status, move.step


@pytest.mark.parametrize(("status", "stage"), list(product(Status, Stage)))
def test_every_status_stage_and_event(status: Status, stage: Stage) -> None:
    expected = EXPECTED.get((status.value, stage.value), REFUSED).split()
    found = [moved(state(status, stage), event) for event in Event]
    assert [move[0].value if move else "-" for move in found] == expected


def test_what_is_refused_says_where_it_stands() -> None:
    with pytest.raises(UsageError, match="CUT-101: the cutover is completed: abort is not possible now"):
        next_move(state(Status.COMPLETED, Stage.CHANGED), Event.ABORT)


def test_every_status_that_a_move_leads_to_is_one_that_the_records_allow() -> None:
    for status, stage, event in product(Status, Stage, Event):
        for step in (5, None) if status is Status.RUNNING else (5,):
            move = moved(state(status, stage, step=step), event)
            assert move is None or move[1] is status or move[1] in STATUS_MOVES[status]
    assert STATUS_MOVES.keys() == set(Status)
    assert not any(STATUS_MOVES[end] for end in ENDS)


def test_before_phase_3_nothing_goes_back_and_from_it_on_nothing_merely_stops() -> None:
    for (_, stage), moves in TABLE.items():
        assert stage is not Stage.UNCHANGED or Action.GO_BACK not in moves.values()
        assert stage is Stage.UNCHANGED or Action.STOP not in moves.values()


@pytest.mark.parametrize(("status", "stage"), list(product([Status.RUNNING, Status.HELD], Stage)))
def test_a_gate_that_failed_is_not_asked_again_after_a_crash(status: Status, stage: Stage) -> None:
    action = {Stage.UNCHANGED: Action.STOP, Stage.CHANGED: Action.GO_BACK, Stage.BACK: Action.RUN}[stage]
    found = moved(state(status, stage, failed=True), Event.RESUME)
    assert found and found[0] is action


def test_the_way_back_starts_at_its_own_first_step_and_ends_rolled_back() -> None:
    running = state(Status.RUNNING, Stage.CHANGED)
    assert moved(running, Event.STEP_FAILED) == (Action.GO_BACK, Status.RUNNING, FIRST_BACK)
    last = state(Status.RUNNING, Stage.BACK, step=None)
    assert moved(last, Event.STEP_DONE) == (Action.FINISH, Status.ROLLED_BACK, None)
    # killed between the last step's journal and the end
    assert moved(last, Event.RESUME) == (Action.FINISH, Status.ROLLED_BACK, None)


@pytest.mark.parametrize("plan", [PLAN, ROLLBACK, DRILL], ids=["cutover", "rollback", "drill"])
def test_when_every_step_is_done_it_is_completed(plan: Plan) -> None:
    journal: list[StepEntry] = []
    for step in plan.steps:
        at = state_of(plan, Status.RUNNING, journal)
        assert (at.step, moved(at, Event.RESUME)) == (step.number, (Action.RUN, Status.RUNNING, step.number))
        journal.append(StepEntry(number=step.number, status=D))
    at = state_of(plan, Status.RUNNING, journal)
    assert at.step is None
    assert moved(at, Event.STEP_DONE) == (Action.FINISH, Status.COMPLETED, None)


def begun(plan: Plan, kind: StepKind, status: StepStatus) -> list[StepEntry]:
    """A journal in which everything before that step is done."""
    (at,) = [step.number for step in plan.steps if step.kind is kind]
    return [StepEntry(number=number, status=D) for number in range(1, at)] + [StepEntry(number=at, status=status)]


@pytest.mark.parametrize(
    ("plan", "kind", "status", "stage"),
    [
        (PLAN, StepKind.STAGE_RUN, S, Stage.UNCHANGED),
        (PLAN, StepKind.STAGE_RUN, D, Stage.UNCHANGED),  # phase 3 is next, and not begun
        (PLAN, StepKind.HOLD_QUEUE, S, Stage.CHANGED),
        (PLAN, StepKind.COMPARE_BASELINE, F, Stage.CHANGED),
        (ROLLBACK, StepKind.CHECK_POINTER, F, Stage.UNCHANGED),
        (ROLLBACK, StepKind.HOLD_QUEUE, S, Stage.BACK),
        (DRILL, StepKind.PROVE_NO_LOSS, F, Stage.UNCHANGED),
    ],
)
def test_how_far_a_journal_has_got(plan: Plan, kind: StepKind, status: StepStatus, stage: Stage) -> None:
    at = state_of(plan, Status.RUNNING, begun(plan, kind, status)[::-1])
    assert at.stage is stage
    assert at.failed is (status is F)


def test_one_step_of_the_way_back_in_the_journal_is_enough_to_stay_on_it() -> None:
    journal = [*begun(PLAN, StepKind.SWITCH, F), StepEntry(number=FIRST_BACK, status=S)]
    at = state_of(PLAN, Status.RUNNING, journal)
    assert (at.stage, at.step, at.failed) == (Stage.BACK, FIRST_BACK, False)


@pytest.mark.parametrize(
    "numbers",
    [[2], [1, 3], [1, 1], [1, 999], [1, FIRST_BACK + 1], [0]],
    ids=["no first", "gap", "twice", "unknown", "gap on the way back", "zero"],
)
def test_a_journal_that_no_run_can_have_left_is_refused(numbers: list[int]) -> None:
    with pytest.raises(InvariantError):
        state_of(PLAN, Status.RUNNING, [StepEntry(number=number, status=D) for number in numbers])


# --- what a step comes to -----------------------------------------------------------------------------------

STEP = next(step for step in PLAN.steps if step.kind is StepKind.CHECK_SHADOW)
WHOLE = dict.fromkeys(STEP.evidence, "x")
NOTHING = [None, float("nan"), float("inf"), Decimal("NaN"), [1, None], {"a": {"b": float("-inf")}}]


def test_a_step_that_passed_and_left_its_evidence_is_done() -> None:
    assert judged(STEP, passed=True, evidence=WHOLE) is Event.STEP_DONE
    odd: list[Any] = ["", 0, False, [], {}, Decimal(0), {"a": [1, 2.5]}]
    for value in odd:
        assert judged(STEP, passed=True, evidence={**WHOLE, "verdict": value}) is Event.STEP_DONE


@given(st.sampled_from(STEP.evidence), st.sampled_from(NOTHING), st.booleans())
def test_missing_evidence_is_unknown_never_done(name: str, value: Any, absent: bool) -> None:
    evidence = {key: item for key, item in WHOLE.items() if key != name} if absent else {**WHOLE, name: value}
    assert judged(STEP, passed=True, evidence=evidence) is Event.STEP_UNKNOWN
    assert judged(STEP, passed=None, evidence=evidence) is Event.STEP_UNKNOWN
    assert judged(STEP, passed=False, evidence=evidence) is Event.STEP_FAILED


def test_what_nobody_can_say_is_unknown_whatever_evidence_there_is() -> None:
    assert judged(STEP, passed=None, evidence=WHOLE) is Event.STEP_UNKNOWN


@pytest.mark.parametrize(
    ("after_s", "event"),
    [(0, Event.RESUME), (59, Event.RESUME), (60, Event.DEADLINE), (10**8, Event.DEADLINE),
     (-59, Event.RESUME), (-60, Event.DEADLINE), (-(10**8), Event.DEADLINE)],
)  # fmt: skip
def test_what_is_held_goes_back_at_its_deadline_also_when_the_clock_jumps(after_s: int, event: Event) -> None:
    assert STEP.timeout_s == 60
    assert waking(STEP, begun_at=NOW, now=NOW + timedelta(seconds=after_s)) is event
