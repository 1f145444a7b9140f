"""What `/metrics` says: every metric with its kind, its labels and what it means. Data; docs/metrics.md is made of it.

Names follow Prometheus: base units (seconds, bytes, ratios), the unit last. A state is one series for each value that
it can have, 1 for the one that holds. What is not known has no series: nothing is said to be 0 that was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from abaco_loans.errors import InvariantError


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """One metric. ``name`` is that of its samples, with ``_total`` of a counter and ``_info`` of an info.

    Attributes:
        labels: names of its labels.
        text: one sentence.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a metric of `EXPOSED`, with exactly the labels that it has."""

    name: str
    value: Decimal | int
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        known = EXPOSED.get(self.name)
        if known is None or set(known.labels) != set(self.labels):
            raise InvariantError(f"{self.name} with labels {sorted(self.labels)} is no metric of ours")


def _gauge(name: str, text: str, *labels: str) -> Exposed:
    return Exposed(name=name, kind=Kind.GAUGE, text=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Exposed:
    return Exposed(name=name, kind=Kind.COUNTER, text=text, labels=labels)


def _info(name: str, text: str, *labels: str) -> Exposed:
    return Exposed(name=name, kind=Kind.INFO, text=text, labels=labels)


_ITSELF = (
    _info("abaco_build_info", "The version of this program.", "version"),
    _gauge("abaco_collector_success", "Whether this part of the figures could be read.", "collector"),
    _gauge("abaco_collector_duration_seconds", "How long it took to read this part of the figures.", "collector"),
)
_RUNS = (
    _counter("abaco_runs_total", "Runs that ended: finished, refused or failed; panels are not counted.", "release",
             "outcome"),
    _info("abaco_last_run_info", "What the run that finished last was made with.", "release", "layout", "definition"),
    _gauge("abaco_last_run_end_timestamp_seconds", "When the last run finished."),
    _gauge("abaco_last_run_as_of_timestamp_seconds", "The day that the last run speaks of, at midnight UTC."),
    _gauge("abaco_last_run_duration_seconds", "How long the last run took, of which its phases are the parts."),
    _gauge("abaco_last_run_phase_duration_seconds", "How long a phase of the last run took.", "phase"),
    _gauge("abaco_last_run_rows", "Rows of the last run's tape: accepted, refused or duplicate.", "result"),
    _gauge("abaco_last_run_memory_bytes",
           "Largest memory of the last run, as production validation found it; none when it looked at another run."),
    _gauge("abaco_kpi_value", "A KPI of the last run over the whole portfolio; none where it has no value.", "kpi",
           "unit"),
    _gauge("abaco_kpi_status", "A KPI of the last run against its thresholds.", "kpi", "status"),
    _gauge("abaco_kpis_left_out", "KPIs of the last run that are not shown here, because there are too many."),
)  # fmt: skip
_PRODUCTION = (
    _info("abaco_active_release_info", "The release that is active in production.", "release"),
    _counter("abaco_release_changes_total", "How often another release became active."),
    _gauge("abaco_production_held", "Whether a cutover keeps jobs from being taken."),
    _gauge("abaco_jobs", "Jobs by state.", "state"),
    _gauge("abaco_oldest_queued_job_age_seconds", "How long the oldest job in the queue has waited; 0 with none."),
    _gauge("abaco_last_job_submitted_timestamp_seconds", "When a tape was put into the queue last."),
    _gauge("abaco_last_job_taken_timestamp_seconds", "When a worker took a job last."),
    _gauge("abaco_pipeline_status", "Whether the pipeline runs, is held, or is stalled.", "status"),
)
_LEDGER = (
    _counter("abaco_ledger_events_total", "Events in the audit ledger.", "action"),
    _gauge("abaco_ledger_unanchored_events", "Events since the last anchor."),
    _gauge("abaco_last_anchor_timestamp_seconds", "When the ledger was anchored last."),
    _gauge("abaco_ledger_tail_verified",
           "Whether the last events hold together, and the last anchor speaks of them; not the whole ledger."),
)  # fmt: skip
_VALIDATION = (
    _gauge("abaco_validation_status", "A check of the last production validation; all: what they add up to.",
           "check", "status"),
    _gauge("abaco_validation_timestamp_seconds", "When production was validated last."),
)  # fmt: skip
_WATCH = (
    _gauge("abaco_watch_status", "How the watch over the last cutover stands.", "status"),
    _gauge("abaco_watch_start_timestamp_seconds", "When the watch began."),
    _gauge("abaco_watch_baseline_memory_bytes", "Memory as it was recorded before the cutover."),
    _gauge("abaco_watch_checkpoints", "Checkpoints of the watch so far: done or missed.", "result"),
    _gauge("abaco_next_checkpoint_due_timestamp_seconds", "When the next checkpoint is due."),
    _gauge("abaco_decision_open", "A decision that waits for an answer, by its hour.", "hour"),
    _gauge("abaco_decision_deadline_timestamp_seconds", "Until when a decision waits, by its hour.", "hour"),
    _gauge("abaco_checkpoint_status", "What the last checkpoint that was done came to.", "status"),
    _gauge("abaco_checkpoint_figure_status", "What each figure of that checkpoint means.", "figure", "status"),
    _gauge("abaco_checkpoint_timestamp_seconds", "When it was measured."),
    _gauge("abaco_checkpoint_kpi_latency_seconds", "Calculation of 1,000 rows."),
    _gauge("abaco_checkpoint_error_ratio", "Jobs that failed, of those that ended since the checkpoint before."),
    _gauge("abaco_checkpoint_memory_bytes", "Memory of the pipeline."),
    _gauge("abaco_checkpoint_cpu_ratio", "CPU of the pipeline, of all processors."),
    _gauge("abaco_checkpoint_audit_trail_events", "Audit events of the last run."),
    _gauge("abaco_checkpoint_pipeline_status", "Whether the pipeline ran, was held, or was stalled.", "status"),
    _gauge("abaco_checkpoint_kpi_variance_ratio", "Largest unexplained difference from the old release."),
    _gauge("abaco_checkpoint_validation_status", "What production validation said.", "status"),
    _gauge("abaco_shadow_variance_ratio",
           "Unexplained difference of a KPI between the watched release and the old one, on the last run's tape.",
           "kpi"),
)  # fmt: skip
_ALERTS = (
    _gauge("abaco_alerts", "Alerts that are open: firing, or acknowledged by a person.", "severity", "status"),
    _gauge("abaco_deliveries_waiting", "Messages of alerts that are due and did not go out yet."),
    _gauge("abaco_channel_breaker_open", "Whether a channel is given a rest because it failed.", "channel"),
)

EXPOSED: Mapping[str, Exposed] = {
    item.name: item for item in (*_ITSELF, *_RUNS, *_PRODUCTION, *_LEDGER, *_VALIDATION, *_WATCH, *_ALERTS)
}

# Of each label that is a state, the values that it can have: one series each.
STATES: Mapping[str, tuple[str, ...]] = {
    "abaco_kpi_status": ("ok", "warning", "critical", "not_computable", "out_of_range", "suppressed"),
    "abaco_pipeline_status": ("running", "held", "stalled"),
    "abaco_validation_status": ("PASS", "WARN", "FAIL", "UNKNOWN", "NOT_APPLICABLE"),
    "abaco_watch_status": ("watching", "extended", "signed_off", "ended"),
    "abaco_checkpoint_status": ("PASS", "WARN", "FAIL", "UNKNOWN"),
    "abaco_checkpoint_figure_status": ("PASS", "WARN", "FAIL", "UNKNOWN", "NOT_APPLICABLE"),
    "abaco_checkpoint_pipeline_status": ("running", "held", "stalled", "unknown"),
    "abaco_checkpoint_validation_status": ("PASS", "WARN", "FAIL", "UNKNOWN"),
}


def state(name: str, value: str, **labels: str) -> list[Sample]:
    """The series of a state: 1 for ``value``, 0 for the others.

    Raises:
        InvariantError: it has no such value.
    """
    if value not in STATES[name]:
        raise InvariantError(f"{name} cannot be {value!r}")
    return [Sample(name=name, value=int(one == value), labels={**labels, "status": one}) for one in STATES[name]]
