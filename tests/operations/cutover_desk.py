"""A desk with production on it: v1 is active and has served tapes; v2 may take over as soon as four people say so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from abaco_loans.clock import FixedClock
from abaco_loans.operations.carry_out import Told
from abaco_loans.operations.cut_over import CutoverTools
from abaco_loans.operations.cutover_hands import Ground
from abaco_loans.operations.drill_rollback import drill_rollback
from abaco_loans.operations.incident_report import write_cutover_log
from abaco_loans.operations.plan_cutover import approve_plan, plan_cutover
from abaco_loans.operations.run_shadow import ShadowRequest
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.operations.workspace import SETTINGS_FILE, Workspace, open_workspace
from abaco_loans.records.cutovers import CutoverRecord, StepRecord
from abaco_loans.records.production import Job
from abaco_loans.releases.approval import Role
from abaco_loans.releases.plan import Plan, StepKind
from abaco_loans.watch.check import Check, Report, Status, SubCheck
from abaco_loans.wiring import cutover_tools, drill_tools, run_tools
from tests.faults.harness import write_tape
from tests.operations.desk import KEY, NOON
from tests.operations.queue_desk import QueueDesk

PLANNER = "Pat Lee"
FOUR = {Role.OPS: "Ana", Role.FINANCE: "Ben", Role.SECURITY: "Eva", Role.GOVERNANCE: "Ian"}
CHECKS = ("kpis", "integrity", "performance", "errors", "audit")


@dataclass(slots=True, kw_only=True)
class Light:
    """What takes the place of the slow steps: what they find, and a hook before them. Runs and records are real."""

    status: Status | None = Status.PASS
    verdict: str = "pass"
    before_validate: Callable[[Workspace], None] = lambda workspace: None
    before_compare: Callable[[], None] = lambda: None
    before_run: Callable[[], None] = lambda: None

    def validate(self, workspace: Workspace) -> Report:
        """Five checks that all find the same."""
        self.before_validate(workspace)
        status = self.status or Status.UNKNOWN
        part = SubCheck(name="part", status=status, words="as the test says")
        checks = tuple(Check(name=name, subchecks=(part,)) for name in CHECKS)
        return Report(at=NOON, release=workspace.settings.release, checks=checks)

    def compare(self, request: ShadowRequest) -> Mapping[str, Any]:
        """A shadow run that was not done."""
        self.before_compare()
        return {"verdict": self.verdict, "stops": self.verdict != "pass", "shadow_id": f"light-{request.path.name}"}

    def run(self, workspace: Workspace, tape: Path, job: Job, release: str) -> str:
        """A staged run that was not done."""
        self.before_run()
        return f"staged-{job.job_id}"


@dataclass(frozen=True, slots=True)
class InstantWorker:
    """A worker that runs nothing: what it hands in is real, and the records judge it."""

    desk: CutoverDesk

    def work_once(self) -> Job | None:
        """Take a job and hand in a result; None when there is no job."""
        with self.desk.records() as records:
            taken = records.production_writer.take("instant", lease_s=60)
            if taken is None:
                return None
            run_id = f"{taken.release}-{taken.epoch}-{taken.job.job_id}"
            return records.production_writer.finish(
                taken.job.job_id, taken.fence, epoch=taken.epoch, release=taken.release, run_id=run_id
            )


class CutoverDesk(QueueDesk):
    """A workspace in which v1 is active."""

    def __init__(self, folder: Path, *, fresh: bool = True) -> None:
        if fresh:
            super().__init__(folder)
            path = folder / SETTINGS_FILE
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("release: v2", "release: v1"), encoding="utf-8")
            self.workspace = open_workspace(folder, self.environment)
        else:
            self.environment, self.said, self.clock = {"ABACO_MASKING_KEY": KEY}, [], FixedClock(NOON)
            self.workspace = open_workspace(folder, self.environment)
        assert self.workspace.settings.release == "v1"
        self.light = Light()
        self.told: list[Told] = []
        self.sleep: Callable[[float], None] = lambda seconds: self.later(seconds=seconds)
        self.instant = False
        self.during: dict[StepKind, Callable[[], None]] = {}

    def copy(self, folder: Path) -> CutoverDesk:
        """The same production in another folder."""
        shutil.copytree(self.workspace.root, folder, symlinks=True)
        made = CutoverDesk(folder, fresh=False)
        made.clock.move_to(self.clock.now())
        return made

    def book(self, number: int, rows: int = 8) -> Path:
        """A tape; another number is another tape."""
        path = self.workspace.root.parent / f"tape{number}.csv"
        return write_tape(path, start=100 * number + 1, rows=rows, bad=0)

    def arrive(self, *numbers: int) -> list[str]:
        """Submit tapes; their jobs."""
        return [self.submit(self.book(number)).job.job_id for number in numbers]

    def arrives(self, number: int) -> Callable[[], None]:
        """Something to be done later: a tape arrives."""

        def now() -> None:
            self.arrive(number)

        return now

    def work(self) -> None:
        """One worker works the queue off."""
        worker = InstantWorker(self) if self.instant else self.worker()
        while worker.work_once() is not None:
            pass

    def tools(self) -> Tools:
        """What a shadow run needs."""
        return run_tools(self.workspace, self.environment, self.said.append, self.clock)

    def given(self, *, wait: Callable[[float], None] | None = None, real: bool = False) -> CutoverTools:
        """The machine, with light steps unless ``real``; a hook of ``during`` runs when its step begins."""
        made = cutover_tools(self.workspace, self.environment, self._tell, self.clock, wait)

        def ground(cutover_id: str, plan: Plan, tools: Tools, records: Records) -> Ground:
            found = replace(made.ground(cutover_id, plan, tools, records), sleep=self.sleep)
            if real:
                return found
            light = self.light
            if self.instant:
                found = replace(found, worker=lambda place: InstantWorker(self), copied=lambda place, target: place)
            return replace(found, validate=light.validate, compare=light.compare, run=light.run)

        return replace(made, ground=ground)

    def _tell(self, told: Told) -> None:
        self.told.append(told)
        log = self.workspace.root / "logs" / f"cutover_{self.told[0].at:%Y%m%d_%H%M%S}.log"
        write_cutover_log(self.workspace, log if log.exists() else None, told)
        if told.status == "started" and told.step.kind in self.during:
            self.during.pop(told.step.kind)()

    def plan(self, to: str = "v2", *, rehearsal: bool = True) -> CutoverRecord:
        """A plan that nobody has approved yet."""
        with self.records() as records:
            return plan_cutover(to, PLANNER, self.tools(), records, rehearsal=rehearsal)

    def approve(self, cutover_id: str, people: Mapping[Role, str] | None = None) -> None:
        """Four people of a rehearsal approve."""
        with self.records() as records:
            for role, person in (people or FOUR).items():
                approve_plan(cutover_id, role, person, self.tools(), records, rehearsed_by=person)

    def approved(self, to: str = "v2") -> CutoverRecord:
        """A plan that four people have approved."""
        record = self.plan(to)
        self.approve(record.cutover_id)
        return record

    def approved_for(self, to: str) -> CutoverRecord:
        """A plan to go to a release that the other one has just left."""
        with self.records() as records:
            assert records.production_reader.pointer().active != to
        return self.approved(to)

    def drill(self) -> dict[str, Any]:
        """A whole rollback drill."""
        tools = replace(drill_tools(self.environment, lambda told: None, self.clock), of=self._of)
        return drill_rollback(self.workspace, tools, PLANNER)

    def _of(self, place: Workspace) -> CutoverTools:
        return cutover_tools(place, self.environment, lambda told: None, self.clock)

    def record(self, cutover_id: str) -> CutoverRecord:
        """A plan as it stands."""
        with self.records() as records:
            found = records.cutover_reader.get(cutover_id)
        assert found is not None
        return found

    def steps(self, cutover_id: str) -> Sequence[StepRecord]:
        """The journal of a plan."""
        with self.records() as records:
            return records.cutover_reader.steps(cutover_id)

    def evidence(self, cutover_id: str, name: str) -> list[Any]:
        """What the steps of a plan left under a name, in order."""
        return [item.evidence[name] for item in self.steps(cutover_id) if name in item.evidence]

    def published(self, job: Job) -> bytes:
        """The ``kpis.json`` that counts for a job."""
        with self.records() as records:
            run = records.reader.get(job.run_id or "")
        assert run is not None
        return (self.workspace.outputs / (run.output_folder or "nowhere") / "kpis.json").read_bytes()

    def edit_release(self, name: str) -> None:
        """Change what a release means."""
        path = self.workspace.root / "releases" / name
        text = path.read_text(encoding="utf-8")
        after = text.replace("180", "181")
        assert after != text
        path.write_text(after, encoding="utf-8")

    def failed_phase(self, cutover_id: str) -> int:
        """The phase of the step that failed first."""
        return next(step.phase for step in self.steps(cutover_id) if step.status == "failed")

    def whole(self, active: str) -> None:
        """One release is active, nobody holds the queue, no tape is lost or counts twice; all verifies."""
        pointer = self.pointer()
        assert (pointer.active, pointer.held_by) == (active, "")
        self.actions()
        self.work()
        for job in self.jobs():
            assert (job.status, job.epoch is not None) == ("done", True)
            assert len({item.epoch for item in self.served(job.job_id)}) == len(self.served(job.job_id))
            assert job.served_by == active or job.epoch != pointer.epoch

    def later(self, **jump: float) -> None:
        """The clock goes on."""
        self.clock.move_to(self.clock.now() + timedelta(**jump))


def in_production(folder: Path, *, records_url: str = "") -> CutoverDesk:
    """Production as it is before a cutover: v1 has served two tapes, and drill and shadow run have passed.

    Args:
        records_url: where the environment says the records are; empty: in the workspace.
    """
    desk = CutoverDesk(folder)
    if records_url:
        desk.environment["ABACO_RECORDS_URL"] = records_url
        desk.reopen(records_url=records_url)
    desk.arrive(1, 2)
    desk.work()
    from tests.operations.shadow_desk import shadow

    said = shadow(desk, desk.book(2))
    assert said["verdict"] == "pass", json.dumps(said)[:3000]
    assert desk.drill()["passed"]
    return desk
