"""Run the program of a command release, apart from everything else; what it did is a value, whatever it did.

The program works in a private folder that holds a copy of its own files (its working folder) and of the tape, so it
runs what was digested and cannot change what others read. It gets its own session, closed stdin, the environment that
the release allows and nothing else, and limits of time, memory, output and file size. See `launch` for what is
prevented on which system; what cannot be prevented is found afterwards in the ``guarded`` folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from pathlib import Path

from abaco_loans.errors import AbacoError, ConfigError, InputError, WorldError
from abaco_loans.operations.run_process import STDERR_BYTES_MAX, Ended, Order, Stopped, run_process
from abaco_loans.outputs.publish import world
from abaco_loans.releases.command import OWN_FILES, CommandOutput, CommandSpec, arguments, parse_output

_PATH = "/usr/local/bin:/usr/bin:/bin"
_PROGRAM_BYTES_MAX = 64_000_000
_SECRET_LENGTH_MIN = 4
_MEGABYTE = 1 << 20
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Cannot allocate memory", "out of memory", "OutOfMemory")


class CommandStatus(StrEnum):
    """How a program ended. Only ``ok`` has an output."""

    OK = "ok"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    FLOOD = "flood"
    BAD_OUTPUT = "bad_output"
    OUT_OF_MEMORY = "out_of_memory"
    TRESPASSED = "trespassed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandJob:
    """A program and what it is run on.

    Attributes:
        spec: how it is called and what it may take.
        files: its own files, from `read_program`.
        tape: a file, or a folder of which the files at its top are given.
        as_of: the date asked for; None leaves it to the program (``{as_of}`` is then empty).
        folder: private to this run, and there; the program works below it, its loan rows stay in it.
        environment: where the values of the variables that the release allows are taken from.
        guarded: files and folders in which nothing may change meanwhile.
    """

    spec: CommandSpec
    files: Mapping[str, bytes]
    tape: Path
    as_of: date | None
    folder: Path
    environment: Mapping[str, str]
    guarded: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun:
    """What came of it.

    Attributes:
        output: what it printed, when the status is ``ok``.
        loans: the loan rows that it wrote, in the job's folder; None where it wrote none.
        error: what, where, hint, when the status is not ``ok``: to be raised or to be reported.
        seconds: from start to end of the program itself.
        peak_memory_mb: largest resident size of one of its processes.
        exit_code: as of a shell: negative for a signal; None where it never ended by itself.
        stderr_tail: the end of what it said, escaped, values of its environment taken out. May name customers.
        isolation: what was in force: ``memory``, ``writes``, ``signals``, ``orphans``.
    """

    status: CommandStatus
    output: CommandOutput | None = None
    loans: Path | None = None
    error: AbacoError | None = None
    seconds: float = 0
    peak_memory_mb: float = 0
    exit_code: int | None = None
    stderr_tail: str = ""
    isolation: tuple[str, ...] = ()


def read_program(folder: Path) -> dict[str, bytes]:
    """The program's files in a release folder, path → content.

    Not those that the product reads itself (`OWN_FILES`), nor what is hidden or compiled by Python.

    Raises:
        ConfigError: ``REL-202`` a link leads out, something is no file, or it is too much to copy for every run.
        WorldError: ``OUT-1xx`` it cannot be read.
    """
    found: dict[str, bytes] = {}
    size, root = 0, folder.resolve()
    with world(folder):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
            if name in OWN_FILES or hidden or (path.is_dir() and not path.is_symlink()):
                continue
            if not path.is_file() or not path.resolve().is_relative_to(root) or not name.isprintable():
                raise ConfigError(
                    "a release holds plain files only, and no link that leads out of it",
                    code="REL-202",
                    where=ascii(str(path)),
                    hint="copy the file instead, or call the program by its absolute path",
                )
            size += path.stat().st_size
            if size > _PROGRAM_BYTES_MAX:
                raise ConfigError(
                    f"the release holds more than {_PROGRAM_BYTES_MAX // 1_000_000} MB",
                    code="REL-202",
                    where=str(folder),
                    hint="keep the program elsewhere and call it by its absolute path",
                )
            found[name] = path.read_bytes()
    return found


def run_command(job: CommandJob) -> CommandRun:
    """Run the program once. What it does wrong is in the result; nothing of it runs when this returns.

    Raises:
        WorldError: ``OUT-1xx`` the private folder cannot be written.
    """
    work = job.folder.resolve() / "work"
    before = _fingerprints(job.guarded)
    try:
        with world(work):
            order = _prepared(job, work)
        found = _judged(job, run_process(order), work)
    finally:
        _remove(work)
    changed = _changed(before, _fingerprints(job.guarded))
    if not changed:
        return found
    return replace(
        found,
        status=CommandStatus.TRESPASSED,
        output=None,
        loans=None,
        error=WorldError(
            "files changed outside the program's folder while it ran",
            code="REL-226",
            where=", ".join(map(ascii, changed[:5])),
            hint="restore them, and let the program write to its own folder and {loans_out} only",
        ),
    )


def _prepared(job: CommandJob, work: Path) -> Order:
    """Lay out the private folder; what is to be run in it."""
    program, temporary, out = work / "program", work / "tmp", work / "out"
    for folder in (work, program, temporary, out, work / "tape"):
        folder.mkdir(mode=0o700)
    for name, data in job.files.items():
        path = program / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o500)
    tape = work / "tape" / job.tape.resolve().name
    if job.tape.is_dir():
        tape.mkdir()
        sources = [path for path in sorted(job.tape.iterdir()) if path.is_file()]
        copies = {path: tape / path.name for path in sources}
    else:
        copies = {job.tape: tape}
    for source, copy in copies.items():
        shutil.copyfile(source, copy)
        copy.chmod(0o400)
    values = {
        "python": sys.executable,
        "tape": str(tape),
        "as_of": job.as_of.isoformat() if job.as_of else "",
        "loans_out": str(_loans_out(job.spec, out)),
    }
    own = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": str(temporary), "TMPDIR": str(temporary)}
    return Order(
        argv=tuple(arguments(job.spec, values)),
        folder=program,
        writable=(work,),
        environment={**own, **_allowed(job)},
        timeout_s=job.spec.timeout_s,
        memory_bytes=job.spec.memory_mb * _MEGABYTE,
        file_bytes_max=job.spec.file_mb_max * _MEGABYTE,
        stdout_bytes_max=job.spec.output_bytes_max,
    )


def _allowed(job: CommandJob) -> dict[str, str]:
    return {name: job.environment[name] for name in job.spec.environment if name in job.environment}


def _loans_out(spec: CommandSpec, folder: Path) -> Path:
    return folder / f"loans.{spec.loans.format if spec.loans else 'csv'}"


def _judged(job: CommandJob, ended: Ended, work: Path) -> CommandRun:
    """What came of it, by how it ended and what it printed."""
    tail = _escaped(ended.stderr_tail, _allowed(job).values())
    output, loans = None, None
    status, error = _failure(job.spec, ended, tail)
    if error is None:
        try:
            output = parse_output(_decoded(ended.stdout))
            loans = _kept_loans(job, work / "out")
        except InputError as refused:
            status, error, output = CommandStatus.BAD_OUTPUT, refused, None
    return CommandRun(
        status=status,
        output=output,
        loans=loans,
        error=error,
        seconds=ended.seconds,
        peak_memory_mb=ended.memory_bytes / _MEGABYTE,
        exit_code=ended.exit_code,
        stderr_tail=tail,
        isolation=ended.isolation,
    )


def _failure(spec: CommandSpec, ended: Ended, tail: str) -> tuple[CommandStatus, AbacoError | None]:
    """How a program failed that did not end by itself with 0."""
    where = " ".join(spec.argv[:2])
    if ended.stopped is Stopped.TIMEOUT:
        return CommandStatus.TIMEOUT, WorldError(
            f"the program was stopped after {spec.timeout_s} seconds",
            code="REL-223",
            where=where,
            hint="raise timeout_s in release.yml, or find out what it waits for",
        )
    if ended.stopped is Stopped.FLOOD:
        return CommandStatus.FLOOD, WorldError(
            f"the program was stopped: it said more than {spec.output_bytes_max} bytes on stdout,"
            f" or {STDERR_BYTES_MAX} on stderr",
            code="REL-224",
            where=where,
            hint="print the document alone, or raise output_bytes_max in release.yml",
        )
    if ended.not_started:
        return CommandStatus.CRASHED, WorldError(
            f"the program could not be started: {ended.not_started}",
            code="REL-221",
            where=where,
            hint="the first of argv is {python}, an absolute path, ./ and a file of the release, or a name in PATH",
        )
    if ended.exit_code == 0:
        return CommandStatus.OK, None
    if ended.exit_code == -signal.SIGKILL or any(sign in tail for sign in _OUT_OF_MEMORY):
        return CommandStatus.OUT_OF_MEMORY, WorldError(
            f"the program ran out of memory, or was killed for it (it may have {spec.memory_mb} MB)",
            code="REL-225",
            where=where,
            hint="raise memory_mb in release.yml, or let it read the tape in parts",
        )
    code = "no exit code: its keeper was killed" if ended.exit_code is None else f"exit code {ended.exit_code}"
    return CommandStatus.CRASHED, WorldError(
        f"the program ended with {code}",
        code="REL-222",
        where=where,
        hint=f"it said: {tail.splitlines()[-1][:200]}" if tail else "it said nothing on stderr",
    )


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "the output is not UTF-8",
            code="REL-211",
            where=f"stdout: byte {error.start}",
            hint="print UTF-8, or escape what is not ASCII",
        ) from error


def _escaped(data: bytes, secrets: Iterable[str]) -> str:
    """The end of what was said on stderr, with nothing in it that could steer a terminal or give a secret away."""
    text = data.decode("utf-8", "replace")
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_LENGTH_MIN:
            text = text.replace(secret, "***")
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode() for sign in text
    ).strip()


def _kept_loans(job: CommandJob, folder: Path) -> Path | None:
    """The loan rows, moved out of the program's reach; None where it wrote none."""
    written = _loans_out(job.spec, folder)
    if job.spec.loans is None or not os.path.lexists(written):
        return None
    found = written.lstat()
    # A folder that is a link would let us move a file of somebody else's.
    if folder.is_symlink() or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise InputError(
            "the loan rows are no plain file",
            code="REL-214",
            where="{loans_out}",
            hint="write them to that path, not a link or a folder",
        )
    kept = job.folder / written.name
    written.replace(kept)
    kept.chmod(0o400)
    return kept


def _fingerprints(places: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    """What changes when somebody writes to a file, or makes or removes one: for each file below the places."""
    found: dict[str, tuple[int, ...]] = {}
    for place in places:
        for path in (place, *place.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                now = path.lstat()
                found[str(path)] = (now.st_ino, now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    return found


def _changed(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _remove(work: Path) -> None:
    """Remove the private folder, even if the program shut its folders: nobody writes there any more."""
    if not work.exists():
        return
    work.chmod(0o700)
    for folder, _, _ in os.walk(work):
        for path in Path(folder).iterdir():
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(work, ignore_errors=True)
