"""Small panels: put into a real engine as the relation ``panel``, and asked through a view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.portfolio.columns import MONEY, columns
from abaco_loans.portfolio.policy import Policy
from abaco_loans.portfolio.view import PANEL, Asked, Value, View
from abaco_loans.tape.definition import Definition

Row = Mapping[str, Any]
DEFINITION = Definition(name="test", version="1")


@contextmanager
def engine_in_scratch() -> Iterator[Engine]:
    """A real engine in a folder of its own."""
    with TemporaryDirectory() as folder:
        engine = DuckDB(scratch=Path(folder), folders=[], memory_mb=400, threads=1)
        yield engine
        engine.close()


def panel_table(engine: Engine, rows: Sequence[Row]) -> None:
    """Make the relation ``panel`` of these rows, with every column of a panel.

    A ``*_reporting`` twin that a row does not name is its amount in loan currency. What no row names is 0 (amounts
    other than events' balances), FALSE (booleans), "USD" and 1 (currency, its rate), or NULL.

    The statement is text: to render a tree of so many columns takes longer than what most tests ask of the panel.
    """
    types = {name: kind for name, (kind, _) in columns().items()}
    unknown = {name for row in rows for name in row} - set(types)
    assert not unknown, f"not in the panel: {unknown}"
    named = {name for row in rows for name in row}
    listed = [name for name in types if name in named or name.removesuffix("_reporting") in named]
    given = {name: name if name in listed else _text(_value({}, name, kind)) for name, kind in types.items()}
    casts = ", ".join(f"CAST({given[name]} AS {kind}) AS {name}" for name, kind in types.items())
    lines = ", ".join(f"({', '.join(_text(_value(row, name, types[name])) for name in listed)})" for row in rows)
    source = f"FROM (VALUES {lines}) AS given({', '.join(listed)})" if listed else "WHERE FALSE"
    engine.execute(exp.Command(this="CREATE", expression=f"OR REPLACE TABLE {PANEL} AS SELECT {casts} {source}"))


def asked(engine: Engine, rows: Sequence[Row], **options: Any) -> Asked:
    """These rows as a panel, to be given to a view; ``options`` are other attributes of `Asked`."""
    panel_table(engine, rows)
    given: dict[str, Any] = {
        "rows": engine.rows,
        "dates": tuple(sorted({row["as_of"] for row in rows})),
        "definition": DEFINITION,
        "policy": Policy(),
        **options,
    }
    return Asked(**given)


def said(view: View, of: Asked) -> list[dict[str, Value]]:
    """What a view says, each row by the names of its columns."""
    table = view.table(of)
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def day(text: str) -> date:
    return date.fromisoformat(text)


def _value(row: Row, name: str, kind: str) -> Any:
    if name in row:
        return row[name]
    own = name.removesuffix("_reporting")
    if own in row:
        return row[own]
    if own in MONEY:
        return None if own.startswith("first_") or own == "defaulted_balance" else 0
    if kind == "BOOLEAN":
        return False
    return {"currency": "USD", "fx_rate": 1}.get(name)


def _text(value: Any) -> str:
    """The value as SQL writes it."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
