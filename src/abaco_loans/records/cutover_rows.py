"""Rows of the tables of cutovers to dataclasses and back, and which events say them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from abaco_loans.records.cutovers import Approval, CutoverRecord, NewApproval, NewCutover, StepRecord
from abaco_loans.records.ledger_table import moment
from abaco_loans.records.standing import Kind

NEW_FIELDS = [field.name for field in fields(NewCutover)]
# The columns that a seal covers, in the order in which it does; a test holds them against the schema.
CUTOVER_SEALED = [
    *NEW_FIELDS, "status", "under_way", "created_by", "created_at", "started_at", "finished_at", "outcome",
]  # fmt: skip
STEP_SEALED = [
    "cutover_id", "number", "phase", "name", "status", "attempt", "evidence", "started_at", "finished_at",
]  # fmt: skip
APPROVAL_SEALED = [
    "cutover_id", "plan_hash", "role", "person", "how", "verified", "reason", "at", "expires_at",
]  # fmt: skip

CUTOVERS = Kind(
    words="cutover",
    subject="cutover_id",
    sealed=CUTOVER_SEALED,
    makes=frozenset({"cutover.planned"}),
    changes=frozenset(
        {"cutover.running", "cutover.held", "cutover.completed", "cutover.rolled_back", "cutover.stopped"}
    ),
)
STEPS = Kind(
    words="the steps of cutover",
    subject="cutover_id",
    sealed=STEP_SEALED,
    makes=frozenset({"step.started"}),
    changes=frozenset({"step.done", "step.failed", "step.undone"}),
    number="number",
)
APPROVALS = Kind(
    words="the approvals of cutover",
    subject="cutover_id",
    sealed=APPROVAL_SEALED,
    makes=frozenset({"cutover.approved"}),
    changes=frozenset(),
)


def cutover(row: Mapping[str, Any]) -> CutoverRecord:
    """A row of `cutovers` as a record."""
    typed = {
        "created_at": datetime.fromisoformat(row["created_at"]),
        "started_at": _moment(row["started_at"]),
        "finished_at": _moment(row["finished_at"]),
        "outcome": json.loads(row["outcome"]) if row["outcome"] else None,
    }
    return CutoverRecord(**{field.name: row[field.name] for field in fields(CutoverRecord)} | typed)


def step(row: Mapping[str, Any]) -> StepRecord:
    """A row of `cutover_steps` as a record."""
    typed = {
        "evidence": json.loads(row["evidence"]),
        "started_at": datetime.fromisoformat(row["started_at"]),
        "finished_at": _moment(row["finished_at"]),
    }
    return StepRecord(**{field.name: row[field.name] for field in fields(StepRecord)} | typed)


def approval_columns(new: NewApproval, at: datetime) -> dict[str, Any]:
    """An approval as columns; the seal is not among them."""
    given = {field.name: getattr(new, field.name) for field in fields(NewApproval)}
    return given | {"verified": int(new.verified), "at": moment(at), "expires_at": moment(new.expires_at)}


def approval(row: Mapping[str, Any]) -> Approval:
    """A row of `approvals` as an approval."""
    typed = {
        "verified": bool(row["verified"]),
        "at": datetime.fromisoformat(row["at"]),
        "expires_at": datetime.fromisoformat(row["expires_at"]),
    }
    return Approval(**{field.name: row[field.name] for field in fields(Approval)} | typed)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
