"""One database: how it is opened, how its transactions begin, and what its failures mean to a person.

Spoken to through the driver alone (``sqlite3``, ``psycopg``): SQLAlchemy is imported only to migrate, and to copy a
server.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from abaco_loans.errors import ConfigError, InvariantError, WorldError
from abaco_loans.records import statements

Row: TypeAlias = dict[str, Any]
# A connection of the driver, sqlite3 or psycopg: both have execute, executemany, commit, rollback and close.
Handle: TypeAlias = Any

# Held by every writing transaction on PostgreSQL until it ends ("abaco" in ASCII).
_ADVISORY_KEY = 0x616261636F


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalMode:
    """How SQLite keeps a transaction whole."""

    journal: str
    synchronous: str
    wal_reset_bug: bool


def journal_mode_for(version: tuple[int, ...]) -> JournalMode:
    """The journal that is safe with this SQLite.

    From 3.7.0 to 3.51.2 a checkpoint that meets a write may lose committed transactions in WAL mode (the
    "WAL-reset bug", https://sqlite.org/wal.html#walresetbug); 3.50.7 and 3.44.6 carry the fix back.
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if fixed:
        return JournalMode(journal="wal", synchronous="full", wal_reset_bug=False)
    return JournalMode(journal="delete", synchronous="extra", wal_reset_bug=version >= (3, 7))


class Connection:
    """A transaction under way: takes `statements`, gives rows as dictionaries."""

    def __init__(self, handle: Handle, backend: str) -> None:
        self._handle = handle
        self.backend = backend

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """The rows of a statement; none for one that gives no rows."""
        cursor = self._handle.execute(self._spelled(statement), values)
        if cursor.description is None:
            return []
        names = [item[0] for item in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def first(self, statement: str, **values: Any) -> Row | None:
        """The first row, or None."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def pages(self, statement: str, size: int) -> Iterator[list[Row]]:
        """The rows of a statement, so many at a time; the server keeps the rest meanwhile. PostgreSQL only."""
        with self._handle.cursor(name="pages") as cursor:
            cursor.execute(statement)
            names = [item[0] for item in cursor.description]
            while page := cursor.fetchmany(size):
                yield [dict(zip(names, row, strict=True)) for row in page]

    def add(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each of the rows."""
        self._handle.cursor().executemany(self._spelled(statement), rows)

    def _spelled(self, statement: str) -> str:
        """The statement as the driver wants it: psycopg writes ``:name`` as ``%(name)s``."""
        return statement if self.backend == "sqlite" else re.sub(r":([a-z_0-9]+)", r"%(\1)s", statement)


class Database:
    """A database whose transactions are either reading or writing, and whose errors are ours.

    Args:
        url: ``sqlite:///file`` or ``postgresql://...``.
        timeout_s: how long a writer waits for another one.

    Raises:
        ConfigError: REC-120 the URL is none of ours. The URL's password is never repeated.
        WorldError: REC-103 the file cannot be made.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        scheme, _, rest = url.partition("://")
        self.timeout_s = timeout_s
        self.backend = scheme.partition("+")[0]
        self.path: Path | None = None
        self._idle: list[Handle] = []
        if self.backend == "sqlite":
            if not rest.startswith("/") or rest in ("/", "/:memory:"):
                raise _bad_url("records need a file, not SQLite in memory")
            self.path = Path(rest[1:])
            self.where = str(self.path)
            self._errors: Any = sqlite3
            _make_private(self.path)
        elif self.backend == "postgresql":
            try:
                import psycopg
            except ModuleNotFoundError as error:
                raise _bad_url("PostgreSQL needs psycopg; install abaco-loans[postgres]") from error
            self._url = f"postgresql://{rest}"
            self.where = _without_secrets(self._url)
            self._errors = psycopg
        else:
            raise _bad_url(f"records cannot be kept in {self.backend!r}")

    def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; what it sees does not move."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write, alone among writers from its first statement on.

        Raises:
            WorldError: REC-101 another writer stayed longer than ``timeout_s``; REC-102 to REC-109 see docs.
        """
        with self._transaction(writes=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with self.translated():
            handle = self._taken()
            try:
                yield self.begin(handle, writes=writes)
                handle.commit()
            except BaseException:
                # Closing undoes the transaction, whatever state a failure left the connection in.
                handle.close()
                raise
            self._idle.append(handle)

    def begin(self, handle: Handle, *, writes: bool) -> Connection:
        """Begin a transaction on a connection of the driver; whoever asks must end it."""
        connection = Connection(handle, self.backend)
        begin = statements.BEGIN_TO_WRITE if writes else statements.BEGIN_TO_READ
        connection.rows(begin[self.backend])
        if writes and self.backend == "postgresql":
            connection.rows(statements.WAIT_AT_MOST, wait=f"{int(self.timeout_s * 1000)}ms")
            connection.rows(statements.WRITE_ALONE, key=_ADVISORY_KEY)
        return connection

    def connect(self) -> Handle:
        """A new connection of the driver, without a transaction. The drivers' own BEGIN is off: it is ours to say."""
        if self.path is None:
            return self._errors.connect(self._url, autocommit=True)
        handle = sqlite3.connect(self.path, timeout=self.timeout_s, isolation_level=None, check_same_thread=False)
        try:
            _set_up(handle, journal_mode_for(sqlite3.sqlite_version_info), self.path)
        except BaseException:
            handle.close()
            raise
        return handle

    def _taken(self) -> Handle:
        while self._idle:
            handle = self._idle.pop()
            if self.backend == "sqlite":
                return handle
            try:  # the server may have gone away since
                handle.execute("SELECT 1")
            except self._errors.Error:
                handle.close()
            else:
                return handle
        return self.connect()

    def copy_to(self, path: Path) -> None:
        """Copy the database as it stands at one moment into a new file, readable by its owner only; SQLite only.

        Raises:
            InvariantError: the database is on a server, or the file is there already.
            WorldError: REC-101 a writer was in the way for too long; REC-10x reading or writing failed.
        """
        if self.path is None or path.exists():
            raise InvariantError("only SQLite is copied, and only into a new file")
        until = time.monotonic() + self.timeout_s

        def in_time(status: int, left: int, total: int) -> None:
            # The copy itself would wait for a writer for ever.
            if status != sqlite3.SQLITE_DONE and time.monotonic() > until:
                raise WorldError(
                    f"the records are locked: another process has been writing for more than {self.timeout_s:g} s",
                    code="REC-101",
                    where=self.where,
                    hint="wait for it and try again; `abaco runs list` shows what is running",
                )

        _make_private(path)
        with self.translated(), closing(self.connect()) as source:
            try:
                with closing(sqlite3.connect(path, isolation_level=None)) as target:
                    source.backup(target, progress=in_time)
            except sqlite3.Error as error:
                code, what, hint = _sqlite_failure(error, path, self.timeout_s)
                raise WorldError(what, code=code, where=str(path), hint=hint) from error

    @contextmanager
    def standing(self) -> Iterator[Database]:
        """The database as it stands now, to be read only: all that is read of it is of the same moment.

        One transaction, so a long look keeps writers of SQLite out: there, look at a copy.
        """
        with self.read() as connection:
            yield _Standing(self, connection)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns the driver's failures into ours."""
        try:
            yield
        except self._errors.IntegrityError as error:
            raise InvariantError(f"the database refused a row: {error}") from error
        except self._errors.Error as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> WorldError:
        if isinstance(error, sqlite3.Error):
            code, what, hint = _sqlite_failure(error, self.path or Path(), self.timeout_s)
        else:
            code, what, hint = _postgres_failure(error, self.timeout_s)
        return WorldError(what, code=code, where=self.where, hint=hint)


class _Standing(Database):
    """A database all of whose reading happens in one transaction of another one's."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self.timeout_s, self.backend = database.timeout_s, database.backend
        self.path, self.where = database.path, database.where
        self._idle = []
        self._connection = connection

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        if writes:
            raise InvariantError("what stands still is only read")
        yield self._connection


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise WorldError(
            f"cannot make the records database: {error.strerror or error}",
            code="REC-104" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "REC-103",
            where=str(path),
            hint="raise the limit of open files (ulimit -n)"
            if error.errno in (errno.EMFILE, errno.ENFILE)
            else "its folder must exist, have room and be writable by you",
        ) from error


_SET_JOURNAL = {"wal": "PRAGMA journal_mode=wal", "delete": "PRAGMA journal_mode=delete"}


def _set_up(handle: sqlite3.Connection, wanted: JournalMode, path: Path) -> None:
    handle.execute("PRAGMA foreign_keys=ON")
    journal = str(handle.execute("PRAGMA journal_mode").fetchone()[0])
    if journal != wanted.journal and os.access(path, os.W_OK):
        journal = str(handle.execute(_SET_JOURNAL[wanted.journal]).fetchone()[0])
    if journal == "wal" and wanted.wal_reset_bug:
        raise WorldError(
            f"SQLite {sqlite3.sqlite_version} can lose data in the write-ahead mode that another process has set",
            code="REC-110",
            where=str(path),
            hint="stop the other processes and try again, or use SQLite 3.51.3 or later",
        )
    handle.execute("PRAGMA synchronous=full" if journal == "wal" else "PRAGMA synchronous=extra")


def _sqlite_failure(error: sqlite3.Error, path: Path, timeout_s: float) -> tuple[str, str, str]:
    extended = int(getattr(error, "sqlite_errorcode", 0) or 0)
    primary = extended & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            "REC-101",
            f"the records are locked: another process has been writing for more than {timeout_s:g} s",
            "wait for it and try again; `abaco runs list` shows what is running",
        )
    if primary == sqlite3.SQLITE_READONLY:
        return "REC-102", "the records are read-only", "make the file and its folder writable by you"
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return (
            "REC-103",
            f"the records cannot be opened: {error}",
            "check who may read and write the file and its folder",
        )
    if primary == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_WRITE:
        return (
            "REC-104",
            f"disk full: the records could not be written ({error}); {_room(path)}",
            "nothing of this step was kept: make room (or raise the file size limit) and try again",
        )
    damaged = primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode to UTF-8" in str(error)
    if damaged:
        return (
            "REC-105",
            f"the records are damaged: {error}",
            "keep the file for inquiry, restore the last backup, then run `abaco audit verify`",
        )
    return "REC-100", f"the records failed: {error}", "see `abaco doctor`"


def _room(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free // 1_000_000} MB free on the disk"
    except OSError:
        return "free room unknown"


def _postgres_failure(error: BaseException | None, timeout_s: float) -> tuple[str, str, str]:
    state = str(getattr(error, "sqlstate", None) or "")
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if state == "55P03":
        return "REC-101", f"the records are locked: waited {timeout_s:g} s for another writer", "try again"
    if state == "25006":
        return "REC-102", "the records database is read-only", "connect to the primary server"
    if state == "42501":
        return "REC-103", f"no permission: {said}", "grant the records' user its tables and schema"
    if state.startswith("53"):
        return "REC-104", f"the records server has no room: {said}", "make room on the server and try again"
    if state.startswith("XX"):
        return (
            "REC-105",
            f"the records are damaged: {said}",
            "restore a backup, then run `abaco audit verify`",
        )
    unanswered = not state and type(error).__name__ in ("OperationalError", "InterfaceError")
    if unanswered or state.startswith(("08", "28", "3D", "57")):
        return (
            "REC-108",
            f"the records server does not answer: {said}",
            "check that it runs, and the URL and password",
        )
    return "REC-100", f"the records failed: {said}", "see `abaco doctor`"


def _without_secrets(url: str) -> str:
    """The URL as it may be shown: no password, no query."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _bad_url("the records URL cannot be read") from error
    account, at, host = parts.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    shown = f"{user}{':***' if colon else ''}{at}{host}"
    return urlunsplit(parts._replace(netloc=shown, query="", fragment=""))


def _bad_url(what: str) -> ConfigError:
    return ConfigError(
        what,
        code="REC-120",
        where="records.url",
        hint="sqlite:///records/abaco.db or postgresql://user@host/name",
    )
