"""DuckDB: the engine of the core. The only module that knows it.

The connection is locked down before it sees a tape: it may read and write the given folders and nothing
else, no extension can be loaded, no setting can be changed.

What is imported is the compiled module, whose names the package ``duckdb`` hands on: the rest of the package (its
relations and expressions in Python) takes longer to load than the engine, and only :meth:`DuckDB.arrow` needs it.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _duckdb as duckdb

from abaco_loans.engines.base import ArrowStream, NotPlain
from abaco_loans.errors import AbacoError, InputError, InvariantError, WorldError
from abaco_loans.tape.memory import remembered
from abaco_loans.tape.staged import LINE_COLUMN, StagedFile, TextFormat
from abaco_loans.tape.tree import counting, exp, is_tree, later

_LINE_BYTES_MAX = 4_000_000
# Up to so many rows, planning eight sums takes longer than the optimiser then saves. A prototype took .24 ms instead of
# .55 at 1,000 rows, as long at 40,000, 8.9 ms instead of 5.6 at a million; `bench.latency` measures what is here.
_PLANNED_ONCE_ROWS = 30_000
_LOCK_DOWN = (
    "SET autoinstall_known_extensions = FALSE",
    "SET autoload_known_extensions = FALSE",
    "SET enable_external_access = FALSE",
    "SET lock_configuration = TRUE",
)


class DuckDB:
    """One in-memory database, bounded in memory and threads, that spills into ``scratch``."""

    def __init__(self, *, scratch: Path, folders: Iterable[Path], memory_mb: int, threads: int) -> None:
        spill = scratch / "spill"
        spill.mkdir(mode=0o700, exist_ok=True)
        self._connection = duckdb.connect(
            ":memory:",
            config={"threads": threads, "memory_limit": f"{memory_mb}MB", "temp_directory": str(spill)},
        )
        self._connection.execute(
            "SET allowed_directories = ?", [[f"{folder.resolve()}/" for folder in (scratch, *folders)]]
        )
        # With its optimiser on, the engine plans a prepared statement again at every call.
        self._as_written = self._connection.cursor()
        self._as_written.execute("SET SESSION enable_optimizer = FALSE")
        self._prepared = 0
        for statement in _LOCK_DOWN:
            self._connection.execute(statement)

    def columns(self, staged: StagedFile) -> tuple[str, ...]:
        """See :class:`abaco_loans.engines.base.Engine`."""
        reader = exp.Anonymous(this="read_parquet", expressions=[exp.Literal.string(staged.path)])
        try:
            self._connection.execute(_sql(exp.select("*").from_(reader).limit(0)))
        except duckdb.Error as error:
            raise InputError(
                "the Parquet file is damaged",
                code="ENG-102",
                where=staged.name,
                hint="ask the sender for it again",
            ) from error
        return tuple(str(item[0]) for item in self._connection.description or ())

    def every_line(self, staged: StagedFile, pattern: str) -> bool:
        """See :class:`abaco_loans.engines.base.Engine`. The reader cuts at a character that no line may hold."""
        query = later(_other_lines, staged.path, pattern)
        try:
            return not self._connection.execute(_sql(query)).fetchall()
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            return False
        except duckdb.Error as error:
            raise _failure(error) from error

    def load(self, table: str, staged: StagedFile, query: exp.Select, types: Mapping[str, str] | None = None) -> int:
        """See :class:`abaco_loans.engines.base.Engine`."""
        names = ((LINE_COLUMN,) if staged.has_line_column else ()) + staged.header
        kinds = {name: (types or {}).get(name, "VARCHAR") for name in names}
        statement = later(_loading, table, query, staged.path, staged.format, kinds, staged.delimiter)
        try:
            self._connection.execute(_sql(statement))
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise NotPlain(
                "the text has not the structure of its header",
                code="ENG-101",
                where=staged.name,
                hint="it is read again line by line",
            ) from error
        except duckdb.Error as error:
            raise _failure(error) from error
        count = self.rows(later(counting, table))[0][0]
        if staged.rows_expected is not None and count != staged.rows_expected:
            self.execute(exp.Drop(tables=[exp.to_table(table)], kind="TABLE"))
            raise NotPlain(
                "the file has lines that are not rows",
                code="ENG-101",
                where=staged.name,
                hint="it is read again line by line",
            )
        return int(count)

    def open(self, relation: str, paths: Sequence[Path]) -> None:
        """See :class:`abaco_loans.engines.base.Engine`."""
        files = exp.Array(expressions=[exp.Literal.string(str(path)) for path in paths])
        by_name = exp.EQ(this=exp.column("union_by_name"), expression=exp.true())
        query = exp.select("*").from_(exp.Anonymous(this="read_parquet", expressions=[files, by_name]))
        self.execute(exp.Create(this=exp.to_table(relation), kind="VIEW", expression=query, replace=True))

    def execute(self, statement: exp.Expr) -> None:
        """See :class:`abaco_loans.engines.base.Engine`."""
        try:
            self._connection.execute(_sql(statement))
        except duckdb.Error as error:
            raise _failure(error) from error

    def rows(self, query: exp.Expr) -> list[tuple[Any, ...]]:
        """See :class:`abaco_loans.engines.base.Engine`."""
        try:
            return self._connection.execute(_sql(query)).fetchall()
        except duckdb.Error as error:
            raise _failure(error) from error

    def prepare(self, query: exp.Expr, *, rows: int) -> Callable[[], list[tuple[Any, ...]]]:
        """See :class:`abaco_loans.engines.base.Engine`. Over few rows it is planned once, as it is written."""
        connection, text = self._connection, _sql(query)
        if rows <= _PLANNED_ONCE_ROWS:
            connection, name = self._as_written, f"prepared_{self._prepared}"
            self._prepared += 1
            connection.execute(f"PREPARE {name} AS {text}")
            text = f"EXECUTE {name}"
        statement = connection.extract_statements(text)[0]

        def run() -> list[tuple[Any, ...]]:
            return connection.execute(statement).fetchall()

        return run

    def arrow(self, query: exp.Expr) -> ArrowStream:
        """See :class:`abaco_loans.engines.base.Engine`. An unread result would block the connection it is of."""
        importlib.import_module("duckdb")  # Gives connections their relations.
        found: ArrowStream = self._connection.cursor().sql(_sql(query))
        return found

    def write(self, query: exp.Expr, path: Path, file_format: str) -> None:
        """See :class:`abaco_loans.engines.base.Engine`."""
        try:
            self._connection.execute(_sql(later(_copying, query, str(path), file_format))).fetchall()
        except duckdb.Error as error:
            raise _failure(error, path=path) from error

    def close(self) -> None:
        """See :class:`abaco_loans.engines.base.Engine`."""
        self._as_written.close()
        self._connection.close()


def version() -> str:
    """The version of the engine, as recorded with every run."""
    return f"duckdb {duckdb.__version__}"


def _sql(tree: exp.Expr) -> str:
    return _rendered(tree) if is_tree(tree) else remembered(_rendered, tree)


def _rendered(tree: exp.Expr) -> str:
    return tree.sql(dialect="duckdb")


def _other_lines(path: str, pattern: str) -> exp.Select:
    """A row if any line of the file does not match as a whole."""
    matches = exp.Anonymous(this="regexp_full_match", expressions=[exp.column("line"), exp.Literal.string(pattern)])
    other = exp.Not(this=exp.Is(this=matches, expression=exp.true()))
    reader = _csv_reader(path, {"line": "VARCHAR"}, delimiter="\x07", quote="")
    return exp.select(exp.Literal.number(1)).from_(reader).where(other).limit(1)


def _loading(
    table: str, query: exp.Select, path: str, text_format: TextFormat, kinds: Mapping[str, str], delimiter: str
) -> exp.Create:
    """Make the table of a query over ``source``: the file, its columns read as the given types."""
    if text_format is TextFormat.PARQUET:
        reader = exp.Anonymous(this="read_parquet", expressions=[exp.Literal.string(path)])
        texts = (exp.alias_(exp.cast(exp.column(name, quoted=True), "VARCHAR"), name, quoted=True) for name in kinds)
        source = exp.select(*texts).from_(reader)
    else:
        source = exp.select("*").from_(_csv_reader(path, kinds, delimiter=delimiter, quote='"'))
    return exp.Create(this=exp.to_table(table), kind="TABLE", expression=query.with_("source", as_=source, copy=True))


def _copying(query: exp.Expr, path: str, file_format: str) -> exp.Copy:
    """Write the rows of a query into a file."""
    options: list[tuple[str, exp.Expr]] = [("FORMAT", exp.var(file_format))]
    if file_format == "parquet":
        options += [
            ("COMPRESSION", exp.Literal.string("snappy")),
            ("PARQUET_VERSION", exp.var("v2")),
            ("ROW_GROUP_SIZE", exp.Literal.number(122_880)),
        ]
    elif file_format == "csv":
        options += [("HEADER", exp.true())]
    else:
        raise InvariantError(f"no writer for {file_format}")
    return exp.Copy(
        this=exp.Subquery(this=query),
        kind=False,
        files=[exp.Literal.string(path)],
        params=[exp.CopyParameter(this=exp.var(name), expression=value) for name, value in options],
    )


def _csv_reader(path: str, kinds: Mapping[str, str], *, delimiter: str, quote: str) -> exp.Anonymous:
    """The CSV reader with everything said that it would otherwise guess."""
    types = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.Literal.string(name), expression=exp.Literal.string(kind))
            for name, kind in kinds.items()
        ]
    )
    named: list[tuple[str, exp.Expr]] = [
        ("auto_detect", exp.false()),
        ("header", exp.true()),
        ("delim", exp.Literal.string(delimiter)),
        ("quote", exp.Literal.string(quote)),
        ("escape", exp.Literal.string(quote)),
        ("columns", types),
        ("strict_mode", exp.true()),
        ("max_line_size", exp.Literal.number(_LINE_BYTES_MAX)),
        ("buffer_size", exp.Literal.number(_LINE_BYTES_MAX * 8)),
    ]
    return exp.Anonymous(
        this="read_csv",
        expressions=[
            exp.Literal.string(path),
            *(exp.EQ(this=exp.column(name), expression=value) for name, value in named),
        ],
    )


def _room(path: Path | None) -> str:
    try:
        return f": {shutil.disk_usage(path.parent).free // 1_000_000} MB free there" if path else ""
    except OSError:
        return ""


def _failure(error: duckdb.Error, path: Path | None = None) -> AbacoError | InvariantError:
    """What a failure of the engine means for a person; an unexpected one is a bug of ours."""
    text = str(error)
    place = str(path) if path else "the engine's scratch folder"
    if isinstance(error, duckdb.OutOfMemoryException) and "temp_directory" not in text:
        return WorldError(
            "the tape does not fit into the memory that the engine may use",
            code="ENG-201",
            where="settings: memory_mb",
            hint="raise memory_mb in abaco.yml, or free memory, and run again",
        )
    if "No space left" in text or isinstance(error, duckdb.OutOfMemoryException):
        return WorldError(
            f"disk full while the engine wrote{_room(path)}",
            code="ENG-202",
            where=place,
            hint="free disk space (three times the tape's size) and run again",
        )
    if isinstance(error, duckdb.IOException):
        return WorldError(
            f"the engine could not read or write: {text.splitlines()[0]}",
            code="ENG-203",
            where=place,
            hint="check rights and free space of that place, then run again",
        )
    return InvariantError(f"engine: {text}")
