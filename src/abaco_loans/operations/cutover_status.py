"""How production and a plan stand, as JSON-ready data."""

from __future__ import annotations

from typing import Any

from abaco_loans.operations.carry_out import plan_record
from abaco_loans.operations.plan_cutover import approvals_of, known_roles
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.records.cutovers import CutoverRecord, StepRecord
from abaco_loans.releases.approval import standing
from abaco_loans.releases.plan import Plan, PlanKind


def status_document(plan_id: str | None, tools: Tools, records: Records) -> dict[str, Any]:
    """The pointer, and a plan: the one named, the one under way, or the latest; ``plan`` is None where there is none.

    Raises:
        UsageError: ``CUT-105`` there is no plan of that name.
    """
    pointer = records.production_reader.pointer()
    reader = records.cutover_reader
    latest = next(iter(reader.list(1)), None)
    record = reader.running() or latest
    plan = None
    if plan_id is not None or record is not None:
        record, plan = plan_record(plan_id or (record.cutover_id if record else ""), reader)
    return {
        "active_release": pointer.active or tools.workspace.settings.release,
        "previous_release": pointer.previous,
        "epoch": pointer.epoch,
        "held_by": pointer.held_by,
        "queue": dict(records.production_reader.counts()),
        "plan": _plan(record, plan, tools, records) if record and plan else None,
    }


def _plan(record: CutoverRecord, plan: Plan, tools: Tools, records: Records) -> dict[str, Any]:
    approvals = approvals_of(record.cutover_id, tools, records)
    roles, _ = known_roles(tools.workspace, plan.facts.planned_by)
    verdict = standing(approvals, plan, tools.clock.now(), roles)
    refused = {id(item.approval): item.reason for item in verdict.refused}
    steps = records.cutover_reader.steps(record.cutover_id)
    opened = [item.evidence.get("inactive_s") for item in steps if item.evidence.get("inactive_s")]
    needs = plan.kind is PlanKind.CUTOVER and record.status == "planned"
    return {
        "id": record.cutover_id,
        "kind": record.kind,
        "from": record.from_release,
        "to": record.to_release,
        "hash": record.plan_hash,
        "status": record.status,
        "planned_by": record.created_by,
        "rehearsal": plan.facts.rehearsal,
        "approvals": [
            {
                "role": item.role.value,
                "person": item.person,
                "counts": id(item) not in refused,
                "reason": refused.get(id(item), ""),
            }
            for item in approvals
        ],
        "missing_approvals": [role.value for role in verdict.missing] if needs else [],
        "inactive_s": opened[-1] if opened else None,
        "steps": [_step(item) for item in steps],
    }


def _step(item: StepRecord) -> dict[str, Any]:
    took = (item.finished_at - item.started_at).total_seconds() if item.finished_at else None
    error = item.evidence.get("error")
    words = str(item.evidence.get("words", "") or (error["what"] if isinstance(error, dict) else ""))
    return {
        "number": item.number,
        "phase": item.phase,
        "name": item.name,
        "status": item.status,
        "attempt": item.attempt,
        "seconds": None if took is None else f"{took:.2f}",
        "words": words,
        "evidence": dict(item.evidence),
    }
