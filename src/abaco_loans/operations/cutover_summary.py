"""The summary of a cutover that went well: what was done, when, how long, and what shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from abaco_loans.operations.prove_no_loss import REPORTS
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import sync, world
from abaco_loans.records.cutovers import StepRecord
from abaco_loans.releases.plan import Plan


def write_summary(
    cutover_id: str,
    plan: Plan,
    workspace: Workspace,
    steps: Sequence[StepRecord],
    *,
    at: datetime,
    inactive_s: Decimal | None,
) -> Path:
    """Write ``reports/cutover-<id>/summary.json`` and ``summary.md``; the path of the readable one.

    Raises:
        WorldError: ``OUT-1xx`` they cannot be written.
    """
    facts = plan.facts
    idle = "unknown" if inactive_s is None else f"{inactive_s} s"
    document = {
        "cutover_id": cutover_id,
        "at": at.isoformat(),
        "from_release": facts.from_release,
        "to_release": facts.to_release,
        "planned_by": facts.planned_by,
        "plan_hash": plan.hash(),
        "inactive_seconds": None if inactive_s is None else str(inactive_s),
        "steps": [
            {
                "phase": item.phase,
                "name": item.name,
                "status": item.status,
                "seconds": _seconds(item),
                "evidence": dict(item.evidence),
            }
            for item in steps
        ],
    }
    lines = [
        f"# Cutover {cutover_id}: {facts.from_release} to {facts.to_release}",
        "",
        f"{facts.to_release} is active since {at:%Y-%m-%d %H:%M} UTC. No job was taken for {idle}.",
        f"Planned by {facts.planned_by}; plan {plan.hash()}.",
        "",
        "| phase | step | status | seconds |",
        "|---|---|---|---|",
        *(f"| {item.phase} | {item.name} | {item.status} | {_seconds(item) or ''} |" for item in steps),
        "",
        "The evidence of every step is in `summary.json`, and in the ledger (`abaco audit export`).",
        "",
    ]
    folder = workspace.root / REPORTS / f"cutover-{cutover_id}"
    with world(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        texts = {"summary.json": json.dumps(document, indent=2) + "\n", "summary.md": "\n".join(lines)}
        for name, text in texts.items():
            unfinished = folder / f".{name}.new"
            unfinished.write_text(text, encoding="utf-8")
            sync(unfinished)
            unfinished.replace(folder / name)
        sync(folder)
    return folder / "summary.md"


def _seconds(item: StepRecord) -> str | None:
    return f"{(item.finished_at - item.started_at).total_seconds():.2f}" if item.finished_at else None
