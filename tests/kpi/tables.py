"""Small calculation tables: put into a real engine, and added up slowly in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.releases.release import Release, read_release
from abaco_loans.tape.calculation import TABLE, Calculation, kind_of
from abaco_loans.tape.contract import Kind

Row = dict[str, Any]


@contextmanager
def engine_in_scratch() -> Iterator[Engine]:
    with TemporaryDirectory() as folder:
        engine = DuckDB(scratch=Path(folder), folders=[], memory_mb=400, threads=2)
        yield engine
        engine.close()


class Bench:
    """An engine and the shipped catalogue, for property tests (its repr is short)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.catalogue = builtin_release().catalogue


def builtin_release() -> Release:
    return read_release("v2", builtin_texts())


def sql_type(column: str) -> str:
    if column == "interest_rate":
        return "DECIMAL(18,6)"
    return {Kind.DECIMAL: "DECIMAL(18,4)", Kind.TEXT: "VARCHAR"}.get(kind_of(column), "INTEGER")


def put(engine: Engine, columns: Sequence[str], rows: Sequence[Row], table: str = TABLE) -> Calculation:
    """Make ``table`` of these rows; None is NULL."""
    literals = [[exp.null() if row[name] is None else exp.convert(str(row[name])) for name in columns] for row in rows]
    empty = exp.select(*(exp.alias_(exp.cast(exp.null(), sql_type(n)), n, quoted=True) for n in columns))
    query: exp.Query = empty.where(exp.false())
    if literals:
        values = exp.values([tuple(line) for line in literals], alias="given", columns=list(columns))
        query = exp.select(
            *(exp.alias_(exp.cast(exp.column(n, quoted=True), sql_type(n)), n, quoted=True) for n in columns)
        ).from_(values)
    engine.execute(exp.Create(this=exp.to_table(table), kind="TABLE", expression=query, replace=True))
    return Calculation(query=exp.select("*").from_(table), columns=tuple(columns))


def value_of(node: exp.Expr, row: Row) -> Any:
    """A row expression in SQL's logic of three values."""
    match node:
        case exp.Paren() | exp.Cast():
            return value_of(node.this, row)
        case exp.Column():
            return row[node.name]
        case exp.Literal():
            return node.this if node.is_string else Fraction(node.this)
        case exp.Null():
            return None
        case exp.Boolean():
            return bool(node.this)
        case exp.Case():
            for branch in node.args["ifs"]:
                if value_of(branch.this, row) is True:
                    return value_of(branch.args["true"], row)
            return value_of(node.args["default"], row) if node.args.get("default") else None
        case exp.Not():
            inner = value_of(node.this, row)
            return None if inner is None else not inner
        case exp.Neg():
            inner = value_of(node.this, row)
            return None if inner is None else -Fraction(inner)
        case exp.Coalesce():
            found = (value_of(part, row) for part in (node.this, *node.expressions))
            return next((item for item in found if item is not None), None)
        case _:
            pass
    left, right = value_of(node.this, row), value_of(node.expression, row)
    if isinstance(node, exp.Is):
        return left is right
    if isinstance(node, exp.And):
        return False if False in (left, right) else None if None in (left, right) else True
    if isinstance(node, exp.Or):
        return True if True in (left, right) else None if None in (left, right) else False
    if left is None or right is None:
        return None
    if not isinstance(left, str):
        left, right = Fraction(left), Fraction(right)
    match node:
        case exp.Add():
            return left + right
        case exp.Sub():
            return left - right
        case exp.Mul():
            return left * right
        case exp.EQ():
            return left == right
        case exp.GT():
            return left > right
        case exp.GTE():
            return left >= right
        case exp.LT():
            return left < right
        case _:
            assert isinstance(node, exp.LTE), node
            return left <= right


def aggregate(node: exp.Expr, rows: Sequence[Row]) -> Fraction | None:
    """An aggregate over rows, one by one."""
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Star):
        return Fraction(len(rows))
    if isinstance(node, exp.Count):
        distinct = isinstance(node.this, exp.Distinct)
        argument = node.this.expressions[0] if distinct else node.this
        found = [item for row in rows if (item := value_of(argument, row)) is not None]
        return Fraction(len(set(found)) if distinct else len(found))
    values = [Fraction(item) for row in rows if (item := value_of(node.this, row)) is not None]
    if not values:
        return None
    match node:
        case exp.Sum():
            return sum(values, Fraction(0))
        case exp.Min():
            return min(values)
        case _:
            assert isinstance(node, exp.Max)
            return max(values)


def by_customer(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """One row a customer, ranked by outstanding; amounts that are NULL in every row stay NULL."""
    customers = sorted({row["customer_id"] for row in rows if row["customer_id"] is not None})
    found = []
    for customer in customers:
        own = [row for row in rows if row["customer_id"] == customer]
        sums: Row = {"customer_id": customer}
        for name in columns:
            values = [Fraction(row[name]) for row in own if row[name] is not None]
            sums[name] = sum(values, Fraction(0)) if values else None
        found.append(sums)
    found.sort(key=lambda row: (row["outstanding_usd"] is None, -(row["outstanding_usd"] or 0), row["customer_id"]))
    return [{**row, "customer_rank": rank} for rank, row in enumerate(found, start=1)]


def fraction(value: Decimal | int | None) -> Fraction | None:
    return None if value is None else Fraction(value)
