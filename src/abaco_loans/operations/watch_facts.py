"""What is recorded of the watch after a cutover, for its reports: checkpoints, decisions with their criteria."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from abaco_loans.operations.watch_checkpoint import WatchRecords, WatchTools
from abaco_loans.operations.watch_document import checkpoint_document, decision_document
from abaco_loans.operations.watch_production import Standing, facts_of, standing_of
from abaco_loans.releases import trigger
from abaco_loans.watch.decision import FREQUENCY, Choice, Point, passes, point_at, points
from abaco_loans.watch.schedule import DAY, due_at, text_of


def watch_facts(tools: WatchTools, records: WatchRecords, watch_id: str) -> dict[str, Any] | None:
    """The watch of a cutover; None: it was not watched.

    ``points`` are hour 8 and the sign-off that is open, was made or comes next, each with its criteria as the recorded
    checkpoints meet them.
    """
    watch = records.watch_reader.get(watch_id)
    if watch is None:
        return None
    standing = standing_of(records, watch)
    recorded = {Decimal(item.hour): item for item in standing.checkpoints}
    hours = sorted({*standing.hours, *recorded})
    return {
        "status": watch.status,
        "release": watch.release,
        "baseline_release": watch.baseline_release or None,
        "started_at": watch.started_at.isoformat(),
        "ends_at": watch.ends_at.isoformat() if watch.ends_at else None,
        "extended_days": standing.extended_days,
        "baseline": dict(watch.baseline),
        "source": f"watch {watch.watch_id}, event {watch.event_seq}",
        "checkpoints": [
            checkpoint_document(recorded[hour])
            if hour in recorded
            else {
                "hour": text_of(hour),
                "due_at": due_at(watch.started_at, hour).isoformat(),
                "mark": "NOT DONE" if watch.status == "ended" else "TO COME",
            }
            for hour in hours
        ],
        "decisions": [decision_document(item) for item in standing.decisions],
        "points": [_point(tools, records, standing, point) for point in (FREQUENCY, _sign_off_point(standing))],
    }


def _sign_off_point(standing: Standing) -> Point:
    """The point at which it was signed off; else the one that is asked for, or comes next."""
    daily = [item for item in standing.decisions if Decimal(item.point) % DAY == 0]
    said = [item for item in daily if item.decision in (None, Choice.SIGN_OFF.value)]
    if said:
        return point_at(Decimal(said[-1].point))
    return points(standing.extended_days)[-1]


def _point(tools: WatchTools, records: WatchRecords, standing: Standing, point: Point) -> dict[str, Any]:
    met = facts_of(tools, records, standing, point)
    asked = next((item for item in standing.decisions if item.point == text_of(point.hour)), None)
    return {
        "hour": text_of(point.hour),
        "since": text_of(point.since),
        "due_at": due_at(standing.watch.started_at, point.hour).isoformat(),
        "question": point.question,
        "choices": [choice.value for choice in point.choices],
        "trusting": sorted(choice.value for choice in point.trusting),
        "default": point.default.value,
        "allowed_hours": text_of(Decimal(int(point.allowed.total_seconds())) / 3600),
        "passes": passes(met),
        "criteria": [{"criterion": one.criterion.value, "met": one.met, "words": one.words} for one in met],
        "asked": None if asked is None else decision_document(asked),
    }


def trigger_facts() -> list[dict[str, str]]:
    """What calls production back."""
    minutes = int(trigger.ERROR_RATE_FOR.total_seconds() // 60)
    within = int(trigger.CRASHES_WITHIN.total_seconds() // 60)
    words = {
        trigger.Cause.ERROR_RATE: f"over {trigger.ERROR_RATE_PERCENT_MAX} % for {minutes} minutes",
        trigger.Cause.DATA_LOSS: "an acknowledged tape is nowhere",
        trigger.Cause.CRASHES: f"{trigger.CRASHES_REPEATED} in {within} minutes",
        trigger.Cause.KPI_VARIANCE: f"a KPI differs by more than {trigger.KPI_VARIANCE_PERCENT_MAX} %",
        trigger.Cause.AUDIT_TRAIL: "the ledger does not verify, or the last run left no event",
    }
    return [{"cause": cause.value, "words": words[cause]} for cause in trigger.Cause]
