"""``abaco report handoff`` and the others: a report of a cutover, written from recorded facts alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from abaco_loans.operations.prove_no_loss import REPORTS
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world, write_whole
from abaco_loans.outputs.reports.brief import brief
from abaco_loans.outputs.reports.briefing import briefing
from abaco_loans.outputs.reports.handoff import handoff
from abaco_loans.outputs.reports.markdown import markdown
from abaco_loans.outputs.reports.onepage import onepage
from abaco_loans.outputs.reports.pdf import pdf
from abaco_loans.outputs.reports.retrospective import retrospective
from abaco_loans.outputs.reports.sheet import Sheet, html
from abaco_loans.outputs.reports.signoff import signoff

KINDS: Mapping[str, Callable[[Mapping[str, Any]], Sheet]] = {
    "handoff": handoff,
    "onepage": onepage,
    "brief": brief,
    "signoff": signoff,
    "briefing": briefing,
    "retrospective": retrospective,
}
FORMATS = ("md", "html", "pdf")


def write_report(
    kind: str, facts: Mapping[str, Any], folder: Path, formats: Collection[str], *, stem: str = ""
) -> tuple[Path, ...]:
    """Write a report into a folder, over an earlier one; the files. All are made before the first is written.

    Args:
        kind: one of `KINDS`.
        facts: of `cutover_facts`.
        folder: made where it is missing.
        formats: of `FORMATS`.
        stem: name of the files without the ending; the kind where it is empty.

    Raises:
        WorldError: ``OUT-110``, ``OUT-111`` a package is missing; ``OUT-1xx`` a file cannot be written.
    """
    sheet = KINDS[kind](facts)
    made: dict[str, bytes] = {}
    if "md" in formats:
        made["md"] = markdown(sheet).encode()
    if "html" in formats or "pdf" in formats:
        page = html(sheet)
        if "html" in formats:
            made["html"] = page.encode()
        if "pdf" in formats:
            made["pdf"] = pdf(page, where=kind)
    with world(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = {form: folder / f"{stem or kind}.{form}" for form in made}
        for form, path in paths.items():
            write_whole(path, made[form])
    return tuple(paths.values())


def report_folder(workspace: Workspace, cutover_id: str) -> Path:
    """Where the reports of a cutover lie, beside its summary."""
    return workspace.root / REPORTS / f"cutover-{cutover_id}"
