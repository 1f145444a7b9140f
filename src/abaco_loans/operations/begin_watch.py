"""Begin to watch the release that a cutover made active, beside what was measured of it before the switch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from abaco_loans.operations.watch_checkpoint import WatchTools
from abaco_loans.records.cutovers import CutoverRecord
from abaco_loans.records.watches import NewWatch, WatchRecord
from abaco_loans.releases.plan import Phase

_METRICS = "metrics"


def begin_watch(tools: WatchTools, record: CutoverRecord) -> WatchRecord:
    """Watch what a completed cutover made active. The baseline is what the check suite of its staging measured."""
    with tools.open_records() as records:
        steps = records.cutover_reader.steps(record.cutover_id)
    staged = [item.evidence[_METRICS] for item in steps if item.phase == Phase.STAGING and _METRICS in item.evidence]
    return start_watch(
        tools,
        record.cutover_id,
        release=record.to_release,
        baseline_release=record.from_release,
        cutover_at=record.finished_at or tools.clock.now(),
        baseline={name: Decimal(value) for name, value in (staged[-1] if staged else {}).items()},
    )


def start_watch(
    tools: WatchTools,
    cutover_id: str,
    *,
    release: str,
    baseline_release: str,
    cutover_at: datetime,
    baseline: Mapping[str, Decimal] | None = None,
) -> WatchRecord:
    """Begin to watch the release that a cutover made active; the same call again gives the same watch.

    Another watch that is under way ends.

    Args:
        cutover_id: of a cutover that is recorded.
        cutover_at: when the release became active.
        baseline: metrics that were recorded before, by name (`watch.metric`); none: nothing is compared with them.
    """
    new = NewWatch(
        watch_id=cutover_id,
        release=release,
        baseline_release=baseline_release,
        started_at=cutover_at,
        baseline={name: f"{value:f}" for name, value in (baseline or {}).items()},
    )
    with tools.open_records() as records:
        watch, is_new = records.watch_writer.start(new)
    if is_new:
        tools.anchor()
    return watch
