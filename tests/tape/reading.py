"""Read a tape as a run does, with a real engine, and say where every row went."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlglot import exp

from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.operations.judge_rows import FileReport
from abaco_loans.operations.read_tape import ReadTape, load_tape, stage_tape
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.releases.release import Release, read_release
from abaco_loans.tape.masking import MaskingKey

KEY = MaskingKey(version="k-test", secret=bytes(range(32)))
HEADER = "loan_id,measurement_date,outstanding_principal,days_past_due,product"
_numbers = itertools.count()


@cache
def shipped() -> Release:
    """The release that ships."""
    return read_release("v2", builtin_texts())


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one file's rows became. Issues are (line, column, code, value); rows are accepted ones, in order."""

    report: FileReport
    issues: list[tuple[int, str, str, str]]
    rows: list[dict[str, Any]]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        report = self.report
        return report.rows_in, report.accepted, report.quarantined, report.duplicates


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A tape as it was read."""

    tape: ReadTape
    files: dict[str, Told]

    @property
    def only(self) -> Told:
        (told,) = self.files.values()
        return told


def read(
    path: Path, folder: Path, *, release: Release | None = None, layout: str | None = None, mapping: str | None = None
) -> Reading:
    """Stage, type and judge the tape at ``path``; scratch goes below ``folder``."""
    scratch = folder / f"scratch-{next(_numbers)}"
    scratch.mkdir()
    engine = DuckDB(scratch=scratch, folders=[], memory_mb=500, threads=1)
    try:
        staged = stage_tape(path, release or shipped(), scratch, lambda: engine, layout=layout, mapping=mapping)
        tape = load_tape(staged, engine, KEY, scratch, lambda _: None)
        return Reading(tape=tape, files={report.table: _told(report, engine) for report in tape.files})
    finally:
        engine.close()


def read_text(text: str | bytes, folder: Path, *, name: str = "tape.csv", layout: str | None = None) -> Told:
    """The same for the text of one file."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, folder, layout=layout).only


def _told(report: FileReport, engine: DuckDB) -> Told:
    issues: list[tuple[int, str, str, str]] = []
    if report.quarantined:
        found = exp.select("line", "column_name", "code", "value").from_(f"issues_{report.table}")
        issues = [
            (int(line), str(column), str(code), str(value))
            for line, column, code, value in engine.rows(found.order_by("line", "column_name", "code"))
        ]
    columns = [exp.column(name, quoted=True) for name in report.present]
    rows = engine.rows(exp.select(*columns).from_(report.accepted_relation).order_by("_row"))
    return Told(report=report, issues=issues, rows=[dict(zip(report.present, row, strict=True)) for row in rows])
