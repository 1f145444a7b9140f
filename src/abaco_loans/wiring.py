"""The one place that picks classes: which engine, which store, which clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from abaco_loans.account import account
from abaco_loans.clock import Clock, SystemClock
from abaco_loans.operations.workspace import KEY_VARIABLE, Workspace

if TYPE_CHECKING:
    from abaco_loans.engines.base import Engine
    from abaco_loans.operations.alert_facts import ReportTools
    from abaco_loans.operations.alert_production import AlertTools
    from abaco_loans.operations.carry_out import Told
    from abaco_loans.operations.check_health import HealthTools
    from abaco_loans.operations.cut_over import CutoverTools
    from abaco_loans.operations.drill_rollback import DrillTools
    from abaco_loans.operations.production_metrics import MetricsTools
    from abaco_loans.operations.rehearse_acts import RehearseTools
    from abaco_loans.operations.run_side import Worker
    from abaco_loans.operations.submit_tape import Production
    from abaco_loans.operations.take_snapshot import SnapshotRecords
    from abaco_loans.operations.tools import Follow, Progress, Records, Tools
    from abaco_loans.operations.validation_desk import ValidateTools
    from abaco_loans.operations.watch_checkpoint import WatchTools
    from abaco_loans.operations.watch_production import TickOutcome
    from abaco_loans.operations.work_queue import Worker as QueueWorker
    from abaco_loans.records.cutovers import CutoverRecord
    from abaco_loans.records.runs import RunReader
    from abaco_loans.records.store import Store, StoreFacts
    from abaco_loans.releases.plan import Plan
    from abaco_loans.tape.masking import MaskingKey
    from abaco_loans.watch.alert_policy import AlertPolicy


def open_engine(workspace: Workspace, scratch: Path, folders: list[Path], threads: int | None = None) -> Engine:
    """The engine of this workspace, bounded as its settings say and locked into the given folders."""
    from abaco_loans.engines.duckdb import DuckDB

    settings = workspace.settings
    return DuckDB(scratch=scratch, folders=folders, memory_mb=settings.memory_mb, threads=threads or settings.threads)


@contextmanager
def open_records(workspace: Workspace, clock: Clock | None = None) -> Iterator[Store]:
    """The records of this workspace, open for the length of the block."""
    from abaco_loans.records.store import open_store

    (workspace.root / "records").mkdir(exist_ok=True)
    with open_store(workspace.records_url, clock=clock or SystemClock(), actor=account()) as store:
        yield store


def in_production(workspace: Workspace) -> Workspace:
    """The workspace with the release that is active in production, which may not be the one of its settings."""
    from abaco_loans.operations.active_release import active_workspace

    if not workspace.has_records:
        return workspace
    with open_records(workspace) as store:
        return active_workspace(workspace, store.production_reader.pointer().active)


def write_anchor(workspace: Workspace, clock: Clock) -> None:
    """Sign how far the ledger has come, outside the database."""
    from abaco_loans.records.anchors import write_anchor as write

    with open_records(workspace, clock) as store:
        head = store.head()
    write(workspace.anchors, workspace.ledger_key, count=head.count, head=head.hash, at=clock.now())


def run_tools(
    workspace: Workspace, environment: Mapping[str, str], progress: Progress, clock: Clock | None = None
) -> Tools:
    """Everything a run needs."""
    from abaco_loans.engines.duckdb import version
    from abaco_loans.operations.tools import Tools

    now = clock or SystemClock()
    follow: Follow = lambda record: None  # noqa: E731
    if workspace.settings.lineage != "off":
        from abaco_loans.operations.follow_lineage import lineage_follower

        follow = lineage_follower(workspace, environment, lambda: open_records(workspace, now))
    return Tools(
        workspace=workspace,
        clock=now,
        key=workspace.masking_key(environment),
        engine_version=version(),
        open_engine=lambda scratch, folders: open_engine(workspace, scratch, folders),
        open_records=lambda: open_records(workspace, now),
        anchor=lambda: write_anchor(workspace, now),
        who=f"abaco run by {account()}",
        progress=progress,
        follow=follow,
    )


def health_tools(start: Path | None, environment: Mapping[str, str]) -> HealthTools:
    """What `abaco doctor` looks at; a workspace that was not asked for may be missing."""
    from abaco_loans.engines.duckdb import version
    from abaco_loans.errors import UsageError
    from abaco_loans.operations.check_health import HealthTools
    from abaco_loans.operations.workspace import find_workspace

    there = True
    if start is None:
        try:
            find_workspace(None, environment)
        except UsageError as error:
            there = error.code != "CLI-101"
    return HealthTools(
        engine_version=version(),
        workspace=(lambda: find_workspace(start, environment)) if there else None,
        key=lambda workspace: workspace.masking_key(environment),
        facts=_facts,
        ledger=verified_ledger,
        read=_read,
    )


def _facts(workspace: Workspace) -> StoreFacts:
    with open_records(workspace) as store:
        return store.facts()


def _read(workspace: Workspace, look: Callable[[RunReader], list[str]]) -> list[str]:
    with open_records(workspace) as store:
        return look(store.reader)


def verified_ledger(workspace: Workspace) -> tuple[bool, str]:
    """Whether the ledger is what was written, and what is found, in words."""
    from abaco_loans.operations.verify_audit import verify_audit

    with open_records(workspace) as store:
        verdict = verify_audit(store, workspace)
    return verdict.ok, verdict.message or f"{verdict.events:,} events, nothing was changed"


def side_engine(scratch: Path, out: Path, *, memory_mb: int, threads: int) -> Callable[[], Engine]:
    """How the process of one side of a shadow run opens its engine."""
    from abaco_loans.engines.duckdb import DuckDB

    return lambda: DuckDB(scratch=scratch, folders=[out], memory_mb=memory_mb, threads=threads)


def abaco_command() -> tuple[str, ...]:
    """How this program is started once more."""
    import sys

    return (sys.executable, "-m", "abaco_loans")


def queue_worker(
    workspace: Workspace, environment: Mapping[str, str], tell: Progress, clock: Clock | None = None
) -> QueueWorker:
    """A worker of the queue, under a name that no other has."""
    import os
    import secrets
    import socket

    from abaco_loans.operations.start_shadow import shadow_process
    from abaco_loans.operations.work_queue import Dark, run_release
    from abaco_loans.operations.work_queue import Worker as QueueWorker

    def start_dark(place: Workspace, tape: Path, as_of: date) -> Dark | None:
        begun = shadow_process(
            _with_shadow(place, now),
            tape,
            as_of=as_of,
            definition=None,
            command=abaco_command(),
            environment=environment,
        )
        return begun[0] if begun else None

    now = clock or SystemClock()
    return QueueWorker(
        tools=run_tools(workspace, environment, lambda text: None, now),
        open_production=lambda: open_records(workspace, now),
        owner=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        run=lambda request, tools: run_release(request, tools, environment),
        start_dark=start_dark,
        tell=tell,
    )


def _with_shadow(workspace: Workspace, clock: Clock) -> Workspace:
    """The workspace with its shadow: the one in the settings, or the old release while the new one is watched."""
    from dataclasses import replace

    if workspace.settings.shadow:
        return workspace
    with open_records(workspace, clock) as records:
        watched = records.watch_reader.current()
    old = watched.baseline_release if watched and watched.release == workspace.settings.release else ""
    return replace(workspace, settings=replace(workspace.settings, shadow=old))


def side_worker(environment: Mapping[str, str]) -> Worker:
    """How the process of one side of a shadow run is started."""
    import sys

    import abaco_loans
    from abaco_loans.operations.run_side import Worker

    package = Path(abaco_loans.__file__).resolve().parent
    argv = (sys.executable, "-m", "abaco_loans.cli.side")
    return Worker(argv=argv, path=str(package.parent), environment=environment)


def side_key(environment: Mapping[str, str]) -> MaskingKey:
    """The key that the process of one side masks with: it is handed over, and lives as long as the shadow run."""
    from abaco_loans.tape.masking import MaskingKey, key_version

    secret = bytes.fromhex(environment[KEY_VARIABLE])
    return MaskingKey(version=key_version(secret), secret=secret)


def validate_tools(
    workspace: Workspace, environment: Mapping[str, str], progress: Progress, clock: Clock | None = None
) -> ValidateTools:
    """Everything a validation of production needs."""
    from abaco_loans.operations.validation_desk import ValidateTools

    return ValidateTools(
        tools=run_tools(workspace, environment, progress, clock),
        tools_for=lambda trial: run_tools(trial, environment, lambda text: None, clock),
        open_trail=lambda place: open_records(place, clock),
        worker=side_worker(environment),
    )


def cutover_tools(
    workspace: Workspace,
    environment: Mapping[str, str],
    tell: Callable[[Told], None],
    clock: Clock | None = None,
    wait: Callable[[float], None] | None = None,
) -> CutoverTools:
    """Everything a cutover or rollback needs."""
    import time
    from dataclasses import replace

    from abaco_loans.operations.cut_over import CutoverTools
    from abaco_loans.operations.cutover_hands import Ground
    from abaco_loans.operations.run_release import run_release
    from abaco_loans.operations.run_shadow import run_shadow
    from abaco_loans.operations.run_tape import RunRequest
    from abaco_loans.operations.validate_production import validate_production

    now = clock or SystemClock()
    quiet: Progress = lambda text: None  # noqa: E731

    def ground(cutover_id: str, plan: Plan, tools: Tools, records: Records) -> Ground:
        return Ground(
            cutover_id=cutover_id,
            plan=plan,
            tools=tools,
            records=records,
            standing=cast("SnapshotRecords", records),
            worker=lambda place: queue_worker(place, environment, quiet, now),
            validate=lambda place: validate_production(validate_tools(place, environment, quiet, now)),
            compare=lambda request: run_shadow(request, tools, side_worker(environment)),
            run=lambda place, tape, job, release: (
                run_release(
                    RunRequest(path=tape, as_of=job.as_of, release=release),
                    run_tools(place, environment, quiet, now),
                    environment,
                ).run_id
            ),
            copied=lambda place, target: _copied(place, target, now),
            sleep=time.sleep,
        )

    return CutoverTools(
        tools=replace(run_tools(workspace, environment, quiet, now), who=f"abaco cutover by {account()}"),
        ground=ground,
        tell=tell,
        wait=wait,
        completed=lambda record: _watched(workspace, environment, record, now),
    )


def _watched(workspace: Workspace, environment: Mapping[str, str], record: CutoverRecord, clock: Clock) -> None:
    """Begin to watch the release that a cutover made active."""
    from abaco_loans.operations.begin_watch import begin_watch

    begin_watch(watch_tools(workspace, environment, lambda text: None, clock), record)


def _copied(workspace: Workspace, target: Path, clock: Clock) -> Workspace:
    from abaco_loans.operations.copy_workspace import copied_workspace

    with open_records(workspace, clock) as records:
        return copied_workspace(workspace, target, records)


def drill_tools(environment: Mapping[str, str], tell: Callable[[Told], None], clock: Clock | None = None) -> DrillTools:
    """Everything a rollback drill needs."""
    from abaco_loans.operations.drill_rollback import DrillTools

    now = clock or SystemClock()
    return DrillTools(
        of=lambda place: cutover_tools(place, environment, tell, now),
        copied=lambda place, target: _copied(place, target, now),
        worker=lambda place: queue_worker(place, environment, lambda text: None, now),
        sampled=lambda place, records: _sampled(place, cast("Production", records), now),
        clock=now,
    )


def _sampled(workspace: Workspace, records: Production, clock: Clock) -> None:
    """A sampled tape in the queue of a workspace that has none."""
    from abaco_loans.operations.scratch import scratch_folder
    from abaco_loans.operations.submit_tape import submit_tape
    from abaco_loans.operations.write_sample import write_sample
    from abaco_loans.sample import SampleSpec

    with scratch_folder(workspace) as scratch:
        write_sample(SampleSpec(loans=200, months=6), scratch / "sample")
        tape = scratch / "sample" / "bucketed.csv"
        submit_tape(workspace, tape, records, as_of=None, clock=clock, who=f"abaco by {account()}")


def watch_tools(
    workspace: Workspace,
    environment: Mapping[str, str],
    tell: Progress,
    clock: Clock | None = None,
    policy: AlertPolicy | None = None,
) -> WatchTools:
    """Everything a watch needs; whichever release is watched is validated.

    Args:
        policy: who hears of alerts; None: as ``alerts.yml`` says.
    """
    from abaco_loans.operations.active_release import active_workspace
    from abaco_loans.operations.validate_production import validate_production
    from abaco_loans.operations.watch_checkpoint import WatchTools
    from abaco_loans.operations.watch_resources import usage

    now = clock or SystemClock()
    opened, anchor = partial(open_records, workspace, now), partial(write_anchor, workspace, now)

    def follow(outcome: TickOutcome) -> None:
        from abaco_loans.operations.follow_tick import follow_tick

        alerting = lambda chosen: alert_tools(workspace, environment, tell, now, chosen)  # noqa: E731
        follow_tick(workspace, outcome, now, tell, alerting, policy)

    def archive(cutover_id: str) -> Path:
        from abaco_loans.operations.archive_watch import archive_watch

        return archive_watch(cutover_id, report_tools(workspace, environment, now, policy), opened, anchor)

    def go_back(reason: str) -> str:
        from abaco_loans.operations.cut_over import roll_back_whole

        return roll_back_whole(reason, "abaco watch", cutover_tools(workspace, environment, lambda told: None, now))

    return WatchTools(
        workspace=workspace,
        clock=now,
        open_records=opened,
        validate=lambda release, baseline: validate_production(
            validate_tools(active_workspace(workspace, release), environment, lambda text: None, now), baseline
        ),
        usage=usage,
        anchor=anchor,
        tell=tell,
        go_back=go_back if workspace.settings.rollback == "automatic" else None,
        follow=follow,
        archive=archive,
    )


def metrics_tools(workspace: Workspace, clock: Clock | None = None) -> MetricsTools:
    """What the figures of production are read with."""
    from abaco_loans.operations.production_metrics import MetricsTools

    now = clock or SystemClock()
    return MetricsTools(workspace=workspace, clock=now, open_records=lambda: open_records(workspace, now))


def alert_tools(
    workspace: Workspace,
    environment: Mapping[str, str],
    tell: Progress,
    clock: Clock | None = None,
    policy: AlertPolicy | None = None,
) -> AlertTools:
    """Everything that raising and sending alerts needs; the policy is what ``alerts.yml`` says, unless given."""
    from abaco_loans.operations.alert_production import AlertTools, policy_of
    from abaco_loans.outputs.channels.choose import open_channel

    now, policy = clock or SystemClock(), policy or policy_of(workspace)
    return AlertTools(
        clock=now,
        policy=policy,
        open_records=lambda: open_records(workspace, now),
        open_channel=lambda name: open_channel(name, policy, environment, tell),
        anchor=lambda: write_anchor(workspace, now),
        tell=tell,
    )


def rehearse_tools(environment: Mapping[str, str]) -> RehearseTools:
    """Everything a rehearsal needs, by a clock that can be set forward; its records are always in the copy."""
    from abaco_loans.clock import ShiftedClock
    from abaco_loans.operations.rehearse_acts import RehearseTools
    from abaco_loans.operations.run_shadow import run_shadow
    from abaco_loans.watch.alert_policy import AlertPolicy

    clock, quiet = ShiftedClock(), lambda text: None
    inside = {name: value for name, value in environment.items() if name not in ("ABACO_RECORDS_URL", "ABACO_LINEAGE")}
    return RehearseTools(
        clock=clock,
        drill=drill_tools(inside, lambda told: None, clock),
        compare=lambda place, request: run_shadow(request, run_tools(place, inside, quiet, clock), side_worker(inside)),
        validate=lambda place: validate_tools(place, inside, quiet, clock),
        watch=lambda place: watch_tools(place, inside, quiet, clock, AlertPolicy()),  # nobody is called
    )


def report_tools(
    workspace: Workspace,
    environment: Mapping[str, str],
    clock: Clock | None = None,
    policy: AlertPolicy | None = None,
) -> ReportTools:
    """Everything the reports of a cutover need; they only read."""
    from abaco_loans.operations.alert_facts import ReportTools
    from abaco_loans.operations.alert_production import policy_of

    now = clock or SystemClock()
    return ReportTools(
        watch=watch_tools(workspace, environment, lambda text: None, now),
        open_records=lambda: open_records(workspace, now),
        policy=policy or policy_of(workspace),
    )
