"""``abaco panel``: read the tapes, build the panel, check it, compute every KPI at every date, publish, record.

The order is that of a run: recorded as running, written to a private folder, published by one rename, recorded as
finished in one transaction. The same tapes, dates, definition and release find the earlier panel.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from abaco_loans.engines.base import Engine
from abaco_loans.errors import UsageError, WorldError
from abaco_loans.kpi.result import KpiResult, text_of
from abaco_loans.operations.build_panel import Panel, Span, build_panel
from abaco_loans.operations.panel_checks import CheckResult, check_panel
from abaco_loans.operations.panel_series import check_segments, kpi_series
from abaco_loans.operations.private_cache import remembering
from abaco_loans.operations.read_series import TapeOptions, read_series
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.record_run import RunRecorder
from abaco_loans.operations.run_tape import out_of_memory, publishing, record_failure, sweep, too_much
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.write_outputs import write_quarantine
from abaco_loans.outputs.cells import safe_expression, safe_text
from abaco_loans.outputs.publish import Publication, damaged_files, publish, set_aside, sync, world
from abaco_loans.portfolio.columns import columns
from abaco_loans.portfolio.panel import PANEL
from abaco_loans.records.locks import exclusive
from abaco_loans.records.runs import PANEL_PREFIX, RunRecord
from abaco_loans.releases.release import Release, run_identity
from abaco_loans.tape.tree import exp, later

DOCUMENT, FACTS_FILE, LOANS_FILE = "panel.json", "panel_facts.parquet", "panel_loans.parquet"
SERIES_COLUMNS = (*("kpi_id", "segment", "segment_value", "as_of", "value", "value_exact", "unit", "status", "reason"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelRequest:
    """What a person asks for. ``by``: segments to compute the KPIs by, too. ``out``: where to write the panel, too."""

    tapes: tuple[Path, ...]
    span: Span = field(default_factory=Span)
    definition: str | None = None
    release: str | None = None
    layout: str | None = None
    mapping: str | None = None
    by: tuple[str, ...] = ()
    out: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelOutcome:
    """A finished panel, new or found; ``document`` is its ``panel.json``."""

    record: RunRecord
    document: Mapping[str, Any]
    earlier: bool


def publish_panel(request: PanelRequest, tools: Tools) -> PanelOutcome:
    """Build, check, publish and record a panel.

    Raises:
        InputError: a tape cannot be used.
        UsageError: dates, segments or the file asked for make no sense.
        WorldError: disk, database or permissions failed; the old outputs and the ledger are intact.
    """
    _check_out(request.out)
    try:
        with world(tools.workspace.root):
            return _publish_panel(request, tools)
    except MemoryError as error:
        raise out_of_memory() from error


def _publish_panel(request: PanelRequest, tools: Tools) -> PanelOutcome:
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder(tools.workspace))
        stack.enter_context(remembering(tools.workspace.cache, tools.key.secret))
        release = tools.workspace.release(request.release)
        engine = tools.open_engine(scratch, [scratch])
        stack.callback(engine.close)
        started = time.perf_counter()
        options = TapeOptions(layout=request.layout, mapping=request.mapping)
        tape = read_series(request.tapes, release, engine, tools, scratch, options)
        refusal = too_much(tape, strict=False)
        if refusal:
            raise refusal
        definition = release.definition(request.definition, tape.layout)
        currency = tools.workspace.settings.reporting_currency
        panel = build_panel(
            tape, engine, definition, request.span, currency=currency, scratch=scratch, progress=tools.progress
        )
        check_segments(request.by, panel.dimensions)
        records = stack.enter_context(tools.open_records())
        recorder = RunRecorder(
            run_id=_panel_id(tape, release, panel, sorted(set(request.by)), currency),
            as_of=panel.dates[-1],
            tape=tape,
            release=release,
            definition=definition,
            tools=tools,
            records=records,
        )
        stack.enter_context(_one_at_a_time(recorder.run_id, tools))
        outcome = _earlier(recorder) or _publish(request, recorder, panel, engine, scratch, started)
        if request.out:
            tools.progress(f"writing {request.out.name}")
            write_rows(engine, request.out, scratch)
        tools.anchor()
        return outcome


def _one_at_a_time(panel_id: str, tools: Tools) -> AbstractContextManager[None]:
    """One writer of one panel at once; the other waits, is told for whom, and then finds the result."""
    tools.workspace.locks.mkdir(parents=True, exist_ok=True)
    return exclusive(
        tools.workspace.locks / f"{panel_id}.lock",
        clock=tools.clock,
        who=tools.who,
        timeout_s=tools.workspace.settings.lock_timeout_s,
        on_wait=lambda holder: tools.progress(f"waiting: {holder} writes this panel"),
    )


def _check_out(out: Path | None) -> None:
    if out is None:
        return
    if out.suffix not in (".parquet", ".csv"):
        raise UsageError(
            f"{out.name} is neither a .parquet nor a .csv file",
            code="PAN-104",
            where="--out",
            hint="write it to panel.parquet",
        )
    if not out.parent.is_dir():
        raise UsageError(
            f"there is no folder {out.parent}", code="PAN-104", where="--out", hint="make it, or choose another"
        )


def _panel_id(tape: ReadTape, release: Release, panel: Panel, by: Sequence[str], currency: str) -> str:
    """What the panel depends on: what a run does, all its dates, and the segments of its KPIs."""
    dates = hashlib.sha256(" ".join([*map(str, panel.dates), "by", *by]).encode()).hexdigest()
    run = run_identity(
        release,
        mapping=tape.mapping.name,
        tape_sha256=f"{tape.sha256} {dates}",
        as_of=panel.dates[-1].isoformat(),
        definition=panel.definition,
        reporting_currency=currency,
    )
    return f"{PANEL_PREFIX}{run}"


def _earlier(recorder: RunRecorder) -> PanelOutcome | None:
    record = recorder.records.reader.get(recorder.run_id)
    if record is None or record.status != "finished" or record.output_folder is None:
        return None
    outputs = recorder.tools.workspace.outputs
    damaged = damaged_files(outputs, record.output_folder, record.manifest_sha256 or "")
    if not damaged:
        return PanelOutcome(record=record, document=read_document(outputs / record.output_folder), earlier=True)
    if (outputs / record.output_folder).exists():
        place = set_aside(outputs, record.output_folder)
        raise WorldError(
            f"the files of panel {record.run_id} are no longer what was published: {', '.join(damaged)}",
            code="RUN-102",
            where=str(outputs / record.output_folder),
            hint=f"they were moved to outputs/{place}; look after that disk, then build the panel again",
        )
    return None  # they are made again, and must come out as they were


def read_document(folder: Path) -> dict[str, Any]:
    """The ``panel.json`` of a published panel."""
    found: dict[str, Any] = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    return found


def _publish(
    request: PanelRequest, recorder: RunRecorder, panel: Panel, engine: Engine, scratch: Path, started: float
) -> PanelOutcome:
    tools, records = recorder.tools, recorder.records
    lost = records.reader.get(recorder.run_id)
    if lost is not None and lost.status != "finished":
        lost = None
    with publishing(tools):
        sweep(tools.workspace, records)
        start = lost or recorder.start()
    try:
        return _output(request, recorder, panel, engine, scratch, start, started)
    except BaseException as error:
        if lost is None:
            record_failure(error, recorder.run_id, start.attempt, records, tools)
        raise


def _output(
    request: PanelRequest,
    recorder: RunRecorder,
    panel: Panel,
    engine: Engine,
    scratch: Path,
    start: RunRecord,
    started: float,
) -> PanelOutcome:
    tools, tape = recorder.tools, recorder.tape
    staging = scratch / "output"
    staging.mkdir()
    tools.progress("checking the panel")
    checks = check_panel(
        engine,
        staging / "checks.csv",
        has_payments=not panel.dated,
        series=panel.dated,
        definition=panel.definition,
    )
    tools.progress(f"computing KPIs at {len(panel.dates)} dates")
    currency = tools.workspace.settings.reporting_currency
    series = kpi_series(panel, tape, engine, recorder.release, by=request.by, currency=currency)
    tools.progress("writing")
    _keep(engine, panel.source.facts, staging / FACTS_FILE, scratch)
    if panel.source.loans:
        _keep(engine, panel.source.loans, staging / LOANS_FILE, scratch)
    write_quarantine(staging / "quarantine.csv", tape, engine)
    _write_series(staging / "series.csv", series)
    document = _document(recorder, panel, checks, request)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (staging / DOCUMENT).write_text(text, encoding="utf-8")
    restricted = frozenset({FACTS_FILE, LOANS_FILE, "checks.csv", "quarantine.csv"})
    with publishing(tools):
        folder = f"panels/{recorder.run_id}"
        publication = publish(
            tools.workspace.outputs, staging, folder, restricted=restricted, facts=recorder.facts(start)
        )
        if start.status == "finished":
            record = recorder.repaired(start, publication)
        else:
            record = _finish(recorder, panel, checks, series, publication, start, time.perf_counter() - started)
    return PanelOutcome(record=record, document=document, earlier=False)


def _keep(engine: Engine, relation: str, path: Path, scratch: Path) -> None:
    """Put a relation's parts, which are in order by loan and date, into one file; a single part is that file."""
    parts = sorted(scratch.glob(f"{relation}*.parquet"))
    if len(parts) == 1:
        os.link(parts[0], path)
    else:
        engine.write(exp.select("*").from_(relation), path, "parquet")


def _finish(
    recorder: RunRecorder,
    panel: Panel,
    checks: Sequence[CheckResult],
    series: Mapping[date, Sequence[KpiResult]],
    publication: Publication,
    start: RunRecord,
    seconds: float,
) -> RunRecord:
    now = recorder.tools.clock.now()
    values = [recorder.kpi_row(result, day, now) for day, results in series.items() for result in results]
    failed = [item.code for item in checks if item.status == "failed"]
    facts = {"dates": len(panel.dates), "first": str(panel.dates[0]), "last": str(panel.dates[-1]), "failed": failed}
    warnings = [item.as_dict() for item in panel.warnings]
    return recorder.finish_panel(values, publication, facts, warnings, {"panel": round(seconds, 4)}, start.attempt)


def _document(
    recorder: RunRecorder, panel: Panel, checks: Sequence[CheckResult], request: PanelRequest
) -> dict[str, Any]:
    tape, release = recorder.tape, recorder.release
    return {
        "panel_id": recorder.run_id,
        "release": {"name": release.name, "meaning": release.meaning_digest},
        "definition": recorder.definition.as_dict(),
        "currency": recorder.tools.workspace.settings.reporting_currency,
        "dates": [str(day) for day in panel.dates],
        "starts": [str(day) for day in panel.starts],
        "dated": panel.dated,
        "first": panel.source.first and str(panel.source.first),
        "foreign": panel.source.foreign,
        "by": sorted(set(request.by)),
        "tape": {
            "name": Path(tape.path).name,
            "sha256": tape.sha256,
            "layout": tape.layout,
            "mapping": tape.mapping.name,
        },
        "rows": tape.row_counts,
        "files": [
            {
                "name": report.name,
                "rows": report.rows_in,
                "accepted": report.accepted,
                "quarantined": report.quarantined,
                "duplicates": report.duplicates,
            }
            for report in tape.files
        ],
        "dimensions": list(panel.dimensions),
        "checks": [item.as_dict() for item in checks],
        "warnings": [item.as_dict() for item in panel.warnings],
    }


def _write_series(path: Path, series: Mapping[date, Sequence[KpiResult]]) -> None:
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SERIES_COLUMNS)
        for day, results in series.items():
            for item in results:
                writer.writerow(
                    (
                        item.kpi.id,
                        item.segment,
                        safe_text(item.segment_value),
                        day,
                        text_of(item.value),
                        text_of(item.value_exact),
                        item.kpi.unit,
                        item.status.value,
                        item.reason,
                    )
                )


def write_rows(engine: Engine, out: Path, scratch: Path) -> None:
    """Write every column of the relation ``panel`` to a file of a person's choice, all or nothing."""
    made = scratch / f"asked{out.suffix}"
    engine.write(later(_asked_query, out.suffix), made, out.suffix[1:])
    with world(out):
        part = out.with_name(f".{out.name}.part")
        shutil.copyfile(made, part)
        sync(part)
        part.replace(out)


def _asked_query(suffix: str) -> exp.Select:
    return exp.select(*_cells(suffix)).from_(PANEL)  # in the order of its facts: by loan, then by date


def _cells(suffix: str) -> list[exp.Expr]:
    """Every column; text of a .csv file is safe to open in a spreadsheet."""
    found = []
    for name, (kind, _) in columns().items():
        node = exp.column(name, quoted=True)
        is_text = suffix == ".csv" and kind == "VARCHAR"
        found.append(exp.alias_(safe_expression(node) if is_text else node, name, quoted=True))
    return found
