"""Rows of the run tables to dataclasses and back, and the seals that tell what was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.ledger_table import moment
from abaco_loans.records.runs import (
    KpiRow,
    QuarantineCount,
    ReleaseRow,
    RowCounts,
    RunRecord,
    RunStart,
)

_START_FIELDS = [field.name for field in fields(RunStart)]
ROWS = ("rows_in", "rows_accepted", "rows_quarantined", "rows_duplicate")
# The columns that a seal covers, in the order in which it does; a test holds them against the schema.
RUN_SEALED = [
    *_START_FIELDS, "status", "attempt", "started_at", "finished_at", *ROWS, "output_folder", "manifest_sha256",
    "error", "timings", "warnings",
]  # fmt: skip
VALUE_SEALED = [
    "run_id", "kpi_id", "segment", "segment_value", "as_of", "recorded_at", "definition", "release", "value",
    "value_exact", "unit", "status", "reason", "low", "high", "components",
]  # fmt: skip
COUNT_SEALED = ["file", "column", "code", "rows", "amount"]


def row_columns(rows: RowCounts | None) -> dict[str, Any]:
    """Row counts as columns; NULL where they are not known."""
    return dict(zip(ROWS, rows.as_tuple() if rows else (None,) * 4, strict=True))


def value_columns(value: KpiRow, run_id: str) -> dict[str, Any]:
    """A KPI value as columns, sealed."""
    if value.run_id != run_id:
        raise InvariantError(f"value {value.kpi_id} belongs to run {value.run_id}, not {run_id}")
    row: dict[str, Any] = {
        "run_id": value.run_id,
        "kpi_id": value.kpi_id,
        "segment": value.segment,
        "segment_value": value.segment_value,
        "as_of": value.as_of.isoformat(),
        "recorded_at": moment(value.recorded_at),
        "definition": value.definition,
        "release": value.release,
        "value": decimal_text(value.value),
        "value_exact": decimal_text(value.value_exact),
        "unit": value.unit,
        "status": value.status,
        "reason": value.reason,
        "low": decimal_text(value.low),
        "high": decimal_text(value.high),
        "components": json_text(dict(value.components)),
    }
    row["seal"] = seal(row, VALUE_SEALED)
    return row


def count_columns(count: QuarantineCount) -> dict[str, Any]:
    """A quarantine count as columns."""
    return {
        "file": count.file,
        "column": count.column,
        "code": count.code,
        "rows": count.rows,
        "amount": decimal_text(count.amount),
    }


def count(row: Mapping[Any, Any]) -> QuarantineCount:
    """A row of `quarantine_counts` as a count."""
    amount = decimal(row["amount"])
    return QuarantineCount(**{name: row[name] for name in COUNT_SEALED} | {"amount": amount})


def record(row: Mapping[Any, Any]) -> RunRecord:
    """A row of `runs` as a record."""
    counts = [row[name] for name in ROWS]
    return RunRecord(
        **{name: row[name] for name in _START_FIELDS if name != "as_of"},
        as_of=date.fromisoformat(row["as_of"]),
        status=row["status"],
        attempt=row["attempt"],
        started_at=datetime.fromisoformat(row["started_at"]),
        finished_at=datetime.fromisoformat(row["finished_at"]) if row["finished_at"] else None,
        rows=None
        if counts[0] is None
        else RowCounts(rows_in=counts[0], accepted=counts[1], quarantined=counts[2], duplicate=counts[3]),
        output_folder=row["output_folder"],
        manifest_sha256=row["manifest_sha256"],
        error=json.loads(row["error"]) if row["error"] else None,
        timings=json.loads(row["timings"]),
        warnings=tuple(json.loads(row["warnings"])),
        event_seq=row["event_seq"],
    )


def release(row: Mapping[Any, Any]) -> ReleaseRow:
    """A row of `releases` as a release."""
    first, recorded = row["first_run_at"], row["recorded_at"]
    times = {
        "first_run_at": datetime.fromisoformat(first) if first else None,
        "recorded_at": datetime.fromisoformat(recorded),
    }
    return ReleaseRow(**{**row} | times)


def value(row: Mapping[Any, Any]) -> KpiRow:
    """A row of `kpi_values` as a value."""
    texts: dict[str, Any] = {name: row[name] for name in VALUE_SEALED}
    return KpiRow(
        **texts
        | {name: decimal(row[name]) for name in ("value", "value_exact", "low", "high")}
        | {
            "as_of": date.fromisoformat(row["as_of"]),
            "recorded_at": datetime.fromisoformat(row["recorded_at"]),
            "components": json.loads(row["components"]),
        }
    )


def decimal_text(value: Decimal | None) -> str | None:
    """A finite decimal as plain text."""
    if value is None:
        return None
    if not value.is_finite():
        raise InvariantError(f"{value} reached the records")
    return str(value)


def decimal(text: str | None) -> Decimal | None:
    """Text back to a decimal."""
    return None if text is None else Decimal(text)


def json_text(value: Any) -> str:
    """JSON with sorted keys."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)


def seal(row: Mapping[Any, Any], names: Iterable[str]) -> str:
    """The hash of the named columns of a row."""
    return hashlib.sha256(json_text([row[name] for name in names]).encode()).hexdigest()


def damaged(what: str, where: str) -> WorldError:
    """The failure of what does not match its seal, or the ledger."""
    return WorldError(
        f"{what}: what is stored is not what was written",
        code="REC-105",
        where=where,
        hint="run `abaco audit verify`, then restore a backup or run the tape again in a new workspace",
    )


def counts_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """The hash of all quarantine counts of a run, whatever their order."""
    return digest(sorted(json_text([row[name] for name in COUNT_SEALED]) for row in rows))


def digest(lines: Iterable[str]) -> str:
    """The hash of lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
