"""Write what a run leaves behind into its staging folder: KPI tables, clean tape, quarantine, lineage.

The data files depend on the tape, the release, the definition and the masking key alone. Run id, times and
digests stand in the manifest and the records, so that `kpis.json` is the same for a shuffled tape and for any
file format.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.kpi.result import KpiResult, text_of
from abaco_loans.operations.calculate import Calculated
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.outputs.cells import safe_expression, safe_text
from abaco_loans.releases.release import Release
from abaco_loans.tape import reasons
from abaco_loans.tape.calculation import COLUMNS, TABLE
from abaco_loans.tape.contract import Kind, Table
from abaco_loans.tape.masking import MaskingKey
from abaco_loans.tape.staged import StagedFile, TextFormat
from abaco_loans.tape.tree import exp, later

KPI_COLUMNS = (
    "kpi_id",
    "name",
    "segment",
    "segment_value",
    "value",
    "value_exact",
    "unit",
    "status",
    "low",
    "high",
    "rows_used",
    "reason",
    "as_of",
    "definition",
    "release",
)


def write_outputs(
    folder: Path,
    tape: ReadTape,
    calculated: Calculated,
    release: Release,
    engine: Engine,
    key: MaskingKey,
    *,
    csv_too: bool,
) -> frozenset[str]:
    """Write every data file of a run into ``folder``; gives the names of the restricted ones.

    Restricted files name loans: the clean tape, the calculation table, the quarantine.
    """
    write_kpis(folder, calculated, release, engine)
    restricted = {"quarantine.csv"}
    formats = ("parquet", "csv") if csv_too else ("parquet",)
    for report in tape.files:
        name = "clean" if report.table == "tape" else f"clean_{report.table}"
        table = tape.contract.table(report.table)
        for file_format in formats:
            query = later(_clean_query, table, report.present, report.accepted_relation, file_format)
            engine.write(query, folder / f"{name}.{file_format}", file_format)
            restricted.add(f"{name}.{file_format}")
    if tape.layout != "bucketed":
        engine.write(later(_loans_query), folder / "loans.parquet", "parquet")
        restricted.add("loans.parquet")
    write_quarantine(folder / "quarantine.csv", tape, engine)
    lineage = json.dumps(lineage_of(tape, calculated, key), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "lineage.json").write_text(lineage + "\n", encoding="utf-8")
    return frozenset(restricted)


def _clean_query(table: Table, columns: Sequence[str], relation: str, file_format: str) -> exp.Select:
    cells = (_cell(table, column, file_format) for column in columns)
    return exp.select(*cells).from_(relation).order_by(exp.column("_row"))


def _loans_query() -> exp.Select:
    return exp.select("*").from_(TABLE).order_by(exp.column("loan_id", quoted=True))


def _cell(table: Table, column: str, file_format: str) -> exp.Expr:
    node = exp.column(column, quoted=True)
    if file_format == "csv" and table.column(column).kind is Kind.TEXT:
        return exp.alias_(safe_expression(node), column, quoted=True)
    return node


def write_kpis(folder: Path, calculated: Calculated, release: Release, engine: Engine) -> None:
    """``kpis.json``, ``kpis.csv`` and ``kpis.parquet``."""
    (folder / "kpis.json").write_text(
        json.dumps(kpis_document(calculated, release), indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    write_kpi_table(folder, _kpi_rows(calculated, release), engine)


def write_kpi_table(folder: Path, rows: Iterable[tuple[object, ...]], engine: Engine) -> None:
    """``kpis.csv`` and ``kpis.parquet``; rows are as `KPI_COLUMNS`."""
    path = folder / "kpis.csv"
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(KPI_COLUMNS)
        writer.writerows(rows)
    staged = StagedFile(
        name=path.name, path=str(path), format=TextFormat.CSV, sha256="", size_bytes=0, header=KPI_COLUMNS
    )
    engine.load("kpi_table", staged, later(_typed_kpis_query))
    engine.write(later(_kpis_query), folder / "kpis.parquet", "parquet")


def _typed_kpis_query() -> exp.Select:
    typed = (exp.alias_(exp.cast(exp.column(name), _kpi_type(name)), name) for name in KPI_COLUMNS)
    return exp.select(*typed).from_("source")


def _kpis_query() -> exp.Select:
    return exp.select(*KPI_COLUMNS).from_("kpi_table").order_by(exp.column("rowid"))


def _kpi_type(name: str) -> str:
    return {
        "value": "DECIMAL(38,10)",
        "low": "DECIMAL(38,10)",
        "high": "DECIMAL(38,10)",
        "rows_used": "BIGINT",
        "as_of": "DATE",
    }.get(name, "VARCHAR")


def _kpi_rows(calculated: Calculated, release: Release) -> Iterator[tuple[object, ...]]:
    for result in (*calculated.evaluation.overall, *calculated.evaluation.segments):
        yield (
            result.kpi.id,
            safe_text(result.kpi.name),
            result.segment,
            safe_text(result.segment_value),
            text_of(result.value),
            text_of(result.value_exact),
            result.kpi.unit,
            result.status.value,
            text_of(result.low),
            text_of(result.high),
            result.rows_used,
            safe_text(result.reason),
            calculated.as_of.isoformat(),
            calculated.definition.name,
            release.name,
        )


def kpis_document(calculated: Calculated, release: Release) -> dict[str, object]:
    """The content of ``kpis.json``: everything that proves the numbers, nothing that differs between runs."""
    return {
        "as_of": calculated.as_of.isoformat(),
        "definition": calculated.definition.as_dict(),
        "release": {"name": release.name, "meaning": release.core_digest},
        "kpis": {
            result.kpi.id: {**result.as_dict(), "name": result.kpi.name} for result in calculated.evaluation.overall
        },
        "segments": segments_document(calculated),
    }


def segments_document(calculated: Calculated) -> dict[str, dict[str, dict[str, object]]]:
    """segment → value → KPI id → result; a suppressed one holds its status and reason, and nothing else."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for result in calculated.evaluation.segments:
        cell = found.setdefault(result.segment, {}).setdefault(result.segment_value, {})
        cell[result.kpi.id] = _segment_cell(result)
    return found


def _segment_cell(result: KpiResult) -> dict[str, object]:
    shown = result.as_dict()
    del shown["formula"], shown["bound_reason"], shown["low"], shown["high"]
    return {name: value for name, value in shown.items() if value not in (None, "", {})}


def write_quarantine(path: Path, tape: ReadTape, engine: Engine) -> None:
    """Every fault of every refused row: file, line, column, code, reason, value as written (masked where PII)."""
    parts = [
        exp.select(
            exp.alias_(safe_expression(exp.column("file")), "file"),
            exp.column("line"),
            exp.column("column_name"),
            exp.column("code"),
            exp.alias_(_reason(tape.contract.table(table)), "reason"),
            exp.alias_(safe_expression(exp.column("value")), "value"),
        ).from_(f"issues_{table}")
        for table in dict.fromkeys(report.table for report in tape.files if report.quarantined)
    ]
    if not parts:
        path.write_text("file,line,column_name,code,reason,value\n", encoding="utf-8")
        return
    listed = parts[0] if len(parts) == 1 else exp.union(*parts, distinct=False)
    engine.write(
        exp.select("*").from_(listed.subquery("listed")).order_by("file", "line", "column_name", "code"),
        path,
        "csv",
    )


def _reason(table: Table) -> exp.Expr:
    words = {**reasons.REASONS, **{rule.code: f"not so: {rule.description}" for rule in table.rules}}
    case = exp.case(exp.column("code"))
    for code, text in words.items():
        case = case.when(exp.Literal.string(code), exp.Literal.string(text))
    return case.else_(exp.Literal.string(""))


def lineage_of(tape: ReadTape, calculated: Calculated, key: MaskingKey) -> dict[str, object]:
    """Where every column comes from: file and column of the source, what was done to it, and what is derived."""
    columns = []
    for report in tape.files:
        mapping = tape.mapping.table(report.table)
        table = tape.contract.table(report.table)
        masked = tape.contract.masked_columns(table)
        for name in report.present:
            field = mapping.fields[name] if mapping else None
            steps = [f"typed as {table.column(name).kind.value}"]
            if field and field.codes:
                steps.append("codes mapped")
            if field and field.unit.value != "as_is":
                steps.append(f"unit {field.unit.value}")
            if name in masked:
                steps.append(f"masked: HMAC-SHA-256, key {key.version}")
            columns.append(
                {
                    "table": report.table,
                    "column": name,
                    "file": report.name,
                    "source_column": field.source if field else name,
                    "steps": steps,
                }
            )
    calculation = calculated.compiled.calculation
    return {
        "mapping": tape.mapping.name,
        "columns": columns,
        "calculation": {name: COLUMNS[name] for name in calculation.columns if name in COLUMNS},
        "absent": dict(calculation.absent),
        "kpis": {
            kpi.id: {
                "formula": kpi.formula.text,
                "columns": list(kpi.formula.columns),
                "kpis": list(kpi.formula.kpis),
            }
            for kpi in calculated.compiled.catalogue.kpis
        },
    }
