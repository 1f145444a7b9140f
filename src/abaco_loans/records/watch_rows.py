"""Rows of the tables of watches to dataclasses and back, and which events say them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from abaco_loans.records.ledger import canonical
from abaco_loans.records.ledger_table import moment
from abaco_loans.records.standing import Kind
from abaco_loans.records.watches import CheckpointRecord, DecisionRecord, NewCheckpoint, NewWatch, WatchRecord

# The columns that a seal covers, in the order in which it does; a test holds them against the schema.
WATCH_SEALED = ["watch_id", "release", "baseline_release", "started_at", "baseline", "ends_at", "status"]
CHECKPOINT_SEALED = ["watch_id", "hour", "due_at", "done_at", "status", "metrics", "judged"]
DECISION_SEALED = [
    "watch_id", "point", "asked_at", "deadline", "decided_by", "decision", "by_default", "reason",
]  # fmt: skip

WATCHES = Kind(
    words="watch",
    subject="watch_id",
    sealed=WATCH_SEALED,
    makes=frozenset({"watch.watching"}),
    changes=frozenset({"watch.extended", "watch.signed_off", "watch.ended"}),
)
CHECKPOINTS = Kind(
    words="the checkpoints of watch",
    subject="watch_id",
    sealed=CHECKPOINT_SEALED,
    makes=frozenset({"checkpoint.done", "checkpoint.missed"}),
    changes=frozenset(),
)
DECISIONS = Kind(
    words="the decisions of watch",
    subject="watch_id",
    sealed=DECISION_SEALED,
    makes=frozenset({"decision.asked"}),
    changes=frozenset({"decision.made", "decision.defaulted"}),
    number="point",
)


def watch_columns(new: NewWatch) -> dict[str, Any]:
    """A new watch as columns; the status is not among them."""
    given = {field.name: getattr(new, field.name) for field in fields(NewWatch)}
    baseline = canonical(dict(new.baseline)).decode()
    return given | {"started_at": moment(new.started_at), "baseline": baseline, "ends_at": None}


def watch(row: Mapping[str, Any]) -> WatchRecord:
    """A row of `watches` as a record."""
    typed = {
        "started_at": datetime.fromisoformat(row["started_at"]),
        "baseline": json.loads(row["baseline"]),
        "ends_at": _moment(row["ends_at"]),
    }
    return WatchRecord(**{field.name: row[field.name] for field in fields(WatchRecord)} | typed)


def checkpoint_columns(new: NewCheckpoint) -> dict[str, Any]:
    """A checkpoint as columns; the seal is not among them."""
    return {
        "watch_id": new.watch_id,
        "hour": new.hour,
        "due_at": moment(new.due_at),
        "done_at": moment(new.done_at) if new.done_at else None,
        "status": "done" if new.done_at else "missed",
        "metrics": canonical(dict(new.metrics)).decode(),
        "judged": canonical(dict(new.judged)).decode(),
    }


def checkpoint(row: Mapping[str, Any]) -> CheckpointRecord:
    """A row of `checkpoints` as a record."""
    typed = {
        "due_at": datetime.fromisoformat(row["due_at"]),
        "done_at": _moment(row["done_at"]),
        "metrics": json.loads(row["metrics"]),
        "judged": json.loads(row["judged"]),
    }
    return CheckpointRecord(**{field.name: row[field.name] for field in fields(CheckpointRecord)} | typed)


def decision(row: Mapping[str, Any]) -> DecisionRecord:
    """A row of `decisions` as a record."""
    typed = {
        "asked_at": datetime.fromisoformat(row["asked_at"]),
        "deadline": datetime.fromisoformat(row["deadline"]),
        "by_default": bool(row["by_default"]),
    }
    return DecisionRecord(**{field.name: row[field.name] for field in fields(DecisionRecord)} | typed)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
