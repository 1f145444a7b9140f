"""Shadow runs that were: listed, read again, and written as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from abaco_loans.errors import UsageError
from abaco_loans.operations.run_shadow import read_report
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world
from abaco_loans.outputs.shadow_page import shadow_page
from abaco_loans.records.shadows import ShadowReader, ShadowRecord

_ON_PAGE = 20


def history_document(
    reader: ShadowReader, *, candidate: str | None = None, limit: int = _ON_PAGE
) -> list[dict[str, Any]]:
    """Shadow runs, the latest first, as JSON-ready data; the verdict of one without is its status."""
    return [_line(item) for item in reader.list(limit, candidate)]


def _line(item: ShadowRecord) -> dict[str, Any]:
    return {
        "shadow_id": item.shadow_id,
        "as_of": item.as_of.isoformat(),
        "tape": item.tape_name,
        "compared_at": (item.finished_at or item.planned_at).isoformat(),
        "baseline": item.baseline,
        "candidate": item.candidate,
        "verdict": item.verdict or item.status,
        "dry_run": bool(item.dry_run),
    }


def shadow_report(
    workspace: Workspace, reader: ShadowReader, shadow_id: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report of a shadow run (None: the one that finished last), and the history of its candidate.

    Raises:
        UsageError: ``SHD-105`` there is no such shadow run, or it has no report.
        WorldError: ``SHD-104`` the report is gone, or no longer what was written.
    """
    if shadow_id is None:
        found = next((item for item in reader.list() if item.status == "finished"), None)
    else:
        found = reader.get(shadow_id)
    if found is None or found.status != "finished":
        what = f"shadow run {shadow_id} has no report" if shadow_id else "nothing was compared yet"
        raise UsageError(what, code="SHD-105", where="shadow report", hint="`abaco shadow list` shows what there is")
    return read_report(workspace, found), history_document(reader, candidate=found.candidate)


def write_shadow_page(document: Mapping[str, Any], history: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Write the page of a report; a file that is there is replaced, whole or not at all.

    Raises:
        WorldError: ``OUT-110`` the extra that makes pages is not installed; ``OUT-1xx`` it cannot be written.
    """
    with world(target):
        unfinished = target.with_name(f".{target.name}.new")
        unfinished.write_text(shadow_page(document, history), encoding="utf-8")
        unfinished.chmod(0o600)
        unfinished.replace(target)
