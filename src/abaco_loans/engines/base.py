"""What the product asks of an engine: nine methods over relational trees.

Queries are sqlglot trees, so nothing outside ``engines/`` writes a dialect. Sums come back as Decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from abaco_loans.errors import AbacoError
from abaco_loans.tape.staged import StagedFile
from abaco_loans.tape.tree import exp


class NotPlain(AbacoError):
    """The file is not as plain as it looked; the caller rewrites it and reads again (``ENG-101``)."""

    exit_code = 3


class ArrowStream(Protocol):
    """What pandas, polars and pyarrow read without knowing where it comes from."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule of an ``ArrowArrayStream`` (the Arrow C stream interface)."""
        ...


class Engine(Protocol):
    """Runs trees over tables that live as long as the engine."""

    def columns(self, staged: StagedFile) -> tuple[str, ...]:
        """Column names of a Parquet file. Raises InputError ``ENG-102`` when it cannot be read."""
        ...

    def every_line(self, staged: StagedFile, pattern: str) -> bool:
        """Whether every line below the header of a CSV file matches a regular expression as a whole."""
        ...

    def load(self, table: str, staged: StagedFile, query: exp.Select, types: Mapping[str, str] | None = None) -> int:
        """Make ``table`` from ``query`` over the relation ``source``: the file, its columns text or as in ``types``.

        Rows keep the order of the file, seen as ``rowid`` from 0. Returns the number of rows.
        Raises NotPlain when the text has not the structure that ``staged`` promises.
        """
        ...

    def open(self, relation: str, paths: Sequence[Path]) -> None:
        """Make the view ``relation``: the rows of our own Parquet files, one file after the other.

        A column that a file does not have is NULL there.
        """
        ...

    def execute(self, statement: exp.Expr) -> None:
        """Run a statement that gives no rows (CREATE TABLE AS, CREATE VIEW, DROP)."""
        ...

    def rows(self, query: exp.Expr) -> list[tuple[Any, ...]]:
        """All rows of a query that gives few."""
        ...

    def prepare(self, query: exp.Expr, *, rows: int) -> Callable[[], list[tuple[Any, ...]]]:
        """A query to be run again and again; each call gives its rows as they are now.

        ``rows``: about how many it reads, which tells how much planning is worth.
        """
        ...

    def arrow(self, query: exp.Expr) -> ArrowStream:
        """The rows of a query for whoever speaks Arrow. Several may be read at once; one begun outlives the engine."""
        ...

    def write(self, query: exp.Expr, path: Path, file_format: str) -> None:
        """Write the rows of ``query``, in its order, to a new file (``parquet`` or ``csv``)."""
        ...

    def close(self) -> None:
        """Let go of memory and files."""
        ...
