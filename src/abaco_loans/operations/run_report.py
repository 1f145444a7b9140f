"""A finished run as one document: what `abaco run --json` prints and the tables are made of."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.operations.run_tape import RunOutcome
from abaco_loans.operations.workspace import Workspace
from abaco_loans.operations.write_outputs import kpis_document
from abaco_loans.outputs.publish import MANIFEST
from abaco_loans.records.runs import RunReader


def run_document(outcome: RunOutcome, workspace: Workspace) -> dict[str, Any]:
    """The run as JSON-ready data; decimals are text. A run found earlier is read from its published files."""
    record = outcome.record
    folder = workspace.outputs / (record.output_folder or "")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if outcome.calculated is not None:
        kpis = kpis_document(outcome.calculated, outcome.release)
    else:
        kpis = json.loads((folder / "kpis.json").read_text(encoding="utf-8"))
    rows = manifest["rows"]
    return {
        "run_id": record.run_id,
        "status": record.status,
        "earlier": outcome.earlier,
        "release": record.release,
        "definition": record.definition,
        "as_of": record.as_of.isoformat(),
        "tape": {
            "path": manifest["tape"]["name"],
            "sha256": record.tape_sha256,
            "layout": record.layout,
            "mapping": manifest["tape"]["mapping"],
            "rows": rows["in"],
        },
        "rows": rows,
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
        "timings": {name: round(seconds, 4) for name, seconds in (outcome.timings or record.timings).items()},
    }


def _shown(path: Path, workspace: Workspace) -> str:
    return path.relative_to(workspace.root).as_posix()


def changes(outcome: RunOutcome, reader: RunReader, document: dict[str, Any]) -> dict[str, Decimal]:
    """By KPI, how far the value moved since the last as-of date under the same definition."""
    record = outcome.record
    before = reader.previous_values(before=record.as_of, definition=record.definition)
    found = {}
    for kpi_id, result in document["kpis"].items():
        earlier = before.get(kpi_id)
        if earlier is not None and earlier.value is not None and result["value"] is not None:
            found[kpi_id] = Decimal(result["value"]) - earlier.value
    return found
