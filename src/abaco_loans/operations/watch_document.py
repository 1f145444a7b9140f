"""How a watch stands, as JSON-ready data: what `abaco watch status --json` prints. Documented in docs/watch.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from abaco_loans.operations.watch_checkpoint import WatchRecords, WatchTools
from abaco_loans.operations.watch_production import Standing, TickOutcome, facts_of, standing_of
from abaco_loans.records.watches import CheckpointRecord, DecisionRecord, WatchRecord
from abaco_loans.watch.decision import Point, passes, point_at, points
from abaco_loans.watch.schedule import due, due_at, text_of


def watch_document(tools: WatchTools, *, watch_id: str | None = None) -> dict[str, Any]:
    """The watch that is under way, or was last (or the one named): timeline, decisions, and what comes next.

    ``watch`` is None where production was never watched.
    """
    with tools.open_records() as records:
        reader = records.watch_reader
        watch = reader.get(watch_id) if watch_id else reader.current() or next(iter(reader.list(1)), None)
        if watch is None:
            return {"watch": None}
        standing = standing_of(records, watch)
        now = tools.clock.now()
        what = due(watch.started_at, now, standing.recorded, standing.hours)
        hour = standing.next_hour if watch.status == "ended" else what.checkpoint or standing.next_hour
        return {
            "watch": _watch(watch),
            "elapsed_hours": text_of(_elapsed(watch, now)),
            "next": None if hour is None else {"hour": text_of(hour), "due_at": _at(watch, hour).isoformat()},
            "timeline": _timeline(standing, now),
            "decisions": [_decision(tools, records, standing, item) for item in standing.decisions],
        }


def tick_document(outcome: TickOutcome) -> dict[str, Any]:
    """What a tick did."""
    return {
        "watch": None if outcome.watch is None else _watch(outcome.watch),
        "done": None if outcome.done is None else checkpoint_document(outcome.done),
        "missed": [item.hour for item in outcome.missed],
        "defaulted": [decision_document(item) for item in outcome.defaulted],
        "asked": [decision_document(item) for item in outcome.asked],
        "triggers": [
            {"cause": item.cause.value, "fired": item.fired, "words": item.words} for item in outcome.triggers
        ],
        "rollback_proposed": outcome.rollback_proposed,
        "rolled_back": outcome.went_back or None,
        "rollback_failed": outcome.stuck.as_dict() if outcome.stuck else None,
        "validated": outcome.validated.status.value if outcome.validated else None,
    }


def checkpoint_document(item: CheckpointRecord) -> dict[str, Any]:
    """A checkpoint that was recorded."""
    return {
        "hour": item.hour,
        "due_at": item.due_at.isoformat(),
        "done_at": item.done_at.isoformat() if item.done_at else None,
        "mark": item.judged.get("status", "MISSED"),
        "metrics": dict(item.metrics),
        "judged": dict(item.judged),
        "event": item.event_seq,
    }


def decision_document(item: DecisionRecord) -> dict[str, Any]:
    """A decision that was asked for."""
    return {
        "hour": item.point,
        "asked_at": item.asked_at.isoformat(),
        "deadline": item.deadline.isoformat(),
        "decision": item.decision,
        "decided_by": item.decided_by,
        "by_default": item.by_default,
        "reason": item.reason,
        "event": item.event_seq,
    }


def _watch(watch: WatchRecord) -> dict[str, Any]:
    return {
        "watch_id": watch.watch_id,
        "release": watch.release,
        "baseline_release": watch.baseline_release or None,
        "started_at": watch.started_at.isoformat(),
        "ends_at": watch.ends_at.isoformat() if watch.ends_at else None,
        "status": watch.status,
        "event": watch.event_seq,
    }


def _timeline(standing: Standing, now: datetime) -> Sequence[dict[str, Any]]:
    """Every checkpoint and decision point by hour: what is recorded, due and to come. ``OVERDUE``: before one that is
    due; the next tick records it as missed."""
    watch, recorded = standing.watch, {Decimal(item.hour): item for item in standing.checkpoints}
    asked = {item.point for item in standing.decisions}
    latest = due(watch.started_at, now, standing.recorded, standing.hours).checkpoint
    found: list[dict[str, Any]] = []
    for hour in sorted({*standing.hours, *recorded}):
        item = recorded.get(hour)
        if item is not None:
            found.append({"kind": "checkpoint", **checkpoint_document(item)})
        elif watch.status != "ended":
            at = _at(watch, hour)
            mark = "TO COME" if at > now else "DUE" if hour == latest else "OVERDUE"
            found.append({"kind": "checkpoint", "hour": text_of(hour), "due_at": at.isoformat(), "mark": mark})
    if watch.status in ("watching", "extended"):
        for point in points(standing.extended_days):
            if text_of(point.hour) not in asked:
                at = _at(watch, point.hour)
                found.append(
                    {"kind": "decision", "hour": text_of(point.hour), "due_at": at.isoformat(), **_asks(point)}
                )
    return sorted(found, key=lambda line: (Decimal(line["hour"]), line["kind"]))


def _decision(tools: WatchTools, records: WatchRecords, standing: Standing, item: DecisionRecord) -> dict[str, Any]:
    """A decision; while it is open, with the facts."""
    said = decision_document(item)
    if item.decision is not None:
        return said
    point = point_at(Decimal(item.point))
    met = facts_of(tools, records, standing, point)
    criteria = [{"criterion": one.criterion.value, "met": one.met, "words": one.words} for one in met]
    return said | _asks(point) | {"passes": passes(met), "criteria": criteria}


def _asks(point: Point) -> dict[str, Any]:
    return {
        "question": point.question,
        "choices": [choice.value for choice in point.choices],
        "default": point.default.value,
    }


def _at(watch: WatchRecord, hour: Decimal) -> datetime:
    return due_at(watch.started_at, hour)


def _elapsed(watch: WatchRecord, now: datetime) -> Decimal:
    return (Decimal(int((now - watch.started_at).total_seconds())) / 3600).quantize(Decimal("0.01"))
