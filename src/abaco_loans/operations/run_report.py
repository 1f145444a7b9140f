"""A finished run as one document: what `abaco run --json` prints and the tables are made of."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.operations.run_tape import RunOutcome
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import MANIFEST
from abaco_loans.records.runs import RunReader, RunRecord


def run_document(outcome: RunOutcome, workspace: Workspace) -> dict[str, Any]:
    """What came of `run_tape`, as JSON-ready data."""
    document = record_document(outcome.record, workspace, earlier=outcome.earlier)
    if outcome.timings:
        document["timings"] = dict(outcome.timings)
    return document


def record_document(record: RunRecord, workspace: Workspace, *, earlier: bool = True) -> dict[str, Any]:
    """A finished run as JSON-ready data, read from what it published; decimals are text."""
    folder = workspace.outputs / (record.output_folder or "")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    kpis = json.loads((folder / "kpis.json").read_text(encoding="utf-8"))
    return {
        "run_id": record.run_id,
        "status": record.status,
        "earlier": earlier,
        "release": record.release,
        "definition": record.definition,
        "as_of": record.as_of.isoformat(),
        "tape": {
            "path": manifest["tape"]["name"],
            "sha256": record.tape_sha256,
            "layout": record.layout,
            "mapping": manifest["tape"]["mapping"],
            "rows": manifest["rows"]["in"],
        },
        "rows": manifest["rows"],
        **({"program": manifest["program"]} if "program" in manifest else {}),
        "warnings": list(record.warnings),
        "kpis": kpis["kpis"],
        "segments": kpis["segments"],
        "outputs": [
            {
                "path": _shown(folder / item["path"], workspace),
                "sha256": item["sha256"],
                "restricted": item["restricted"],
            }
            for item in manifest["files"]
        ],
        "timings": dict(record.timings),
    }


def _shown(path: Path, workspace: Workspace) -> str:
    return path.relative_to(workspace.root).as_posix()


def changes(record: RunRecord, reader: RunReader, document: dict[str, Any]) -> dict[str, Decimal]:
    """By KPI, how far the value moved since the last as-of date under the same definition.

    Values of the same release count, where it has any: another may have rounded them.
    """
    day, definition = record.as_of, record.definition
    before = reader.previous_values(before=day, definition=definition, release=record.release)
    before = before or reader.previous_values(before=day, definition=definition)
    found = {}
    for kpi_id, result in document["kpis"].items():
        earlier = before.get(kpi_id)
        if earlier is not None and earlier.value is not None and result["value"] is not None:
            found[kpi_id] = Decimal(result["value"]) - earlier.value
    return found
