"""Which columns a value is computed from, read out of the statements that compute it.

Named are the columns in the expression of a value, through every step in between; of a window also those that order
it. Left out are the key by which rows are joined, and whatever only picks rows: joins, filters, partitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from abaco_loans.tape.tree import exp, grown

if TYPE_CHECKING:
    from sqlglot.optimizer.scope import Scope

# Tables and names of columns.
Sources = frozenset[tuple[str, str]]
_KEY = "loan_id"


def column_sources(query: exp.Expr, known: Mapping[str, Mapping[str, Sources]]) -> dict[str, Sources]:
    """What each column of a query is computed from.

    Args:
        query: the query; it is left as it is.
        known: by relation that it reads, what each column of that is computed from.

    Raises:
        ValueError: it is no query that can be read so: it names another relation, or a column that is not there.
    """
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    try:
        named = qualify(
            grown(query).copy(),
            dialect="duckdb",
            schema={relation: dict.fromkeys(columns, "VARCHAR") for relation, columns in known.items()},
            validate_qualify_columns=False,
            quote_identifiers=False,
        )
        scope = build_scope(named)
    except SqlglotError as error:
        raise ValueError(f"the sources of a query's columns cannot be read: {error}") from error
    if scope is None:
        raise ValueError("the sources of something that is no query were asked for")
    return dict(_Reader(known).columns(scope))


class _Reader:
    """Reads a query scope by scope, each once."""

    def __init__(self, known: Mapping[str, Mapping[str, Sources]]) -> None:
        self._known = known
        self._read: dict[int, list[tuple[str, Sources]]] = {}

    def columns(self, scope: Scope) -> list[tuple[str, Sources]]:
        """The columns of a scope in their order; a name may be there twice."""
        if id(scope) not in self._read:
            if isinstance(scope.expression, exp.SetOperation):
                first, *rest = (self.columns(part) for part in scope.set_operation_scopes)
                found = [
                    (name, sources.union(*(other[place][1] for other in rest)))
                    for place, (name, sources) in enumerate(first)
                ]
            else:
                found = [
                    (item.alias_or_name, self._computed_from(item, scope)) for item in scope.expression.expressions
                ]
            self._read[id(scope)] = found
        return self._read[id(scope)]

    def _computed_from(self, item: exp.Expr, scope: Scope) -> Sources:
        return frozenset().union(*(self._of(column, scope) for column in _read_by(item, scope.expression)))

    def _of(self, column: exp.Column, scope: Scope) -> Sources:
        source = scope.sources.get(column.table)
        if isinstance(source, exp.Table):
            found = self._known.get(source.name, {}).get(column.name)
        else:
            found = dict(self.columns(source)).get(column.name) if source else None
        if found is None:
            raise ValueError(f"nothing is known of the column {column.sql()}")
        return found


def _read_by(item: exp.Expr, query: exp.Expr) -> Iterator[exp.Column]:
    """The columns that an expression of a query reads."""
    named = {window.name: window for window in query.args.get("windows") or ()}
    for node in item.find_all(exp.Column, exp.Window):
        if isinstance(node, exp.Window):
            if node.alias in named:
                yield from _read_by(named[node.alias], query)
        elif isinstance(node, exp.Column) and node.name != _KEY and not _partitions(node, item):
            yield node


def _partitions(column: exp.Expr, item: exp.Expr) -> bool:
    """Whether the column only says which rows a window is over."""
    node = column
    while node is not item and node.parent is not None:
        if isinstance(node.parent, exp.Window) and node.arg_key == "partition_by":
            return True
        node = node.parent
    return False
