"""The hands of a cutover and of a rollback: what each kind of step does to production, and what shows it.

Every step may be done again after a crash: whatever it changes, it changes once (the records refuse or find it).
Phase 0 is in `cutover_checks`, the proof at the end of a way back in `prove_no_loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, assert_never

from abaco_loans.operations.carry_out import Did
from abaco_loans.operations.cutover_checks import (
    check_alone,
    check_approvals,
    check_drill,
    check_machine,
    check_pointer,
    check_releases,
    check_shadow,
    check_stores,
)
from abaco_loans.operations.cutover_summary import write_summary
from abaco_loans.operations.prove_no_loss import prove_no_loss, write_report
from abaco_loans.operations.run_shadow import ShadowRequest
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.submit_tape import spooled_tape
from abaco_loans.operations.take_snapshot import SnapshotRecords, take_snapshot, verify_snapshot
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.production import Job, ProductionReader
from abaco_loans.releases.plan import Plan, PlanKind, StepKind, StepSpec
from abaco_loans.watch.check import Report, Status
from abaco_loans.watch.metric import METRICS

_STAGED_TAPES = 3
_COMPARED_TAPES = 5
_POLL_S = 0.2
_ALL = 2**31 - 1


class Works(Protocol):
    """A worker of the queue."""

    def work_once(self) -> object | None:
        """Take one job and end it; None when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the hands work with.

    Attributes:
        standing: the records at one moment, for a snapshot.
        worker: makes a worker for a workspace.
        validate: the five checks of a workspace.
        compare: a shadow run in this workspace.
        run: runs a tape under a release in a workspace and publishes there; the run's id.
        copied: a copy of this workspace in a folder, in which nothing of production can change.
        sleep: waits so many seconds.
    """

    cutover_id: str
    plan: Plan
    tools: Tools
    records: Records
    standing: SnapshotRecords
    worker: Callable[[Workspace], Works]
    validate: Callable[[Workspace], Report]
    compare: Callable[[ShadowRequest], Mapping[str, Any]]
    run: Callable[[Workspace, Path, Job, str], str]
    copied: Callable[[Workspace, Path], Workspace]
    sleep: Callable[[float], None]

    @property
    def workspace(self) -> Workspace:
        """Where production lives."""
        return self.tools.workspace


class CutoverHands:
    """Carries out the steps of one plan."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def do(self, step: StepSpec) -> Did:
        """Carry out a step; see :class:`abaco_loans.operations.carry_out.Hands`."""
        ground = self._ground
        match step.kind:
            case StepKind.CHECK_POINTER:
                return check_pointer(ground.plan, ground.records)
            case StepKind.CHECK_RELEASES:
                return check_releases(ground.plan, ground.tools)
            case StepKind.CHECK_STORES:
                return check_stores(ground.cutover_id, ground.tools, ground.records)
            case StepKind.CHECK_MACHINE:
                return check_machine(ground.tools, ground.records)
            case StepKind.CHECK_ALONE:
                return check_alone(ground.cutover_id, ground.records)
            case StepKind.CHECK_APPROVALS:
                return check_approvals(ground.cutover_id, ground.plan, ground.tools, ground.records)
            case StepKind.CHECK_SHADOW:
                return check_shadow(ground.plan, ground.tools, ground.records)
            case StepKind.CHECK_DRILL:
                return check_drill(ground.plan, ground.tools, ground.records)
            case StepKind.TAKE_SNAPSHOT:
                return self._take_snapshot()
            case StepKind.VERIFY_SNAPSHOT:
                return self._verify_snapshot()
            case StepKind.CHECK_SUITE | StepKind.STAGE_RUN:
                return self._staged(step)
            case StepKind.HOLD_QUEUE:
                pointer = ground.records.production_writer.hold(ground.cutover_id)
                return Did(passed=True, evidence={"held_at": _said(pointer.changed_at), "epoch": pointer.epoch})
            case StepKind.DRAIN:
                return self._drain(step)
            case StepKind.FENCE_RUNNING:
                fenced = ground.records.production_writer.fence_running(ground.cutover_id)
                return Did(passed=True, evidence={"fenced": [job.job_id for job in fenced]})
            case StepKind.SWITCH:
                return self._switch(step)
            case StepKind.OPEN_QUEUE:
                return self._open(step)
            case StepKind.RUN_QUEUED | StepKind.RUN_AGAIN:
                return self._run_jobs(step)
            case StepKind.VALIDATE_PRODUCTION:
                return _judged(ground.validate(_with_release(ground.workspace, ground.plan.facts.to_release)))
            case StepKind.COMPARE_BASELINE:
                return self._compare()
            case StepKind.REQUEUE:
                return self._requeue()
            case StepKind.PROVE_NO_LOSS:
                return prove_no_loss(ground.plan, ground.records)
            case StepKind.WRITE_REPORT:
                return self._report(step)
            case _:
                assert_never(step.kind)

    def _take_snapshot(self) -> Did:
        ground = self._ground
        found = take_snapshot(ground.workspace, ground.cutover_id, ground.standing, ground.tools.clock)
        evidence = {
            "folder": found.folder.relative_to(ground.workspace.root).as_posix(),
            "manifest_digest": found.manifest_digest,
            "ledger_head": found.ledger_head,
        }
        return Did(passed=True, evidence=evidence)

    def _verify_snapshot(self) -> Did:
        """The snapshot of this cutover; on a rollback, that of the cutover which it undoes."""
        ground = self._ground
        of = ground.plan.facts.undoes or ground.cutover_id
        steps = [item for item in ground.records.cutover_reader.steps(of) if "manifest_digest" in item.evidence]
        if not steps:
            words = "there is no snapshot of a cutover that could be damaged"
            passed = ground.plan.kind is not PlanKind.CUTOVER
            return Did(passed=passed, evidence={"manifest_digest": "", "files": 0}, words=words)
        digest = str(steps[0].evidence["manifest_digest"])
        files = verify_snapshot(ground.workspace, of, digest)
        return Did(passed=True, evidence={"manifest_digest": digest, "files": files})

    def _staged(self, step: StepSpec) -> Did:
        """The new release on a copy of the workspace: the last tapes, and the five checks of what came of them."""
        ground, release = self._ground, self._ground.plan.facts.to_release
        jobs = _latest_jobs(ground.records, _STAGED_TAPES)
        with scratch_folder(ground.workspace) as scratch:
            staging = _with_release(ground.copied(ground.workspace, scratch / "staging"), release)
            if step.kind is StepKind.CHECK_SUITE:
                for job in jobs[:1]:
                    ground.run(staging, spooled_tape(ground.workspace, job), job, release)
                return _judged(ground.validate(staging))
            runs = [ground.run(staging, spooled_tape(ground.workspace, job), job, release) for job in jobs]
        return Did(passed=True, evidence={"tapes": [job.tape_name for job in jobs], "runs": runs})

    def _drain(self, step: StepSpec) -> Did:
        """Wait for running jobs, at most as long as the step may take; what is left then is fenced."""
        reader, waited = self._ground.records.production_reader, 0.0
        before = reader.counts()["leased"]
        while (left := reader.counts()["leased"]) and waited < step.timeout_s:
            self._ground.sleep(_POLL_S)
            waited += _POLL_S
        return Did(passed=True, evidence={"finished": before - left, "left": left})

    def _switch(self, step: StepSpec) -> Did:
        ground, facts = self._ground, self._ground.plan.facts
        to = ground.plan.switches_to(step)
        expected = facts.from_release if to == facts.to_release else facts.to_release
        pointer = ground.records.production_writer.switch(ground.cutover_id, to, expected=expected)
        evidence = {"active": pointer.active, "previous": pointer.previous, "epoch": pointer.epoch}
        return Did(passed=pointer.active == to, evidence=evidence, words=f"{to} is active")

    def _open(self, step: StepSpec) -> Did:
        """Let jobs be taken again; for how long none was."""
        ground = self._ground
        ground.records.production_writer.unhold(ground.cutover_id)
        now = ground.tools.clock.now()
        held: datetime | None = None
        for item in ground.records.cutover_reader.steps(ground.cutover_id):
            kind = ground.plan.step(item.number).kind
            if kind is StepKind.HOLD_QUEUE:
                held = held or item.started_at
            elif kind is StepKind.OPEN_QUEUE and item.number != step.number:
                held = None if item.status == "done" else held
        seconds = (now - held).total_seconds() if held else None
        evidence = {"opened_at": now.isoformat(), "inactive_s": None if seconds is None else f"{seconds:.3f}"}
        return Did(passed=True, evidence=evidence, words=f"no job was taken for {seconds:.2f} s" if seconds else "")

    def _requeue(self) -> Did:
        """What the new release has served is queued again; nothing where it never became active."""
        ground = self._ground
        epoch = ground.plan.requeue_epoch
        never = epoch >= ground.records.production_reader.pointer().epoch
        jobs = () if never else ground.records.production_writer.requeue_since(ground.cutover_id, epoch)
        return Did(passed=True, evidence={"requeued": [job.job_id for job in jobs]})

    def _run_jobs(self, step: StepSpec) -> Did:
        """Work until no job is left of those that wait now, at most as long as the step may take: more may arrive."""
        ground, waited = self._ground, 0.0
        worker, reader = ground.worker(ground.workspace), ground.records.production_reader
        began = ground.tools.clock.now()
        mine = _not_ended(reader)
        done = 0
        while left := mine & _not_ended(reader):
            if worker.work_once() is not None:
                done += 1
            else:
                ground.sleep(_POLL_S)
                waited += _POLL_S
            if max(waited, (ground.tools.clock.now() - began).total_seconds()) > step.timeout_s:
                words = f"{len(left)} job(s) did not end in time"
                return Did(passed=False, evidence={"left": len(left)}, words=words)
        epoch = reader.pointer().epoch
        served = [item for item in reader.served_since(epoch) if item.epoch == epoch]
        failed = [job.job_id for job in reader.jobs("failed", limit=1000)]
        evidence = {"jobs": [item.job_id for item in served], "runs": [item.run_id for item in served]}
        words = f"{done} tape(s) ran" + (f"; {len(failed)} cannot be used and stay aside" if failed else "")
        return Did(passed=True, evidence=evidence, words=words)

    def _compare(self) -> Did:
        """What the old release gives on the tapes that the new one served since the switch."""
        ground, facts = self._ground, self._ground.plan.facts
        epoch = ground.records.production_reader.pointer().epoch
        served = [item for item in ground.records.production_reader.served_since(epoch) if item.epoch == epoch]
        verdicts, compared = [], []
        for item in served[:_COMPARED_TAPES]:
            job = ground.records.production_reader.job(item.job_id)
            if job is None:
                continue
            request = ShadowRequest(
                path=spooled_tape(ground.workspace, job),
                baseline=facts.from_release,
                candidate=facts.to_release,
                as_of=job.as_of,
            )
            found = ground.compare(request)
            verdicts.append("pass" if found["verdict"] != "pass" and not found["stops"] else found["verdict"])
            compared.append(found["shadow_id"])
        worst = next((word for word in ("fail", "inconclusive") if word in verdicts), "pass")
        verdict = worst if verdicts else "nothing arrived meanwhile"
        passed = {"fail": False, "inconclusive": None}.get(worst, True)
        return Did(passed=passed, evidence={"compared": compared, "verdict": verdict}, words=verdict)

    def _report(self, step: StepSpec) -> Did:
        """The summary of a cutover, or the incident report of a way back."""
        ground, plan = self._ground, self._ground.plan
        now, steps = ground.tools.clock.now(), ground.records.cutover_reader.steps(ground.cutover_id)
        idle = [Decimal(item.evidence["inactive_s"]) for item in steps if item.evidence.get("inactive_s")]
        seconds = idle[-1] if idle else None
        if step in plan.way_back or plan.kind is not PlanKind.CUTOVER:
            path = write_report(ground.cutover_id, plan, ground.workspace, ground.records, at=now, inactive_s=seconds)
        else:
            path = write_summary(ground.cutover_id, plan, ground.workspace, steps, at=now, inactive_s=seconds)
        return Did(passed=True, evidence={"report": path.relative_to(ground.workspace.root).as_posix()})


def _latest_jobs(records: Records, limit: int) -> Sequence[Job]:
    """The jobs that ended last, the latest first, each once."""
    found: dict[str, Job] = {}
    for item in records.production_reader.latest_served(limit * 4):
        job = records.production_reader.job(item.job_id)
        if job is not None and len(found) < limit:
            found.setdefault(job.job_id, job)
    return list(found.values())


def _not_ended(reader: ProductionReader) -> frozenset[str]:
    """The jobs that wait, and those that are at work."""
    found = (*reader.jobs("queued", limit=_ALL), *reader.jobs("leased", limit=_ALL))
    return frozenset(job.job_id for job in found)


def _with_release(workspace: Workspace, release: str) -> Workspace:
    return replace(workspace, settings=replace(workspace.settings, release=release))


def _judged(report: Report) -> Did:
    """What five checks come to: a warning passes and is told; what is unknown is unknown."""
    words = "; ".join(f"{check.name} {check.status.value}" for check in report.checks)
    passed = {Status.PASS: True, Status.WARN: True, Status.UNKNOWN: None}.get(report.status, False)
    checks = {check.name: check.status.value for check in report.checks}
    figures = {name: value for check in report.checks for name, value in check.metrics.items() if name in METRICS}
    metrics = {name: f"{Decimal(value):f}" for name, value in figures.items() if value is not None}
    evidence = {"checks": checks, "status": report.status.value, "metrics": metrics}
    return Did(passed=passed, evidence=evidence, words=words)


def _said(moment: object) -> str | None:
    isoformat = getattr(moment, "isoformat", None)
    return isoformat() if callable(isoformat) else None
