"""Run a tape through a program (a command release) and publish what it printed, recorded as every run is.

The program is given a private copy of the tape and works apart (see `run_command`); what it prints is taken as it is.
A catalogue release of the workspace serves to know the tape: its layout, its digest and, where none was asked for, its
date. A program that fails publishes nothing, and the run is recorded as failed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from abaco_loans.errors import AbacoError, ConfigError, InputError, InvariantError, UsageError
from abaco_loans.kpi.result import text_of
from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.judge_rows import Warned
from abaco_loans.operations.record_run import Recorder
from abaco_loans.operations.run_command import CommandJob, CommandRun, run_command
from abaco_loans.operations.run_tape import RunRequest, out_of_memory, publishing, record_failure, sweep
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.shadow_tape import ShadowTape, copied, read_shadow_tape
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.tracing import note, span
from abaco_loans.operations.workspace import Workspace
from abaco_loans.operations.write_program import UNDECLARED, ProgramResults, program_values, write_program
from abaco_loans.outputs.publish import Publication, hash_file, publish, world
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.locks import exclusive
from abaco_loans.records.runs import KpiRow, RowCounts, RunFinish, RunRecord, RunStart
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.releases.gate import digest_of
from abaco_loans.releases.release import Release
from abaco_loans.tape.definition import Definition

_UNDATED = "SHD-102"
_CRASHED = "REL-222"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOutcome:
    """A finished run of a program, new or found; ``ran`` is None when it was found."""

    record: RunRecord
    earlier: bool
    ran: CommandRun | None = None


@span("abaco.run")
def run_program(request: RunRequest, tools: Tools, environment: Mapping[str, str]) -> ProgramOutcome:
    """Run one tape through the program of a command release.

    Args:
        request: what is asked for; a program knows no definition, strictness or clean tape.
        tools: engine, records, keys.
        environment: where the values of the variables that the release allows are taken from.

    Raises:
        UsageError: ``RUN-112`` something is asked for that a program does not know.
        InputError: ``RUN-111`` no date was given, and none can be read; the program printed what cannot be used.
        ConfigError: the release or the masking key is wrong.
        WorldError: the program failed (``REL-22x``), or disk, database, permissions; the old outputs are intact.
    """
    release = tools.workspace.any_release(request.release)
    if not isinstance(release, CommandRelease):
        raise InvariantError(f"release {release.name} is no program")
    note(release=release.name)
    _only_what_it_knows(request, release)
    try:
        with world(tools.workspace.root), ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder(tools.workspace))
            desk = _Desk(request=request, release=release, tools=tools, environment=environment, scratch=scratch)
            outcome = desk.run(stack)
            tools.anchor()
            return outcome
    except MemoryError as error:
        raise out_of_memory() from error


def _only_what_it_knows(request: RunRequest, release: CommandRelease) -> None:
    asked = {"--definition": request.definition, "--strict": request.strict, "--csv": request.csv_too}
    unknown = [name for name, value in asked.items() if value]
    if unknown:
        raise UsageError(
            f"release {release.name} is a program, and knows no {unknown[0]}",
            code="RUN-112",
            where=unknown[0],
            hint="leave it out, or give --release with a catalogue release (`abaco release list`)",
        )


def known_catalogues(workspace: Workspace) -> list[Release]:
    """The catalogue releases that can be loaded, the active one first: they know tapes, names and thresholds."""
    order = {"active": 0, "shadow": 1, "standby": 2}
    found = []
    for name in sorted(workspace.release_names(), key=lambda name: (order[workspace.role(name)], name)):
        try:
            found.append(workspace.release(name))
        except ConfigError:  # another program, or a draft: this run does not depend on it
            continue
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """One run of a program."""

    request: RunRequest
    release: CommandRelease
    tools: Tools
    environment: Mapping[str, str]
    scratch: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, stack: ExitStack) -> ProgramOutcome:
        began = time.perf_counter()
        self.tools.progress(f"copying {self.request.path.name}")
        catalogues = known_catalogues(self.tools.workspace)
        tape = self._read(catalogues)
        self.seconds["reading"] = round(time.perf_counter() - began, 4)
        files = _files(tape.copy)
        sha256 = _digest(tape, files)
        stack.enter_context(self._one_at_a_time(sha256))
        records = stack.enter_context(self.tools.open_records())
        recorder = ProgramRecorder(
            run_id=_run_id(self.release, sha256, tape.as_of),
            as_of=tape.as_of,
            tools=self.tools,
            records=records,
            release=self.release,
            definition=self.release.declared(tape.layout),
            tape=tape,
            sha256=sha256,
            files=files,
        )
        lost = records.reader.get(recorder.run_id)
        if lost is not None and lost.status != "finished":
            lost = None
        if lost is not None and (self.tools.workspace.outputs / (lost.output_folder or "")).exists():
            sound_folder(self.tools.workspace, lost)
            return ProgramOutcome(record=lost, earlier=True)
        with publishing(self.tools):
            sweep(self.tools.workspace, records)
            start = lost or recorder.start()
        try:
            return self._made(recorder, start, catalogues)
        except BaseException as error:
            if lost is None:
                record_failure(unsaid(error), recorder.run_id, start.attempt, records, self.tools)
            raise

    def _read(self, catalogues: list[Release]) -> ShadowTape:
        """The tape's private copy and what is known of it."""
        request, tools = self.request, self.tools
        folder = self.scratch / "reading"
        with world(folder):
            folder.mkdir(mode=0o700)
        engine = tools.open_engine(folder, [self.scratch])
        try:
            copy = copied(request.path, self.scratch / "tape")
            return read_shadow_tape(
                request.path,
                copy,
                catalogues,
                engine,
                folder,
                as_of=request.as_of,
                layout=request.layout,
                mapping=request.mapping,
                key=tools.key,
                tools=tools,
            )
        except InputError as error:
            refused = _undated(error) if error.code == _UNDATED else error
            payload = {"tape": request.path.name, "code": refused.code}
            with tools.open_records() as records:
                records.append([NewEvent(action="tape.rejected", subject=request.path.name, payload=payload)])
            raise refused from error
        finally:
            engine.close()

    def _one_at_a_time(self, sha256: str) -> AbstractContextManager[None]:
        """One run of one tape at once; the other waits, and then finds the result."""
        tools = self.tools
        name = hashlib.sha256(f"{sha256} {self.release.core_digest}".encode()).hexdigest()[:24]
        with world(tools.workspace.locks):
            tools.workspace.locks.mkdir(parents=True, exist_ok=True)
        return exclusive(
            tools.workspace.locks / f"tape-{name}.lock",
            clock=tools.clock,
            who=tools.who,
            timeout_s=tools.workspace.settings.lock_timeout_s,
            on_wait=lambda holder: tools.progress(f"waiting: {holder} runs this tape"),
        )

    def _made(self, recorder: ProgramRecorder, start: RunRecord, catalogues: list[Release]) -> ProgramOutcome:
        """Run the program, publish what it printed, record it."""
        tools, tape, workspace = self.tools, recorder.tape, self.tools.workspace
        tools.progress(f"running {self.release.name}")
        ran = self._ran(tape)
        if ran.error is not None:
            raise ran.error
        if ran.output is None:
            raise InvariantError("a program that did not fail has an output")
        self.seconds["program"] = round(ran.seconds, 4)
        began = time.perf_counter()
        known = tape.release or (catalogues[0] if catalogues else None)
        results = ProgramResults(
            release=self.release,
            definition=recorder.definition,
            as_of=tape.as_of,
            values=program_values(ran.output, known.catalogue if known else None),
            loans=ran.loans,
        )
        staging, work = self.scratch / "output", self.scratch / "writing"
        with world(staging):
            staging.mkdir()
            work.mkdir(mode=0o700)
            engine = tools.open_engine(work, [self.scratch])
            try:
                restricted = write_program(staging, results, engine, tools.key)
            finally:
                engine.close()
        with publishing(tools):
            folder = f"{tape.as_of.isoformat()}/{recorder.run_id}"
            facts = recorder.facts(start, results)
            publication = publish(workspace.outputs, staging, folder, restricted=restricted, facts=facts)
            self.seconds["output"] = round(time.perf_counter() - began, 4)
            if start.status == "finished":
                return ProgramOutcome(record=recorder.repaired(start, publication), earlier=False, ran=ran)
            record = recorder.finish(results, ran, publication, self.seconds, start.attempt)
        return ProgramOutcome(record=record, earlier=False, ran=ran)

    def _ran(self, tape: ShadowTape) -> CommandRun:
        folder, workspace = self.scratch / "program", self.tools.workspace
        with world(folder):
            folder.mkdir(mode=0o700)
        return run_command(
            CommandJob(
                spec=self.release.spec,
                files=self.release.files,
                tape=tape.copy,
                as_of=tape.as_of,
                folder=folder,
                environment=self.environment,
                guarded=(workspace.root / "releases", workspace.root / "keys"),
            )
        )


def _files(copy: Path) -> dict[str, str]:
    """Every file that a program is given: name → SHA-256 of its bytes."""
    return {path.name: hash_file(path) for path in (sorted(copy.iterdir()) if copy.is_dir() else [copy])}


def _digest(tape: ShadowTape, files: Mapping[str, str]) -> str:
    """The digest of all that the program is given: that of a catalogue run, and files of a folder that none knows."""
    known = {report.name for report in tape.read.files} if tape.read else set()
    others = {name: digest for name, digest in files.items() if name not in known}
    if tape.read is None or not tape.copy.is_dir() or not others:
        return tape.sha256
    return digest_of({"tape": tape.sha256, "others": others})


def _run_id(release: CommandRelease, sha256: str, as_of: date) -> str:
    """The as-of date and 20 hexadecimal digits of what the numbers depend on, as `releases.release.run_identity`."""
    digest = digest_of({"meaning": release.core_digest, "tape": sha256, "as_of": as_of.isoformat()})
    return f"{as_of:%Y%m%d}-{digest[:20]}"


def _undated(error: InputError) -> InputError:
    return InputError(
        f"no date was asked for, and {error.what}",
        code="RUN-111",
        where=error.where,
        hint="give --as-of, and the program is asked for that date",
    )


def unsaid(error: BaseException) -> BaseException:
    """The failure as it is recorded: a program's last words may name customers."""
    if isinstance(error, AbacoError) and error.code == _CRASHED:
        return type(error)(error.what, code=error.code, where=error.where, hint="run it again to see what it says")
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRecorder(Recorder):
    """Writes down what becomes of one run of a program."""

    release: CommandRelease
    definition: Definition | None
    tape: ShadowTape
    sha256: str
    files: Mapping[str, str]

    def start(self) -> RunRecord:
        """The run is at work; an attempt that died before is taken over."""
        release, tape = self.release, self.tape
        self.records.writer.ensure_release(
            release.name,
            kind=release.kind,
            role=self.tools.workspace.role(release.name),
            meaning_digest=release.core_digest,
            policy_digest=release.policy_digest,
        )
        started = self.records.writer.start(
            RunStart(
                run_id=self.run_id,
                release=release.name,
                release_digest=release.core_digest,
                tape_sha256=self.sha256,
                tape_path=tape.name,
                layout=tape.layout or "unknown",
                as_of=self.as_of,
                definition=self.definition.name if self.definition else UNDECLARED,
            ),
            [self.event("tape.fingerprinted", {"files": dict(self.files), "sha256": self.sha256})],
        )
        return self.told(started)

    def facts(self, started: RunRecord, results: ProgramResults) -> dict[str, object]:
        """What the manifest says of the run: the same whenever its outputs are made again."""
        release, tape = self.release, self.tape
        document = results.kpis_document()
        return {
            "run_id": self.run_id,
            "as_of": self.as_of.isoformat(),
            "definition": document["definition"],
            "release": {"name": release.name, "meaning": release.meaning_digest, "policy": release.policy_digest},
            "program": {"argv": list(release.spec.argv)},
            "tape": {
                "name": tape.name,
                "sha256": self.sha256,
                "layout": tape.layout or "unknown",
                "mapping": tape.read.mapping.name if tape.read else "",
                "files": dict(self.files),
            },
            "rows": dict(zip(("in", "accepted", "quarantined", "duplicates"), self._rows().as_tuple(), strict=True)),
            "masking_key": self.tools.key.version,
            "engine": self.tools.engine_version,
            "created_at": started.started_at.isoformat(),
        }

    def finish(
        self,
        results: ProgramResults,
        ran: CommandRun,
        publication: Publication,
        timings: Mapping[str, float],
        attempt: int,
    ) -> RunRecord:
        """The run is done: its values and events, in one transaction."""
        now = self.tools.clock.now()
        values = [
            KpiRow(
                run_id=self.run_id,
                kpi_id=item.kpi_id,
                segment=item.segment,
                segment_value=item.segment_value,
                as_of=self.as_of,
                recorded_at=now,
                definition=results.definition_name,
                release=self.release.name,
                value=item.printed.value if item.printed else None,
                value_exact=item.printed.value if item.printed else None,
                unit=item.unit,
                status=item.status.value,
                reason=item.reason,
            )
            for item in results.values
        ]
        said = {
            item.kpi_id: text_of(item.printed.value) if item.printed else item.status.value
            for item in results.values
            if not item.segment
        }
        events = [
            self.event(
                "program.finished",
                {
                    "seconds": f"{ran.seconds:.3f}",
                    "peak_memory_mb": f"{ran.peak_memory_mb:.1f}",
                    "isolation": list(ran.isolation),
                },
            ),
            self.event("calculation.finished", said),
            self.event(
                "outputs.published", {"folder": publication.folder, "manifest_sha256": publication.manifest_sha256}
            ),
        ]
        finish = RunFinish(
            rows=self._rows(),
            output_folder=publication.folder,
            manifest_sha256=publication.manifest_sha256,
            timings=timings,
            warnings=[item.as_dict() for item in self._warnings()],
        )
        return self.told(self.records.writer.finish(self.run_id, finish, values, (), events, attempt=attempt))

    def _rows(self) -> RowCounts:
        """All rows of the tape are given to the program; none that we know of where no contract reads it."""
        rows_in = self.tape.read.totals[0] if self.tape.read else 0
        return RowCounts(rows_in=rows_in, accepted=rows_in, quarantined=0, duplicate=0)

    def _warnings(self) -> list[Warned]:
        if self.tape.read is None:
            return []
        refused = self.tape.read.totals[2] + self.tape.read.totals[3]
        known = self.tape.release.name if self.tape.release else ""
        warned = Warned(
            code="WARN-106",
            text=f"rows that release {known} refuses or takes for duplicates; the program was given them all",
            count=refused,
        )
        return [warned] if refused else []
