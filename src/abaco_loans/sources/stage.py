"""Bring a file into the run's private scratch folder: copied, hashed while copied, looked through.

What is hashed is what is parsed, because both are the private copy. A file that changes while it is copied
is not ready (FAULTS 16). Compressed files are opened under a limit, so a bomb is refused before it expands.
"""

from __future__ import annotations

import _thread
import codecs
import hashlib
import os
import stat
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from abaco_loans.errors import AbacoError, InputError, InvariantError, UsageError, WorldError
from abaco_loans.sources.recognise import FileFormat, recognise
from abaco_loans.sources.workbook import check_workbook, is_workbook

_CHUNK = 1 << 20
# Each piece waits for the interpreter a few times while other threads import: few, large pieces.
_PIECE = 8 << 20
_HEAD = 4096
_RATIO_MAX = 200
EXPANDED_BYTES_MAX = 8 << 30
_EXPANDED_FREE = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """A private copy. ``sha256`` is of the bytes as they arrived; counts are of the (unpacked) copy."""

    name: str
    path: Path
    format: FileFormat
    sha256: str
    size_bytes: int
    newlines: int
    carriage_returns: int
    nulls: bool
    utf8: bool
    ascii: bool
    ends_with_newline: bool


def stage(source: Path, scratch: Path) -> RawFile:
    """Copy ``source`` into ``scratch`` and look through it once.

    Raises:
        InputError: ``SRC-101``..``SRC-106`` empty, no tape, not ready, or a bomb.
        UsageError: ``SRC-201`` there is no such file.
        WorldError: ``SRC-201`` not readable; ``SRC-202`` the copy failed.
    """
    name = source.name
    target = scratch / f"{len(list(scratch.iterdir())):02d}-tape"
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise WorldError(
                "this is not a file",
                code="SRC-201",
                where=str(source),
                hint="give a file; from a pipe, save it as a file first",
            )
        with source.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            kind = recognise(stream.read(_HEAD), name=name)
            stream.seek(0)
            piece = min(_PIECE, before.st_size + 1)
            counter = _Counter()
            with target.open("xb") as copy:
                os.fchmod(copy.fileno(), 0o600)
                # A file that grows as fast as it is read has no end: what it had at the start is enough.
                while (chunk := stream.read(piece)) and copy.tell() <= before.st_size:
                    digest.update(chunk)
                    copy.write(chunk)
                    if kind is FileFormat.CSV:
                        counter.look(chunk)
            after = os.fstat(stream.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or (
            source.stat().st_ino != before.st_ino
        ):
            raise InputError(
                "the file changed while it was read: it is not ready",
                code="SRC-103",
                where=name,
                hint="wait until the sender has finished, then run again",
            )
    except OSError as error:
        raise unreadable(error, source) from error
    size = after.st_size
    if kind is FileFormat.GZIP:
        return _unpacked(_gunzip(target, name), name, digest.hexdigest(), size)
    if kind is FileFormat.ZIP:
        return _zip(target, name, digest.hexdigest(), size)
    return counter.result(name, target, kind, digest.hexdigest(), size)


class Staging:
    """Stages a file beside other work: hashing and copying leave the interpreter free.

    Who claims the work first does it: the thread, or `result` when the thread did not come so far. (A thread may
    die at birth for want of memory, and then nobody would ever hear of it: so not threading.Thread either.)
    """

    def __init__(self, source: Path, scratch: Path) -> None:
        self._what = source, scratch
        self._raw: RawFile | None = None
        self._error: AbacoError | OSError | MemoryError | None = None
        self._claim = _thread.allocate_lock()
        self._busy = _thread.allocate_lock()
        self._busy.acquire()
        with suppress(RuntimeError):
            _thread.start_new_thread(self._work, ())

    def _work(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._raw = stage(*self._what)
        except (AbacoError, OSError, MemoryError) as error:
            self._error = error
        finally:
            self._busy.release()

    def result(self) -> RawFile:
        """The staged file, when it is there; raises what `stage` raised."""
        self._work()
        with self._busy:
            if self._error is not None:
                raise self._error
            if self._raw is None:
                raise InvariantError("staging ended without a file")
            return self._raw


def unreadable(error: OSError, source: Path) -> AbacoError:
    """Why a file cannot be read, said of the file."""
    if isinstance(error, FileNotFoundError):
        return UsageError(
            "there is no such file",
            code="SRC-201",
            where=str(source),
            hint="check the path; a servicing extract is given as its folder",
        )
    if isinstance(error, PermissionError):
        return WorldError(
            "no permission to read the file",
            code="SRC-201",
            where=str(source),
            hint=f"let this account read it: chmod u+r '{source}'",
        )
    return WorldError(
        f"the file could not be copied: {error.strerror}",
        code="SRC-202",
        where=str(source),
        hint="check free disk space in the workspace and the number of open files (ulimit -n)",
    )


class _Counter:
    """Counts what tells a plain CSV file from one that needs care."""

    def __init__(self) -> None:
        self._newlines = self._returns = 0
        self._nulls = False
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
        self._ascii = True
        self._last = b""

    def look(self, chunk: bytes) -> None:
        self._newlines += chunk.count(b"\n")
        if b"\r" in chunk:
            self._returns += chunk.count(b"\r")
        self._nulls = self._nulls or b"\x00" in chunk
        self._last = chunk[-1:]
        if not chunk.isascii():
            self._ascii = False
        if not self._ascii and self._decoder is not None:
            try:
                self._decoder.decode(chunk)
            except UnicodeDecodeError:
                self._decoder = None

    def result(self, name: str, path: Path, kind: FileFormat, sha256: str, size: int) -> RawFile:
        utf8 = self._decoder is not None
        if self._decoder is not None:
            try:
                self._decoder.decode(b"", True)
            except UnicodeDecodeError:
                utf8 = False
        return RawFile(
            name=name,
            path=path,
            format=kind,
            sha256=sha256,
            size_bytes=size,
            newlines=self._newlines,
            carriage_returns=self._returns,
            nulls=self._nulls,
            utf8=utf8,
            ascii=self._ascii,
            ends_with_newline=self._last == b"\n",
        )


def _unpacked(path: Path, name: str, sha256: str, size: int) -> RawFile:
    counter = _Counter()
    with path.open("rb") as stream:
        head = stream.read(4096)
        kind = recognise(head, name=name)
        if kind in (FileFormat.GZIP, FileFormat.ZIP):
            raise InputError(
                "an archive inside an archive is not read",
                code="SRC-104",
                where=name,
                hint="unpack it once and hand over the file inside",
            )
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            counter.look(chunk)
    return counter.result(name, path, kind, sha256, size)


def _limit(packed: int) -> int:
    return min(EXPANDED_BYTES_MAX, max(_EXPANDED_FREE, packed * _RATIO_MAX))


def _bomb(name: str) -> InputError:
    return InputError(
        "the compressed file expands far beyond what a tape does",
        code="SRC-105",
        where=name,
        hint="if it is genuine, unpack it yourself and hand over the plain file",
    )


def _gunzip(packed: Path, name: str) -> Path:
    target = packed.with_suffix(".plain")
    limit = _limit(packed.stat().st_size)
    written = 0
    decoder = zlib.decompressobj(wbits=31)
    try:
        with packed.open("rb") as stream, target.open("xb") as out:
            os.fchmod(out.fileno(), 0o600)
            data = stream.read(_CHUNK)
            while data:
                piece = decoder.decompress(data, _CHUNK)
                written += len(piece)
                if written > limit:
                    raise _bomb(name)
                out.write(piece)
                if decoder.eof:  # a gzip file may hold several members; zeros may pad its end
                    data = decoder.unused_data.lstrip(b"\x00") or stream.read(_CHUNK).lstrip(b"\x00")
                    decoder = zlib.decompressobj(wbits=31) if data else decoder
                else:
                    data = decoder.unconsumed_tail or stream.read(_CHUNK)
    except zlib.error as error:
        raise InputError(
            "the gzip file is damaged", code="SRC-106", where=name, hint="ask the sender for it again"
        ) from error
    if not decoder.eof:
        raise InputError(
            "the gzip file ends too early",
            code="SRC-106",
            where=name,
            hint="the transfer was cut off: fetch it again",
        )
    return target


def _zip(packed: Path, name: str, sha256: str, size: int) -> RawFile:
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [item for item in archive.infolist() if not item.is_dir()]
            if sum(item.file_size for item in members) > _limit(size):
                raise _bomb(name)
            names = {item.filename for item in members}
            if is_workbook(names):
                check_workbook(archive, _limit(size), name)
                return _Counter().result(name, packed, FileFormat.EXCEL, sha256, size)
            if names & {"[Content_Types].xml", "mimetype"}:
                raise InputError(
                    "the file is an office document, but no Excel workbook (.xlsx)",
                    code="SRC-102",
                    where=name,
                    hint="save it as .xlsx or CSV and hand that over",
                )
            if len(members) != 1:
                raise InputError(
                    f"the archive holds {len(members)} files, not one",
                    code="SRC-104",
                    where=name,
                    hint="unpack it; a servicing extract is given as a folder",
                )
            target = packed.with_suffix(".plain")
            with archive.open(members[0]) as stream, target.open("xb") as out:
                os.fchmod(out.fileno(), 0o600)
                _copy_bounded(stream, out, _limit(size), name)  # type: ignore[arg-type]
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise InputError(
            "the zip file is damaged or locked by a password",
            code="SRC-106",
            where=name,
            hint="ask the sender for it again, without a password",
        ) from error
    return _unpacked(target, name, sha256, size)


def _copy_bounded(stream: BinaryIO, out: BinaryIO, limit: int, name: str) -> None:
    written = 0
    while chunk := stream.read(_CHUNK):
        written += len(chunk)
        if written > limit:
            raise _bomb(name)
        out.write(chunk)
