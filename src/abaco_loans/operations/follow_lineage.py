"""Tell OpenLineage what becomes of runs: at the start of a run and at its end, from the records and published files.

Invariant: whatever goes wrong here is warned of, and the run goes on; after a failure nothing more is tried until the
next run starts, so that a dead receiver costs a run one timeout.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from abaco_loans.errors import AbacoError
from abaco_loans.operations.tools import Records
from abaco_loans.operations.trace_columns import trace_kpis
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.lineage import (
    LineageCheck,
    LineageColumn,
    LineageFile,
    LineageKpi,
    LineageRun,
    RunState,
    Send,
    file_sender,
    http_sender,
    lineage_event,
)
from abaco_loans.outputs.publish import MANIFEST
from abaco_loans.records.runs import QuarantineCount, RunRecord
from abaco_loans.tape.contract import Severity

# Under the workspace.
LINEAGE_FILE = "logs/lineage.ndjson"
_STATES: dict[str, RunState] = {"running": "START", "finished": "COMPLETE", "refused": "FAIL", "failed": "FAIL"}
_MASKED = "masked:"

log = logging.getLogger(__name__)


def lineage_follower(
    workspace: Workspace,
    environment: Mapping[str, str],
    open_records: Callable[[], AbstractContextManager[Records]],
) -> LineageFollower:
    """Who tells of the runs of a workspace, as its settings say: to a file of it, or over HTTP."""

    def sender() -> Send:
        if workspace.settings.lineage == "http":
            return http_sender(environment)
        return file_sender(workspace.root / LINEAGE_FILE)

    return LineageFollower(workspace, sender, open_records)


class LineageFollower:
    """Hears of every move of a run.

    Args:
        sender: makes what sends an event; called when it is first needed.
        open_records: opens the records.
    """

    def __init__(
        self,
        workspace: Workspace,
        sender: Callable[[], Send],
        open_records: Callable[[], AbstractContextManager[Records]],
    ) -> None:
        self._workspace = workspace
        self._sender = sender
        self._open = open_records
        self._send: Send | None = None
        self._failed = False

    def __call__(self, record: RunRecord) -> None:
        """A run has moved."""
        if record.status == "running":
            self._failed = False
        if self._failed:
            return
        try:
            if self._send is None:
                self._send = self._sender()
            self._send(lineage_event(self._said(record)))
        except (AbacoError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            self._failed = True
            # Not its words: they may hold an address with a password.
            named = error.code if isinstance(error, AbacoError) else type(error).__name__
            log.warning("lineage of run %s was not told (%s); the run is not affected", record.run_id, named)

    def _said(self, record: RunRecord) -> LineageRun:
        state = _STATES[record.status]
        ended = state != "START"
        with self._open() as records:
            counts = records.reader.quarantine_counts(record.run_id) if ended else ()
        lineage = self._published(record, "lineage.json")
        return LineageRun(
            run_id=record.run_id,
            attempt=record.attempt,
            state=state,
            at=(record.finished_at if ended else None) or record.started_at,
            as_of=record.as_of.isoformat(),
            release=record.release,
            release_digest=record.release_digest,
            tape_sha256=record.tape_sha256,
            rows_in=record.rows.rows_in if record.rows else None,
            columns=tuple(_columns(lineage)),
            checks=tuple(self._checks(record, counts)) if record.rows else (),
            kpis=self._kpis(record, lineage) if lineage else {},
            files=tuple(
                LineageFile(name=item["path"], sha256=item["sha256"], size_bytes=item["size_bytes"])
                for item in self._published(record, MANIFEST).get("files", [])
            ),
            error=str((record.error or {}).get("code", "")),
        )

    def _kpis(self, record: RunRecord, lineage: dict[str, Any]) -> dict[str, LineageKpi]:
        """What each KPI comes from; where that cannot be read, the rest of the event is told all the same."""
        release = self._workspace.release(record.release)
        present: dict[str, list[str]] = {}
        for item in lineage["columns"]:
            present.setdefault(item["table"], []).append(item["column"])
        try:
            return trace_kpis(
                release.catalogue,
                release.contracts[record.layout],
                present,
                release.definition(record.definition, record.layout),
                self._workspace.settings.reporting_currency,
            )
        except (LookupError, ValueError) as error:
            log.warning("what the KPIs of run %s come from is not told: %s", record.run_id, error)
            return {}

    def _published(self, record: RunRecord, name: str) -> dict[str, Any]:
        """A JSON file of the run's folder; nothing where there is none: a run that has not ended, or a program's."""
        if record.status != "finished" or record.output_folder is None:
            return {}
        path = self._workspace.outputs / record.output_folder / name
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found

    def _checks(self, record: RunRecord, counts: tuple[QuarantineCount, ...]) -> Iterator[LineageCheck]:
        """Every rule of the contract with the rows that it refused, and whatever else refused some.

        Counts are by file, whose name is not told: they are added up, and told of the contract's first table.
        """
        if self._workspace.release_kind(record.release) != "catalogue":
            return
        contract = self._workspace.release(record.release).contracts[record.layout]
        rules = {rule.code: (table.name, rule) for table in contract.tables for rule in table.rules}
        warned = {item["code"]: item["count"] for item in record.warnings}
        for code, (table, rule) in rules.items():
            refuses = rule.severity is Severity.ERROR
            rows = sum(item.rows for item in counts if item.code == code) if refuses else warned.get(code, 0)
            yield LineageCheck(
                table=table, code=code, column="", description=rule.description, rows=rows, refuses=refuses
            )
        sums: dict[tuple[str, str], int] = {}
        for item in counts:
            if item.code not in rules:
                sums[item.code, item.column] = sums.get((item.code, item.column), 0) + item.rows
        for (code, column), rows in sorted(sums.items()):
            tables = [table.name for table in contract.tables if column in table.column_names]
            yield LineageCheck(
                table=(tables or [contract.tables[0].name])[0],
                code=code,
                column=column if tables else "",
                description="",
                rows=rows,
                refuses=True,
            )


def _columns(lineage: dict[str, Any]) -> Iterator[LineageColumn]:
    for item in lineage.get("columns", []):
        yield LineageColumn(
            table=item["table"],
            name=item["column"],
            source=item["source_column"],
            kind=item["steps"][0].removeprefix("typed as "),
            masked=any(step.startswith(_MASKED) for step in item["steps"]),
        )
