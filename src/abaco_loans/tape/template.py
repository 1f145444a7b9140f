"""SQL texts as trees: a constant text is parsed once, its ``:placeholders`` are replaced by nodes.

So a long query stays readable as SQL, and nothing is ever put into it as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from abaco_loans.errors import InvariantError
from abaco_loans.tape.tree import exp


def filled(text: str, **values: exp.Expr) -> exp.Select:
    """The query in ``text`` (DuckDB's dialect) with every ``:name`` replaced by a copy of ``values[name]``."""
    import sqlglot

    tree = sqlglot.parse_one(text, read="duckdb")
    missing: set[str] = set()

    def replace(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Placeholder) and isinstance(node.this, str):
            if node.this not in values:
                missing.add(node.this)
                return node
            return values[node.this].copy()
        return node

    result = tree.transform(replace, copy=False)
    if missing or not isinstance(result, exp.Select):
        raise InvariantError(f"template without values for {sorted(missing)}")
    return result


def expression(text: str, **values: exp.Expr) -> exp.Expr:
    """The one expression that ``SELECT expression`` selects."""
    found: exp.Expr = filled(text, **values).expressions[0]
    return found


def date_node(day: date) -> exp.Expr:
    """A date literal."""
    return exp.cast(exp.Literal.string(day.isoformat()), "DATE")


def number_node(value: object) -> exp.Expr:
    """A number literal, exact."""
    return exp.Literal.number(str(value))


def with_columns(
    relation: str, wanted: Mapping[str, str], present: frozenset[str], defaults: Mapping[str, exp.Expr]
) -> exp.Select:
    """All ``wanted`` columns (name → SQL type) of a relation; an absent one is its default, or NULL."""
    items: list[exp.Expr] = []
    for name, sql_type in wanted.items():
        node: exp.Expr = exp.null()
        if name in present:
            node = exp.column(name, quoted=True)
        if name in defaults:
            default = defaults[name].copy()
            node = exp.func("COALESCE", node, default) if name in present else default
        items.append(exp.alias_(exp.cast(node, sql_type), name, quoted=True))
    return exp.select(*items).from_(relation)
