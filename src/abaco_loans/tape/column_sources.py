"""Which columns a value is computed from, and which pick the rows that it is computed over, read out of statements.

Read is the SQL that this product writes: selects, CTEs, subqueries in FROM, joins, set operations by place, windows.
The key that joins rows (`loan_id`) is named nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from abaco_loans.tape.tree import exp, grown

if TYPE_CHECKING:
    from sqlglot.optimizer.scope import Scope

_KEY = "loan_id"
_PICKING = ("where", "having", "qualify", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Columns, each its table and its name.

    Attributes:
        values: those in the expression of a value, through every step; of a window also those that order it.
        picks: those by which its rows were picked: joins, filters, groups, partitions.
    """

    values: frozenset[tuple[str, str]] = frozenset()
    picks: frozenset[tuple[str, str]] = frozenset()

    @property
    def all(self) -> frozenset[tuple[str, str]]:
        """Both."""
        return self.values | self.picks


def together(parts: Iterable[Sources]) -> Sources:
    """What several come from."""
    found = list(parts)
    return Sources(
        values=frozenset().union(*(part.values for part in found)),
        picks=frozenset().union(*(part.picks for part in found)),
    )


def column_sources(query: exp.Expr, known: Mapping[str, Mapping[str, Sources]]) -> dict[str, Sources]:
    """What each column of a query comes from.

    Args:
        query: the query; it is left as it is.
        known: by relation that it reads, what each column of that comes from.

    Raises:
        ValueError: it names a relation or column of which nothing is known, or is written in a way that is not read:
            a subquery among the columns, a set operation by name, whole rows, lateral joins, recursion.
    """
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    tree = grown(query)
    for node in tree.find_all(exp.SetOperation, exp.Columns, exp.Lateral, exp.With):
        if isinstance(node, (exp.Columns, exp.Lateral)) or node.args.get("by_name") or node.args.get("recursive"):
            raise ValueError(f"sources are not read of {type(node).__name__.lower()}: {node.sql()[:80]}")
    try:
        named = qualify(
            tree.copy(),
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
    return _by_name(_Reader(known).columns(scope))


def _by_name(columns: list[tuple[str, Sources]]) -> dict[str, Sources]:
    """Of two columns of one name the engine takes the first."""
    return dict(reversed(columns))


class _Reader:
    """Reads a query scope by scope, each once."""

    def __init__(self, known: Mapping[str, Mapping[str, Sources]]) -> None:
        self._known = known
        self._read: dict[int, list[tuple[str, Sources]]] = {}

    def columns(self, scope: Scope) -> list[tuple[str, Sources]]:
        """The columns of a scope in their order."""
        if id(scope) not in self._read:
            if isinstance(scope.expression, exp.SetOperation):
                first, *rest = (self.columns(part) for part in scope.set_operation_scopes)
                found = [
                    (name, together([sources, *(other[place][1] for other in rest)]))
                    for place, (name, sources) in enumerate(first)
                ]
            else:
                picked = self._picked_by(scope)
                found = [
                    (item.alias_or_name, self._computed_from(item, scope, picked))
                    for item in scope.expression.expressions
                ]
            self._read[id(scope)] = found
        return self._read[id(scope)]

    def _picked_by(self, scope: Scope) -> frozenset[tuple[str, str]]:
        """What picks the rows of a scope; a subquery there (`IN (SELECT ...)`) picks by all that it reads."""
        query = scope.expression
        parts = [query.args[name] for name in _PICKING if query.args.get(name)]
        parts += [join.args["on"] for join in query.args.get("joins") or () if join.args.get("on")]
        inner = {id(part.expression): part for part in scope.subquery_scopes}
        found: frozenset[tuple[str, str]] = frozenset()
        for part in parts:
            for node in part.walk(prune=lambda item: id(item) in inner):
                if id(node) in inner:
                    found |= together(sources for _, sources in self.columns(inner[id(node)])).all
                elif isinstance(node, exp.Column) and node.name != _KEY:
                    found |= self._of(node, scope).all
        return found

    def _computed_from(self, item: exp.Expr, scope: Scope, picked: frozenset[tuple[str, str]]) -> Sources:
        if item.find(exp.Query, exp.TableColumn):
            raise ValueError(f"sources are not read of a subquery or whole rows among the columns: {item.sql()[:80]}")
        found = [(self._of(column, scope), partitions) for column, partitions in _read_by(item, scope.expression)]
        return Sources(
            values=frozenset().union(*(sources.values for sources, partitions in found if not partitions)),
            picks=picked.union(*(sources.all if partitions else sources.picks for sources, partitions in found)),
        )

    def _of(self, column: exp.Column, scope: Scope) -> Sources:
        source = scope.sources.get(column.table)
        if isinstance(source, exp.Table):
            found = self._known.get(source.name, {}).get(column.name)
        else:
            found = _by_name(self.columns(source)).get(column.name) if source else None
        if found is None:
            raise ValueError(f"nothing is known of the column {column.sql()}")
        return found


def _read_by(item: exp.Expr, query: exp.Expr) -> Iterator[tuple[exp.Column, bool]]:
    """The columns in an expression of a query, and of each whether it only says which rows a window is over."""
    named = {window.name: window for window in query.args.get("windows") or ()}
    for node in item.find_all(exp.Column, exp.Window):
        if isinstance(node, exp.Window):
            if node.alias in named:
                yield from _read_by(named[node.alias], query)
        elif isinstance(node, exp.Column) and node.name != _KEY:
            yield node, _partitions(node, item)


def _partitions(column: exp.Expr, item: exp.Expr) -> bool:
    node = column
    while node is not item and node.parent is not None:
        if isinstance(node.parent, exp.Window) and node.arg_key == "partition_by":
            return True
        node = node.parent
    return False
