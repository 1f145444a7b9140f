"""Row expressions: the small part of SQL that rules and KPI formulas may use, parsed against an allow-list.

Everything that is not named here is refused when a file loads: other functions, subqueries, comments,
several statements, deep nesting. So an expression from a file can compute with the columns of one row,
and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from abaco_loans.errors import ConfigError
from abaco_loans.nearest import nearest
from abaco_loans.tape.tree import exp

LENGTH_MAX = 4_000
_DEPTH_MAX = 60
_NODES_MAX = 600
_NUMBER = re.compile(r"[0-9]+([.][0-9]*)?|[.][0-9]+")


@cache
def row_nodes() -> tuple[type[exp.Expr], ...]:
    """What an expression over the columns of one row may be made of."""
    return (
        exp.Column,
        exp.Identifier,
        exp.Literal,
        exp.Boolean,
        exp.Null,
        exp.Paren,
        exp.Neg,
        exp.Add,
        exp.Sub,
        exp.Mul,
        exp.EQ,
        exp.NEQ,
        exp.GT,
        exp.GTE,
        exp.LT,
        exp.LTE,
        exp.Is,
        exp.Between,
        exp.In,
        exp.And,
        exp.Or,
        exp.Not,
        exp.Case,
        exp.If,
        exp.Coalesce,
        exp.Abs,
        exp.Least,
        exp.Greatest,
    )


def parse_allowed(text: str, *, allowed: tuple[type[exp.Expr], ...], code: str, where: str) -> exp.Expr:
    """Parse one expression and refuse every node that is not in ``allowed``.

    Raises:
        ConfigError: with ``code`` and the position inside the expression.
    """
    if len(text) > LENGTH_MAX:
        raise ConfigError(
            f"the expression is longer than {LENGTH_MAX} characters",
            code=code,
            where=where,
            hint="split it into several",
        )
    _refuse_depth(text, code, where)
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(text, read="duckdb")
        for token in tokens:
            if token.comments or token.token_type in (sqlglot.TokenType.SEMICOLON, sqlglot.TokenType.HINT):
                raise ConfigError(
                    "comments and semicolons are not read in an expression",
                    code=code,
                    where=_at(where, token.col),
                    hint="remove them; use the description instead",
                )
        trees = sqlglot.parse(text, read="duckdb")
    except (SqlglotError, RecursionError) as error:
        first = getattr(error, "errors", None) or [{}]
        said = str(first[0].get("description") or "")
        raise ConfigError(
            f"not a formula: {'cannot be read' if not said or '<class' in said else said}",
            code=code,
            where=_at(where, first[0].get("col")),
            hint="check operators and parentheses; numbers are written without marks between thousands",
        ) from error
    if len(trees) != 1 or trees[0] is None:
        raise ConfigError("the expression is empty", code=code, where=where, hint="write a formula")
    tree = trees[0]
    _refuse_others(tree, text, allowed, code, where)
    return tree


def _refuse_depth(text: str, code: str, where: str) -> None:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > _DEPTH_MAX:
        raise ConfigError(
            f"parentheses are nested more than {_DEPTH_MAX} deep",
            code=code,
            where=where,
            hint="split the expression",
        )


def _refuse_others(tree: exp.Expr, text: str, allowed: tuple[type[exp.Expr], ...], code: str, where: str) -> None:
    for count, node in enumerate(tree.walk(), 1):
        if count > _NODES_MAX:
            raise ConfigError(
                f"the expression has more than {_NODES_MAX} parts",
                code=code,
                where=where,
                hint="split it into several",
            )
        if type(node) not in allowed:
            name = _name(node)
            raise ConfigError(
                f"{name} is not allowed in a formula",
                code=code,
                where=_at(where, _position(text, name)),
                hint="allowed are columns, numbers, + - * /, comparisons, CASE, COALESCE, ABS and"
                " the aggregates SUM, COUNT, MIN, MAX where a KPI is meant",
            )
        if node.error_messages():
            raise ConfigError(
                f"{_name(node)} lacks an operand",
                code=code,
                where=where,
                hint="check operators and parentheses",
            )
        if isinstance(node, exp.Literal) and not node.is_string and not _NUMBER.fullmatch(node.this):
            raise ConfigError(
                f"{node.this!r} is not a plain number: write it in digits, without an exponent",
                code=code,
                where=_at(where, _position(text, node.this)),
                hint="for example 0.0001",
            )


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.this)
    return node.sql_name() if isinstance(node, exp.Func) else type(node).__name__


def _position(text: str, name: str) -> int | None:
    found = text.casefold().find(name.casefold())
    return None if found < 0 else found + 1


def _at(where: str, column: int | None) -> str:
    return f"{where}, character {column}" if column else where


def row_expression(text: str, *, columns: Collection[str], code: str, where: str) -> exp.Expr:
    """Parse an expression over the columns of one row.

    Raises:
        ConfigError: with ``code``, when it holds anything that is not allowed or a column not in ``columns``.
    """
    tree = parse_allowed(text, allowed=row_nodes(), code=code, where=where)
    for column in tree.find_all(exp.Column):
        if column.table or column.name not in columns:
            raise ConfigError(
                f"unknown column {column.sql()!r}",
                code=code,
                where=_at(where, _position(text, column.name)),
                hint=column_hint(column, columns),
            )
    return tree


def column_hint(column: exp.Column, columns: Collection[str]) -> str:
    """What may have been meant by a column that there is not."""
    if column.this.args.get("quoted"):
        return f"a text stands in single quotes: '{column.name}'"
    return nearest(column.name, columns)


def column_names(tree: exp.Expr) -> list[str]:
    """Names of the columns in the tree, each once, in order of appearance."""
    return list(dict.fromkeys(column.name for column in tree.find_all(exp.Column, bfs=False)))
