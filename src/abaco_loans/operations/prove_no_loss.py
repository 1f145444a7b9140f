"""The proof that a way back has lost nothing, and the report of it: what was served, and what is served now.

Every tape and date that the new release served must be served by the old one. What it had served stays as history.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from abaco_loans.operations.carry_out import Did
from abaco_loans.operations.incident_report import IncidentFacts, Proof, RunAgain, write_incident
from abaco_loans.operations.tools import Records
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.production import Job, Served
from abaco_loans.releases.plan import Plan, PlanKind

REPORTS = "reports"
# Failures that say nothing of the tape: the queue's copy, the disk, the records, the machine.
_OURS = ("JOB-", "OUT-", "REC-", "RUN-108")


def prove_no_loss(plan: Plan, records: Records) -> Did:
    """Compare what the new release served with what the old one serves now.

    A tape that the old release cannot use has failed under it, as it would have without the new one: it is told of, and
    stays aside. One that failed because its copy is damaged, or the machine failed it, is lost. What still waits or
    runs is not served yet.
    """
    proof = _proof(plan, records)
    jobs = [records.production_reader.job(item.job_id) for item in _served(plan, records)]
    failed = {_entry(job) for job in jobs if job is not None and job.status == "failed" and not _is_ours(job)}
    unfit = failed.intersection(proof.lost)
    lost, sets = len(proof.lost) - len(unfit), proof.as_dict()
    evidence = {"before": sets["before"]["sha256"], "after": sets["after"]["sha256"], "lost": lost, "unfit": len(unfit)}
    words = f"{len(proof.after)} of {len(proof.before)} tape(s) that were served are served again by {good(plan)}"
    words += f"; {len(unfit)} cannot be used by it and stay aside" if unfit else ""
    return Did(passed=not lost, evidence=evidence, words=words)


def _is_ours(job: Job) -> bool:
    return str((job.error or {}).get("code", "JOB-")).startswith(_OURS)


def good(plan: Plan) -> str:
    """The release that is active after the way back."""
    return plan.facts.from_release if plan.kind is PlanKind.CUTOVER else plan.facts.to_release


def write_report(
    cutover_id: str, plan: Plan, workspace: Workspace, records: Records, *, at: datetime, inactive_s: Decimal | None
) -> Path:
    """Write the incident report of a way back into ``reports/<cutover>/``; its path."""
    served = {item.job_id: item for item in _served(plan, records)}
    jobs = [(item, records.production_reader.job(item.job_id)) for item in served.values()]
    pointer = records.production_reader.pointer()
    failed = [
        str(step.evidence.get("words", ""))
        for step in records.cutover_reader.steps(cutover_id)
        if step.status == "failed" and step.evidence.get("words")
    ]
    bad = plan.facts.to_release if plan.kind is PlanKind.CUTOVER else plan.facts.from_release
    facts = IncidentFacts(
        at=at,
        cutover_id=cutover_id,
        reason=plan.facts.reason or "; ".join(failed) or "no reason was given",
        who=plan.facts.planned_by,
        from_release=bad,
        to_release=good(plan),
        steps=records.cutover_reader.steps(cutover_id),
        metrics={name: str(count) for name, count in records.production_reader.counts().items()},
        jobs=[
            RunAgain(
                job_id=item.job_id,
                tape_name=job.tape_name,
                as_of=job.as_of,
                was=item.run_id,
                now=job.run_id if _serves(job, good(plan), pointer.epoch) else None,
            )
            for item, job in jobs
            if job is not None
        ],
        proof=_proof(plan, records),
        inactive_seconds=None if inactive_s is None else str(inactive_s),
    )
    return write_incident(workspace.root / REPORTS / f"rollback-{cutover_id}", facts)


def _served(plan: Plan, records: Records) -> Sequence[Served]:
    """What the release that is left has served since it became active."""
    found = records.production_reader.served_since(plan.requeue_epoch)
    return [item for item in found if item.release != good(plan)]


def _proof(plan: Plan, records: Records) -> Proof:
    epoch = records.production_reader.pointer().epoch
    jobs = {item.job_id: records.production_reader.job(item.job_id) for item in _served(plan, records)}
    known = [job for job in jobs.values() if job is not None]
    return Proof(
        before=frozenset(_entry(job) for job in known),
        after=frozenset(_entry(job) for job in known if _serves(job, good(plan), epoch)),
    )


def _serves(job: Job, release: str, epoch: int) -> bool:
    """Whether the job's result that counts is of the release that is good, and of now."""
    return job.status == "done" and job.served_by == release and job.epoch == epoch


def _entry(job: Job) -> str:
    return f"{job.tape_sha256} {job.as_of or 'latest'}"
