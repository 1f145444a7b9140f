"""Production as a model test sees it, and the simplest one there can be: in memory, driven by the pure machine.

A test drives a :class:`Driver`; another one (the real records and workers) can take the place of :class:`InMemory`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import TypeVar, assert_never

from abaco_loans.clock import FixedClock
from abaco_loans.errors import UsageError
from abaco_loans.releases.approval import Approval, Roles, standing
from abaco_loans.releases.cutover import (
    STATUS_MOVES,
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
from abaco_loans.releases.plan import (
    Plan,
    PlanFacts,
    PlanKind,
    StepKind,
    StepSpec,
    cutover_plan,
    plan_of,
    rollback_plan,
)
from tests.releases.plans import NOW, facts

Result = TypeVar("Result")
OLD, NEW = "v1", "v2"
LEASE = timedelta(seconds=60)


class Found(StrEnum):
    """What a step finds, as the test has set it."""

    GOOD = "good"
    BAD = "bad"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """A job; ``release`` and ``epoch`` are those of the result that counts, None while there is none."""

    key: str
    status: str
    release: str | None
    epoch: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSeen:
    """A cutover or rollback as the records show it. ``found``: what each attempt of a step came upon, in order."""

    plan: Plan
    status: Status
    journal: tuple[StepEntry, ...]
    approvals: tuple[Approval, ...]
    found: tuple[tuple[int, Found], ...]

    @property
    def state(self) -> State:
        return state_of(self.plan, self.status, self.journal)

    @property
    def under_way(self) -> bool:
        return self.status in {Status.RUNNING, Status.HELD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that anybody can see of production. ``results``: job, epoch and release of every result there ever was."""

    active: str
    epoch: int
    open: bool
    jobs: Mapping[str, JobSeen]
    plans: tuple[PlanSeen, ...]
    results: tuple[tuple[str, int, str], ...]


class Driver(ABC):
    """Production under test. Plans are counted from 0. ``gates``: what steps find; those not in it are good."""

    def __init__(self) -> None:
        self.clock = FixedClock(NOW)
        self.gates: dict[StepKind, Found] = {}

    @abstractmethod
    def submit(self, key: str) -> None:
        """A tape arrives; when this returns, it is acknowledged."""

    @abstractmethod
    def plan(self, kind: PlanKind) -> int:
        """Plan a cutover from the active release, or a rollback from it."""

    @abstractmethod
    def approve(self, number: int, row: Approval) -> None:
        """Record an approval of a plan."""

    @abstractmethod
    def carry_out(self, number: int, event: Event, *, dies_after: int | None = None) -> bool:
        """Start, resume or abort a plan; dies before its next write when it has written so many times.

        Returns:
            whether it lived. Raises UsageError when it is refused.
        """

    @abstractmethod
    def take(self, worker: str) -> bool:
        """A worker takes a job, if there is one for it."""

    @abstractmethod
    def finish(self, worker: str) -> bool:
        """A worker hands in its result; whether it was accepted."""

    @abstractmethod
    def seen(self) -> Seen:
        """How things stand."""


@cache
def _stored(kind: PlanKind, said: PlanFacts) -> Plan:
    """The plan, as it comes back from the records."""
    made = cutover_plan(said) if kind is PlanKind.CUTOVER else rollback_plan(said, drill=kind is PlanKind.DRILL)
    return plan_of(made.as_dict())


class _DiedError(Exception):
    """The process is killed."""


@dataclass(slots=True, kw_only=True)
class _Job:
    key: str
    status: str = "queued"
    fence: int = 0
    lease_until: datetime = NOW
    release: str | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    job: _Job
    fence: int
    release: str
    epoch: int


@dataclass(slots=True, kw_only=True)
class _Row:
    number: int
    plan: Plan
    status: Status = Status.PLANNED
    journal: dict[int, StepStatus] = field(default_factory=dict)
    begun_at: dict[int, datetime] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    found: list[tuple[int, Found]] = field(default_factory=list)


class InMemory(Driver):
    """What is written survives a death; what a worker holds in its hands does, too: workers only pause."""

    def __init__(self) -> None:
        super().__init__()
        self._active, self._epoch = OLD, 1
        self._held_by: int | None = None
        self._jobs: dict[str, _Job] = {}
        self._rows: list[_Row] = []
        self._results: list[tuple[str, int, str]] = []
        self._taken: dict[str, _Taken] = {}
        self._writes_left: int | None = None

    def submit(self, key: str) -> None:
        self._jobs.setdefault(key, _Job(key=key))

    def plan(self, kind: PlanKind) -> int:
        other = NEW if self._active == OLD else OLD
        number = len(self._rows)
        said = facts(
            from_release=self._active, to_release=other, pointer_epoch=self._epoch, planned_at=self.clock.now(),
            workspace_id=f"w{number}",
        )  # fmt: skip
        self._rows.append(_Row(number=number, plan=_stored(kind, said)))
        return number

    def approve(self, number: int, row: Approval) -> None:
        self._rows[number].approvals.append(row)

    def take(self, worker: str) -> bool:
        if self._held_by is not None:
            return False
        now = self.clock.now()
        for job in self._jobs.values():
            if job.status == "queued" or (job.status == "leased" and job.lease_until <= now):
                job.status, job.fence, job.lease_until = "leased", job.fence + 1, now + LEASE
                self._taken[worker] = _Taken(job=job, fence=job.fence, release=self._active, epoch=self._epoch)
                return True
        return False

    def finish(self, worker: str) -> bool:
        held = self._taken.pop(worker)
        job = held.job
        if job.status != "leased" or (job.fence, self._epoch) != (held.fence, held.epoch):
            return False
        job.status, job.release, job.epoch = "done", held.release, held.epoch
        self._results.append((job.key, held.epoch, held.release))
        return True

    def seen(self) -> Seen:
        return Seen(
            active=self._active,
            epoch=self._epoch,
            open=self._held_by is None,
            jobs={
                job.key: JobSeen(key=job.key, status=job.status, release=job.release, epoch=job.epoch)
                for job in self._jobs.values()
            },
            plans=tuple(self._seen(row) for row in self._rows),
            results=tuple(self._results),
        )

    def carry_out(self, number: int, event: Event, *, dies_after: int | None = None) -> bool:
        self._writes_left = dies_after
        try:
            self._carry_out(self._rows[number], event)
        except _DiedError:
            return False
        finally:
            self._writes_left = None
        return True

    def _seen(self, row: _Row) -> PlanSeen:
        return PlanSeen(
            plan=row.plan,
            status=row.status,
            journal=tuple(StepEntry(number=number, status=said) for number, said in row.journal.items()),
            approvals=tuple(row.approvals),
            found=tuple(row.found),
        )

    def _write(self, change: Callable[[], Result]) -> Result:
        """One transaction: all of it, or the process is dead before it."""
        if self._writes_left is not None:
            if self._writes_left == 0:
                raise _DiedError
            self._writes_left -= 1
        return change()

    def _carry_out(self, row: _Row, event: Event) -> None:
        plan = row.plan
        if event is Event.START and self._others_under_way(row):
            raise UsageError("another one is under way", code="CUT-101")
        state = self._seen(row).state
        if event is Event.RESUME and row.status is Status.HELD and state.step is not None:
            event = waking(plan.step(state.step), begun_at=row.begun_at[state.step], now=self.clock.now())
        next_move(state, event)
        if event in {Event.ABORT, Event.DEADLINE} and state.stage is not Stage.BACK and state.step in row.journal:
            self._journal(row, state.step, StepStatus.FAILED)
        while True:
            move = next_move(self._seen(row).state, event)
            if move.status is not row.status:
                assert move.status in STATUS_MOVES[row.status]
                self._move(row, move.status)
            match move.action:
                case Action.RUN | Action.GO_BACK:
                    assert move.step is not None
                    event = self._run(row, plan, plan.step(move.step))
                case Action.HOLD | Action.STOP | Action.FINISH | Action.NOTHING:
                    return
                case _:
                    assert_never(move.action)

    def _move(self, row: _Row, status: Status) -> None:
        def change() -> None:
            row.status = status

        self._write(change)

    def _journal(self, row: _Row, number: int, status: StepStatus) -> None:
        def change() -> None:
            row.journal[number] = status
            row.begun_at.setdefault(number, self.clock.now())

        self._write(change)

    def _run(self, row: _Row, plan: Plan, step: StepSpec) -> Event:
        self._journal(row, step.number, StepStatus.STARTED)
        passed = self._effect(row, plan, step)
        found = self.gates.get(step.kind, Found.GOOD)
        evidence = dict.fromkeys(step.evidence[1:] if found is Found.MISSING else step.evidence, "x")
        event = judged(step, passed=False if found is Found.BAD else passed, evidence=evidence)
        if event is Event.STEP_DONE:
            self._journal(row, step.number, StepStatus.DONE)
        if event is Event.STEP_FAILED:
            self._journal(row, step.number, StepStatus.FAILED)
        # Nobody knows what a step found whose process died before it could say so.
        row.found.append((step.number, found))
        return event

    def _others_under_way(self, row: _Row) -> bool:
        return any(self._seen(other).under_way for other in self._rows if other is not row)

    def _effect(self, row: _Row, plan: Plan, step: StepSpec) -> bool | None:
        """Do what the step does, and say whether it passed; None where that cannot be said."""
        if plan.kind is PlanKind.DRILL:
            return True
        match step.kind:
            case StepKind.CHECK_POINTER:
                return (self._active, self._epoch) == (plan.facts.from_release, plan.facts.pointer_epoch)
            case StepKind.CHECK_ALONE:
                return not self._others_under_way(row)
            case StepKind.CHECK_APPROVALS:
                return standing(row.approvals, plan, self.clock.now(), Roles(people=())).complete
            case StepKind.HOLD_QUEUE:
                assert self._held_by in {None, row.number}
                self._write(lambda: self._hold(row.number))
            case StepKind.OPEN_QUEUE:
                self._write(lambda: self._hold(None))
            case StepKind.FENCE_RUNNING:
                self._write(lambda: self._queue_again(lambda job: job.status == "leased"))
            case StepKind.SWITCH:
                self._switch(row, plan, plan.switches_to(step))
            case StepKind.REQUEUE:
                self._write(lambda: self._queue_again(lambda job: (job.epoch or 0) >= plan.requeue_epoch))
            case StepKind.RUN_QUEUED | StepKind.RUN_AGAIN:
                return self._run_all()
            case StepKind.PROVE_NO_LOSS:
                served = {key for key, _, _ in self._results}
                return all(self._jobs[key].release == self._active for key in served if self._is_later(plan, key))
            case (
                StepKind.CHECK_RELEASES | StepKind.CHECK_STORES | StepKind.CHECK_MACHINE | StepKind.CHECK_SHADOW
                | StepKind.CHECK_DRILL | StepKind.TAKE_SNAPSHOT | StepKind.VERIFY_SNAPSHOT | StepKind.CHECK_SUITE
                | StepKind.STAGE_RUN | StepKind.DRAIN | StepKind.VALIDATE_PRODUCTION | StepKind.COMPARE_BASELINE
                | StepKind.WRITE_REPORT
            ):  # fmt: skip
                return True
            case _:
                assert_never(step.kind)
        return True

    def _is_later(self, plan: Plan, key: str) -> bool:
        """Whether the job has got a result since the release came that is rolled back."""
        return any(epoch >= plan.requeue_epoch for served, epoch, _ in self._results if served == key)

    def _hold(self, number: int | None) -> None:
        self._held_by = number

    def _switch(self, row: _Row, plan: Plan, to: str) -> None:
        if self._active == to:
            return
        assert self._held_by == row.number, "the pointer moves only while nobody takes a job"

        def change() -> None:
            self._active, self._epoch = to, self._epoch + 1

        self._write(change)

    def _queue_again(self, which: Callable[[_Job], bool]) -> None:
        for job in filter(which, self._jobs.values()):
            job.status, job.fence, job.release, job.epoch = "queued", job.fence + 1, None, None

    def _run_all(self) -> bool | None:
        """Work as a worker does; unknown while somebody else still holds a job."""
        while True:
            if not self._write(lambda: self.take("machine")):
                break
            assert self._write(lambda: self.finish("machine"))
        return True if all(job.status == "done" for job in self._jobs.values()) else None
