"""A shadow run: baseline and candidate on the same tape, compared, bridged and judged by sealed gates.

Order: the tape is copied and read; gates and predictions are sealed and the plan is recorded; the baseline runs as
often as asked (its spread is the noise floor), then the candidate, each apart; then nothing of either runs any more,
and what they said is compared. The report is written whole or not at all, and its digest is recorded with the verdict.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from abaco_loans.engines.base import Engine
from abaco_loans.errors import AbacoError, InvariantError, WorldError
from abaco_loans.operations.compare_sides import Sides, compare_sides
from abaco_loans.operations.run_side import SideJob, SideRun, Worker
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.seal_gates import SealedGates, seal_gates
from abaco_loans.operations.shadow_document import shadow_document
from abaco_loans.operations.shadow_evidence import evidence_of, shadow_runs
from abaco_loans.operations.shadow_tape import ShadowTape, copied, read_shadow_tape
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.operations.tracing import note, span
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import sync, world
from abaco_loans.portfolio.policy import Policy
from abaco_loans.records.shadows import ShadowPlan, ShadowRecord
from abaco_loans.releases.command_release import AnyRelease
from abaco_loans.releases.judgement import Evidence, GateVerdict, Settled, settled
from abaco_loans.releases.release import Release
from abaco_loans.tape.masking import MaskingKey, key_version

REPORT = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRequest:
    """What a person asks for. None means: the default of tape, release or workspace."""

    path: Path
    baseline: str
    candidate: str
    repeats: int = 2
    as_of: date | None = None
    definition: str | None = None
    layout: str | None = None
    mapping: str | None = None
    timeout_s: int = 1800


@span("abaco.shadow")
def run_shadow(request: ShadowRequest, tools: Tools, worker: Worker) -> dict[str, Any]:
    """Compare two releases on one tape; the report (see `shadow_document`), as it was written and recorded.

    Raises:
        ConfigError: a release, the gates or the predictions are wrong.
        InputError: ``SHD-102`` the date of the tape is not known.
        WorldError: disk or database failed. What a release does wrong is in the report.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        workspace = tools.workspace
        releases = (workspace.any_release(request.baseline), workspace.any_release(request.candidate))
        note(baseline=releases[0].name, candidate=releases[1].name)
        scratch = stack.enter_context(scratch_folder(workspace))
        tools.progress(f"copying {request.path.name}")
        copy = copied(request.path, scratch / "tape")
        engine = tools.open_engine(scratch, [scratch])
        stack.callback(engine.close)
        key = _key()
        tape = read_shadow_tape(
            request.path,
            copy,
            _with_formulas(workspace, releases),
            engine,
            scratch,
            as_of=request.as_of,
            layout=request.layout,
            mapping=request.mapping,
            key=key,
            tools=tools,
        )
        records = stack.enter_context(tools.open_records())
        plan, sealed = _planned(request, releases, tape, tools, records)
        try:
            runs, other = _ran(request, releases, tape, scratch, key, tools, worker)
            tools.progress("comparing")
            sides = Sides(
                baseline=releases[0],
                candidate=releases[1],
                runs=runs,
                other=other,
                tape=tape,
                definition=request.definition,
                currency=workspace.settings.reporting_currency,
                sealed=sealed,
                policy=_policy(workspace, releases),
                folder=scratch,
                now=tools.clock.now(),
            )
            document = _finished(plan, sides, engine, records, tools, started)
        except BaseException as error:
            told = error.as_dict() if isinstance(error, AbacoError) else {"what": f"stopped by {type(error).__name__}"}
            with suppress(WorldError, InvariantError):
                records.shadow_writer.fail(plan.shadow_id, told)
            raise
        tools.anchor()
    return document


def _finished(
    plan: ShadowPlan, sides: Sides, engine: Engine, records: Records, tools: Tools, started: float
) -> dict[str, Any]:
    """Compare and judge; write the report, then record it with its digest."""
    ran = time.perf_counter()
    found = compare_sides(sides, engine)
    done = time.perf_counter()
    verdict, timings = found.verdict, {"compare": done - ran, "total": done - started}
    document = shadow_document(plan, sides, found, _settled(plan, verdict, sides, records), timings)
    records.shadow_writer.finish(
        plan.shadow_id,
        verdict=verdict.outcome.value,
        dry_run=verdict.dry_run,
        report_sha256=_written(tools.workspace, plan.shadow_id, document, sides.folder),
        facts={"passed": list(verdict.passed), "reasons": [item.words for item in verdict.reasons[:20]]},
    )
    return document


def _key() -> MaskingKey:
    """A key for this shadow run alone: sides mask alike, and none of them has the workspace's key."""
    secret = secrets.token_bytes(32)
    return MaskingKey(version=key_version(secret), secret=secret)


def _policy(workspace: Workspace, releases: tuple[AnyRelease, AnyRelease]) -> Policy:
    """Covenants and provisions: the candidate's, or where it has none the baseline's."""
    for release in reversed(releases):
        policy = workspace.policy(release.name)
        if policy != Policy():
            return policy
    return Policy()


def _planned(
    request: ShadowRequest,
    releases: tuple[AnyRelease, AnyRelease],
    tape: ShadowTape,
    tools: Tools,
    records: Records,
) -> tuple[ShadowPlan, SealedGates]:
    """Freeze both releases, seal the gates, record the plan."""
    baseline, candidate = releases
    for release in releases:
        records.writer.ensure_release(
            release.name,
            kind=release.kind,
            role=tools.workspace.role(release.name),
            meaning_digest=release.core_digest,
            policy_digest=release.policy_digest,
        )
    now = tools.clock.now()
    sealed = seal_gates(
        tools.workspace,
        candidate.name,
        {kpi.id for item in _with_formulas(tools.workspace, releases) for kpi in item.catalogue.kpis},
        records.shadow_reader,
        records.shadow_writer,
        today=now.date(),
    )
    plan = ShadowPlan(
        shadow_id=f"{tape.as_of:%Y%m%d}-{secrets.token_hex(6)}",
        baseline=baseline.name,
        candidate=candidate.name,
        baseline_meaning=baseline.meaning_digest,
        candidate_meaning=candidate.meaning_digest,
        tape_sha256=tape.sha256,
        tape_name=tape.name,
        as_of=tape.as_of,
        repeats=request.repeats,
        gates_digest=sealed.gates_digest,
        expected_digest=sealed.expected_digest,
    )
    records.shadow_writer.plan(plan)
    return plan, sealed


def _with_formulas(workspace: Workspace, releases: Sequence[AnyRelease]) -> list[Release]:
    """The catalogue releases among the two; of two programs, those of the workspace: they know tapes and KPIs."""
    found = [item for item in releases if isinstance(item, Release)]
    names = [name for name in workspace.release_names() if workspace.release_kind(name) == "catalogue"]
    return found or [workspace.release(name) for name in names]


def _ran(
    request: ShadowRequest,
    releases: tuple[AnyRelease, AnyRelease],
    tape: ShadowTape,
    scratch: Path,
    key: MaskingKey,
    tools: Tools,
    worker: Worker,
) -> tuple[list[SideRun], SideRun]:
    """Run A as often as asked, then B. What a side does wrong is in its result."""
    settings, root = tools.workspace.settings, tools.workspace.root
    job = SideJob(
        tape=tape.copy,
        as_of=tape.as_of,
        definition=request.definition,
        layout=request.layout,
        mapping=request.mapping,
        currency=settings.reporting_currency,
        worker=worker.argv,
        worker_path=worker.path,
        key=key,
        memory_mb=settings.memory_mb,
        threads=settings.threads,
        timeout_s=request.timeout_s,
        environment=worker.environment,
        guarded=(root / "releases", root / "keys"),
    )
    baseline, candidate = releases
    runs: list[SideRun] = []
    folders = [scratch / f"baseline{number}" for number in range(request.repeats)]
    for number, folder in enumerate(folders, start=1):
        tools.progress(f"{baseline.name}, run {number} of {request.repeats}")
        runs.append(worker.run(baseline, job, folder))
        if not runs[-1].ok:
            break
    tools.progress(candidate.name)
    guarded = (*job.guarded, *folders[: len(runs)])
    return runs, worker.run(candidate, replace(job, guarded=guarded), scratch / "candidate")


def _settled(plan: ShadowPlan, verdict: GateVerdict, sides: Sides, records: Records) -> Settled:
    """What this verdict says together with those before it."""
    runs = shadow_runs(
        records.shadow_reader,
        plan.candidate,
        candidate_meaning=plan.candidate_meaning,
        baseline_meaning=plan.baseline_meaning,
    )
    today = sides.now.date()
    this = Evidence(
        tape=plan.tape_sha256,
        on=today,
        outcome=verdict.outcome,
        gates_digest=verdict.gates_digest,
        dry_run=verdict.dry_run,
    )
    earlier = evidence_of([item for item in runs if item.shadow_id != plan.shadow_id], sides.now)
    return settled([*earlier, this], sides.sealed.gates, today=today)


def _written(workspace: Workspace, shadow_id: str, document: dict[str, Any], scratch: Path) -> str:
    """Write the report into its own folder, whole or not at all; its SHA-256."""
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    folder, target = scratch / "report", workspace.shadows / shadow_id
    with world(target):
        folder.mkdir(mode=0o700)
        (folder / REPORT).write_bytes(data)
        sync(folder / REPORT)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        folder.rename(target)
        sync(target.parent)
    return hashlib.sha256(data).hexdigest()


def read_report(workspace: Workspace, record: ShadowRecord) -> dict[str, Any]:
    """The report of a finished shadow run.

    Raises:
        WorldError: ``SHD-104`` it is gone, or no longer what was written.
    """
    path = workspace.shadows / record.shadow_id / REPORT
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != record.report_sha256:
        raise WorldError(
            f"the report of shadow run {record.shadow_id} is no longer what was written",
            code="SHD-104",
            where=str(path),
            hint="restore it from a backup, or compare again; the verdict stands in the records",
        )
    return dict(json.loads(data))
