"""Bring a database to the schema of this code: at once, or not at all."""

from __future__ import annotations

from contextlib import closing, nullcontext
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from abaco_loans.errors import WorldError
from abaco_loans.records import statements
from abaco_loans.records.locks import exclusive
from abaco_loans.records.migrations import HEAD, REVISIONS
from abaco_loans.tape.memory import has_memory, remembered

if TYPE_CHECKING:
    from abaco_loans.clock import Clock
    from abaco_loans.records.database import Connection, Database


def bring_up_to_date(database: Database, *, clock: Clock, actor: str) -> None:
    """Migrate to :data:`HEAD` when the schema is missing or older; otherwise only look (SQLAlchemy and
    Alembic are not imported).

    One transaction under a kernel lock (SQLite) or an advisory lock (PostgreSQL): killed at any point, it
    leaves the old or the new schema, whole.

    Raises:
        WorldError: REC-106 the schema is newer than this code; REC-111 another process migrates for too long;
            REC-10x the database failed.
    """
    with database.read() as connection:
        if is_current(stored_revision(connection), database.where):
            return
    lock = database.path.with_name(database.path.name + ".migration-lock") if database.path else None
    with exclusive(lock, timeout_s=60.0, who=f"{actor}: schema migration", clock=clock) if lock else nullcontext():
        if database.backend != "sqlite" or not has_memory() or not _made_new(database):
            _upgrade(database)


def stored_revision(connection: Connection) -> str:
    """The schema revision in the database; empty when there is none yet."""
    if not connection.rows(statements.HAS_REVISION[connection.backend]):
        return ""
    return ",".join(str(row["version_num"]) for row in connection.rows(statements.REVISION))


def is_current(revision: str, where: str) -> bool:
    """Whether a schema is that of this code.

    Raises:
        WorldError: REC-106 it is newer.
    """
    if revision and revision not in REVISIONS:
        raise WorldError(
            f"the records have schema {revision}, which is newer than this version of abaco knows ({HEAD})",
            code="REC-106",
            where=where,
            hint="use the newer version of abaco that wrote them; nothing was changed",
        )
    return revision == HEAD


def _made_new(database: Database) -> bool:
    """Give an empty SQLite file the schema that Alembic gives one, remembered; False where it is not empty."""
    with database.write() as connection:
        if stored_revision(connection):
            return False
        for statement in remembered(new_schema, HEAD):
            connection.rows(statement)
    return True


def new_schema(head: str) -> list[str]:
    """The statements that make a new SQLite database at revision ``head``: Alembic's work, read off a file apart."""
    from abaco_loans.records.database import Database

    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/new.db", timeout_s=60.0)
        _upgrade(database)
        with closing(database.connect()) as handle:
            dumped = list(handle.iterdump())
        database.close()
    return dumped[1:-1]  # without BEGIN and COMMIT: they are said by who runs them


def _upgrade(database: Database) -> None:
    """Upgrade in one writing transaction of the database, which SQLAlchemy sees for Alembic and ends."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", "abaco_loans.records:migrations")
    config.set_main_option("path_separator", "os")
    dialect = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}[database.backend]
    with database.translated():
        handle = database.connect()
        engine = create_engine(dialect, creator=lambda: handle, poolclass=NullPool)
        try:
            with engine.connect() as seen, seen.begin():
                connection = database.begin(handle, writes=True)
                if not is_current(stored_revision(connection), database.where):
                    config.attributes["connection"] = seen
                    command.upgrade(config, "head")
        except DBAPIError as error:
            raise error.orig or error from error
