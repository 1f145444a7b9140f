"""Records on a server, copied into a SQLite file: every table as it stands at one moment.

The only module that reads tables whole, whatever they hold: its statements come from :mod:`schema`, so that a new
table cannot be forgotten here. SQLAlchemy is imported for that, as it is to give the new file its tables.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import insert, select

from abaco_loans.clock import Clock
from abaco_loans.errors import InvariantError
from abaco_loans.records.database import Database
from abaco_loans.records.migrate import bring_up_to_date, is_current, stored_revision
from abaco_loans.records.schema import metadata

_PAGE = 1000


def copy_server(source: Database, path: Path, *, clock: Clock, actor: str, page_rows: int = _PAGE) -> None:
    """Copy a database on a server into a new SQLite file, readable by its owner only; writers are not kept out.

    Either all rows are in the file at the end, or none.

    Args:
        page_rows: how many rows are in memory at a time.

    Raises:
        InvariantError: the file is there already.
        WorldError: REC-106 the schema is newer than this code; REC-10x reading or writing failed.
    """
    if path.exists():
        raise InvariantError("a copy is made into a new file only")
    with (
        source.read() as standing,
        closing(Database(f"sqlite:///{path.absolute()}", timeout_s=source.timeout_s)) as target,
    ):
        # Within the transaction: the schema that is looked at is that of the rows.
        if not is_current(stored_revision(standing), source.where):
            raise InvariantError("records are copied only after they were brought up to date")
        bring_up_to_date(target, clock=clock, actor=actor)
        with target.write() as copy:
            for table in metadata.sorted_tables:  # what is referred to comes first
                add = str(insert(table))
                for page in standing.pages(str(select(table).order_by(*table.primary_key)), page_rows):
                    copy.add(add, page)
