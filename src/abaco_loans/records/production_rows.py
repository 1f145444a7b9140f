"""Rows of the tables of production to dataclasses and back, and which events say them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from abaco_loans.records.production import Job, NewJob, Pointer, Served
from abaco_loans.records.standing import Kind

_NEW_FIELDS = [field.name for field in fields(NewJob)]
# The columns that a seal covers, in the order in which it does; a test holds them against the schema.
POINTER_SEALED = ["id", "active", "previous", "epoch", "held_by", "changed_at"]
JOB_SEALED = [
    "job_id", *_NEW_FIELDS, "status", "attempts", "fence", "owner", "submitted_at", "served_by", "run_id", "epoch",
    "error",
]  # fmt: skip
SERVED_SEALED = ["job_id", "release", "run_id", "epoch", "fence", "served_at"]

POINTERS = Kind(
    words="the pointer of",
    subject="subject",
    sealed=POINTER_SEALED,
    makes=frozenset(),  # there is one row, and whatever is said is said of it
    changes=frozenset({"pointer.set", "pointer.held", "pointer.released", "pointer.switched"}),
)
JOBS = Kind(
    words="job",
    subject="job_id",
    sealed=JOB_SEALED,
    makes=frozenset({"job.submitted"}),
    changes=frozenset({"job.taken", "job.done", "job.failed", "job.returned", "job.fenced", "job.requeued"}),
)
SERVED = Kind(
    words="the results of job",
    subject="job_id",
    sealed=SERVED_SEALED,
    makes=frozenset({"job.done"}),
    changes=frozenset(),
    repeats="served",
)


def pointer(row: Mapping[str, Any]) -> Pointer:
    """The row of `pointer` as a pointer."""
    typed = {"changed_at": datetime.fromisoformat(row["changed_at"])}
    return Pointer(**{field.name: row[field.name] for field in fields(Pointer)} | typed)


def new_columns(new: NewJob) -> dict[str, Any]:
    """A new job as columns."""
    given = {name: getattr(new, name) for name in _NEW_FIELDS}
    return given | {"job_id": new.job_id, "as_of": new.as_of.isoformat() if new.as_of else ""}


def job(row: Mapping[str, Any]) -> Job:
    """A row of `jobs` as a job."""
    typed = {
        "as_of": date.fromisoformat(row["as_of"]) if row["as_of"] else None,
        "lease_until": datetime.fromisoformat(row["lease_until"]) if row["lease_until"] else None,
        "submitted_at": datetime.fromisoformat(row["submitted_at"]),
        "error": json.loads(row["error"]) if row["error"] else None,
    }
    return Job(**{field.name: row[field.name] for field in fields(Job)} | typed)


def served(row: Mapping[str, Any]) -> Served:
    """A row of `served` as a result."""
    typed = {"served_at": datetime.fromisoformat(row["served_at"])}
    return Served(**{field.name: row[field.name] for field in fields(Served)} | typed)
