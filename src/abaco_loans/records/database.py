"""One database: how it is opened, how its transactions begin, and what its failures mean to a person."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from abaco_loans.errors import ConfigError, InvariantError, WorldError

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


class Database:
    """A SQLAlchemy engine whose transactions are either reading or writing, and whose errors are ours.

    Args:
        url: ``sqlite:///file`` or ``postgresql://...``.
        timeout_s: how long a writer waits for another one.

    Raises:
        ConfigError: REC-120 the URL is none of ours. The URL's password is never repeated.
        WorldError: REC-103 the file cannot be made.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise _bad_url("the records URL cannot be read") from error
        self.timeout_s = timeout_s
        self.backend = parsed.get_backend_name()
        self.path: Path | None = None
        if self.backend == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise _bad_url("records need a file, not SQLite in memory")
            self.path = Path(str(parsed.database))
            self.where = str(self.path)
            self.engine = self._sqlite(self.path)
        elif self.backend == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
            self.where = parsed.set(query={}).render_as_string(hide_password=True)
            try:
                self.engine = create_engine(parsed, pool_pre_ping=True)
            except (ModuleNotFoundError, NoSuchModuleError) as error:
                raise _bad_url("PostgreSQL needs psycopg; install abaco-loans[postgres]") from error
        else:
            raise _bad_url(f"records cannot be kept in {self.backend!r}")
        self._writer = self.engine.execution_options(abaco_write=True)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; what it sees does not move (on SQLite)."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write, alone among writers from its first statement on.

        Raises:
            WorldError: REC-101 another writer stayed longer than ``timeout_s``; REC-102 to REC-109 see docs.
        """
        with self._translated(), self._writer.begin() as connection:
            if self.backend == "postgresql":
                wait = {"wait": f"{int(self.timeout_s * 1000)}ms"}
                connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), wait)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise InvariantError(f"the database refused a row: {error.orig}") from error
        except (DBAPIError, sqlite3.Error, PoolTimeout) as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> WorldError:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.Error):
            code, what, hint = _sqlite_failure(cause, self.path or Path(), self.timeout_s)
        else:
            code, what, hint = _postgres_failure(cause, self.timeout_s)
        return WorldError(what, code=code, where=self.where, hint=hint)

    def _sqlite(self, path: Path) -> Engine:
        _make_private(path)
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": self.timeout_s})
        wanted = journal_mode_for(sqlite3.sqlite_version_info)

        @event.listens_for(engine, "connect")
        def _connect(handle: Any, _entry: ConnectionPoolEntry) -> None:
            # The driver's own BEGIN comes after the first read, and not at all before DDL: it is ours to say.
            handle.isolation_level = None
            try:
                _set_up(handle, wanted, path)
            except BaseException:
                handle.close()
                raise

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("abaco_write", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine


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
    if state == "55P03" or isinstance(error, PoolTimeout):
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


def _bad_url(what: str) -> ConfigError:
    return ConfigError(
        what,
        code="REC-120",
        where="records.url",
        hint="sqlite:///records/abaco.db or postgresql://user@host/name",
    )
