"""What the records say of production now, for the rules that raise alerts (`watch.rules`).

What cannot be read was not measured. While a cutover is watched, figures are those of its last checkpoint; afterwards
those of the daily validation, and what only a watch measures is no longer looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from abaco_loans.errors import WorldError
from abaco_loans.operations.watch_production import TickOutcome
from abaco_loans.records.alerts import AlertReader
from abaco_loans.records.cutovers import CutoverReader, CutoverRecord
from abaco_loans.records.ledger import Event
from abaco_loans.records.production import ProductionReader
from abaco_loans.records.runs import PANEL_PREFIX, RunReader
from abaco_loans.records.watches import CheckpointRecord, WatchReader, WatchRecord
from abaco_loans.releases.trigger import Cause, Trigger
from abaco_loans.watch.alert_policy import AlertPolicy, ErrorBudget
from abaco_loans.watch.check import Report, Status
from abaco_loans.watch.checkpoint import PIPELINE, VALIDATION
from abaco_loans.watch.metric import (
    AUDIT_EVENTS,
    CPU,
    ERROR_RATE,
    KPI_LATENCY,
    KPI_VARIANCE,
    MEMORY,
    METRICS,
    Judged,
)
from abaco_loans.watch.rules import UNWATCHED, Arrivals, Ended, Facts, KpiFact, OpenDecision

_CUTOVERS = 50
_PANELS = 50
# Part of a validation → the figure that it measures.
_PARTS = {
    "latency_1000_rows": KPI_LATENCY.name,
    "memory_peak": MEMORY.name,
    "last_run_events": AUDIT_EVENTS.name,
}
_ONLY_WATCHED = (ERROR_RATE.name, CPU.name, KPI_VARIANCE.name, PIPELINE)
_OVER = Judged(status=Status.NOT_APPLICABLE, words=UNWATCHED)

T = TypeVar("T")


class FactRecords(Protocol):
    """What the facts are read from."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    @property
    def production_reader(self) -> ProductionReader:
        """Reads the queue."""
        ...

    @property
    def cutover_reader(self) -> CutoverReader:
        """Reads cutovers and rollbacks."""
        ...

    @property
    def watch_reader(self) -> WatchReader:
        """Reads watches."""
        ...

    @property
    def alert_reader(self) -> AlertReader:
        """Reads breakers."""
        ...

    def last_event_of(self, action: str) -> Event | None:
        """The latest event of an action, or None."""
        ...


def gather(records: FactRecords, policy: AlertPolicy, outcome: TickOutcome | None, now: datetime) -> Facts:
    """Everything that is known.

    Args:
        outcome: of the tick that looked at production just now; None: only what is recorded counts.
    """
    watched = _known(lambda: (records.watch_reader.current(),))
    watch = watched[0] if watched else None
    checkpoints = _known(lambda: records.watch_reader.checkpoints(watch.watch_id)) if watch else ()
    budget = policy.error_budget
    return Facts(
        at=now,
        figures=None if watched is None else _figures(watch, checkpoints, outcome),
        triggers=None if watched is None else _triggers(watch, checkpoints, outcome),
        watched=watch is not None,
        kpis=_known(lambda: _kpis(records.reader)),
        arrivals=_known(lambda: _arrivals(records)),
        tape_every=policy.tape_every,
        ended=_known(lambda: _ended(records, budget)),
        missed_hours=None if watched is None or checkpoints is None else _missed(checkpoints),
        decisions=None if watched is None else _known(lambda: _decisions(records.watch_reader, watch)),
        breakers=_known(lambda: _breakers(records.alert_reader, policy)),
        rollback_failed=_known(lambda: _rollback_failed(records, outcome)),
    )


def _figures(
    watch: WatchRecord | None, checkpoints: Sequence[CheckpointRecord] | None, outcome: TickOutcome | None
) -> Mapping[str, Judged] | None:
    if watch is None:
        report = outcome.validated if outcome else None
        return dict.fromkeys(_ONLY_WATCHED, _OVER) | (_validated(report) if report else {})
    last = _last_done(checkpoints)
    if last is None:
        return None
    said = last.judged["figures"]
    return {
        name: Judged(status=Status(item["status"]), words=item["words"], waits=item.get("waits", False))
        for name, item in said.items()
    }


def _validated(report: Report) -> dict[str, Judged]:
    """The figures that a validation measures, and the validation itself with the parts that do not pass."""
    parts = [item for check in report.checks for item in check.subchecks]
    found = {
        figure: Judged(status=item.status, words=f"{METRICS[figure].text} could not be measured")
        if item.status is Status.UNKNOWN
        else Judged(status=item.status, words=item.words)
        for item in parts
        if (figure := _PARTS.get(item.name))
    }
    bad = [item.name for item in parts if item.status not in (Status.PASS, Status.NOT_APPLICABLE)]
    words = f"production validation {report.status}" + (f": {', '.join(bad)}" if bad else "")
    return found | {VALIDATION: Judged(status=report.status, words=words)}


def _triggers(
    watch: WatchRecord | None, checkpoints: Sequence[CheckpointRecord] | None, outcome: TickOutcome | None
) -> tuple[Trigger, ...] | None:
    """Those of the tick; else of the last checkpoint. Without a watch nothing proposes a rollback."""
    if watch is None:
        return ()
    if outcome is not None:
        return outcome.triggers
    last = _last_done(checkpoints)
    if last is None:
        return None
    return tuple(
        Trigger(cause=Cause(said["cause"]), fired=said["fired"], words=said["words"])
        for said in last.judged["triggers"]
    )


def _last_done(checkpoints: Sequence[CheckpointRecord] | None) -> CheckpointRecord | None:
    return next((item for item in reversed(checkpoints or ()) if item.status == "done"), None)


def _missed(checkpoints: Sequence[CheckpointRecord]) -> tuple[str, ...]:
    """The hours missed since the checkpoint before the last one that was done."""
    done = [place for place, item in enumerate(checkpoints) if item.status == "done"]
    recent = checkpoints[done[-2] + 1 :] if len(done) > 1 else checkpoints
    return tuple(item.hour for item in recent if item.status == "missed")


def _decisions(reader: WatchReader, watch: WatchRecord | None) -> tuple[OpenDecision, ...]:
    asked = reader.decisions(watch.watch_id) if watch else ()
    return tuple(
        OpenDecision(point=item.point, asked_at=item.asked_at, deadline=item.deadline)
        for item in asked
        if item.decision is None
    )


def _kpis(reader: RunReader) -> Mapping[str, KpiFact] | None:
    """The KPIs of the run that finished last, overall; None before the first."""
    last = reader.latest_finished()
    if last is None:
        return None
    return {
        row.kpi_id: KpiFact(status=row.status, value="" if row.value is None else f"{row.value:f} {row.unit}".strip())
        for row in reader.kpi_values(last.run_id)
        if not row.segment
    }


def _arrivals(records: FactRecords) -> Arrivals:
    """Tapes arrive in the queue; where it was never used, by being run."""
    waits = records.production_reader.oldest_queued()
    ended = [_at(event) for action in ("job.done", "job.failed") if (event := records.last_event_of(action))]
    arrived = records.last_event_of("job.submitted") or records.last_event_of("run.started")
    return Arrivals(
        last_at=_at(arrived) if arrived else None,
        waiting_since=waits.submitted_at if waits else None,
        last_ended_at=max(ended, default=None),
    )


def _at(event: Event) -> datetime:
    return datetime.fromisoformat(event.recorded_at)


def _ended(records: FactRecords, budget: ErrorBudget) -> Ended:
    """The last jobs that ended, most of which were runs; where the queue was never used, the last runs.

    A tape that was refused gave no result, as one over which the run broke did.
    """
    queue = records.production_reader
    jobs = [*queue.jobs("done", limit=budget.runs), *queue.jobs("failed", limit=budget.runs)]
    failed = [item.status == "failed" for item in sorted(jobs, key=lambda item: -item.event_seq)]
    if not jobs:
        failed = [
            item.status != "finished"
            for item in records.reader.list(budget.runs + _PANELS)
            if item.status != "running" and not item.run_id.startswith(PANEL_PREFIX)
        ]
    last = failed[: budget.runs]
    return Ended(looked_at=len(last), failed=sum(last), failed_max=budget.failed)


def _breakers(reader: AlertReader, policy: AlertPolicy) -> dict[str, bool]:
    return {item.channel: item.opened_at is not None for item in reader.breakers() if item.channel in policy.channels}


def _rollback_failed(records: FactRecords, outcome: TickOutcome | None) -> str | None:
    """What keeps the latest rollback from its end: one that could not begin, or that is held or was stopped.

    A stopped one is made good by a later cutover or rollback that completes, or when the release it was for is active
    and jobs are taken; one that was stopped or came to nothing itself mends nothing. None: a rollback runs, and how it
    ends is not known.
    """
    if outcome is not None and outcome.stuck is not None:
        return f"a rollback was called for, and could not be carried out ({outcome.stuck.code})"
    for item in records.cutover_reader.list(_CUTOVERS):
        if item.status == "completed" and item.kind != "drill":
            return ""
        if item.kind != "rollback" or item.status == "planned":
            continue
        if item.status == "running":
            return None
        words = f"rollback {item.cutover_id} to {item.to_release} is {item.status}"
        return "" if _is_made_good(records, item) else words
    return ""


def _is_made_good(records: FactRecords, rollback: CutoverRecord) -> bool:
    """Whether production is where a rollback that was stopped would have brought it; one that is held is not over."""
    pointer = records.production_reader.pointer()
    return rollback.status == "stopped" and pointer.active == rollback.to_release and not pointer.held_by


def _known(look: Callable[[], T]) -> T | None:
    """What a look finds; None where the world keeps it from us."""
    try:
        return look()
    except WorldError:
        return None
