"""Run a tape: ingestion, transformation, calculation, output, and the record of it all.

Order, so that a crash at any point leaves the old result whole or the new one: the run is recorded as running;
data files are written to a private folder; the folder is published by one rename; one transaction records the
run, its values and its events. A folder without a finished run is an orphan, and is removed at the next start.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

from abaco_loans.clock import Clock
from abaco_loans.engines.base import Engine
from abaco_loans.errors import AbacoError, InputError, WorldError
from abaco_loans.kpi.result import KpiResult, text_of
from abaco_loans.operations.calculate import Calculated, calculate
from abaco_loans.operations.read_tape import (
    Progress,
    ReadTape,
    StagedTape,
    Warned,
    load_tape,
    over_limit,
    stage_tape,
)
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.workspace import Workspace
from abaco_loans.operations.write_outputs import write_outputs, write_quarantine
from abaco_loans.outputs.publish import Publication, damaged_files, publish, set_aside, sweep_orphans, world
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.locks import exclusive
from abaco_loans.records.runs import (
    KpiRow,
    QuarantineCount,
    RowCounts,
    RunFinish,
    RunReader,
    RunRecord,
    RunStart,
    RunWriter,
)
from abaco_loans.releases.release import Release, run_identity
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.masking import MaskingKey


class Records(Protocol):
    """What a run needs of the records."""

    @property
    def reader(self) -> RunReader:
        """Reads runs."""
        ...

    @property
    def writer(self) -> RunWriter:
        """Moves runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a person asks for. None means: the default of tape, release or workspace."""

    path: Path
    as_of: date | None = None
    release: str | None = None
    definition: str | None = None
    layout: str | None = None
    mapping: str | None = None
    strict: bool = False
    csv_too: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What `wiring` picks for a run. ``open_engine`` takes the scratch folder and the folders to write to."""

    workspace: Workspace
    clock: Clock
    key: MaskingKey
    engine_version: str
    open_engine: Callable[[Path, list[Path]], Engine]
    open_records: Callable[[], AbstractContextManager[Records]]
    anchor: Callable[[], None]
    who: str
    progress: Progress = field(default=lambda text: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """A finished run, new or found; ``calculated`` is None when it was found."""

    record: RunRecord
    earlier: bool
    release: Release
    definition: Definition
    tape: ReadTape | None = None
    calculated: Calculated | None = None
    publication: Publication | None = None
    warnings: tuple[Warned, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)


class _Stopwatch:
    """Seconds by phase, in the order of the phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = round(self.seconds.get(phase, 0) + now - self._last, 4)
        self._last = now


def run_tape(request: RunRequest, tools: Tools) -> RunOutcome:
    """Run one tape through the four phases.

    Raises:
        InputError: the tape breaks the contract as a whole, or too much of it was refused.
        ConfigError: the release, a definition or the masking key is wrong.
        WorldError: disk, database or permissions failed; the old outputs and the ledger are intact.
    """
    watch = _Stopwatch()
    workspace = tools.workspace
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder(workspace))
        release = workspace.release(request.release)
        engine = _LazyEngine(lambda: tools.open_engine(scratch, [scratch]))
        stack.callback(engine.close)
        watch.mark("start")
        tools.progress(f"copying {request.path.name}")
        staged = stage_tape(request.path, release, scratch, engine.get, layout=request.layout, mapping=request.mapping)
        definition = release.definition(request.definition, staged.mapping.layout)
        watch.mark("staging")
        stack.enter_context(_one_at_a_time(staged, definition, release, tools))
        records = stack.enter_context(tools.open_records())
        if request.as_of is not None:
            found = _earlier(request.as_of, staged, definition, release, records, tools)
            if found:
                return found
        return _run(request, tools, staged, release, definition, engine.get(), records, scratch, watch)


class _LazyEngine:
    """Opens the engine when it is first needed, and closes it if it was."""

    def __init__(self, opener: Callable[[], Engine]) -> None:
        self._opener = opener
        self._engine: Engine | None = None

    def get(self) -> Engine:
        if self._engine is None:
            self._engine = self._opener()
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()








def _one_at_a_time(
    staged: StagedTape, definition: Definition, release: Release, tools: Tools
) -> AbstractContextManager[None]:
    """One run of one tape at once; the other waits, is told for whom, and then finds the result."""
    name = hashlib.sha256(f"{staged.sha256} {release.core_digest} {definition.name}".encode()).hexdigest()[:24]
    with world(tools.workspace.locks):
        tools.workspace.locks.mkdir(parents=True, exist_ok=True)
    return exclusive(
        tools.workspace.locks / f"tape-{name}.lock",
        clock=tools.clock,
        who=tools.who,
        timeout_s=tools.workspace.settings.lock_timeout_s,
        on_wait=lambda holder: tools.progress(f"waiting: {holder} runs this tape"),
    )


def _run_id(staged: StagedTape | ReadTape, definition: Definition, release: Release, as_of: date) -> str:
    return run_identity(
        release,
        mapping=staged.mapping.name,
        tape_sha256=staged.sha256,
        as_of=as_of.isoformat(),
        definition=definition,
    )


def _earlier(
    as_of: date,
    staged: StagedTape | ReadTape,
    definition: Definition,
    release: Release,
    records: Records,
    tools: Tools,
) -> RunOutcome | None:
    """The finished run of the same tape, date, definition and meaning, if its outputs are still what they were."""
    record = records.reader.get(_run_id(staged, definition, release, as_of))
    if record is None or record.status != "finished" or record.output_folder is None:
        return None
    outputs = tools.workspace.outputs
    damaged = damaged_files(outputs, record.output_folder, record.manifest_sha256 or "")
    if damaged:
        place = ""
        if (outputs / record.output_folder).exists():
            place = set_aside(outputs, record.output_folder)
        raise WorldError(
            f"the outputs of run {record.run_id} are no longer what was published: {', '.join(damaged)}",
            code="RUN-102",
            where=str(outputs / record.output_folder),
            hint=f"they were moved to outputs/{place}; restore the folder from a backup"
            if place
            else "restore the folder from a backup",
        )
    return RunOutcome(record=record, earlier=True, release=release, definition=definition)


def _run(
    request: RunRequest,
    tools: Tools,
    staged: StagedTape,
    release: Release,
    definition: Definition,
    engine: Engine,
    records: Records,
    scratch: Path,
    watch: _Stopwatch,
) -> RunOutcome:
    tape = load_tape(staged, engine, tools.key, scratch, tools.progress)
    watch.mark("ingestion")
    refusal = _too_much(tape, strict=request.strict)
    if refusal:
        _record_refusal(tape, refusal, definition, release, request, records, tools, engine, scratch)
        raise refusal
    tools.progress("calculating")
    calculated = calculate(
        tape,
        engine,
        release,
        definition,
        as_of=request.as_of,
        reporting_currency=tools.workspace.settings.reporting_currency,
    )
    watch.mark("calculation")
    if request.as_of is None:
        found = _earlier(calculated.as_of, tape, definition, release, records, tools)
        if found:
            return found
    run_id = _run_id(tape, definition, release, calculated.as_of)
    folder = f"{calculated.as_of.isoformat()}/{run_id}"
    with exclusive(
        tools.workspace.locks / "publish.lock",
        clock=tools.clock,
        who=tools.who,
        timeout_s=tools.workspace.settings.lock_timeout_s,
    ):
        _sweep(tools.workspace, records)
        start = _start(tape, run_id, release, definition, calculated.as_of, tools, records)
    try:
        staging = scratch / "output"
        staging.mkdir()
        tools.progress("writing")
        with world(staging):
            restricted = write_outputs(staging, tape, calculated, release, engine, tools.key, csv_too=request.csv_too)
        watch.mark("output")
        with exclusive(
            tools.workspace.locks / "publish.lock",
            clock=tools.clock,
            who=tools.who,
            timeout_s=tools.workspace.settings.lock_timeout_s,
        ):
            publication = publish(
                tools.workspace.outputs,
                staging,
                folder,
                restricted=restricted,
                facts=_facts(run_id, tape, calculated, release, tools),
            )
            record = _finish(run_id, tape, calculated, publication, watch, records, release, start.attempt, tools)
    except AbacoError as error:
        records.writer.fail(run_id, error.as_dict(), attempt=start.attempt)
        raise
    tools.anchor()
    watch.mark("record")
    return RunOutcome(
        record=record,
        earlier=False,
        release=release,
        definition=definition,
        tape=tape,
        calculated=calculated,
        publication=publication,
        warnings=(*tape.warnings, *calculated.warnings),
        timings=watch.seconds,
    )


def _too_much(tape: ReadTape, *, strict: bool) -> InputError | None:
    """The error that stops a run whose quarantine is too large, or any in strict mode."""
    for report in tape.files:
        why = over_limit(report, tape.contract)
        if strict and report.quarantined:
            why = f"strict mode allows none, and {report.quarantined} row(s) are refused"
        if why:
            reasons = ", ".join(
                f"{item.code} {item.column or 'row'}: {item.rows}"
                for item in sorted(report.refusals, key=lambda item: -item.rows)[:3]
            )
            return InputError(
                f"too much of {report.name} is refused: {why}",
                code="RUN-103",
                where=tape.path,
                hint=f"most often {reasons}; `abaco quarantine` lists every row. Correct the tape or"
                " its mapping; the last good outputs stay as they are",
                details={"rows": _rows(tape)},
            )
    return None


def _rows(tape: ReadTape) -> dict[str, int]:
    return dict(zip(("in", "accepted", "quarantined", "duplicates"), tape.totals, strict=True))


def _counts(tape: ReadTape) -> list[QuarantineCount]:
    return [
        QuarantineCount(file=item.file, column=item.column, code=item.code, rows=item.rows)
        for report in tape.files
        for item in report.refusals
    ]


def _row_counts(tape: ReadTape) -> RowCounts:
    rows_in, accepted, quarantined, duplicates = tape.totals
    return RowCounts(rows_in=rows_in, accepted=accepted, quarantined=quarantined, duplicate=duplicates)


def _start(
    tape: ReadTape,
    run_id: str,
    release: Release,
    definition: Definition,
    as_of: date,
    tools: Tools,
    records: Records,
) -> RunRecord:
    records.writer.ensure_release(
        release.name,
        kind=release.kind,
        role="active",
        meaning_digest=release.core_digest,
        policy_digest=release.policy_digest,
    )
    files = {report.name: report.sha256 for report in tape.files}
    return records.writer.start(
        RunStart(
            run_id=run_id,
            release=release.name,
            release_digest=release.core_digest,
            tape_sha256=tape.sha256,
            tape_path=Path(tape.path).name,
            layout=tape.layout,
            as_of=as_of,
            definition=definition.name,
        ),
        [NewEvent(action="tape.fingerprinted", subject=run_id, payload={"files": files, "sha256": tape.sha256})],
    )


def _record_refusal(
    tape: ReadTape,
    refusal: InputError,
    definition: Definition,
    release: Release,
    request: RunRequest,
    records: Records,
    tools: Tools,
    engine: Engine,
    scratch: Path,
) -> None:
    """Record a refused tape, and publish its quarantine so that a person can see every row."""
    as_of = request.as_of or tools.clock.now().date()
    run_id = _run_id(tape, definition, release, as_of)
    _start(tape, run_id, release, definition, as_of, tools, records)
    staging = scratch / "refused"
    staging.mkdir()
    with world(staging):
        write_quarantine(staging / "quarantine.csv", tape, engine)
        target = tools.workspace.outputs / "refused" / run_id
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    records.writer.refuse(run_id, refusal.as_dict(), _counts(tape), _row_counts(tape))
    tools.anchor()


def _sweep(workspace: Workspace, records: Records) -> None:
    """Remove published folders that no finished run stands for. The publish lock is held."""
    present = {f"{day.name}/{folder.name}" for day in workspace.outputs.glob("[0-9]*") for folder in day.iterdir()}
    known = set()
    for name in present:
        record = records.reader.get(name.split("/")[1])
        if record is not None and record.status == "finished":
            known.add(name)
    with world(workspace.outputs):
        sweep_orphans(workspace.outputs, frozenset(known))


def _facts(run_id: str, tape: ReadTape, calculated: Calculated, release: Release, tools: Tools) -> dict[str, object]:
    return {
        "run_id": run_id,
        "as_of": calculated.as_of.isoformat(),
        "definition": calculated.definition.as_dict(),
        "release": {"name": release.name, "meaning": release.meaning_digest, "policy": release.policy_digest},
        "tape": {
            "name": Path(tape.path).name,
            "sha256": tape.sha256,
            "layout": tape.layout,
            "mapping": tape.mapping.name,
            "files": {report.name: report.sha256 for report in tape.files},
        },
        "rows": _rows(tape),
        "masking_key": tools.key.version,
        "engine": tools.engine_version,
        "created_at": tools.clock.now().isoformat(),
    }


def _kpi_row(result: KpiResult, run_id: str, calculated: Calculated, release: Release, now: datetime) -> KpiRow:
    return KpiRow(
        run_id=run_id,
        kpi_id=result.kpi.id,
        segment=result.segment,
        segment_value=result.segment_value,
        as_of=calculated.as_of,
        recorded_at=now,
        definition=calculated.definition.name,
        release=release.name,
        value=result.value,
        value_exact=result.value_exact,
        unit=result.kpi.unit,
        status=result.status.value,
        reason=result.reason,
        low=result.low,
        high=result.high,
        components={name: text for name, value in result.components.items() if (text := text_of(value))},
    )


def _finish(
    run_id: str,
    tape: ReadTape,
    calculated: Calculated,
    publication: Publication,
    watch: _Stopwatch,
    records: Records,
    release: Release,
    attempt: int,
    tools: Tools,
) -> RunRecord:
    rows_in, accepted, quarantined, duplicates = tape.totals
    evaluation = calculated.evaluation
    events = [
        NewEvent(
            action="ingestion.finished",
            subject=run_id,
            payload={
                "rows_in": rows_in,
                "accepted": accepted,
                "quarantined": quarantined,
                "duplicates": duplicates,
                "layout": tape.layout,
                "mapping": tape.mapping.name,
            },
        ),
        NewEvent(
            action="transformation.finished",
            subject=run_id,
            payload={
                "columns": list(calculated.compiled.calculation.columns),
                "definition": calculated.definition.as_dict(),
            },
        ),
        NewEvent(
            action="calculation.finished",
            subject=run_id,
            payload={
                result.kpi.id: str(result.value_exact) if result.value_exact is not None else result.status.value
                for result in evaluation.overall
            },
        ),
        NewEvent(
            action="outputs.published",
            subject=run_id,
            payload={"folder": publication.folder, "manifest_sha256": publication.manifest_sha256},
        ),
    ]
    warnings = [item.as_dict() for item in (*tape.warnings, *calculated.warnings)]
    finish = RunFinish(
        rows=_row_counts(tape),
        output_folder=publication.folder,
        manifest_sha256=publication.manifest_sha256,
        timings=watch.seconds,
        warnings=warnings,
    )
    now = tools.clock.now()
    values = [
        _kpi_row(result, run_id, calculated, release, now) for result in (*evaluation.overall, *evaluation.segments)
    ]
    return records.writer.finish(run_id, finish, values, _counts(tape), events, attempt=attempt)
