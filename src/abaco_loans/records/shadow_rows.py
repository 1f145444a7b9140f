"""Rows of the tables of shadow runs and seals to dataclasses and back, and which events say them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from abaco_loans.records.shadows import GateSeal, NewSeal, ShadowPlan, ShadowRecord
from abaco_loans.records.standing import Kind

PLAN_FIELDS = [field.name for field in fields(ShadowPlan)]
# The columns that a seal covers, in the order in which it does; a test holds them against the schema.
SHADOW_SEALED = [
    *PLAN_FIELDS, "status", "verdict", "dry_run", "report_sha256", "error", "planned_at", "finished_at",
]  # fmt: skip
GATES_SEALED = [
    *(field.name for field in fields(NewSeal)), "sealed_at", "sealed_by", "approved_by", "approved_at", "reason",
]  # fmt: skip

SHADOW_RUNS = Kind(
    words="shadow run",
    subject="shadow_id",
    sealed=SHADOW_SEALED,
    makes=frozenset({"shadow.planned"}),
    changes=frozenset({"shadow.finished", "shadow.failed"}),
)
GATES = Kind(
    words="the sealed gates of",
    subject="candidate",
    sealed=GATES_SEALED,
    makes=frozenset({"gates.sealed", "gates.loosened"}),
    changes=frozenset({"gates.approved"}),
)


def shadow_record(row: Mapping[str, Any]) -> ShadowRecord:
    """A row of `shadow_runs` as a record."""
    return ShadowRecord(
        **{name: row[name] for name in PLAN_FIELDS if name != "as_of"},
        as_of=date.fromisoformat(row["as_of"]),
        status=row["status"],
        verdict=row["verdict"],
        dry_run=None if row["dry_run"] is None else bool(row["dry_run"]),
        report_sha256=row["report_sha256"],
        error=json.loads(row["error"]) if row["error"] else None,
        planned_at=datetime.fromisoformat(row["planned_at"]),
        finished_at=_moment(row["finished_at"]),
        event_seq=row["event_seq"],
    )


def gate_seal(row: Mapping[str, Any]) -> GateSeal:
    """A row of `gate_seals` as a seal."""
    typed = {
        "loosened": tuple(json.loads(row["loosened"])),
        "sealed_at": datetime.fromisoformat(row["sealed_at"]),
        "approved_at": _moment(row["approved_at"]),
    }
    return GateSeal(**{field.name: row[field.name] for field in fields(GateSeal)} | typed)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
