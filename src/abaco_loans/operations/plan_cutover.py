"""Plan a cutover or a rollback, and approve a plan."""

from __future__ import annotations

import hashlib
import json
import pwd
import secrets
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from abaco_loans.errors import ConfigError, UsageError
from abaco_loans.operations.carry_out import plan_record
from abaco_loans.operations.seal_gates import seal_gates
from abaco_loans.operations.shadow_evidence import evidence_of, shadow_runs
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import hash_file
from abaco_loans.records.cutovers import Approval as Recorded
from abaco_loans.records.cutovers import CutoverReader, CutoverRecord, NewApproval, NewCutover
from abaco_loans.records.ledger import canonical
from abaco_loans.records.runs import RETIRED
from abaco_loans.records.shadows import ShadowRecord
from abaco_loans.releases.approval import Approval, How, Role, Roles, Token, by_account, by_token, read_token
from abaco_loans.releases.command_release import AnyRelease
from abaco_loans.releases.judgement import Outcome, Settled, settled
from abaco_loans.releases.plan import Plan, PlanFacts, cutover_plan, plan_of, rollback_plan
from abaco_loans.releases.release import Release
from abaco_loans.releases.roles_file import ROLES_FILE, read_roles
from abaco_loans.strict_yaml import parse

APPROVED_FOR = timedelta(days=2)
DRILL_DAYS_MAX = 30
_ALL = 2**31 - 1


def plan_cutover(to: str, planner: str, tools: Tools, records: Records, *, rehearsal: bool = False) -> CutoverRecord:
    """Plan to make a release the active one, from what is known now.

    Raises:
        UsageError: ``CUT-103`` it is active already; ``CUT-111`` it is retired.
        ConfigError: a release or its gates are wrong.
    """
    workspace = tools.workspace
    pointer = records.production_writer.ensure(workspace.settings.release)
    old, new = workspace.any_release(pointer.active), workspace.any_release(to)
    refuse_retired(new.name, records)
    shadows, gates_digest = shadow_evidence(old.name, new.name, tools, records)
    drill = passed_drill(old.name, new.name, tools, records)
    facts = replace(
        _facts(old, new, planner, tools, pointer.epoch),
        gates_digest=gates_digest,
        shadow_digest=hashlib.sha256(" ".join(str(item.report_sha256) for item in shadows).encode()).hexdigest()
        if shadows
        else "",
        shadow_ids=tuple(item.shadow_id for item in shadows),
        drill_id=drill.cutover_id if drill else "",
        rehearsal=rehearsal,
    )
    return _added(cutover_plan(facts), records)


def plan_rollback(reason: str, planner: str, tools: Tools, records: Records, *, drill: bool = False) -> CutoverRecord:
    """Plan to go back from the active release to the one before it.

    Raises:
        UsageError: ``CUT-106`` there is nothing to go back to; ``CUT-111`` that release is retired.
    """
    workspace = tools.workspace
    pointer = records.production_writer.ensure(workspace.settings.release)
    if not pointer.previous:
        raise UsageError(
            f"{pointer.active} was never switched to: there is nothing to go back to",
            code="CUT-106",
            where="rollback",
            hint="a rollback undoes a cutover; `abaco cutover status` shows what there was",
        )
    old, new = workspace.any_release(pointer.active), workspace.any_release(pointer.previous)
    refuse_retired(new.name, records)
    changes = [item for item in records.cutover_reader.list(_ALL) if item.status in ("completed", "rolled_back")]
    latest = next((item for item in changes if item.kind != "drill"), None)
    undone = latest if latest and latest.kind == "cutover" and latest.status == "completed" else None
    if latest and undone is None and not drill:
        raise UsageError(
            f"{pointer.active} is what production was called back to: {pointer.previous} does not come by a rollback",
            code="CUT-106",
            where="rollback",
            hint=f"forward again is a cutover, with its checks: abaco cutover plan --to {pointer.previous}",
        )
    facts = replace(
        _facts(old, new, planner, tools, pointer.epoch),
        undoes=undone.cutover_id if undone else "",
        reason=reason,
    )
    return _added(rollback_plan(facts, drill=drill), records)


def _facts(old: AnyRelease, new: AnyRelease, planner: str, tools: Tools, epoch: int) -> PlanFacts:
    """What every plan is made from."""
    return PlanFacts(
        from_release=old.name,
        to_release=new.name,
        from_meaning=old.meaning_digest,
        from_policy=old.policy_digest,
        to_meaning=new.meaning_digest,
        to_policy=new.policy_digest,
        planned_by=planner,
        planned_at=tools.clock.now(),
        pointer_epoch=epoch,
        workspace_id=workspace_id(tools.workspace),
    )


def refuse_retired(name: str, records: Records) -> None:
    """Refuse a release that runs no more.

    Raises:
        UsageError: ``CUT-111`` it is retired.
    """
    if any(item.name == name and item.role == RETIRED for item in records.reader.releases()):
        raise UsageError(
            f"release {name} is retired",
            code="CUT-111",
            where=f"releases/{name}",
            hint="its history stays readable; to run what it was, copy it under a new name",
        )


def _added(plan: Plan, records: Records) -> CutoverRecord:
    return records.cutover_writer.add(
        NewCutover(
            cutover_id=f"{plan.facts.planned_at:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
            kind=plan.kind.value,
            from_release=plan.facts.from_release,
            to_release=plan.facts.to_release,
            plan=canonical(plan.as_dict()).decode(),
            plan_hash=plan.hash(),
        )
    )


def workspace_id(workspace: Workspace) -> str:
    """Which workspace a plan is for: the digest of the key that signs its ledger's anchors, where there is one."""
    if workspace.ledger_key.is_file():
        return hash_file(workspace.ledger_key)[:16]
    return hashlib.sha256(str(workspace.root.resolve()).encode()).hexdigest()[:16]


def shadow_evidence(old: str, new: str, tools: Tools, records: Records) -> tuple[list[ShadowRecord], str]:
    """The shadow runs of this pair, as both mean now, and the digest of the gates in force now."""
    baseline, candidate = tools.workspace.any_release(old), tools.workspace.any_release(new)
    found = shadow_runs(
        records.shadow_reader,
        new,
        candidate_meaning=candidate.meaning_digest,
        baseline_meaning=baseline.meaning_digest,
    )
    kpis = {kpi.id for item in (baseline, candidate) if isinstance(item, Release) for kpi in item.catalogue.kpis}
    gates = tools.workspace.gates(new, kpis)
    return found, gates.digest()


def shadow_settled(old: str, new: str, tools: Tools, records: Records) -> Settled:
    """What the shadow runs of this pair say together, by the gates as they are sealed now."""
    found, _ = shadow_evidence(old, new, tools, records)
    releases = [tools.workspace.any_release(name) for name in (old, new)]
    kpis = {kpi.id for item in releases if isinstance(item, Release) for kpi in item.catalogue.kpis}
    today = tools.clock.now().date()
    sealed = seal_gates(tools.workspace, new, kpis, records.shadow_reader, records.shadow_writer, today=today)
    if sealed.pending:
        return Settled(outcome=Outcome.INCONCLUSIVE, words="the gates were loosened, and nobody has approved it")
    return settled(evidence_of(found, tools.clock.now()), sealed.gates, today=today)


def passed_drill(old: str, new: str, tools: Tools, records: Records) -> CutoverRecord | None:
    """The latest drill of going back from ``new`` to ``old``, as both mean now, that passed within `DRILL_DAYS_MAX`
    days; None where there is none.
    """
    oldest = tools.clock.now() - timedelta(days=DRILL_DAYS_MAX)
    meant = [tools.workspace.any_release(name).meaning_digest for name in (new, old)]
    for item in records.cutover_reader.list(_ALL):
        passed = item.kind == "drill" and item.status == "completed" and item.finished_at is not None
        if not passed or item.finished_at is None or item.finished_at < oldest:
            continue
        facts = plan_of(json.loads(item.plan)).facts
        if [facts.from_release, facts.to_release, facts.from_meaning, facts.to_meaning] == [new, old, *meant]:
            return item
    return None


def approve_plan(
    cutover_id: str,
    role: Role,
    account: str,
    tools: Tools,
    records: Records,
    *,
    token: str | None = None,
    rehearsed_by: str | None = None,
) -> tuple[Recorded, Approval]:
    """Record an approval of a plan: of the account that is here, of a signed token, or of a rehearsal.

    An approval that cannot be verified is recorded as that, and blocks.

    Raises:
        UsageError: ``CUT-104`` no token; ``CUT-105`` no such plan; ``CUT-107`` the token is for another plan or role,
            or was issued before the word that it follows.
    """
    record, plan = plan_record(cutover_id, records.cutover_reader)
    now = tools.clock.now()
    roles, unguarded = known_roles(tools.workspace, plan.facts.planned_by)
    if rehearsed_by is not None:
        given = Approval(
            plan_hash=record.plan_hash, role=role, person=rehearsed_by, how=How.REHEARSAL,
            verified=plan.facts.rehearsal, at=now, expires_at=now + APPROVED_FOR,
            reason="" if plan.facts.rehearsal else "this plan is no rehearsal",
        )  # fmt: skip
    elif token is not None:
        given = by_token(_fitting(read_token(token), record, role, records), roles)
    else:
        given = by_account(account, roles, plan_hash=record.plan_hash, role=role, at=now, expires_at=now + APPROVED_FOR)
    if given.verified and unguarded and given.how is not How.REHEARSAL:
        given = replace(given, verified=False, reason=unguarded)
    recorded = records.cutover_writer.approve(
        NewApproval(
            cutover_id=cutover_id,
            plan_hash=given.plan_hash,
            role=given.role.value,
            person=given.person,
            how=given.how.value,
            verified=given.verified,
            reason=given.reason,
            expires_at=given.expires_at,
        )
    )
    return recorded, given


def _fitting(token: Token, record: CutoverRecord, role: Role, records: Records) -> Token:
    earlier = [item for item in records.cutover_reader.approvals(record.cutover_id) if item.role == role.value]
    stale = bool(earlier) and token.issued_at <= earlier[-1].at
    if token.plan_hash != record.plan_hash or token.role is not role or stale:
        said = "was issued before the word that it follows" if stale else "is for another plan or role"
        raise UsageError(
            f"the token {said}",
            code="CUT-107",
            where=record.cutover_id,
            hint=f"sign one for plan {record.plan_hash[:12]}... as {role.value}",
        )
    return token


def known_roles(workspace: Workspace, planner: str) -> tuple[Roles, str]:
    """The people of ``roles.yml``, and why nobody can be verified by it: the planner can write it, or it is missing."""
    path = workspace.root / ROLES_FILE
    if not path.is_file():
        return Roles(people=()), f"there is no {ROLES_FILE} that says who may approve"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{ROLES_FILE} cannot be read", code="CUT-108", where=str(path), hint="it must be UTF-8 text"
        ) from error
    return read_roles(parse(text, name=ROLES_FILE)), _writable(path, planner)


def _writable(path: Path, planner: str) -> str:
    """Why the planner could have written a file; empty when they could not.

    Who owns the file or its folder can replace it; so can root, and everybody whom the rights let write.
    """
    try:
        uid = pwd.getpwnam(planner).pw_uid
    except KeyError:
        return f"{planner!r}, who plans, is no account of this machine, so nobody knows what they can write"
    for place in (path, path.resolve().parent):
        said = place.stat()
        if uid in (0, said.st_uid) or said.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{place.name} can be written by {planner}, who plans"
    return ""


def approvals_of(cutover_id: str, tools: Tools, records: Records) -> list[Approval]:
    """The recorded approvals of a plan, as they count now: what an unsafe ``roles.yml`` verified is not verified."""
    return approvals_now(cutover_id, tools.workspace, records.cutover_reader)


def approvals_now(cutover_id: str, workspace: Workspace, reader: CutoverReader) -> list[Approval]:
    """As `approvals_of`, for whoever only reads."""
    _, plan = plan_record(cutover_id, reader)
    _, unguarded = known_roles(workspace, plan.facts.planned_by)
    return [_counted(item, unguarded) for item in reader.approvals(cutover_id)]


def _counted(item: Recorded, unguarded: str) -> Approval:
    lost = bool(unguarded) and item.verified and item.how != How.REHEARSAL.value
    return Approval(
        plan_hash=item.plan_hash,
        role=Role(item.role),
        person=item.person,
        how=How(item.how),
        verified=item.verified and not lost,
        at=item.at,
        expires_at=item.expires_at,
        reason=unguarded if lost else item.reason,
    )
