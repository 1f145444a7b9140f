"""Gather the figures of production from the records, as `watch.exposed` names them: for `abaco watch serve`.

Invariants: nothing is kept between two looks; what could not be read has no figures, and says so; how much is read, and
how many series there are, does not grow with the age of the workspace (but for the counting of events).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from abaco_loans import __version__
from abaco_loans.clock import Clock
from abaco_loans.errors import WorldError
from abaco_loans.operations.validate_production import REPORT
from abaco_loans.operations.watch_checkpoint import WatchRecords, kpi_variances, pipeline_status
from abaco_loans.operations.watch_production import Standing, standing_of
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.alerts import AlertReader
from abaco_loans.records.anchors import AnchorSet, read_last_anchor
from abaco_loans.records.ledger import GENESIS, Event, event_hash
from abaco_loans.records.runs import RunRecord, RunStatus
from abaco_loans.records.watches import CheckpointRecord
from abaco_loans.watch.alert import OPEN, Severity
from abaco_loans.watch.exposed import EXPOSED, Sample, state
from abaco_loans.watch.metric import AUDIT_EVENTS, CPU, ERROR_RATE, KPI_LATENCY, KPI_VARIANCE, MEMORY
from abaco_loans.watch.schedule import due_at

# Series that a book or a long life could multiply.
KPIS_MAX = 300
RELEASES_MAX = 50
ACTIONS_MAX = 200
# Events that are verified at each look.
TAIL = 200
OUTCOMES: tuple[RunStatus, ...] = ("finished", "refused", "failed")
_MB = 1_000_000
_NOBODY_AFTER = timedelta(minutes=2)


class Head(Protocol):
    """How long the ledger is."""

    @property
    def count(self) -> int:
        """How many events there are."""
        ...


class MetricsRecords(WatchRecords, Protocol):
    """What is read of the records."""

    @property
    def alert_reader(self) -> AlertReader:
        """Reads alerts and their deliveries."""
        ...

    def events(self, *, after_seq: int = 0) -> Iterable[Event]:
        """Events in order, from the one after ``after_seq``."""
        ...

    def head(self) -> Head:
        """How long the ledger is."""
        ...

    def counts_of_events(self) -> dict[str, int]:
        """How many events there are of each action."""
        ...

    def last_event_of(self, action: str) -> Event | None:
        """The latest event of an action."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsTools:
    """What `wiring` picks."""

    workspace: Workspace
    clock: Clock
    open_records: Callable[[], AbstractContextManager[MetricsRecords]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether production can be answered for: it can, when there are no ``reasons``."""

    reasons: tuple[str, ...]
    held: bool

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {"status": "unavailable" if self.reasons else "ok", "reasons": list(self.reasons), "held": self.held}


def production_metrics(tools: MetricsTools) -> tuple[Sample, ...]:
    """Every figure that can be had now. Records that cannot be read leave the success of each part, and that is 0."""
    found = [_one("abaco_build_info", 1, version=__version__)]
    try:
        with _opened(tools) as records:
            for name, collect in COLLECTORS.items():
                found += _collected(name, partial(collect, tools, records))
    except WorldError:
        done = {item.labels["collector"] for item in found if item.name == "abaco_collector_success"}
        found += [_one("abaco_collector_success", 0, collector=name) for name in COLLECTORS if name not in done]
    return tuple(found)


def production_health(tools: MetricsTools) -> Health:
    """Whether production can be answered for.

    Its reasons are ``database`` (records that cannot be read, or are not what was written), ``ledger`` (the last events
    or the last anchor do not hold), ``stalled_queue`` (a tape waits for 15 minutes, and nobody takes any) and
    ``no_worker`` (the same for 2 minutes). A cutover that holds production is no reason.
    """
    try:
        with _opened(tools) as records:
            now, reader = tools.clock.now(), records.production_reader
            held = bool(reader.pointer().held_by)
            reasons = [] if tail_holds(records, read_last_anchor(tools.workspace.anchors)) else ["ledger"]
            taken_at = _at(records.last_event_of("job.taken"))
            oldest, since = reader.oldest_queued(), now - _NOBODY_AFTER
            if pipeline_status(reader, taken_at, now) == "stalled":
                reasons.append("stalled_queue")
            waits = oldest is not None and oldest.submitted_at < since and not reader.counts()["leased"]
            if waits and not held and (taken_at is None or taken_at < since):
                reasons.append("no_worker")
    except WorldError as error:
        return Health(reasons=("ledger" if error.code == "REC-112" else "database",), held=False)
    return Health(reasons=tuple(reasons), held=held)


def tail_holds(records: MetricsRecords, anchors: AnchorSet) -> bool:
    """Whether the last events follow one another unchanged, and the last anchor speaks of one of them. The whole ledger
    is for `abaco audit verify`, and for each checkpoint."""
    count = records.head().count
    before: Event | None = None
    for event in records.events(after_seq=max(count - TAIL, 0)):
        follows = before is None or (event.previous_hash == before.hash and event.seq == before.seq + 1)
        if not follows or event_hash(event) != event.hash:
            return False
        before = event
    if not anchors.anchors:
        return True
    anchor = anchors.anchors[-1]
    anchored = next(iter(records.events(after_seq=anchor.count - 1)), None) if anchor.count else None
    head = anchored.hash if anchored else "" if anchor.count else GENESIS
    return head == anchor.head and anchor.signature_holds(anchors.public_key)


# --- the parts ---


def _runs(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    ends = records.reader.ends()
    releases = [release for release, _ in ends]
    releases += [item.name for item in records.reader.releases()] + [records.production_reader.pointer().active]
    named = _few(filter(None, releases), RELEASES_MAX)
    # Zeros too: what grows from nothing to 1 is no growth to Prometheus.
    counts = (
        ({"release": name, "outcome": outcome}, ends.get((release, outcome), 0))
        for release, name in named.items()
        for outcome in OUTCOMES
    )
    yield from _added_up("abaco_runs_total", counts)
    last = records.reader.latest_finished()
    if last is not None:
        yield from _last_run(tools, records, last)
        yield from _kpis(records, last.run_id)


def _last_run(tools: MetricsTools, records: MetricsRecords, last: RunRecord) -> Iterator[Sample]:
    made_with = {"release": last.release, "layout": last.layout, "definition": last.definition}
    yield _one("abaco_last_run_info", 1, **made_with)
    if last.finished_at:
        yield _one("abaco_last_run_end_timestamp_seconds", _seconds(last.finished_at))
    midnight = datetime(last.as_of.year, last.as_of.month, last.as_of.day, tzinfo=UTC)
    yield _one("abaco_last_run_as_of_timestamp_seconds", _seconds(midnight))
    phases = {name: Decimal(str(value)) for name, value in last.timings.items()}
    if phases:
        yield _one("abaco_last_run_duration_seconds", sum(phases.values(), Decimal(0)))
    for name, value in phases.items():
        yield _one("abaco_last_run_phase_duration_seconds", value, phase=name)
    if last.rows:
        _, accepted, refused, duplicate = last.rows.as_tuple()
        for name, rows in (("accepted", accepted), ("refused", refused), ("duplicate", duplicate)):
            yield _one("abaco_last_run_rows", rows, result=name)
    performance = (_report(tools, records.last_event_of("production.validated")) or {}).get("performance", {})
    memory = performance.get("metrics", {}).get("last_run_memory_mb")
    if memory is not None and performance["evidence"].get("last_run_memory", {}).get("run") == last.run_id:
        yield _one("abaco_last_run_memory_bytes", Decimal(memory) * _MB)


def _kpis(records: MetricsRecords, run_id: str) -> Iterator[Sample]:
    """Overall values only: a segment may be so small that its value speaks of a person."""
    overall = [row for row in records.reader.kpi_values(run_id) if not row.segment]
    for row in overall[:KPIS_MAX]:
        if row.value is not None and row.status != "suppressed":
            yield _one("abaco_kpi_value", row.value, kpi=row.kpi_id, unit=row.unit)
        yield from state("abaco_kpi_status", row.status, kpi=row.kpi_id)
    yield _one("abaco_kpis_left_out", max(len(overall) - KPIS_MAX, 0))


def _production(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    reader, now = records.production_reader, tools.clock.now()
    pointer, oldest = reader.pointer(), reader.oldest_queued()
    if pointer.active:
        yield _one("abaco_active_release_info", 1, release=pointer.active)
    yield _one("abaco_release_changes_total", pointer.epoch)
    yield _one("abaco_production_held", int(bool(pointer.held_by)))
    for name, jobs in reader.counts().items():
        yield _one("abaco_jobs", jobs, state=name)
    age = _seconds(now) - _seconds(oldest.submitted_at) if oldest else Decimal(0)
    yield _one("abaco_oldest_queued_job_age_seconds", max(age, Decimal(0)))
    submitted, taken = (_at(records.last_event_of(action)) for action in ("job.submitted", "job.taken"))
    if submitted:
        yield _one("abaco_last_job_submitted_timestamp_seconds", _seconds(submitted))
    if taken:
        yield _one("abaco_last_job_taken_timestamp_seconds", _seconds(taken))
    yield from state("abaco_pipeline_status", pipeline_status(reader, taken, now))


def _ledger(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    counts = records.counts_of_events()
    named = _few(sorted(counts), ACTIONS_MAX)
    yield from _added_up("abaco_ledger_events_total", (({"action": named[name]}, n) for name, n in counts.items()))
    anchors = read_last_anchor(tools.workspace.anchors)
    anchored = 0
    for anchor in anchors.anchors:
        anchored = anchor.count
        yield _one("abaco_last_anchor_timestamp_seconds", _seconds(datetime.fromisoformat(anchor.at)))
    yield _one("abaco_ledger_unanchored_events", max(records.head().count - anchored, 0))
    yield _one("abaco_ledger_tail_verified", int(tail_holds(records, anchors)))


def _validation(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    """As it is recorded; the whole is unknown when the report is not the one that was recorded."""
    event = records.last_event_of("production.validated")
    at = _at(event)
    if event is None or at is None:
        return
    yield _one("abaco_validation_timestamp_seconds", _seconds(at))
    sound = event_hash(event) == event.hash and _report(tools, event) is not None
    yield from state("abaco_validation_status", event.payload["status"] if sound else "UNKNOWN", check="all")
    for name, status in event.payload.get("checks", {}).items():
        yield from state("abaco_validation_status", status if sound else "UNKNOWN", check=name)


def _watch(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    reader = records.watch_reader
    watch = reader.current() or next(iter(reader.list(1)), None)
    if watch is None:
        return
    standing = standing_of(records, watch)
    yield from state("abaco_watch_status", watch.status)
    yield _one("abaco_watch_start_timestamp_seconds", _seconds(watch.started_at))
    if MEMORY.name in watch.baseline:
        yield _one("abaco_watch_baseline_memory_bytes", Decimal(watch.baseline[MEMORY.name]) * _MB)
    done = [item for item in standing.checkpoints if item.status == "done"]
    yield _one("abaco_watch_checkpoints", len(done), result="done")
    yield _one("abaco_watch_checkpoints", len(standing.checkpoints) - len(done), result="missed")
    if watch.status != "ended":
        yield from _under_way(standing, done)


def _under_way(standing: Standing, done: list[CheckpointRecord]) -> Iterator[Sample]:
    if standing.next_hour is not None:
        due = due_at(standing.watch.started_at, standing.next_hour)
        yield _one("abaco_next_checkpoint_due_timestamp_seconds", _seconds(due))
    for item in standing.open:
        yield _one("abaco_decision_open", 1, hour=item.point)
        yield _one("abaco_decision_deadline_timestamp_seconds", _seconds(item.deadline), hour=item.point)
    if done:
        yield from _checkpoint(done[-1])


_FIGURES = (
    ("abaco_checkpoint_kpi_latency_seconds", KPI_LATENCY, Decimal("0.001")),
    ("abaco_checkpoint_error_ratio", ERROR_RATE, Decimal("0.01")),
    ("abaco_checkpoint_memory_bytes", MEMORY, Decimal(_MB)),
    ("abaco_checkpoint_cpu_ratio", CPU, Decimal("0.01")),
    ("abaco_checkpoint_audit_trail_events", AUDIT_EVENTS, Decimal(1)),
    ("abaco_checkpoint_kpi_variance_ratio", KPI_VARIANCE, Decimal("0.01")),
)


def _checkpoint(item: CheckpointRecord) -> Iterator[Sample]:
    """The nine figures, and what they mean."""
    yield _one("abaco_checkpoint_timestamp_seconds", _seconds(datetime.fromisoformat(item.metrics["timestamp"])))
    for name, metric, unit in _FIGURES:
        value = item.metrics.get(metric.name)
        if value is not None:
            yield _one(name, Decimal(value) * unit)
    yield from state("abaco_checkpoint_pipeline_status", item.metrics.get("pipeline_status") or "unknown")
    yield from state("abaco_checkpoint_validation_status", item.metrics["validation_status"])
    yield from state("abaco_checkpoint_status", item.judged["status"])
    for figure, said in item.judged["figures"].items():
        yield from state("abaco_checkpoint_figure_status", said["status"], figure=figure)


def _shadow(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    watch = records.watch_reader.current()
    found = kpi_variances(tools.workspace, records, watch) if watch else None
    for kpi, percent in sorted((found or {}).items())[:KPIS_MAX]:
        if percent is not None:
            yield _one("abaco_shadow_variance_ratio", percent / 100, kpi=kpi)


def _alerts(tools: MetricsTools, records: MetricsRecords) -> Iterator[Sample]:
    reader = records.alert_reader
    alerts = [(item.severity, item.status) for item in reader.open()]
    for severity in Severity:
        for status in sorted(OPEN):
            count = alerts.count((severity, status))
            yield _one("abaco_alerts", count, severity=severity.value, status=status.value)
    yield _one("abaco_deliveries_waiting", len(reader.waiting(tools.clock.now())))
    for breaker in reader.breakers():
        yield _one("abaco_channel_breaker_open", int(breaker.opened_at is not None), channel=breaker.channel)


COLLECTORS: Mapping[str, Callable[[MetricsTools, MetricsRecords], Iterator[Sample]]] = {
    "runs": _runs,
    "production": _production,
    "ledger": _ledger,
    "validation": _validation,
    "watch": _watch,
    "shadow": _shadow,
    "alerts": _alerts,
}


# --- small things ---


def _opened(tools: MetricsTools) -> AbstractContextManager[MetricsRecords]:
    """The records; a look does not make any."""
    if not tools.workspace.has_records:
        raise WorldError(
            "there are no records yet",
            code="WAT-121",
            where="records/",
            hint="`abaco run` or `abaco submit` makes them",
        )
    return tools.open_records()


def _collected(name: str, collect: Callable[[], Iterator[Sample]]) -> list[Sample]:
    """The figures of a part, all or none, and whether and how fast they were had."""
    begin = time.perf_counter()
    try:
        found, success = list(collect()), 1
    except WorldError:
        found, success = [], 0
    took = Decimal(str(round(time.perf_counter() - begin, 6)))
    told = _one("abaco_collector_success", success, collector=name)
    return [*found, told, _one("abaco_collector_duration_seconds", took, collector=name)]


def _report(tools: MetricsTools, event: Event | None) -> dict[str, Any] | None:
    """The checks of the validation report; None when it is not there, or not the one that the event speaks of."""
    if event is None:
        return None
    try:
        text = (tools.workspace.root / REPORT).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest() != event.payload.get("report_sha256"):
        return None
    found: dict[str, Any] = json.loads(text, parse_float=Decimal)["checks"]
    return found


def _few(names: Iterable[str], most: int) -> dict[str, str]:
    """The first names for themselves, and ``other`` for those beyond."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name, name if len(found) < most else "other")
    return found


def _added_up(name: str, items: Iterable[tuple[Mapping[str, str], int]]) -> list[Sample]:
    """Samples of which those with the same labels are added up."""
    labels = EXPOSED[name].labels
    sums: dict[tuple[str, ...], int] = {}
    for given, value in items:
        key = tuple(given[label] for label in labels)
        sums[key] = sums.get(key, 0) + value
    return [Sample(name=name, value=value, labels=dict(zip(labels, key, strict=True))) for key, value in sums.items()]


def _one(name: str, value: Decimal | int, **labels: str) -> Sample:
    return Sample(name=name, value=value, labels=labels)


def _at(event: Event | None) -> datetime | None:
    return datetime.fromisoformat(event.recorded_at) if event else None


def _seconds(at: datetime) -> Decimal:
    """Seconds since 1970, exactly."""
    return Decimal((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) / 1_000_000
