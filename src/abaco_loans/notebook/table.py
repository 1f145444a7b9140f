"""A result of the notebook: named columns and rows that pandas, polars and Arrow read without being known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from sqlglot import exp

from abaco_loans import wiring
from abaco_loans.operations.workspace import Workspace
from abaco_loans.outputs.publish import world
from abaco_loans.settings import Settings

Row = tuple[Any, ...]

# What a number computed in Python becomes in Arrow: rounded half-even to 10 decimals. rows() has every digit.
NUMBER, PLACES = "DECIMAL(38,10)", Decimal("1e-10")
_SHOWN_PLACES = {"amount": 2, "%": 2, "days": 1, "years": 1}
SHOWN_ROWS, _SHOWN_WIDTH, _CELL_WIDTH = 10, 120, 40
_STREAM_MEMORY_MB = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column of a table: its name, its type in SQL and so in Arrow, its unit, what it is."""

    name: str
    type: str
    unit: str
    text: str


class Table:
    """A result: named columns and rows.

    ``polars.DataFrame(table)``, ``pyarrow.table(table)`` and, where pyarrow is installed,
    ``pandas.DataFrame.from_arrow(table)`` read it; without, ``pandas.DataFrame(table.rows(), columns=table.columns)``.

    Attributes:
        title: what the rows are.
        notes: what a reader should know of them, such as that small cells are suppressed.
        restricted: whether it names loans or customers.
    """

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        rows: Sequence[Row],
        *,
        notes: Sequence[str] = (),
        restricted: bool = False,
    ) -> None:
        self.title = title
        self.notes = tuple(notes)
        self.restricted = restricted
        self._fields = tuple(fields)
        self._rows = rows

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(field.name for field in self._fields)

    def describe(self) -> list[tuple[str, str, str]]:
        """Of each column its name, its unit (``amount`` is in a currency), and what it says."""
        return [(field.name, field.unit, field.text) for field in self._fields]

    def rows(self) -> list[Row]:
        """Every row as a tuple of str, int, Decimal, date, bool or None."""
        return list(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        with world(Path(gettempdir())), TemporaryDirectory(prefix="abaco-") as folder:
            settings = Settings(memory_mb=_STREAM_MEMORY_MB, threads=1)
            engine = wiring.open_engine(Workspace(root=Path(folder), settings=settings), Path(folder), [])
            try:
                made = exp.Create(
                    this=exp.to_table("made"), kind="TABLE", expression=_rows_query(self._fields, self._rows)
                )
                engine.execute(made)
                # A stream keeps what it needs of its engine.
                return engine.arrow(exp.select("*").from_("made")).__arrow_c_stream__(requested_schema)
            finally:
                engine.close()

    def _head(self) -> Sequence[Row]:
        return self._rows[:SHOWN_ROWS]

    def __repr__(self) -> str:
        shown = _text_table(self._fields, self._head())
        more = [f"note: {note}" for note in self.notes]
        if self.restricted:
            more.append("restricted: this table names loans or customers")
        return "\n".join([f"{self.title}: {len(self):,} rows × {len(self._fields)} columns", *shown, *more])


def _rows_query(fields: Sequence[Field], rows: Sequence[Row]) -> exp.Select:
    """The rows as a query: a column is one text, split by a character that no value has."""
    texts = [[_encoded(row[index], field) for row in rows] for index, field in enumerate(fields)]
    used = {letter for column in texts for text in column for letter in text}
    mark = next(letter for letter in map(chr, range(0xE000, 0xF8FF)) if letter not in used)
    lists = [
        exp.alias_(exp.Anonymous(this="UNNEST", expressions=[_split(mark.join(column), mark)]), field.name, quoted=True)
        for column, field in zip(texts, fields, strict=True)
    ]
    query = exp.select(*(_decoded(field) for field in fields)).from_(exp.select(*lists).subquery("given"))
    return query if rows else query.limit(0)


def _split(text: str, mark: str) -> exp.Expr:
    return exp.Anonymous(this="STRING_SPLIT", expressions=[exp.Literal.string(text), exp.Literal.string(mark)])


def _encoded(value: Any, field: Field) -> str:
    """A value as text; nothing is the empty text, so a text begins with a letter that is taken off again."""
    if value is None:
        return ""
    if field.type == "VARCHAR":
        return f"t{value}"
    if isinstance(value, Decimal):
        with localcontext(prec=60):
            return format(value.quantize(PLACES, ROUND_HALF_EVEN), "f")
    return str(value)


def _decoded(field: Field) -> exp.Expr:
    node: exp.Expr = exp.func("NULLIF", exp.column(field.name, quoted=True), exp.Literal.string(""))
    if field.type == "VARCHAR":
        node = exp.Anonymous(this="SUBSTRING", expressions=[node, exp.Literal.number(2)])
    return exp.alias_(exp.cast(node, field.type), field.name, quoted=True)


def _text_table(fields: Sequence[Field], rows: Sequence[Row]) -> list[str]:
    """The rows as aligned lines, as many columns as fit."""
    lines = [""] * (len(rows) + 1)
    for index, field in enumerate(fields):
        cells = [field.name, *(_shown(row[index], field.unit) for row in rows)]
        width = max(map(len, cells))
        left = field.unit in ("text", "date", "yes or no")
        if index and len(lines[0]) + width + 2 > _SHOWN_WIDTH:
            lines[0] += f"  ({len(fields) - index} more columns)"
            break
        padded = [cell.ljust(width) if left else cell.rjust(width) for cell in cells]
        lines = [f"{line}  {cell}" for line, cell in zip(lines, padded, strict=True)]
    return [line.rstrip() for line in lines]


def _shown(value: Any, unit: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return f"{value:,.{_SHOWN_PLACES.get(unit, 4)}f}"
    text = f"{value:,}" if isinstance(value, int) and unit == "count" else " ".join(str(value).split())
    return text if len(text) <= _CELL_WIDTH else f"{text[: _CELL_WIDTH - 1]}…"
