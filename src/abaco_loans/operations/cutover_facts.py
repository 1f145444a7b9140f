"""All that is recorded of a cutover, as one JSON-ready document: what its reports are made from, and nothing else.

Numbers are exact text, times ISO text. Every fact has a ``source``: the step, checkpoint, decision, approval, shadow
run or alert it stands in, with the number of its ledger event. What was not measured is None, and says ``why``.
Nothing here names a loan or a customer. Documented in docs/reports.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from abaco_loans.errors import UsageError
from abaco_loans.operations.alert_facts import ReportRecords, ReportTools, alert_facts, policy_facts
from abaco_loans.operations.carry_out import plan_record
from abaco_loans.operations.kpi_facts import kpi_facts, shadow_source
from abaco_loans.operations.plan_cutover import approvals_now, known_roles
from abaco_loans.operations.watch_checkpoint import ledger_verified, lost_jobs
from abaco_loans.operations.watch_facts import trigger_facts, watch_facts
from abaco_loans.operations.watch_trail import read_trail
from abaco_loans.records.cutovers import CutoverReader, CutoverRecord, StepRecord
from abaco_loans.releases.approval import Role, standing
from abaco_loans.releases.plan import Phase, Plan, StepKind

FORMAT = 1
_CUTOVERS = 1_000


def cutover_facts(tools: ReportTools, cutover_id: str | None = None) -> dict[str, Any]:
    """What is recorded of a cutover: the one named, the one under way, or the one that changed last.

    Raises:
        UsageError: ``RPT-101`` there is no cutover yet; ``RPT-102`` it is a rollback or a drill; ``CUT-105`` there is
            none of that name.
        WorldError: the records are not what was written, or do not answer.
    """
    with tools.open_records() as records:
        reader = records.cutover_reader
        record, plan = plan_record(cutover_id or _latest(reader), reader)
        if record.kind != "cutover":
            raise UsageError(
                f"{record.cutover_id} is a {record.kind}, and reports speak of cutovers",
                code="RPT-102",
                where="--cutover",
                hint=f"give the cutover that it undoes: {plan.facts.undoes}" if plan.facts.undoes else "",
            )
        steps = reader.steps(record.cutover_id)
        watch = watch_facts(tools.watch, records, record.cutover_id)
        back = _way_back(record, plan, steps, reader)
        return {
            "format": FORMAT,
            "generated_at": tools.watch.clock.now().isoformat(timespec="seconds"),
            "workspace": tools.watch.workspace.root.name,
            "state": _state(record, watch, back),
            "cutover": _cutover(record, plan),
            "active_release": records.production_reader.pointer().active,
            "approvals": _approvals(record, plan, steps, tools, records),
            "evidence": _evidence(plan, steps, records),
            "phases": _phases(plan, steps),
            "steps": [_step(item) for item in steps],
            "idle": _idle(steps),
            "rollback": back,
            "watch": watch,
            "triggers": trigger_facts(),
            "kpis": kpi_facts(tools.watch.workspace, records, record, plan, steps),
            "no_loss": _no_loss(record, plan, steps, tools, records),
            "alerts": alert_facts(records, record),
            "policy": policy_facts(tools.policy),
        }


def _latest(reader: CutoverReader) -> str:
    running = reader.running()
    if running is not None and running.kind == "cutover":
        return running.cutover_id
    found = next((item for item in reader.list(_CUTOVERS) if item.kind == "cutover"), None)
    if found is None:
        raise UsageError(
            "there is no cutover to report on",
            code="RPT-101",
            where="report",
            hint="plan one: abaco cutover plan --to v2",
        )
    return found.cutover_id


def _state(record: CutoverRecord, watch: Mapping[str, Any] | None, back: Mapping[str, Any] | None) -> str:
    """One word for how it stands; `outputs.reports.words` says what each means."""
    if back is not None and back["status"] in ("running", "held"):
        return "going_back"
    if record.status == "rolled_back" or (back is not None and back["status"] == "completed"):
        return "rolled_back"
    if record.status != "completed":
        return record.status
    if watch is None:
        return "unwatched"
    signed = any(item["decision"] == "sign_off" for item in watch["decisions"])
    return "signed_off" if signed else str(watch["status"])


def _cutover(record: CutoverRecord, plan: Plan) -> dict[str, Any]:
    facts = plan.facts
    return {
        "id": record.cutover_id,
        "status": record.status,
        "from": record.from_release,
        "to": record.to_release,
        "from_meaning": facts.from_meaning,
        "to_meaning": facts.to_meaning,
        "plan_hash": record.plan_hash,
        "planned_by": facts.planned_by,
        "planned_at": record.created_at.isoformat(),
        "started_at": _iso(record.started_at),
        "finished_at": _iso(record.finished_at),
        "rehearsal": facts.rehearsal,
        "source": f"event {record.event_seq}",
    }


def _approvals(
    record: CutoverRecord, plan: Plan, steps: Sequence[StepRecord], tools: ReportTools, records: ReportRecords
) -> dict[str, Any]:
    """Who approved, by role: as the check of phase 0 found it; before that, as it stands now."""
    checked = _of_kind(plan, steps, StepKind.CHECK_APPROVALS)
    found = checked.evidence.get("approvals") if checked is not None else None
    if checked is not None and isinstance(found, Mapping):
        by_role = {str(role): str(person) for role, person in found.items()}
        source = _source(checked)
    else:
        workspace = tools.watch.workspace
        roles, _ = known_roles(workspace, plan.facts.planned_by)
        given = approvals_now(record.cutover_id, workspace, records.cutover_reader)
        verdict = standing(given, plan, tools.watch.clock.now(), roles)
        by_role = {item.role.value: item.person for item in verdict.standing}
        source = "approvals as they count now"
    said = records.cutover_reader.approvals(record.cutover_id)
    events = {(item.role, item.person): item.event_seq for item in said}
    return {
        "source": source,
        "missing": [role.value for role in Role if role.value not in by_role],
        "roles": [
            {
                "role": role.value,
                "person": by_role.get(role.value),
                "source": f"event {events[role.value, by_role[role.value]]}"
                if (role.value, by_role.get(role.value)) in events
                else "",
            }
            for role in Role
        ],
    }


def _evidence(plan: Plan, steps: Sequence[StepRecord], records: ReportRecords) -> list[dict[str, Any]]:
    """What was shown before the cutover: shadow runs, the drill, the checks of the new release."""
    found = []
    for shadow_id in plan.facts.shadow_ids:
        shadow = records.shadow_reader.get(shadow_id)
        said = "not recorded" if shadow is None else shadow.verdict or shadow.status
        source = f"shadow run {shadow_id}" if shadow is None else shadow_source(shadow)
        found.append({"what": "shadow run", "said": said, "source": source})
    drill = records.cutover_reader.get(plan.facts.drill_id) if plan.facts.drill_id else None
    said = "not done" if drill is None else drill.status
    source = "" if drill is None else f"drill {drill.cutover_id}, event {drill.event_seq}"
    found.append({"what": "rollback drill", "said": said, "source": source})
    for kind, what in (
        (StepKind.CHECK_SUITE, "check suite of the new release"),
        (StepKind.VALIDATE_PRODUCTION, "validation of production after the switch"),
    ):
        step = _of_kind(plan, steps, kind)
        status = step.evidence.get("status") if step is not None else None
        found.append(
            {
                "what": what,
                "said": "not measured" if status is None else str(status),
                "source": "" if step is None else _source(step),
            }
        )
    return found


def _phases(plan: Plan, steps: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """Every phase of the plan: how it stands, how long it took, how long it may take."""
    found = []
    for phase in Phase:
        planned = [item for item in (*plan.steps, *plan.way_back) if item.phase is phase]
        begun = [item for item in steps if item.phase == phase]
        if not planned or (phase is Phase.WAY_BACK and not begun):
            continue
        ended = [item.finished_at for item in begun if item.finished_at]
        found.append(
            {
                "phase": int(phase),
                "name": phase.words,
                "steps": len(planned),
                "done": sum(item.status == "done" for item in begun),
                "failed": [item.name for item in begun if item.status in ("failed", "undone")],
                "started_at": _iso(begun[0].started_at if begun else None),
                "seconds": _seconds(begun[0].started_at, ended[-1]) if begun and len(ended) == len(begun) else None,
                "allowed_seconds": sum(item.timeout_s for item in planned),
                "source": f"steps {begun[0].number} to {begun[-1].number}, event {begun[-1].event_seq}"
                if begun
                else "",
            }
        )
    return found


def _step(item: StepRecord) -> dict[str, Any]:
    error = item.evidence.get("error")
    said = item.evidence.get("words") or (error.get("what") if isinstance(error, Mapping) else "")
    return {
        "number": item.number,
        "phase": item.phase,
        "name": item.name,
        "status": item.status,
        "attempt": item.attempt,
        "started_at": item.started_at.isoformat(),
        "seconds": _seconds(item.started_at, item.finished_at) if item.finished_at else None,
        "words": str(said or ""),
        "source": _source(item),
    }


def _idle(steps: Sequence[StepRecord]) -> dict[str, Any]:
    """For how long no job was taken, on the way back, too; None while that is not known."""
    opened = [step for step in steps if step.evidence.get("inactive_s")]
    if not opened:
        return {"seconds": None, "why": "the queue was not held and opened again", "source": ""}
    total = sum((Decimal(str(step.evidence["inactive_s"])) for step in opened), Decimal(0))
    return {"seconds": f"{total:f}", "why": "", "source": ", ".join(map(_source, opened))}


def _way_back(
    record: CutoverRecord, plan: Plan, steps: Sequence[StepRecord], reader: CutoverReader
) -> dict[str, Any] | None:
    """The rollback of this cutover, its own or a later one; None: there was none."""
    own = [item for item in steps if item.phase == Phase.WAY_BACK]
    if own:
        failed = next((item for item in steps if item.phase != Phase.WAY_BACK and item.status != "done"), None)
        reason = f"{failed.name}: {failed.evidence.get('words') or failed.status}" if failed else "it was aborted"
        status = {"rolled_back": "completed"}.get(record.status, record.status)
        return _back(record.cutover_id, status, reason, plan, own)
    for item in reader.list(_CUTOVERS):
        if item.kind != "rollback" or item.from_release != record.to_release:
            continue
        found = plan_record(item.cutover_id, reader)[1]
        if found.facts.undoes == record.cutover_id:
            return _back(item.cutover_id, item.status, found.facts.reason, found, reader.steps(item.cutover_id))
    return None


def _back(cutover_id: str, status: str, reason: str, plan: Plan, steps: Sequence[StepRecord]) -> dict[str, Any]:
    proof = _of_kind(plan, steps, StepKind.PROVE_NO_LOSS)
    evidence = proof.evidence if proof is not None and proof.status == "done" else {}
    ended = [item.finished_at for item in steps if item.finished_at]
    return {
        "id": cutover_id,
        "status": status,
        "reason": reason or "no reason was given",
        "seconds": _seconds(steps[0].started_at, max(ended)) if steps and ended else None,
        "idle": _idle(steps),
        "lost": _text(evidence.get("lost")),
        "unfit": _text(evidence.get("unfit")),
        "steps": [_step(item) for item in steps],
        "source": _source(proof) if proof is not None else "",
    }


def _no_loss(
    record: CutoverRecord, plan: Plan, steps: Sequence[StepRecord], tools: ReportTools, records: ReportRecords
) -> dict[str, Any]:
    """What became of every tape that was ever acknowledged, and whether ledger and snapshot are whole."""
    trail = read_trail(records.events(), record.cutover_id)
    snapshot = _of_kind(plan, steps, StepKind.VERIFY_SNAPSHOT)
    queued = _of_kind(plan, steps, StepKind.RUN_QUEUED)
    fenced = _of_kind(plan, steps, StepKind.FENCE_RUNNING)
    verdict = records.verify()
    counts = records.production_reader.counts()
    return {
        "acknowledged": trail.submitted,
        "counts": {name: counts[name] for name in sorted(counts)},
        "lost": lost_jobs(tools.watch.workspace, records, trail),
        "ran_after_the_switch": _length(queued, "jobs"),
        "ran_source": "" if queued is None else _source(queued),
        "fenced": _length(fenced, "fenced"),
        "fenced_source": "" if fenced is None else _source(fenced),
        "snapshot_files": _text(snapshot.evidence.get("files")) if snapshot is not None else None,
        "snapshot_source": "" if snapshot is None else _source(snapshot),
        "ledger_verified": ledger_verified(tools.watch, records),
        "source": f"ledger to event {verdict.events}",
    }


def _length(step: StepRecord | None, name: str) -> int | None:
    found = step.evidence.get(name) if step is not None and step.status == "done" else None
    return len(found) if isinstance(found, Sequence) else None


def _of_kind(plan: Plan, steps: Sequence[StepRecord], kind: StepKind) -> StepRecord | None:
    """The journalled step of this kind that was begun first; None while none was."""
    numbers = {item.number for item in (*plan.steps, *plan.way_back) if item.kind is kind}
    return next((step for step in steps if step.number in numbers), None)


def _source(step: StepRecord) -> str:
    return f"step {step.number}, event {step.event_seq}"


def _seconds(begin: datetime, end: datetime) -> str | None:
    """Seconds with two decimals; None when the clock was set back meanwhile."""
    took = end - begin
    return None if took < timedelta(0) else f"{took.total_seconds():.2f}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
