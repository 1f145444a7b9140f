"""Archive a watch that was signed off: its reports, and the evidence pack of its cutover, in one file with its hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from abaco_loans.errors import WorldError
from abaco_loans.operations.alert_facts import ReportTools
from abaco_loans.operations.cutover_facts import cutover_facts
from abaco_loans.operations.evidence_pack import Records, Scope, write_pack
from abaco_loans.operations.write_report import report_folder, write_report
from abaco_loans.outputs.publish import world
from abaco_loans.records.ledger import Event, NewEvent

ARCHIVE = "archive"
KINDS = ("handoff", "onepage", "signoff")
_NO_PAGES = "OUT-110"


class ArchiveRecords(Records, Protocol):
    """What an archive is made from, and recorded in."""

    def append(self, events: Sequence[NewEvent]) -> Any:
        """Append events to the ledger."""
        ...

    def events(self, *, after_seq: int = 0) -> Iterator[Event]:
        """The ledger's events in order."""
        ...


def archive_watch(
    cutover_id: str,
    tools: ReportTools,
    open_records: Callable[[], AbstractContextManager[ArchiveRecords]],
    anchor: Callable[[], None],
) -> Path:
    """Write ``archive/cutover-ID.zip``, and say so in the ledger (``watch.archived``); the same again replaces it.

    Raises:
        WorldError: ``OUT-1xx`` it cannot be written; the records are not what was written.
    """
    workspace = tools.watch.workspace
    facts, folder = cutover_facts(tools, cutover_id), report_folder(workspace, cutover_id)
    for kind in KINDS:
        write_report(kind, facts, folder, ("md",))
        try:
            write_report(kind, facts, folder, ("html",))
        except WorldError as error:
            if error.code != _NO_PAGES:
                raise
    path = workspace.root / ARCHIVE / f"cutover-{cutover_id}.zip"
    with world(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    with open_records() as records:
        made = write_pack(records, workspace, path, Scope(cutover_id=cutover_id))
        payload = {"path": path.relative_to(workspace.root).as_posix(), "sha256": made.sha256, "files": made.files}
        records.append([NewEvent(action="watch.archived", subject=cutover_id, payload=payload)])
    anchor()
    return path
