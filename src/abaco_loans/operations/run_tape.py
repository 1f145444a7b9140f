"""Run a tape: ingestion, transformation, calculation, output, and the record of it all.

Order, so that a crash at any point leaves the old result whole or the new one: the run is recorded as running;
data files are written to a private folder; the folder is published by one rename; one transaction records the
run, its values and its events. A folder without a finished run is an orphan, and is removed at the next start.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.errors import AbacoError, InputError, UsageError, WorldError
from abaco_loans.operations.begin_run import Begun, begin_run
from abaco_loans.operations.calculate import Calculated, calculate, choose_date
from abaco_loans.operations.judge_rows import Refusal, Warned, over_limit
from abaco_loans.operations.private_cache import remembering
from abaco_loans.operations.read_tape import ReadTape, StagedTape, load_tape, stage_tape
from abaco_loans.operations.record_run import RunRecorder
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.operations.tracing import Phases, note, span
from abaco_loans.operations.workspace import Workspace
from abaco_loans.operations.write_outputs import write_outputs
from abaco_loans.outputs.publish import (
    Publication,
    damaged_files,
    publish,
    run_folders,
    set_aside,
    sweep_orphans,
    world,
)
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.locks import exclusive
from abaco_loans.records.runs import RunRecord
from abaco_loans.releases.release import Release, run_identity
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.reasons import REASONS

REFUSED = "RUN-103"


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
        self._phases = Phases("abaco.run")
        self._last = time.perf_counter()

    def mark(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = round(self.seconds.get(phase, 0) + now - self._last, 4)
        self._phases.mark(phase)
        self._last = now


@span("abaco.run")
def run_tape(request: RunRequest, tools: Tools, begun: Begun | None = None) -> RunOutcome:
    """Run one tape through the four phases.

    Args:
        request: what is asked for.
        tools: engine, records, keys.
        begun: the run's folder and the copying of the tape, where they have begun already.

    Raises:
        InputError: the tape breaks the contract as a whole, or too much of it was refused.
        ConfigError: the release, a definition or the masking key is wrong.
        WorldError: disk, database or permissions failed; the old outputs and the ledger are intact.
    """
    try:
        with world(tools.workspace.root):
            return _run_tape(request, tools, begun)
    except MemoryError as error:
        raise out_of_memory() from error
    except InputError as error:
        if error.code != REFUSED:
            payload = {"tape": request.path.name, "code": error.code}
            with tools.open_records() as records:
                records.append([NewEvent(action="tape.rejected", subject=request.path.name, payload=payload)])
        raise


def _run_tape(request: RunRequest, tools: Tools, begun: Begun | None) -> RunOutcome:
    watch = _Stopwatch()
    with ExitStack() as stack:
        tools.progress(f"copying {request.path.name}")
        begun = begun or stack.enter_context(begin_run(tools.workspace, request.path))
        scratch = begun.scratch
        stack.enter_context(remembering(tools.workspace.cache, tools.key.secret))
        release = tools.workspace.release(request.release)
        engine = _LazyEngine(lambda: tools.open_engine(scratch, [scratch]))
        stack.callback(engine.close)
        engine.get()
        watch.mark("start")
        staged = stage_tape(
            request.path,
            release,
            scratch,
            engine.get,
            layout=request.layout,
            mapping=request.mapping,
            begun=begun.staging,
        )
        definition = release.definition(request.definition, staged.mapping.layout)
        watch.mark("staging")
        stack.enter_context(_one_at_a_time(staged, definition, release, tools))
        records = stack.enter_context(tools.open_records())
        found = None
        if request.as_of is not None:
            found = _earlier(request.as_of, staged, definition, release, records, request, tools)
        outcome = found or _run(request, tools, staged, release, definition, engine.get(), records, scratch, watch)
        # Also for a run found: the one that made it may have died before its anchor.
        tools.anchor()
        watch.mark("record")
        return replace(outcome, timings=watch.seconds) if not outcome.earlier else outcome


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


def _run_id(staged: StagedTape | ReadTape, definition: Definition, release: Release, as_of: date, tools: Tools) -> str:
    return run_identity(
        release,
        mapping=staged.mapping.name,
        tape_sha256=staged.sha256,
        as_of=as_of.isoformat(),
        definition=definition,
        reporting_currency=tools.workspace.settings.reporting_currency,
    )


def _earlier(
    as_of: date,
    staged: StagedTape | ReadTape,
    definition: Definition,
    release: Release,
    records: Records,
    request: RunRequest,
    tools: Tools,
) -> RunOutcome | None:
    """The finished run of the same tape, date, definition, currency and meaning, if its outputs are still those."""
    record = records.reader.get(_run_id(staged, definition, release, as_of, tools))
    if record is None or record.status != "finished" or record.output_folder is None:
        return None
    outputs = tools.workspace.outputs
    with world(outputs / record.output_folder):
        damaged = damaged_files(outputs, record.output_folder, record.manifest_sha256 or "")
    if damaged and not (outputs / record.output_folder).exists():
        return None  # they are made again, and must come out as they were
    if damaged:
        place = set_aside(outputs, record.output_folder)
        raise WorldError(
            f"the outputs of run {record.run_id} are no longer what was published: {', '.join(damaged)}",
            code="RUN-102",
            where=str(outputs / record.output_folder),
            hint=f"they were moved to outputs/{place}; look after that disk, then run again to make them anew",
        )
    quarantined = record.rows.quarantined if record.rows else 0
    if request.strict and quarantined:
        raise InputError(
            f"strict mode allows no refused row, and {quarantined} were refused when this tape was run",
            code=REFUSED,
            where=request.path.name,
            hint=f"`abaco quarantine {record.run_id}` lists them",
        )
    if request.csv_too and not any((outputs / record.output_folder).glob("clean*.csv")):
        raise UsageError(
            "this tape was run before without --csv, and what a run published is never changed",
            code="RUN-107",
            where=str(outputs / record.output_folder),
            hint="read the clean*.parquet there, or run without --csv to see the earlier result",
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
    note(release=release.name, layout=tape.layout, definition=definition.name, rows=tape.totals[0])
    refusal = too_much(tape, strict=request.strict)
    if refusal:
        day = _date_of_refused(tape, engine, request, tools)
        _recorder(tape, day, definition, release, tools, records).refuse(refusal, engine, scratch)
        raise refusal
    tools.progress("calculating")
    currency = tools.workspace.settings.reporting_currency
    calculated = calculate(tape, engine, release, definition, as_of=request.as_of, reporting_currency=currency)
    watch.mark("calculation")
    if request.as_of is None:
        found = _earlier(calculated.as_of, tape, definition, release, records, request, tools)
        if found:
            return found
    recorder = _recorder(tape, calculated.as_of, definition, release, tools, records)
    lost = records.reader.get(recorder.run_id)
    if lost is not None and lost.status != "finished":
        lost = None
    with publishing(tools):
        sweep(tools.workspace, records)
        start = lost or recorder.start()
    try:
        record, publication = _output(recorder, calculated, engine, scratch, start, request, watch)
    except BaseException as error:
        if lost is None:
            record_failure(error, recorder.run_id, start.attempt, records, tools)
        raise
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


def _output(
    recorder: RunRecorder,
    calculated: Calculated,
    engine: Engine,
    scratch: Path,
    start: RunRecord,
    request: RunRequest,
    watch: _Stopwatch,
) -> tuple[RunRecord, Publication]:
    """Write, publish and record; for a run that finished before, make its lost outputs again."""
    tools = recorder.tools
    tools.progress("writing")
    staging = scratch / "output"
    with world(staging):
        staging.mkdir()
        restricted = write_outputs(
            staging, recorder.tape, calculated, recorder.release, engine, tools.key, csv_too=request.csv_too
        )
    watch.mark("output")
    with publishing(tools):
        folder = f"{calculated.as_of.isoformat()}/{recorder.run_id}"
        publication = publish(
            tools.workspace.outputs, staging, folder, restricted=restricted, facts=recorder.facts(start)
        )
        if start.status == "finished":
            return recorder.repaired(start, publication), publication
        return recorder.finish(calculated, publication, watch.seconds, start.attempt), publication


def record_failure(error: BaseException, run_id: str, attempt: int, records: Records, tools: Tools) -> None:
    """Mark the run as failed, whatever broke it. Where even that fails, the next attempt takes it over."""
    told = error if isinstance(error, AbacoError) else None
    if isinstance(error, MemoryError):
        told = out_of_memory()
    said = told.as_dict() if told else {"code": "RUN-109", "what": f"stopped by {type(error).__name__}"}
    with suppress(WorldError, MemoryError):
        tools.follow(records.writer.fail(run_id, said, attempt=attempt))


def out_of_memory() -> WorldError:
    """What a MemoryError means for a person: ``RUN-108``."""
    return WorldError(
        "out of memory",
        code="RUN-108",
        where="this run",
        hint="free memory or lower memory_mb in abaco.yml, then run again; the old outputs are intact",
    )


def _recorder(
    tape: ReadTape, day: date, definition: Definition, release: Release, tools: Tools, records: Records
) -> RunRecorder:
    return RunRecorder(
        run_id=_run_id(tape, definition, release, day, tools),
        as_of=day,
        tape=tape,
        release=release,
        definition=definition,
        tools=tools,
        records=records,
    )


def publishing(tools: Tools) -> AbstractContextManager[None]:
    """Held while folders appear or disappear under ``outputs/``."""
    timeout_s = tools.workspace.settings.lock_timeout_s
    return exclusive(tools.workspace.locks / "publish.lock", clock=tools.clock, who=tools.who, timeout_s=timeout_s)


def _date_of_refused(tape: ReadTape, engine: Engine, request: RunRequest, tools: Tools) -> date:
    """The date that a refused tape speaks of; today where no accepted row says one."""
    try:
        return choose_date(tape, engine, request.as_of)[0]
    except InputError:
        return request.as_of or tools.clock.now().date()


def too_much(tape: ReadTape, *, strict: bool) -> InputError | None:
    """The error that stops a run whose quarantine is too large, or any in strict mode."""
    for report in tape.files:
        why = over_limit(report, tape.contract)
        if strict and report.quarantined:
            why = f"strict mode allows none, and {report.quarantined} row(s) are refused"
        if why:
            most = sorted(report.refusals, key=lambda item: -item.rows)[:3]
            reasons = "; ".join(f"{item.column or 'row'}: {_reason(item)} ({item.rows:,})" for item in most)
            return InputError(
                f"too much of {report.name} is refused: {why}",
                code=REFUSED,
                where=tape.path,
                hint=f"most often {reasons}. `abaco quarantine` lists every row. Correct the tape or"
                " its mapping; the last good outputs stay as they are",
                details={"rows": tape.row_counts},
            )
    return None


def _reason(refusal: Refusal) -> str:
    text = REASONS.get(refusal.code)
    return f"{refusal.code}, {text}" if text else refusal.code


def sweep(workspace: Workspace, records: Records) -> None:
    """Remove published folders that no finished run stands for. The publish lock is held."""
    known = set()
    for name in run_folders(workspace.outputs):
        record = records.reader.get(name.split("/")[1])
        if record is not None and record.status == "finished":
            known.add(name)
    with world(workspace.outputs):
        sweep_orphans(workspace.outputs, frozenset(known))
