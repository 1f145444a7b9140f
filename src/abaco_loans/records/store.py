"""The records, open: a store hands out who reads runs, who writes them, and the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from abaco_loans.clock import Clock
from abaco_loans.records import ledger, ledger_table
from abaco_loans.records.anchors import AnchorSet
from abaco_loans.records.database import Connection, Database, JournalMode, journal_mode_for
from abaco_loans.records.ledger import Event, LedgerVerdict, NewEvent
from abaco_loans.records.migrate import bring_up_to_date, stored_revision
from abaco_loans.records.production_table import SqlProductionReader, SqlProductionWriter
from abaco_loans.records.run_table import SqlRunReader, SqlRunWriter

if TYPE_CHECKING:
    from abaco_loans.records.alert_table import SqlAlertReader, SqlAlertWriter
    from abaco_loans.records.cutover_table import SqlCutoverReader, SqlCutoverWriter
    from abaco_loans.records.shadow_table import SqlShadowReader, SqlShadowWriter
    from abaco_loans.records.watch_table import SqlWatchReader, SqlWatchWriter

__all__ = ["JournalMode", "Store", "StoreFacts", "journal_mode_for", "open_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What ``abaco doctor`` says of the records; ``wal_reset_bug`` speaks of this SQLite, not of the file."""

    backend: str
    version: str
    where: str
    revision: str
    journal: str
    synchronous: str
    wal_reset_bug: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How long the ledger is and the hash of its last event: what an anchor signs."""

    count: int
    hash: str


class Store:
    """Open records. Use it as a context manager; not across a fork. What a run does not need is made when asked for.

    Attributes:
        reader: reads runs (:class:`~abaco_loans.records.runs.RunReader`).
        writer: moves runs (:class:`~abaco_loans.records.runs.RunWriter`).
        shadow_reader: reads shadow runs and sealed gates (:class:`~abaco_loans.records.shadows.ShadowReader`).
        shadow_writer: moves and seals them (:class:`~abaco_loans.records.shadows.ShadowWriter`).
        production_reader: reads the queue and the pointer
            (:class:`~abaco_loans.records.production.ProductionReader`).
        production_writer: moves them (:class:`~abaco_loans.records.production.ProductionWriter`).
        cutover_reader: reads cutovers and their journal (:class:`~abaco_loans.records.cutovers.CutoverReader`).
        cutover_writer: moves and journals them (:class:`~abaco_loans.records.cutovers.CutoverWriter`).
        watch_reader: reads watches (:class:`~abaco_loans.records.watches.WatchReader`).
        watch_writer: moves them (:class:`~abaco_loans.records.watches.WatchWriter`).
        alert_reader: reads alerts and their deliveries (:class:`~abaco_loans.records.alerts.AlertReader`).
        alert_writer: moves them (:class:`~abaco_loans.records.alerts.AlertWriter`).
    """

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor
        self.reader = SqlRunReader(database)
        self.writer = SqlRunWriter(database, clock=clock, actor=actor)
        self.production_reader = SqlProductionReader(database)
        self.production_writer = SqlProductionWriter(database, clock=clock, actor=actor)

    @cached_property
    def shadow_reader(self) -> SqlShadowReader:
        """See the class."""
        from abaco_loans.records.shadow_table import SqlShadowReader

        return SqlShadowReader(self._database)

    @cached_property
    def shadow_writer(self) -> SqlShadowWriter:
        """See the class."""
        from abaco_loans.records.shadow_table import SqlShadowWriter

        return SqlShadowWriter(self._database, clock=self._clock, actor=self._actor)

    @cached_property
    def cutover_reader(self) -> SqlCutoverReader:
        """See the class."""
        from abaco_loans.records.cutover_table import SqlCutoverReader

        return SqlCutoverReader(self._database)

    @cached_property
    def cutover_writer(self) -> SqlCutoverWriter:
        """See the class."""
        from abaco_loans.records.cutover_table import SqlCutoverWriter

        return SqlCutoverWriter(self._database, clock=self._clock, actor=self._actor)

    @cached_property
    def watch_reader(self) -> SqlWatchReader:
        """See the class."""
        from abaco_loans.records.watch_table import SqlWatchReader

        return SqlWatchReader(self._database)

    @cached_property
    def watch_writer(self) -> SqlWatchWriter:
        """See the class."""
        from abaco_loans.records.watch_table import SqlWatchWriter

        return SqlWatchWriter(self._database, clock=self._clock, actor=self._actor)

    @cached_property
    def alert_reader(self) -> SqlAlertReader:
        """See the class."""
        from abaco_loans.records.alert_table import SqlAlertReader

        return SqlAlertReader(self._database)

    @cached_property
    def alert_writer(self) -> SqlAlertWriter:
        """See the class."""
        from abaco_loans.records.alert_table import SqlAlertWriter

        return SqlAlertWriter(self._database, clock=self._clock, actor=self._actor)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    @property
    def path(self) -> Path | None:
        """The database file; None on a server."""
        return self._database.path

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        """Append events that belong to no change of state here.

        Raises:
            InvariantError: a payload that is not exact JSON.
            WorldError: REC-10x; nothing was appended.
        """
        with self._database.write() as connection:
            return ledger_table.append(connection, events, at=self._clock.now(), actor=self._actor)

    def events(self, *, after_seq: int = 0) -> Iterator[Event]:
        """The ledger's events in order, from the one after ``after_seq``."""
        return ledger_table.read_events(self._database, after_seq=after_seq)

    def head(self) -> Head:
        """How long the ledger is, and its last hash."""
        with self._database.read() as connection:
            count, last = ledger_table.read_head(connection)
        return Head(count=count, hash=last)

    def counts_of_events(self) -> dict[str, int]:
        """How many events there are of each action; only counted."""
        return ledger_table.count_events(self._database)

    def last_event_of(self, action: str) -> Event | None:
        """The latest event of an action, or None; not checked against the chain."""
        return ledger_table.last_event_of(self._database, action)

    def verify(self, anchors: AnchorSet | None = None, *, trusted_key: str = "") -> LedgerVerdict:
        """Check the ledger; see :func:`abaco_loans.records.ledger.verify`. Read the anchors before."""
        return ledger.verify(self.events(), anchors, trusted_key=trusted_key)

    def copy_to(self, path: Path) -> None:
        """Copy the records as they stand at one moment into a new SQLite file, also from a server.

        Raises:
            InvariantError: the file is there already.
            WorldError: REC-101 a writer was in the way for too long; REC-10x reading or writing failed.
        """
        if self.path is not None:
            self._database.copy_to(path)
            return
        from abaco_loans.records.server_copy import copy_server

        copy_server(self._database, path, clock=self._clock, actor=self._actor)

    @contextmanager
    def standing(self, copy: Path) -> Iterator[Store]:
        """The records as they stand at one moment, to be read only, while others go on writing.

        SQLite: what is read is a copy, made at ``copy``, which stays. Server: one transaction; no file is made.

        Raises:
            InvariantError: there is a file at ``copy`` already.
            WorldError: as :meth:`copy_to`.
        """
        if self._database.path is None:
            with self._database.standing() as database:
                yield Store(database, clock=self._clock, actor=self._actor)
            return
        self._database.copy_to(copy)
        made = Database(f"sqlite:///{copy.absolute()}", timeout_s=self._database.timeout_s)
        with Store(made, clock=self._clock, actor=self._actor) as store:
            yield store

    def faults(self) -> tuple[str, ...]:
        """What is damaged: the file's structure (SQLite), and every row of the tables that is not what was written."""
        found: list[str] = []
        if self._database.backend == "sqlite":
            with self._database.read() as connection:
                said = connection.rows("PRAGMA quick_check(20)")
            found = [f"database structure: {line}" for row in said for line in row.values() if line != "ok"]
        readers = (
            self.reader,
            self.shadow_reader,
            self.production_reader,
            self.cutover_reader,
            self.watch_reader,
            self.alert_reader,
        )
        for reader in readers:
            found += reader.faults()
        return tuple(found)

    def facts(self) -> StoreFacts:
        """How the records are kept."""
        sqlite = self._database.backend == "sqlite"
        with self._database.read() as connection:
            revision = stored_revision(connection)
            if sqlite:
                journal = str(_only(connection, "PRAGMA journal_mode"))
                level = int(_only(connection, "PRAGMA synchronous"))
                version = sqlite3.sqlite_version
            else:
                journal, level = "", 2
                version = str(_only(connection, "SHOW server_version"))
        return StoreFacts(
            backend=self._database.backend,
            version=version,
            where=self._database.where,
            revision=revision,
            journal=journal,
            synchronous=("off", "normal", "full", "extra")[level],
            wal_reset_bug=sqlite and journal_mode_for(sqlite3.sqlite_version_info).wal_reset_bug,
        )


def _only(connection: Connection, statement: str) -> Any:
    """The only value of the only row."""
    ((value,),) = (row.values() for row in connection.rows(statement))
    return value


def open_store(url: str, *, clock: Clock, actor: str, timeout_s: float = 10.0) -> Store:
    """Open the records, making or migrating them when needed.

    Args:
        url: ``sqlite:///file`` (made with mode 0600; its folder too, when that folder's parent exists) or
            ``postgresql://...``.
        clock: stamps events and runs.
        actor: who acts; written into every event.
        timeout_s: how long a writer waits for another one.

    Raises:
        ConfigError: REC-120 the URL is none of ours.
        WorldError: REC-101 locked, REC-102 read-only, REC-103 no permission, REC-104 disk full,
            REC-105 damaged, REC-106 the schema is newer than this code, REC-108 the server does not answer,
            REC-110 unsafe journal, REC-111 another process migrates for too long, REC-100 anything else.
    """
    database = Database(url, timeout_s=timeout_s)
    try:
        bring_up_to_date(database, clock=clock, actor=actor)
    except BaseException:
        database.close()
        raise
    return Store(database, clock=clock, actor=actor)
