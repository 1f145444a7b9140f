"""Production as a state machine: whatever happens in whatever order, this holds.

1. One release is active at every moment, and jobs are taken, outside phases 3 and 4 (and the way back until the queue
   opens again).
2. An approval never counts for another plan, nor do four that are not four people, nor the planner's.
3. A gate that failed, or is unknown, never ends in the new release.
4. Nothing that was acknowledged is lost, and no job has two results that count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from abaco_loans.errors import UsageError
from abaco_loans.releases.approval import How, Role, withdrawn
from abaco_loans.releases.cutover import ENDS, Event, Status, StepStatus
from abaco_loans.releases.plan import Phase, Plan, PlanKind, StepKind
from tests.releases.plans import FOUR, PLANNER, approval, four
from tests.releases.production_model import NEW, OLD, Driver, Found, InMemory, PlanSeen, Seen

WORKERS = ("one", "two")
JUMPS = [timedelta(seconds=30), timedelta(minutes=11), timedelta(days=3), timedelta(days=8), -timedelta(hours=1)]
DEATHS = st.none() | st.integers(0, 70)
GATES = st.sampled_from(StepKind)


hash_of = cache(Plan.hash)


def queue_may_be_closed(item: PlanSeen) -> bool:
    """Whether the plan stands between holding the queue and having opened it again, in its direction."""
    back = {step.number for step in item.plan.way_back}
    goes_back = any(entry.number in back for entry in item.journal)
    said = {
        item.plan.step(entry.number).kind: entry.status
        for entry in item.journal
        if not goes_back or entry.number in back
    }
    # Going back, the queue may still be closed from the way forward.
    held = StepKind.HOLD_QUEUE in said
    return item.under_way and held and said.get(StepKind.OPEN_QUEUE) is not StepStatus.DONE


def four_people(item: PlanSeen) -> bool:
    """Whether four different people can be found who have approved this plan: by trying every choice."""
    good = [
        row for row in item.approvals
        if row.verified and row.plan_hash == hash_of(item.plan) and row.person not in {PLANNER, PLANNER.upper()}
    ]  # fmt: skip
    choices = product(*([row.person.lower() for row in good if row.role is role] for role in Role))
    return any(len(set(choice)) == len(Role) for choice in choices)


def settle(driver: Driver) -> Seen:
    """All gates are good, everybody wakes, the machine is resumed until it ends, and the queue is worked off."""
    driver.gates.clear()
    for _ in range(20):
        under_way = [number for number, item in enumerate(driver.seen().plans) if item.under_way]
        if not under_way:
            break
        driver.carry_out(under_way[0], Event.RESUME)
        driver.clock.move_to(driver.clock.now() + timedelta(seconds=61))
    # A lease lasts longer when the clock was put back meanwhile.
    driver.clock.move_to(driver.clock.now() + timedelta(days=2))
    while driver.take("last"):
        assert driver.finish("last")
    return driver.seen()


def check(seen: Seen, submitted: set[str]) -> None:
    """The invariants that can be seen at any moment."""
    assert seen.active in {OLD, NEW}
    under_way = [item for item in seen.plans if item.under_way]
    assert len(under_way) <= 1
    if not seen.open:
        (item,) = under_way
        assert queue_may_be_closed(item) or item.state.phase is Phase.WAY_BACK
        assert item.state.phase in {Phase.SHUTDOWN, Phase.ACTIVATION, Phase.WAY_BACK}
    assert seen.jobs.keys() == submitted
    assert {job.status for job in seen.jobs.values()} <= {"queued", "leased", "done"}
    counted = [(job.key, job.epoch, job.release) for job in seen.jobs.values() if job.status == "done"]
    assert set(counted) <= set(seen.results)
    assert len({(key, epoch) for key, epoch, _ in seen.results}) == len(seen.results)
    assert len({release for _, epoch, release in seen.results if epoch == seen.epoch} - {seen.active}) == 0
    for item in seen.plans:
        check_plan(item)


def check_plan(item: PlanSeen) -> None:
    """What must hold for one plan at any moment."""
    done = {entry.number for entry in item.journal if entry.status is StepStatus.DONE}
    last = dict(item.found)
    forward = {step.number: step for step in item.plan.steps}
    if item.status is Status.COMPLETED:
        assert done == forward.keys()
        assert {last[number] for number in done} == {Found.GOOD}
        if item.plan.kind is not PlanKind.ROLLBACK:
            assert Found.BAD not in {found for number, found in item.found}
    if item.plan.kind is PlanKind.CUTOVER and any(forward[number].phase for number in done & forward.keys()):
        assert four_people(item)


class Production(RuleBasedStateMachine):
    """People, tapes, workers, faults and the clock, in any order."""

    make: Callable[[], Driver] = InMemory

    def __init__(self) -> None:
        super().__init__()
        self.driver = type(self).make()
        self.submitted: set[str] = set()
        self.ended: set[int] = set()
        self.working: set[str] = set()

    @initialize()
    def first_tape(self) -> None:
        self.tape_arrives(0)

    @rule(number=st.integers(0, 30))
    def tape_arrives(self, number: int) -> None:
        self.driver.submit(f"tape{number}")
        self.submitted.add(f"tape{number}")

    @rule(kind=st.sampled_from([PlanKind.CUTOVER, PlanKind.CUTOVER, PlanKind.DRILL]), approved=st.booleans())
    def plan(self, kind: PlanKind, approved: bool) -> None:
        number = self.driver.plan(kind)
        if approved:
            self.approve_as_four(number)

    @precondition(lambda self: self.plans())
    @rule(data=st.data(), other=st.booleans(), said=st.fixed_dictionaries({
        "role": st.sampled_from(Role),
        "person": st.sampled_from([*FOUR.values(), PLANNER, PLANNER.upper()]),
        "verified": st.sampled_from([True, True, False]),
    }))  # fmt: skip
    def approve(self, data: st.DataObject, other: bool, said: dict[str, Any]) -> None:
        number = self.a_plan(data)
        of = self.a_plan(data) if other else number
        now = self.driver.clock.now()
        given = {"at": now, "expires_at": now + timedelta(days=2), "how": How.ACCOUNT, **said}
        self.driver.approve(number, approval(hash_of(self.plans()[of].plan), **given))

    @precondition(lambda self: self.plans())
    @rule(data=st.data())
    def approve_all(self, data: st.DataObject) -> None:
        self.approve_as_four(self.a_plan(data))

    @precondition(lambda self: any(item.approvals for item in self.plans()))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Approvals of one plan are recorded for another, or one is withdrawn."""
        rows = data.draw(st.sampled_from([item for item in self.plans() if item.approvals])).approvals
        number = self.a_plan(data)
        if data.draw(st.booleans()):
            self.driver.approve(number, withdrawn(rows[0], at=self.driver.clock.now()))
        for row in rows:
            self.driver.approve(number, row)

    @precondition(lambda self: any(item.status is Status.PLANNED for item in self.plans()))
    @rule(data=st.data(), dies_after=DEATHS)
    def start(self, data: st.DataObject, dies_after: int | None) -> None:
        self.act(self.a_plan(data, Status.PLANNED), Event.START, dies_after)

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), dies_after=DEATHS)
    def resume(self, data: st.DataObject, dies_after: int | None) -> None:
        self.act(self.a_plan(data, Status.RUNNING, Status.HELD), Event.RESUME, dies_after)

    @precondition(lambda self: any(item.status not in ENDS for item in self.plans()))
    @rule(data=st.data(), dies_after=DEATHS)
    def abort(self, data: st.DataObject, dies_after: int | None) -> None:
        number = self.a_plan(data, Status.PLANNED, Status.RUNNING, Status.HELD)
        under_way = self.plans()[number].under_way
        if self.act(number, Event.ABORT, dies_after) and under_way and not self.driver.gates:
            assert self.plans()[number].status in {Status.STOPPED, Status.ROLLED_BACK, Status.HELD, Status.COMPLETED}

    @rule(dies_after=DEATHS)
    def rollback(self, dies_after: int | None) -> None:
        self.act(self.driver.plan(PlanKind.ROLLBACK), Event.START, dies_after)

    @rule(gate=GATES, found=st.sampled_from([Found.MISSING, Found.BAD]))
    def metric_is_missing_or_bad(self, gate: StepKind, found: Found) -> None:
        self.driver.gates[gate] = found

    @rule()
    def all_is_well_again(self) -> None:
        self.driver.gates.clear()

    @rule(jump=st.sampled_from(JUMPS))
    def clock_jumps(self, jump: timedelta) -> None:
        self.driver.clock.move_to(self.driver.clock.now() + jump)

    @rule(worker=st.sampled_from(WORKERS))
    def worker_takes_and_pauses(self, worker: str) -> None:
        if worker not in self.working and self.driver.take(worker):
            self.working.add(worker)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def worker_wakes(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.working)))
        self.working.remove(worker)
        before = len(self.driver.seen().results)
        accepted = self.driver.finish(worker)
        results = self.driver.seen().results[before:]
        assert len(results) == accepted
        assert all(epoch == self.driver.seen().epoch for _, epoch, _ in results)

    @invariant()
    def holds(self) -> None:
        check(self.driver.seen(), self.submitted)

    def teardown(self) -> None:
        seen = settle(self.driver)
        check(seen, self.submitted)
        assert seen.open and not any(item.under_way for item in seen.plans)
        assert {job.status for job in seen.jobs.values()} <= {"done"}

    def plans(self) -> tuple[PlanSeen, ...]:
        return self.driver.seen().plans

    def under_way(self) -> bool:
        return any(item.under_way for item in self.plans())

    def a_plan(self, data: st.DataObject, *statuses: Status) -> int:
        fit = [number for number, item in enumerate(self.plans()) if item.status in statuses or not statuses]
        return data.draw(st.sampled_from(fit))

    def approve_as_four(self, number: int) -> None:
        now = self.driver.clock.now()
        for row in four(hash_of(self.plans()[number].plan), at=now, expires_at=now + timedelta(days=2)):
            self.driver.approve(number, row)

    def act(self, number: int, event: Event, dies_after: int | None) -> bool:
        """Start, resume or abort; whether it was allowed and lived. Where it ends, it ends in the right release."""
        try:
            lived = self.driver.carry_out(number, event, dies_after=dies_after)
        except UsageError:
            return False
        item = self.plans()[number]
        if item.status in ENDS and number not in self.ended:
            self.ended.add(number)
            check_end(item, self.driver.seen())
        return lived


def check_end(item: PlanSeen, seen: Seen) -> None:
    """What must hold when a plan has just ended."""
    completed = item.status is Status.COMPLETED
    began = item.plan.facts
    overtaken = began.pointer_epoch != seen.epoch and item.status is Status.STOPPED
    if item.plan.kind is not PlanKind.DRILL and not overtaken:
        assert seen.active == (began.to_release if completed else began.from_release)
    assert seen.open or any(other.under_way for other in seen.plans)
    back = item.status is Status.ROLLED_BACK or (completed and item.plan.kind is PlanKind.ROLLBACK)
    if back:
        since = item.plan.requeue_epoch
        undone = [key for key, epoch, release in seen.results if epoch >= since and release != seen.active]
        assert {seen.jobs[key].release for key in undone} <= {seen.active}


TestProduction = Production.TestCase
TestProduction.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# --- every death of one story -------------------------------------------------------------------------------


def started(kind: PlanKind = PlanKind.CUTOVER) -> InMemory:
    """Production with tapes that ran, one that waits, one in the hands of a paused worker, and an approved plan.

    A rollback's plan follows on a cutover that is completed, and tapes that ran under the new release.
    """
    driver = InMemory()
    for number in range(2):
        driver.submit(f"old{number}")
        driver.take("one")
        driver.finish("one")
    number = driver.plan(PlanKind.CUTOVER)
    for row in four(hash_of(driver.seen().plans[number].plan)):
        driver.approve(number, row)
    if kind is PlanKind.ROLLBACK:
        assert driver.carry_out(number, Event.START)
        driver.submit("new")
        assert driver.take("one") and driver.finish("one")
        driver.plan(kind)
    driver.submit("taken")
    assert driver.take("paused")
    driver.submit("waiting")
    return driver


def statuses(driver: Driver) -> list[Status]:
    return [item.status for item in driver.seen().plans]


def test_a_cutover_and_its_rollback() -> None:
    driver = started(PlanKind.ROLLBACK)
    assert (driver.seen().active, statuses(driver)) == (NEW, [Status.COMPLETED, Status.PLANNED])
    assert driver.seen().jobs["new"].release == NEW
    assert driver.carry_out(1, Event.START)
    seen = driver.seen()
    assert (seen.active, seen.open, statuses(driver)) == (OLD, True, [Status.COMPLETED, Status.COMPLETED])
    assert {job.release for job in seen.jobs.values()} == {OLD}
    assert ("new", 2, NEW) in seen.results  # stays as history
    assert not driver.finish("paused")


KINDS = pytest.mark.parametrize("kind", [PlanKind.CUTOVER, PlanKind.ROLLBACK])


@KINDS
@pytest.mark.parametrize("then", [Event.RESUME, Event.ABORT])
def test_killed_at_every_write_and_killed_again(kind: PlanKind, then: Event) -> None:
    """What is resumed ends as it would have; a cutover of which an abort was written down never does."""
    ends = set()
    for first, second in product(range(200), (1, 4, None)):
        driver = started(kind)
        submitted = set(driver.seen().jobs)
        number = len(driver.seen().plans) - 1
        if driver.carry_out(number, Event.START, dies_after=first):
            break
        check(driver.seen(), submitted)
        driver.submit("late")
        for event, dies_after in ((then, second), (Event.RESUME, None)):
            if not driver.seen().plans[number].under_way:
                break
            driver.carry_out(number, event, dies_after=dies_after)
            check(driver.seen(), submitted | {"late"})
        if driver.seen().plans[number].status is Status.PLANNED:
            continue
        seen = settle(driver)
        check(seen, submitted | {"late"})
        check_end(seen.plans[number], seen)
        assert {job.status for job in seen.jobs.values()} == {"done"}
        driver.finish("paused")
        assert driver.seen() == seen
        ends.add((seen.plans[number].status, seen.active))
    assert first > 30
    completed = (Status.COMPLETED, NEW if kind is PlanKind.CUTOVER else OLD)
    if then is Event.RESUME:
        assert ends == {completed}
    elif kind is PlanKind.ROLLBACK:
        assert ends == {completed, (Status.STOPPED, NEW)}
    else:
        assert ends == {(Status.STOPPED, OLD), (Status.ROLLED_BACK, OLD)}


@pytest.mark.parametrize("kind", [StepKind.CHECK_SHADOW, StepKind.VALIDATE_PRODUCTION])
def test_a_failure_that_was_written_down_stays_one_when_all_is_well_after_a_crash(kind: StepKind) -> None:
    died_between = 0
    for dies_after in range(80):
        driver = started()
        driver.gates = {kind: Found.BAD}
        if driver.carry_out(0, Event.START, dies_after=dies_after):
            break
        item = driver.seen().plans[0]
        failed = StepStatus.FAILED in {entry.status for entry in item.journal}
        died_between += item.state.failed
        expected = OLD if failed or item.status is Status.PLANNED else NEW
        assert settle(driver).active == expected
    assert died_between


@pytest.mark.parametrize("found", [Found.BAD, Found.MISSING])
def test_a_gate_that_is_bad_or_stays_unknown_ends_in_the_old_release(found: Found) -> None:
    for step in started().seen().plans[0].plan.steps:
        for dies_after in (None, *range(0, 60, 5)):
            driver = started()
            driver.gates = {step.kind: found}
            driver.carry_out(0, Event.START, dies_after=dies_after)
            for _ in range(4):
                if driver.seen().plans[0].under_way:
                    driver.clock.move_to(driver.clock.now() + timedelta(hours=1))
                    driver.carry_out(0, Event.RESUME)
            item = driver.seen().plans[0]
            assert item.status is not Status.COMPLETED
            assert driver.seen().active == OLD
            expected = Status.STOPPED if step.phase < Phase.SHUTDOWN else Status.ROLLED_BACK
            # a step of that kind on the way back fails there, too
            assert item.status is expected or (item.under_way and step.phase >= Phase.SHUTDOWN) or dies_after == 0
            assert (settle(driver).active, driver.seen().open) == (OLD, True)


def test_a_metric_that_comes_in_time_lets_the_cutover_go_on() -> None:
    driver = started()
    driver.gates = {StepKind.VALIDATE_PRODUCTION: Found.MISSING}
    driver.carry_out(0, Event.START)
    assert (statuses(driver), driver.seen().active, driver.seen().open) == ([Status.HELD], NEW, True)
    driver.gates = {}
    driver.carry_out(0, Event.RESUME)
    assert (statuses(driver), driver.seen().active) == ([Status.COMPLETED], NEW)


@pytest.mark.parametrize(
    "change",
    [
        {"plan_hash": "0" * 64},
        {"verified": False},
        {"person": PLANNER},
        {"person": "Ben"},
        {"at": four("")[0].at + timedelta(hours=1)},
    ],
)
def test_a_plan_without_its_four_approvals_stops_before_anything_changes(change: dict[str, Any]) -> None:
    driver = started()
    number = driver.plan(PlanKind.CUTOVER)
    first, *others = four(hash_of(driver.seen().plans[number].plan))
    for row in (replace(first, **change), *others):
        driver.approve(number, row)
    driver.carry_out(number, Event.START)
    assert driver.seen().plans[number].status is Status.STOPPED
    assert (driver.seen().active, driver.seen().epoch) == (OLD, 1)


def test_a_plan_that_was_overtaken_stops() -> None:
    driver = started(PlanKind.ROLLBACK)
    stale = driver.plan(PlanKind.ROLLBACK)
    driver.carry_out(1, Event.START)
    before = driver.seen().jobs
    driver.carry_out(stale, Event.START)
    assert driver.seen().plans[stale].status is Status.STOPPED
    assert driver.seen().jobs == before
