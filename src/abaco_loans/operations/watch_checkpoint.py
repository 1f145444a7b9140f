"""Measure production at a checkpoint: nine figures, what they mean, and whether anything calls for a rollback.

What cannot be measured is None, and unknown: a database that does not answer, a shadow run that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from abaco_loans.account import account
from abaco_loans.clock import Clock
from abaco_loans.errors import AbacoError, WorldError
from abaco_loans.operations.run_shadow import read_report
from abaco_loans.operations.verify_audit import Ledger, verify_audit
from abaco_loans.operations.watch_resources import Usage
from abaco_loans.operations.watch_trail import Trail, read_trail
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.cutovers import CutoverReader
from abaco_loans.records.ledger import Event
from abaco_loans.records.production import ProductionReader
from abaco_loans.records.runs import RunReader
from abaco_loans.records.shadows import ShadowReader
from abaco_loans.records.watches import CheckpointRecord, WatchReader, WatchRecord, WatchWriter
from abaco_loans.releases.trigger import ProductionMetrics, Trigger, triggers
from abaco_loans.watch.check import Check, Report, Status
from abaco_loans.watch.checkpoint import VALIDATION, Before, Figures, judged_figures, no_latency, status_of
from abaco_loans.watch.metric import (
    AUDIT_EVENTS,
    CPU,
    ERROR_RATE,
    KPI_LATENCY,
    KPI_VARIANCE,
    MEMORY,
    Judged,
)

if TYPE_CHECKING:
    from abaco_loans.operations.watch_production import TickOutcome

_STALLED_AFTER = timedelta(minutes=15)
_SHADOWS = 200
_QUEUED = 10_000

T = TypeVar("T")


class WatchRecords(Ledger, Protocol):
    """What a watch needs of the records."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    @property
    def shadow_reader(self) -> ShadowReader:
        """Reads shadow runs."""
        ...

    @property
    def production_reader(self) -> ProductionReader:
        """Reads the queue and the pointer."""
        ...

    @property
    def cutover_reader(self) -> CutoverReader:
        """Reads cutovers and their plans."""
        ...

    @property
    def watch_reader(self) -> WatchReader:
        """Reads watches."""
        ...

    @property
    def watch_writer(self) -> WatchWriter:
        """Moves watches."""
        ...

    def events(self) -> Iterable[Event]:
        """All events in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTools:
    """What `wiring` picks for a watch.

    Attributes:
        validate: validates production under a release, against the baseline that was recorded before.
        usage: what this process and the workers of these names take.
        anchor: signs how far the ledger has come.
        tell: takes a line for people.
        who: the account that decides.
        go_back: rolls back for a reason, and gives the rollback's id; None: a rollback is proposed, not carried out.
        follow: takes what a tick did, to log it and to alert people.
        archive: archives the watch of a cutover that was signed off.
    """

    workspace: Workspace
    clock: Clock
    open_records: Callable[[], AbstractContextManager[WatchRecords]]
    validate: Callable[[str, Mapping[str, Decimal]], Report]
    usage: Callable[[Sequence[str]], Usage]
    anchor: Callable[[], None]
    tell: Callable[[str], None] = lambda text: None
    who: str = field(default_factory=account)
    go_back: Callable[[str], str] | None = None
    follow: Callable[[TickOutcome], None] = lambda outcome: None
    archive: Callable[[str], object] = lambda cutover_id: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A checkpoint as it was measured."""

    figures: Figures
    judged: Mapping[str, Judged]
    triggers: tuple[Trigger, ...]

    def judgement(self) -> dict[str, Any]:
        """JSON-ready: the ``status``, every figure's status and words (``waits``: it waits for a first tape), and the
        triggers that are not calm."""
        return {
            "status": status_of(self.judged).value,
            "figures": {
                name: {"status": item.status.value, "words": item.words, **({"waits": True} if item.waits else {})}
                for name, item in self.judged.items()
            },
            "triggers": [
                {"cause": item.cause.value, "fired": item.fired, "words": item.words} for item in self.triggers
            ],
        }


def observe(
    tools: WatchTools, records: WatchRecords, watch: WatchRecord, earlier: Sequence[CheckpointRecord]
) -> Observed:
    """Do a checkpoint: validate production, and measure what else there is.

    Args:
        earlier: the checkpoints that were done before, earliest first.
    """
    baseline = {name: Decimal(value) for name, value in watch.baseline.items()}
    trail = _known(lambda: read_trail(records.events(), watch.watch_id))
    used = tools.usage(sorted(trail.owners) if trail else [])
    report, broken = _validated(tools, watch.release, baseline)
    checks = report.checks if report else ()
    now = tools.clock.now()
    metrics = {
        name: value if value is None else Decimal(value)
        for check in checks
        if check.name in ("performance", "audit_trail")
        for name, value in check.metrics.items()
    }
    variances = _known(lambda: kpi_variances(tools.workspace, records, watch))
    numbers = {
        KPI_LATENCY.name: metrics.get(KPI_LATENCY.name),
        ERROR_RATE.name: trail.error_rate(now) if trail else None,
        MEMORY.name: _largest(metrics.get(MEMORY.name), used.memory_mb),
        CPU.name: used.cpu_percent,
        AUDIT_EVENTS.name: metrics.get(AUDIT_EVENTS.name),
        KPI_VARIANCE.name: _worst(variances),
    }
    figures = Figures(
        at=now,
        numbers=numbers,
        pipeline_status=_known(lambda: _pipeline(records, trail, now)),
        validation_status=report.status if report else Status.UNKNOWN,
        not_applicable=no_latency() if _without_latency(checks) else (),
        waiting=_waiting(records, trail, watch),
        compared={MEMORY.name: metrics.get(MEMORY.name)},
    )
    events = metrics.get(AUDIT_EVENTS.name)
    fired = triggers(_production(tools, records, trail, variances, now, None if events is None else int(events)))
    found = judged_figures(figures, [_before(item) for item in earlier], baseline)
    if broken is not None:
        words = f"production could not be validated: {broken.what} ({broken.code})"
        found[VALIDATION] = Judged(status=Status.UNKNOWN, words=words)
    return Observed(figures=figures, judged=found, triggers=fired)


def _validated(
    tools: WatchTools, release: str, baseline: Mapping[str, Decimal]
) -> tuple[Report | None, AbacoError | None]:
    """The report, or why there is none: a checkpoint at which nothing could be validated is one all the same."""
    try:
        return tools.validate(release, baseline), None
    except AbacoError as error:
        return None, error


def look_for_triggers(tools: WatchTools, records: WatchRecords, watch: WatchRecord) -> tuple[Trigger, ...]:
    """Between checkpoints: whatever fired or is unknown now."""
    trail = _known(lambda: read_trail(records.events(), watch.watch_id))
    variances = _known(lambda: kpi_variances(tools.workspace, records, watch))
    events = _known(lambda: _events_of_last_run(records))
    return triggers(_production(tools, records, trail, variances, tools.clock.now(), events))


def ledger_verified(tools: WatchTools, records: WatchRecords) -> bool | None:
    """Whether chain, anchors and records hold; None when that cannot be found out."""
    return _known(lambda: verify_audit(records, tools.workspace).ok)


def kpi_variances(workspace: Workspace, records: WatchRecords, watch: WatchRecord) -> dict[str, Decimal | None] | None:
    """By KPI, the unexplained part of the difference between the releases on the last run's tape, in percent.

    Read from the latest shadow run of the two on that very tape and date, whichever was the baseline. A KPI that the
    old release does not say cannot be compared, and is left out; one that only the old one says is None. None as a
    whole: there is no such shadow run.

    Raises:
        WorldError: ``SHD-104`` the report is no longer what was written; the database failed.
    """
    last = records.reader.latest_finished()
    pair = {watch.release, watch.baseline_release}
    if last is None or len(pair) < 2:
        return None
    for item in records.shadow_reader.list(_SHADOWS):
        same = (item.tape_sha256, item.as_of) == (last.tape_sha256, last.as_of)
        if item.status == "finished" and same and {item.baseline, item.candidate} == pair:
            old = "baseline" if item.baseline == watch.baseline_release else "candidate"
            kpis = read_report(workspace, item)["kpis"]
            return {kpi: _percent(said) for kpi, said in kpis.items() if said[old] is not None}
    return None


def _percent(said: Mapping[str, Any]) -> Decimal | None:
    text = said["unexplained_percent"]
    return None if text is None else abs(Decimal(text))


def _worst(variances: Mapping[str, Decimal | None] | None) -> Decimal | None:
    """The largest variance; None where one is missing, unless another is critical as it is."""
    sizes = [*(variances or {}).values()]
    largest = max((size for size in sizes if size is not None), default=None)
    limit = KPI_VARIANCE.critical
    critical = largest is not None and limit is not None and limit.breached(largest, low_is_bad=False)
    return None if None in sizes and not critical else largest


def _largest(*sizes: Decimal | None) -> Decimal | None:
    known = [size for size in sizes if size is not None]
    return max(known, default=None)


def _waiting(records: WatchRecords, trail: Trail | None, watch: WatchRecord) -> frozenset[str]:
    """What waits for a first tape: the error rate until a job has ended since the watch began; the variance until one
    has ended well, and the last run is not one of the watched release either. A ledger that cannot be read waits for
    nothing."""
    last = _known(lambda: (records.reader.latest_finished(),))
    if trail is None or last is None:
        return frozenset()
    served = any(not item.failed for item in trail.ended) or (last[0] is not None and last[0].release == watch.release)
    return frozenset({*(() if trail.ended else (ERROR_RATE.name,)), *(() if served else (KPI_VARIANCE.name,))})


def _without_latency(checks: Sequence[Check]) -> bool:
    """Whether the validation says that this release's calculation cannot be timed by itself."""
    parts = [item for check in checks for item in check.subchecks if item.name == "latency_1000_rows"]
    return any(item.status is Status.NOT_APPLICABLE for item in parts)


def _pipeline(records: WatchRecords, trail: Trail | None, now: datetime) -> str | None:
    if records.production_reader.pointer().held_by:
        return "held"
    return None if trail is None else pipeline_status(records.production_reader, trail.last_taken_at, now)


def pipeline_status(reader: ProductionReader, last_taken_at: datetime | None, now: datetime) -> str:
    """``running``; ``held`` by a cutover; ``stalled``: a tape waits for 15 minutes, and nobody takes any.

    Args:
        last_taken_at: when a job was taken last; None: never.
    """
    if reader.pointer().held_by:
        return "held"
    since = now - _STALLED_AFTER
    oldest = reader.oldest_queued()
    waits = oldest is not None and oldest.submitted_at < since
    idle = last_taken_at is None or last_taken_at < since
    return "stalled" if waits and idle and not reader.counts()["leased"] else "running"


def _production(
    tools: WatchTools,
    records: WatchRecords,
    trail: Trail | None,
    variances: Mapping[str, Decimal | None] | None,
    now: datetime,
    audit_events: int | None,
) -> ProductionMetrics:
    return ProductionMetrics(
        at=now,
        error_rates=trail.error_rates(now) if trail else None,
        lost_jobs=_known(lambda: lost_jobs(tools.workspace, records, trail)),
        crashes=trail.crashes if trail else None,
        kpi_variances_percent=variances,
        ledger_verified=ledger_verified(tools, records),
        audit_events=audit_events,
    )


def lost_jobs(workspace: Workspace, records: WatchRecords, trail: Trail | None) -> int | None:
    """Jobs that were acknowledged and are no longer there, and those that wait for a tape that is gone."""
    if trail is None:
        return None
    reader = records.production_reader
    gone = trail.submitted - sum(reader.counts().values())
    waiting = [*reader.jobs("queued", limit=_QUEUED), *reader.jobs("leased", limit=_QUEUED)]
    return gone + sum(not (workspace.root / job.spool).exists() for job in waiting)


def _events_of_last_run(records: WatchRecords) -> int | None:
    last = records.reader.latest_finished()
    return None if last is None else sum(event.subject == last.run_id for event in records.events())


def _before(item: CheckpointRecord) -> Before:
    memory, cpu = (item.metrics.get(name) for name in (MEMORY.name, CPU.name))
    return Before(
        at=item.done_at or item.due_at,
        memory_mb=None if memory is None else Decimal(memory),
        cpu_percent=None if cpu is None else Decimal(cpu),
    )


def _known(look: Callable[[], T]) -> T | None:
    """What a look finds; None where the world keeps it from us."""
    try:
        return look()
    except WorldError:
        return None
