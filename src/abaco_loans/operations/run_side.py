"""Run one side of a shadow run: a release on a tape, apart from everything else. What it did is a value.

A program runs as `run_command` runs it. A catalogue release is worked out by a process of our own (`side_work`), under
the same keeper: it can write to its private folder only, has limits of time and memory, and never sees the masking
key (it masks with one that lives as long as the shadow run).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.errors import AbacoError, InputError, WorldError
from abaco_loans.kpi.result import Status
from abaco_loans.operations.run_command import CommandJob, CommandRun, CommandStatus, run_command
from abaco_loans.operations.run_process import Ended, Order, Stopped, run_process
from abaco_loans.operations.side_work import LOANS, REFUSED, RESULTS
from abaco_loans.operations.workspace import KEY_VARIABLE
from abaco_loans.outputs.publish import world
from abaco_loans.releases.command import CommandOutput, Printed
from abaco_loans.releases.command_release import AnyRelease, CommandRelease
from abaco_loans.releases.comparison import Key, Said
from abaco_loans.releases.plain import plain_release
from abaco_loans.releases.release import Release
from abaco_loans.tape.masking import MaskingKey

REFUSES = "refused"
_MEGABYTE = 1 << 20
# Address space beyond what the engine may use: the interpreter, its libraries, what allocators reserve.
_HEADROOM_MB = 4096
_FILE_BYTES_MAX = 64 << 30
_STDOUT_BYTES_MAX = 64_000
_RESULTS_BYTES_MAX = 256_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SideJob:
    """What a side is run on, the same for every run of a shadow run.

    Attributes:
        tape: a private copy: a file, or a folder of files.
        definition: of a catalogue release; None: its default. ``layout`` and ``mapping`` likewise.
        worker: how the process of a catalogue release is started, but for its last argument.
        key: what it masks with.
        memory_mb: what its engine may use.
        timeout_s: wall-clock seconds for a catalogue release; a program brings its own.
        environment: where the variables that a program may have are taken from.
        guarded: folders in which nothing may change meanwhile.
    """

    tape: Path
    as_of: date
    definition: str | None
    layout: str | None
    mapping: str | None
    currency: str
    worker: Sequence[str]
    worker_path: str
    key: MaskingKey
    memory_mb: int
    threads: int
    timeout_s: int
    environment: Mapping[str, str]
    guarded: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRun:
    """What came of it.

    Attributes:
        status: ``ok``, a `CommandStatus`, or ``refused``: a catalogue release cannot use this tape.
        said: what it says of every KPI in every place; empty when the status is not ``ok``.
        printed: the values of a program, with the digits that it printed, by place.
        loans: the loan rows that it gave, outside its reach; None where it gave none.
        loan_columns: of the loan rows of a catalogue release.
        definition: name of the definition of a catalogue release.
        rows: rows in, accepted, quarantined, duplicates of a catalogue release.
        error: what, where, hint, when the status is not ``ok``.
    """

    status: str
    said: Mapping[Key, Said] = field(default_factory=dict)
    printed: Mapping[Key, Decimal] = field(default_factory=dict)
    loans: Path | None = None
    loan_columns: tuple[str, ...] = ()
    definition: str = ""
    rows: Mapping[str, int] | None = None
    error: AbacoError | None = None
    seconds: float = 0
    peak_memory_mb: float = 0
    isolation: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it has anything to say."""
        return self.status == CommandStatus.OK

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: how it ran, not what it said."""
        return {
            "status": self.status,
            "seconds": f"{self.seconds:.3f}",
            "peak_memory_mb": f"{self.peak_memory_mb:.1f}",
            "isolation": list(self.isolation),
            "error": self.error.as_dict() if self.error else None,
            "rows": dict(self.rows) if self.rows else None,
        }


def run_side(release: AnyRelease, job: SideJob, folder: Path) -> SideRun:
    """Run a release once, in a new private folder.

    Raises:
        WorldError: ``OUT-1xx`` the folder cannot be written. What the release does wrong is in the result.
    """
    with world(folder):
        folder.mkdir(mode=0o700)
    if isinstance(release, CommandRelease):
        return _program(release, job, folder)
    return _catalogue(release, job, folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """How sides are run: how the process of a catalogue release is started, and where it finds this package.

    ``environment`` is where the variables that a program may have are taken from.
    """

    argv: Sequence[str]
    path: str
    environment: Mapping[str, str]
    run: Callable[[AnyRelease, SideJob, Path], SideRun] = run_side


def _program(release: CommandRelease, job: SideJob, folder: Path) -> SideRun:
    found: CommandRun = run_command(
        CommandJob(
            spec=release.spec,
            files=release.files,
            tape=job.tape,
            as_of=job.as_of,
            folder=folder,
            environment=job.environment,
            guarded=job.guarded,
        )
    )
    said = _said(found.output or CommandOutput(kpis={}))
    return SideRun(
        status=found.status.value,
        said=said,
        printed={key: item.value_exact for key, item in said.items() if item.value_exact is not None},
        loans=found.loans,
        error=found.error,
        seconds=found.seconds,
        peak_memory_mb=found.peak_memory_mb,
        isolation=found.isolation,
    )


def _said(output: CommandOutput) -> dict[Key, Said]:
    places = {(segment, value): kpis for segment, cells in output.segments.items() for value, kpis in cells.items()}
    return {
        Key(kpi=kpi, segment=segment, segment_value=value): _number(item)
        for (segment, value), kpis in {("", ""): output.kpis, **places}.items()
        for kpi, item in kpis.items()
    }


def _number(item: Printed | None) -> Said:
    if item is None:
        return Said(status=Status.NOT_COMPUTABLE)
    return Said(value_exact=item.value, printed_decimals=item.decimals)


def _catalogue(release: Release, job: SideJob, folder: Path) -> SideRun:
    work = folder.resolve() / "work"
    scratch, out, temporary = work / "scratch", work / "out", work / "tmp"
    with world(work):
        for place in (work, scratch, out, temporary):
            place.mkdir(mode=0o700)
        told = {
            "name": release.name,
            "release": plain_release(release),
            "tape": str(job.tape),
            "as_of": job.as_of.isoformat(),
            "definition": job.definition,
            "layout": job.layout,
            "mapping": job.mapping,
            "currency": job.currency,
            "scratch": str(scratch),
            "out": str(out),
            "memory_mb": job.memory_mb,
            "threads": job.threads,
        }
        (work / "work.json").write_text(json.dumps(told), encoding="utf-8")
    ended = run_process(
        Order(
            argv=(*job.worker, str(work / "work.json")),
            folder=work,
            writable=(work,),
            environment={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "HOME": str(temporary),
                "TMPDIR": str(temporary),
                "PYTHONPATH": job.worker_path,
                "PYTHONDONTWRITEBYTECODE": "1",
                KEY_VARIABLE: job.key.secret.hex(),
            },
            timeout_s=job.timeout_s,
            memory_bytes=(job.memory_mb + _HEADROOM_MB) * _MEGABYTE,
            file_bytes_max=_FILE_BYTES_MAX,
            stdout_bytes_max=_STDOUT_BYTES_MAX,
        )
    )
    try:
        return _read(release, ended, out, folder, job)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(release: Release, ended: Ended, out: Path, folder: Path, job: SideJob) -> SideRun:
    """What the process left, by how it ended."""
    how: dict[str, Any] = {
        "seconds": ended.seconds,
        "peak_memory_mb": ended.memory_bytes / _MEGABYTE,
        "isolation": ended.isolation,
    }
    if (out / REFUSED).is_file():
        told = json.loads((out / REFUSED).read_text(encoding="utf-8"))
        refusal = InputError(told["what"], code=told["code"], where=told["where"], hint=told["hint"])
        return SideRun(status=REFUSES, error=refusal, **how)
    results = out / RESULTS
    if ended.exit_code != 0 or not results.is_file() or results.stat().st_size > _RESULTS_BYTES_MAX:
        status, error = _failure(release, ended, job)
        return SideRun(status=status.value, error=error, **how)
    document = json.loads(results.read_text(encoding="utf-8"))
    loans = None
    if (out / LOANS).is_file():
        loans = folder / LOANS
        (out / LOANS).replace(loans)
        loans.chmod(0o400)
    return SideRun(
        status=CommandStatus.OK.value,
        said={_key(item): _result(item, job.currency) for item in document["kpis"]},
        loans=loans,
        loan_columns=tuple(document["loan_columns"]),
        definition=document["definition"],
        rows=document["rows"],
        **how,
    )


def _key(item: Mapping[str, str]) -> Key:
    return Key(kpi=item["kpi"], segment=item["segment"], segment_value=item["segment_value"])


def _result(item: Mapping[str, Any], currency: str) -> Said:
    return Said(
        value_exact=None if item["value_exact"] is None else Decimal(item["value_exact"]),
        status=Status(item["status"]),
        reason=item["reason"],
        basis={"unit": item["unit"], "grain": item["grain"], "currency": currency},
    )


def _failure(release: Release, ended: Ended, job: SideJob) -> tuple[CommandStatus, WorldError]:
    """A process of ours that left nothing: it was stopped, or it broke."""
    last = ended.stderr_tail.decode("utf-8", "replace").strip().splitlines()[-1:]
    said = "".join(sign if sign.isprintable() else "?" for sign in "".join(last))[:200]
    if ended.stopped is Stopped.TIMEOUT:
        status, what = CommandStatus.TIMEOUT, f"was stopped after {job.timeout_s} seconds"
    elif "MemoryError" in said or "emory" in said:
        status, what = CommandStatus.OUT_OF_MEMORY, "ran out of memory"
    else:
        status, what = CommandStatus.CRASHED, f"ended with exit code {ended.exit_code}"
    return status, WorldError(
        f"release {release.name} {what}",
        code="SHD-101",
        where=f"releases/{release.name}",
        hint=f"it said: {said}" if said else ended.not_started or "try `abaco run` with this release to see more",
    )
