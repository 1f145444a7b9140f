"""The state machine of `tests/releases/test_cutover_model.py` over the real records (SQLite) and the real machine.

Steps that change or look at production are carried out by the real hands; the others find what the test has set.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import HealthCheck, settings

from abaco_loans.errors import InvariantError, UsageError, WorldError
from abaco_loans.operations.carry_out import Carrier, Did, carry_out
from abaco_loans.operations.cutover_hands import CutoverHands, Ground
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.records.cutovers import Approval as Recorded
from abaco_loans.records.cutovers import CutoverRecord, CutoverWriter, NewApproval, NewCutover
from abaco_loans.records.ledger import canonical
from abaco_loans.records.production import Job, NewJob, ProductionWriter, Taken
from abaco_loans.records.store import open_store
from abaco_loans.releases.approval import Approval, How, Role, Roles, standing
from abaco_loans.releases.cutover import Event, Status, StepEntry, StepStatus
from abaco_loans.releases.plan import Plan, PlanKind, StepKind, StepSpec, cutover_plan, plan_of, rollback_plan
from tests.releases.plans import facts
from tests.releases.production_model import NEW, OLD, Driver, Found, JobSeen, PlanSeen, Seen
from tests.releases.test_cutover_model import Production

LEASE_S = 60.0
NAP = timedelta(seconds=20)
# What these find is not of production: the test says it.
SAID = frozenset(
    {
        StepKind.CHECK_RELEASES, StepKind.CHECK_STORES, StepKind.CHECK_MACHINE, StepKind.CHECK_SHADOW,
        StepKind.CHECK_DRILL, StepKind.TAKE_SNAPSHOT, StepKind.VERIFY_SNAPSHOT, StepKind.CHECK_SUITE,
        StepKind.STAGE_RUN, StepKind.VALIDATE_PRODUCTION, StepKind.COMPARE_BASELINE, StepKind.WRITE_REPORT,
    }
)  # fmt: skip


class _DiedError(BaseException):
    """The process is killed."""


class _Mortal:
    """A writer whose process dies before its next write, when it has written so many times."""

    def __init__(self, writer: object, write: Callable[[], None], written: Callable[[str], None]) -> None:
        self._writer, self._write, self._written = writer, write, written

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._writer, name)

        def call(*given: Any, **named: Any) -> Any:
            self._write()
            found = method(*given, **named)
            self._written(name)
            return found

        return call


@dataclass(frozen=True, slots=True)
class _Worker:
    """Works as a worker does, by the machine's own writers."""

    writer: ProductionWriter

    def work_once(self) -> Job | None:
        taken = self.writer.take("machine", lease_s=LEASE_S)
        return None if taken is None else _finished(self.writer, taken)


def _finished(writer: ProductionWriter, taken: Taken) -> Job:
    return writer.finish(
        taken.job.job_id, taken.fence, epoch=taken.epoch, release=taken.release, run_id=f"run{taken.epoch}"
    )


@cache
def _plan(text: str) -> Plan:
    return plan_of(json.loads(text))


class RealRecords(Driver):
    """The records in a SQLite file, and the machine that carries plans out."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="abaco-model-"))
        self._store = open_store(f"sqlite:///{self._folder / 'abaco.db'}", clock=self.clock, actor="ana").__enter__()
        self._store.production_writer.ensure(OLD)
        self._found: dict[str, list[tuple[int, Found]]] = {}
        self._ids: list[str] = []
        self._taken: dict[str, Taken] = {}
        self._writes_left: int | None = None
        self._pending: tuple[str, int, Found] | None = None
        self._cutover_writer = cast("CutoverWriter", _Mortal(self._store.cutover_writer, self._write, self._written))
        self._production_writer = cast(
            "ProductionWriter", _Mortal(self._store.production_writer, self._write, self._written)
        )

    def close(self) -> None:
        """All that was written is what the ledger says."""
        try:
            assert self._store.verify().ok and self._store.faults() == ()
        finally:
            self._store.__exit__(None, None, None)
            shutil.rmtree(self._folder)

    def submit(self, key: str) -> None:
        sha256 = hashlib.sha256(key.encode()).hexdigest()
        self._store.production_writer.submit(NewJob(tape_sha256=sha256, tape_name=key, as_of=None, spool=key))

    def plan(self, kind: PlanKind) -> int:
        kind = PlanKind.CUTOVER if kind is PlanKind.DRILL else kind  # a drill is of a copy, and there is none here
        pointer, number = self._store.production_reader.pointer(), len(self._ids)
        said = facts(
            from_release=pointer.active, to_release=NEW if pointer.active == OLD else OLD,
            pointer_epoch=pointer.epoch, planned_at=self.clock.now(), workspace_id=f"w{number}",
        )  # fmt: skip
        made = cutover_plan(said) if kind is PlanKind.CUTOVER else rollback_plan(said)
        new = NewCutover(
            cutover_id=f"c{number}", kind="cutover" if kind is PlanKind.CUTOVER else "rollback",
            from_release=said.from_release, to_release=said.to_release,
            plan=canonical(made.as_dict()).decode(), plan_hash=made.hash(),
        )  # fmt: skip
        self._store.cutover_writer.add(new)
        self._ids.append(new.cutover_id)
        return number

    def approve(self, number: int, row: Approval) -> None:
        new = NewApproval(
            cutover_id=self._ids[number], plan_hash=row.plan_hash, role=row.role.value, person=row.person,
            how=row.how.value, verified=row.verified, reason=row.reason, expires_at=row.expires_at,
        )  # fmt: skip
        try:
            self._store.cutover_writer.approve(new)
        except InvariantError:  # of another plan
            assert row.plan_hash != _plan(self._record(number).plan).hash()

    def take(self, worker: str) -> bool:
        taken = self._store.production_writer.take(worker, lease_s=LEASE_S)
        if taken is not None:
            self._taken[worker] = taken
        return taken is not None

    def finish(self, worker: str) -> bool:
        try:
            _finished(self._store.production_writer, self._taken.pop(worker))
        except WorldError as error:
            if error.code != "REC-131":
                raise
            return False
        return True

    def carry_out(self, number: int, event: Event, *, dies_after: int | None = None) -> bool:
        plan = _plan(self._record(number).plan)
        carrier = Carrier(
            reader=self._store.cutover_reader,
            writer=self._cutover_writer,
            hands=_Hands(self, self._ids[number], plan, self._ground(number, plan)),
            clock=self.clock,
        )
        self._writes_left, self._pending = dies_after, None
        try:
            carry_out(self._ids[number], event, carrier)
        except _DiedError:
            return False
        except WorldError as error:
            if error.code != "REC-114":
                raise
            raise UsageError("another one is under way", code="CUT-101") from error
        finally:
            self._writes_left = None
        return True

    def seen(self) -> Seen:
        pointer = self._store.production_reader.pointer()
        jobs = {job.job_id: job for job in self._store.production_reader.jobs(limit=1000)}
        return Seen(
            active=pointer.active,
            epoch=pointer.epoch,
            open=not pointer.held_by,
            jobs={
                job.tape_name: JobSeen(key=job.tape_name, status=job.status, release=job.served_by, epoch=job.epoch)
                for job in jobs.values()
            },
            plans=tuple(map(self._seen, range(len(self._ids)))),
            results=tuple(
                (jobs[item.job_id].tape_name, item.epoch, item.release)
                for item in self._store.production_reader.served_since(0)
            ),
        )

    def approvals(self, cutover_id: str) -> tuple[Approval, ...]:
        """As they count."""
        return tuple(map(_counted, self._store.cutover_reader.approvals(cutover_id)))

    def came_upon(self, cutover_id: str, number: int, found: Found) -> None:
        """What a step found, which nobody knows whose process dies before it could say so."""
        self._pending = (cutover_id, number, found)

    def _record(self, number: int) -> CutoverRecord:
        record = self._store.cutover_reader.get(self._ids[number])
        assert record is not None
        return record

    def _seen(self, number: int) -> PlanSeen:
        record, cutover_id = self._record(number), self._ids[number]
        return PlanSeen(
            plan=_plan(record.plan),
            status=Status(record.status),
            journal=tuple(
                StepEntry(number=item.number, status=StepStatus(item.status))
                for item in self._store.cutover_reader.steps(cutover_id)
            ),
            approvals=self.approvals(cutover_id),
            found=tuple(self._found.get(cutover_id, ())),
        )

    def _ground(self, number: int, plan: Plan) -> Ground:
        records = SimpleNamespace(
            production_reader=self._store.production_reader,
            production_writer=self._production_writer,
            cutover_reader=self._store.cutover_reader,
            cutover_writer=self._cutover_writer,
        )
        unused: Any = None
        return Ground(
            cutover_id=self._ids[number],
            plan=plan,
            tools=cast("Tools", SimpleNamespace(clock=self.clock, workspace=None)),
            records=cast("Records", records),
            standing=unused,
            worker=lambda place: _Worker(self._production_writer),
            validate=unused,
            compare=unused,
            run=unused,
            copied=unused,
            sleep=lambda seconds: self.clock.move_to(self.clock.now() + NAP),
        )

    def _write(self) -> None:
        if self._writes_left is not None:
            if self._writes_left == 0:
                raise _DiedError
            self._writes_left -= 1

    def _written(self, name: str) -> None:
        if name == "end_step" and self._pending is not None:
            cutover_id, number, found = self._pending
            self._found.setdefault(cutover_id, []).append((number, found))
            self._pending = None


def _counted(item: Recorded) -> Approval:
    return Approval(
        plan_hash=item.plan_hash, role=Role(item.role), person=item.person, how=How(item.how), verified=item.verified,
        at=item.at, expires_at=item.expires_at, reason=item.reason,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Hands:
    """The real hands, where a step is of production; what the test has set is found in any case."""

    driver: RealRecords
    cutover_id: str
    plan: Plan
    ground: Ground

    def do(self, step: StepSpec) -> Did:
        did = self._did(step)
        found = self.driver.gates.get(step.kind, Found.GOOD)
        self.driver.came_upon(self.cutover_id, step.number, found)
        if found is Found.BAD:
            return replace(did, passed=False)
        return did if found is Found.GOOD else replace(did, evidence=_without_first(step, did.evidence))

    def _did(self, step: StepSpec) -> Did:
        if step.kind in SAID:
            return Did(passed=True, evidence=dict.fromkeys(step.evidence, "x"))
        if step.kind is StepKind.CHECK_APPROVALS:
            verdict = standing(
                self.driver.approvals(self.cutover_id), self.plan, self.driver.clock.now(), Roles(people=())
            )
            return Did(passed=verdict.complete, evidence=dict.fromkeys(step.evidence, "x"))
        return CutoverHands(self.ground).do(step)


def _without_first(step: StepSpec, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in evidence.items() if name != step.evidence[0]}


class RealProduction(Production):
    """People, tapes, workers, faults and the clock, over the real records."""

    make: Callable[[], Driver] = RealRecords

    def teardown(self) -> None:
        assert isinstance(self.driver, RealRecords)
        try:
            super().teardown()
        finally:
            self.driver.close()


TestRealProduction = RealProduction.TestCase
TestRealProduction.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
