"""Find a run and read what it published, after checking that it is still what was published."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import damaged_files
from abaco_loans.records.runs import RunReader, RunRecord


def find_run(reader: RunReader, run_id: str | None, *, finished: bool = False) -> RunRecord:
    """The run of that id (or its unique beginning), or the latest.

    Raises:
        UsageError: ``RUN-104`` there is no such run; ``RUN-105`` there is no run yet.
    """
    if run_id is None:
        records = reader.list(limit=1) if not finished else ()
        record = reader.latest_finished() if finished else (records[0] if records else None)
        if record is None:
            raise UsageError("there is no run yet", code="RUN-105", hint="`abaco run TAPE` makes one")
        return record
    record = reader.get(run_id)
    if record is None:
        near = [item for item in reader.list(limit=1000) if item.run_id.startswith(run_id)]
        if len(near) != 1:
            raise UsageError(
                f"there is no run {run_id!r}" if not near else f"{len(near)} runs begin with {run_id!r}",
                code="RUN-104",
                hint="`abaco runs list` shows them",
            )
        record = near[0]
    return record


def published_kpis(workspace: Workspace, reader: RunReader, run_id: str | None) -> tuple[RunRecord, dict[str, Any]]:
    """A finished run and the content of its ``kpis.json``.

    Raises:
        UsageError: ``RUN-104``, ``RUN-105`` no such run; ``RUN-106`` it did not finish.
        WorldError: ``RUN-102`` its files are no longer what was published.
    """
    record = find_run(reader, run_id, finished=run_id is None)
    folder = sound_folder(workspace, record)
    document = json.loads((folder / "kpis.json").read_text(encoding="utf-8"))
    return record, document


def sound_folder(workspace: Workspace, record: RunRecord) -> Path:
    """The published folder of a finished run, its hashes checked.

    Raises:
        UsageError: ``RUN-106`` the run did not finish.
        WorldError: ``RUN-102`` a file is missing or changed.
    """
    if record.status != "finished" or record.output_folder is None:
        raise UsageError(
            f"run {record.run_id} is {record.status}, it published nothing",
            code="RUN-106",
            where=record.run_id,
            hint="`abaco runs show` says why",
        )
    damaged = damaged_files(workspace.outputs, record.output_folder, record.manifest_sha256 or "")
    if damaged:
        raise WorldError(
            f"files of run {record.run_id} are no longer what was published: {', '.join(damaged)}",
            code="RUN-102",
            where=str(workspace.outputs / record.output_folder),
            hint="restore the folder from a backup; do not use its numbers",
        )
    return workspace.outputs / record.output_folder


@contextmanager
def quarantine_rows(workspace: Workspace, record: RunRecord) -> Iterator[Iterator[dict[str, str]]]:
    """The rows of a run's ``quarantine.csv``: file, line, column_name, code, reason, value.

    Raises:
        UsageError: ``RUN-106`` the run has none, because it neither finished nor refused its tape.
    """
    if record.status == "refused":
        path = workspace.outputs / "refused" / record.run_id / "quarantine.csv"
    else:
        path = sound_folder(workspace, record) / "quarantine.csv"
    if not path.is_file():
        raise WorldError(
            "the quarantine of that run is gone",
            code="RUN-102",
            where=str(path),
            hint="run the tape again to make it anew",
        )
    with path.open(encoding="utf-8", newline="") as stream:
        yield csv.DictReader(stream)
