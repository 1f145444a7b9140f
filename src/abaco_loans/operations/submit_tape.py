"""Submit a tape: a private copy in the queue first, then the job that names it.

Invariants: what is acknowledged is durable (the copy is fsynced and renamed into place before the job is recorded); the
copy in the queue is what was hashed; the same tape and date are one job with one copy, whatever the file is called;
nothing is written outside the workspace, and no link is followed into it.

The copies lie in ``queue/<first 2 digits>/<sha256>/<name>``, owner only and read-only. A copy whose job was never
recorded (the submission was killed) is taken up when the tape is submitted again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Protocol

from abaco_loans.clock import Clock
from abaco_loans.errors import AbacoError, InputError, WorldError
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import hash_file, sync, world
from abaco_loans.records.locks import exclusive
from abaco_loans.records.production import Job, NewJob, ProductionReader, ProductionWriter
from abaco_loans.sources.stage import unreadable

QUEUE = "queue"
NOT_READY = "SRC-103"
UNREADABLE = "SRC-201"
_NAME_BYTES_MAX = 200
_CHUNK = 8 << 20


class Production(Protocol):
    """What the queue needs of the records."""

    @property
    def production_reader(self) -> ProductionReader:
        """Reads jobs and the pointer."""
        ...

    @property
    def production_writer(self) -> ProductionWriter:
        """Moves jobs."""
        ...


OpenProduction = Callable[[], AbstractContextManager[Production]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The job of a tape, and whether it is new."""

    job: Job
    is_new: bool


def submit_tape(
    workspace: Workspace, tape: Path, records: Production, *, as_of: date | None, clock: Clock, who: str
) -> Submitted:
    """Put a tape into the queue.

    Args:
        tape: a file, or the folder of a servicing extract (the files at its top).
        as_of: the date to calculate; None for the tape's latest.
        who: what somebody who has to wait should read.

    Raises:
        UsageError: ``SRC-201`` there is no such file.
        InputError: ``SRC-103`` it is still being written; ``JOB-101`` its name, or a file in it, cannot be taken.
        WorldError: it cannot be read or copied, or the database failed; nothing was acknowledged.
    """
    with scratch_folder(workspace) as scratch:
        copy = private_copy(tape, scratch)
        new = NewJob(tape_sha256=tape_digest(copy), tape_name=copy.name, as_of=as_of, spool="")
        with world(workspace.locks):
            workspace.locks.mkdir(parents=True, exist_ok=True)
        with _alone(workspace, clock, who):
            known = records.production_reader.job(new.job_id)
            spool = known.spool if known else _spool(new.tape_sha256, copy.name)
            with world(workspace.root):
                _put(copy, workspace.root, spool, new.tape_sha256)
            job, is_new = records.production_writer.submit(
                NewJob(tape_sha256=new.tape_sha256, tape_name=copy.name, as_of=as_of, spool=spool)
            )
    return Submitted(job=job, is_new=is_new)


def tape_digest(tape: Path) -> str:
    """The digest by which the queue knows a tape: of a file its SHA-256, of a folder that of its files' names and
    digests.

    A run of a file goes by the same digest, as does a run of a folder that no contract reads; a run of a servicing
    extract goes by its tables (`read_tape`), which only a release knows.
    """
    if not tape.is_dir():
        return hash_file(tape)
    lines = "".join(f"{path.name} {hash_file(path)}\n" for path in sorted(tape.iterdir()))
    return hashlib.sha256(lines.encode()).hexdigest()


def spooled_tape(workspace: Workspace, job: Job) -> Path:
    """The private copy of a job's tape.

    Raises:
        WorldError: ``JOB-103`` it is gone, or no longer what was submitted.
    """
    path = workspace.root / job.spool
    if not (path.exists() and _is_whole(path, job.tape_sha256)):
        raise WorldError(
            f"the queue's copy of {job.tape_name} is no longer what was submitted",
            code="JOB-103",
            where=str(path),
            hint="look after that disk, then submit the tape again: its copy is made anew",
        )
    return path


def checked_name(name: str) -> str:
    """The name, if it can become part of a path and be shown to people.

    Raises:
        InputError: ``JOB-101`` it cannot.
    """
    odd = not name or name.startswith(".") or "/" in name or not name.isprintable()
    if odd or len(os.fsencode(name)) > _NAME_BYTES_MAX:
        raise InputError(
            "a tape of this name is not taken",
            code="JOB-101",
            where=ascii(name),
            hint=f"rename it: printable, not hidden, at most {_NAME_BYTES_MAX} bytes",
        )
    return name


def private_copy(tape: Path, scratch: Path) -> Path:
    """Copy a tape into the private folder ``scratch``, durable and read-only; its copy is called as the tape is.

    Of a folder, the files at its top that are not hidden.

    Raises:
        UsageError: ``SRC-201`` there is no such file.
        InputError: ``SRC-103`` it changed meanwhile; ``JOB-101`` it is, or holds, something else than plain files.
        WorldError: ``SRC-201`` no permission to read it; ``OUT-1xx`` the copy cannot be written.
    """
    name = checked_name(tape.name)
    target = scratch / "tape" / name
    try:
        with world(scratch):
            target.parent.mkdir(mode=0o700)
            if not stat.S_ISDIR(tape.lstat().st_mode):
                _copy_file(tape, target)
                return target
            names = _names(tape)
            target.mkdir(mode=0o700)
            for item in names:
                _copy_file(tape / checked_name(item), target / item)
            if _names(tape) != names:
                raise _not_ready(name)
            sync(target)
    except WorldError as error:
        raise _unreadable(error, tape) from error
    return target


def _names(folder: Path) -> list[str]:
    """What belongs to a tape that is a folder: not folders in it, nor what is hidden."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and not stat.S_ISDIR(path.lstat().st_mode)
    )


def _copy_file(source: Path, target: Path) -> None:
    """Copy one file, never through a link: what a name leads to may be swapped while we look."""
    if not stat.S_ISREG(source.lstat().st_mode):
        raise _no_plain_file(source.name)
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as stream:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise _no_plain_file(source.name)
        with target.open("xb") as copy:
            os.fchmod(copy.fileno(), 0o400)
            # A file that grows as fast as it is read has no end: what it had at the start is enough.
            while (chunk := stream.read(_CHUNK)) and copy.tell() <= before.st_size:
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        after = os.fstat(stream.fileno())
    named = source.lstat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or named.st_ino != after.st_ino:
        raise _not_ready(source.name)


def _no_plain_file(name: str) -> InputError:
    return InputError(
        "this is a link or no file at all, and only plain files are taken",
        code="JOB-101",
        where=ascii(name),
        hint="put the file itself there",
    )


def _not_ready(name: str) -> InputError:
    return InputError(
        "the tape changed while it was copied: it is not ready",
        code=NOT_READY,
        where=name,
        hint="wait until the sender has finished, then submit it again",
    )


def _unreadable(error: WorldError, tape: Path) -> AbacoError:
    """What went wrong with the source is said of the source."""
    cause = error.__cause__
    if not error.where.startswith(str(tape)):
        return error
    if isinstance(cause, FileNotFoundError | PermissionError):
        return unreadable(cause, tape)
    return error


def _alone(workspace: Workspace, clock: Clock, who: str) -> AbstractContextManager[None]:
    """One submission at once puts its copy into place: two of one tape under two names leave one copy."""
    timeout_s = workspace.settings.lock_timeout_s
    return exclusive(workspace.locks / "queue.lock", clock=clock, who=who, timeout_s=timeout_s)


def _spool(sha256: str, name: str) -> str:
    return str(PurePosixPath(QUEUE, sha256[:2], sha256, name))


def _put(copy: Path, root: Path, spool: str, sha256: str) -> None:
    """Rename the copy into the queue, unless the tape lies there whole; durable either way."""
    folder = root
    for part in PurePosixPath(spool).parts[:-1]:
        folder = folder / part
        folder.mkdir(mode=0o700, exist_ok=True)
    target = root / spool
    if not _is_whole(target, sha256):
        _remove(target)
        copy.rename(target)
    while folder != root.parent:
        sync(folder)
        folder = folder.parent


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return not path.is_symlink() and tape_digest(path) == sha256
    except OSError:
        return False


def _remove(path: Path) -> None:
    """Remove a damaged copy, whose files are read-only."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def job_document(job: Job) -> Mapping[str, object]:
    """JSON-ready, for people and programs: never where the copy lies."""
    return {
        "job_id": job.job_id,
        "status": job.status,
        "tape": job.tape_name,
        "tape_sha256": job.tape_sha256,
        "as_of": job.as_of.isoformat() if job.as_of else None,
        "submitted_at": job.submitted_at.isoformat(),
        "attempts": job.attempts,
        "owner": job.owner,
        "lease_until": job.lease_until.isoformat() if job.lease_until else None,
        "release": job.served_by,
        "run_id": job.run_id,
        "error": dict(job.error) if job.error else None,
    }
