"""Phase 0 of a cutover: what must be true before anything is changed. None of these checks changes production."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from abaco_loans.operations.carry_out import Did
from abaco_loans.operations.plan_cutover import approvals_of, known_roles, passed_drill, shadow_evidence, shadow_settled
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.outputs.publish import sync, world
from abaco_loans.records.ledger import NewEvent
from abaco_loans.releases.approval import standing
from abaco_loans.releases.judgement import Outcome
from abaco_loans.releases.plan import Plan
from abaco_loans.releases.release import Release

_TIMES = 3
_MEGABYTE = 1 << 20
_CLOCK_AHEAD_MAX = timedelta(minutes=5)


def check_pointer(plan: Plan, records: Records) -> Did:
    """Production is where it was when the plan was made: no other switch came between."""
    pointer, facts = records.production_reader.pointer(), plan.facts
    same = (pointer.active, pointer.epoch) == (facts.from_release, facts.pointer_epoch)
    words = "" if same else f"{pointer.active} is active, and the plan speaks of {facts.from_release}: plan anew"
    return Did(passed=same, evidence={"active": pointer.active, "epoch": pointer.epoch}, words=words)


def check_releases(plan: Plan, tools: Tools) -> Did:
    """Both releases load, mean what they meant when the plan was made, and read the same layouts."""
    facts = plan.facts
    old, new = tools.workspace.any_release(facts.from_release), tools.workspace.any_release(facts.to_release)
    same = (old.meaning_digest, new.meaning_digest) == (facts.from_meaning, facts.to_meaning)
    lacking: list[str] = []
    if isinstance(old, Release) and isinstance(new, Release):
        lacking = sorted(old.contracts.keys() - new.contracts.keys())
    contract = f"{new.name} cannot read {', '.join(lacking)}" if lacking else "agrees"
    words = contract if lacking else "" if same else "a release has changed since the plan was made: plan anew"
    evidence = {
        "from_meaning": old.meaning_digest,
        "to_meaning": new.meaning_digest,
        "frozen": same,
        "contract": contract,
    }
    return Did(passed=same and not lacking, evidence=evidence, words=words)


def check_stores(cutover_id: str, tools: Tools, records: Records) -> Did:
    """Records and outputs can be written: both are, with something that says so."""
    records.append([NewEvent(action="cutover.checked", subject=cutover_id, payload={})])
    outputs = tools.workspace.outputs
    with world(outputs):
        outputs.mkdir(exist_ok=True)
        probe = outputs / f".probe-{cutover_id}"
        probe.write_bytes(b"x")
        sync(probe)
        probe.unlink()
    return Did(passed=True, evidence={"records": "written", "outputs": "written"})


def check_machine(tools: Tools, records: Records) -> Did:
    """Disk and memory for three times the largest of the last tapes, and a clock that goes on from the ledger."""
    root = tools.workspace.root
    jobs = [records.production_reader.job(item.job_id) for item in records.production_reader.latest_served(10)]
    largest = max((_size(root / job.spool) for job in jobs if job), default=0)
    disk, memory = shutil.disk_usage(root).free, _memory_free()
    needed = tools.workspace.settings.memory_mb * _MEGABYTE
    pointer = records.production_reader.pointer()
    now = tools.clock.now()
    sane = pointer.changed_at is None or now >= pointer.changed_at - _CLOCK_AHEAD_MAX
    evidence = {
        "disk_free_bytes": disk,
        "disk_needed_bytes": _TIMES * largest,
        "memory_free_bytes": memory,
        "memory_needed_bytes": needed,
        "clock": "sane" if sane else "behind the records",
    }
    short = [
        name
        for name, free, wanted in (("disk", disk, _TIMES * largest), ("memory", memory, needed))
        if free is not None and free < wanted
    ]
    words = "; ".join([f"too little {name}" for name in short] + ([] if sane else ["the clock was set back"]))
    return Did(passed=not words, evidence=evidence, words=words)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else list(path.glob("*"))
    return sum(item.stat().st_size for item in files if item.is_file())


def _memory_free() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found: Mapping[str, str] = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, LookupError, ValueError):
        pass
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return None


def check_alone(cutover_id: str, records: Records) -> Did:
    """No other cutover is under way. (Alerts are not recorded yet, so none is open.)"""
    other = records.cutover_reader.running()
    alone = other is None or other.cutover_id == cutover_id
    pointer = records.production_reader.pointer()
    free = pointer.held_by in ("", cutover_id)
    words = "" if alone and free else f"{pointer.held_by or (other.cutover_id if other else '')} is under way"
    return Did(passed=alone and free, evidence={"cutovers": int(not alone), "alerts": 0}, words=words)


def check_approvals(cutover_id: str, plan: Plan, tools: Tools, records: Records) -> Did:
    """Four different people have approved this very plan, and none of them made it."""
    roles, _ = known_roles(tools.workspace, plan.facts.planned_by)
    found = standing(approvals_of(cutover_id, tools, records), plan, tools.clock.now(), roles)
    said = {item.role.value: item.person for item in found.standing}
    missing = ", ".join(role.value for role in found.missing)
    refused = "; ".join(
        f"{item.approval.role.value} by {item.approval.person}: {item.reason}" for item in found.refused
    )
    words = f"missing: {missing}" + (f" ({refused})" if refused else "") if missing else ""
    return Did(passed=found.complete, evidence={"approvals": said, "plan_hash": plan.hash()}, words=words)


def check_shadow(plan: Plan, tools: Tools, records: Records) -> Did:
    """The shadow runs of this pair have settled the gate, by the gates that were sealed when the plan was made."""
    facts = plan.facts
    found, gates_digest = shadow_evidence(facts.from_release, facts.to_release, tools, records)
    verdict = shadow_settled(facts.from_release, facts.to_release, tools, records)
    same = gates_digest == facts.gates_digest
    words = verdict.words if same else "the gates have changed since the plan was made: plan anew"
    evidence = {
        "shadow_ids": [item.shadow_id for item in found],
        "verdict": verdict.outcome.value,
        "gates_digest": gates_digest,
    }
    return Did(passed=same and verdict.outcome is Outcome.PASS, evidence=evidence, words=words)


def check_drill(plan: Plan, tools: Tools, records: Records) -> Did:
    """A rollback drill of this pair, as both mean now, has passed lately."""
    facts = plan.facts
    drill = passed_drill(facts.from_release, facts.to_release, tools, records)
    if drill is None or drill.finished_at is None:
        words = f"no drill from {facts.to_release} to {facts.from_release} has passed lately: abaco rollback --drill"
        return Did(passed=False, words=words)
    return Did(passed=True, evidence={"drill_id": drill.cutover_id, "passed_at": drill.finished_at.isoformat()})
