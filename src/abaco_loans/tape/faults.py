"""What is wrong with refused rows, as relations: file, line, column, code and value as written."""

from __future__ import annotations

from collections.abc import Sequence

from abaco_loans.tape import reasons, rows
from abaco_loans.tape.staged import LINE_COLUMN, StagedFile, TextFormat
from abaco_loans.tape.tree import exp

_PARTS = ("code", "column_name", "value")


def each_issue_query(listed: exp.Select) -> exp.Select:
    """``_row, code, column_name, value``: one row a fault, from `cells.issues_query`."""
    each = exp.select("_row", exp.alias_(exp.Unnest(expressions=[exp.column("_issues")]), "issue"))
    parts = (
        exp.alias_(exp.Bracket(this=exp.column("issue"), expressions=[exp.Literal.number(index)]), name)
        for index, name in enumerate(_PARTS)
    )
    return (
        exp.select("_row", *parts)
        .from_(each.from_(listed.subquery("listed")).subquery("each_issue"))
        .where(exp.Not(this=exp.Is(this=exp.column("issue"), expression=exp.null())))
    )


def conflicts_query(typed: str, left_out: str, key: Sequence[str]) -> exp.Select:
    """The same columns for rows whose key stands in another row with other content."""
    cells = (exp.cast(exp.column(name, table="t", quoted=True), "VARCHAR") for name in key)
    return (
        exp.select(
            exp.column("_row", table="o"),
            exp.alias_(exp.Literal.string(reasons.CONFLICT), "code"),
            exp.alias_(exp.Literal.string(", ".join(key)), "column_name"),
            exp.alias_(exp.func("CONCAT_WS", exp.Literal.string("; "), *cells), "value"),
        )
        .from_(exp.alias_(exp.to_table(left_out), "o", table=True))
        .join(
            exp.alias_(exp.to_table(typed), "t", table=True),
            on=exp.column("rowid", table="t").eq(exp.column("_row", table="o")),
        )
        .where(exp.column("verdict", table="o").eq(rows.CONFLICT))
    )


def located_query(found: exp.Select, typed: str, staged: StagedFile) -> exp.Select:
    """Faults with the file and the line that a person finds them on (the row number in a Parquet file)."""
    first_line = 1 if staged.format is TextFormat.PARQUET else 2
    line: exp.Expr = exp.Add(this=exp.column("_row"), expression=exp.Literal.number(first_line))
    if staged.has_line_column:
        line = exp.column(LINE_COLUMN)
    query = exp.select(
        "_row",
        exp.alias_(exp.Literal.string(staged.name), "file"),
        exp.alias_(line, "line"),
        "column_name",
        "code",
        "value",
    ).from_(found.subquery("found"))
    if not staged.has_line_column:
        return query
    lines = exp.select(exp.alias_(exp.column("rowid"), "typed_row"), exp.column(LINE_COLUMN)).from_(typed)
    return query.join(lines.subquery("numbered"), on=exp.column("typed_row").eq(exp.column("_row")))


def refused_lines_query(lines: str, staged: StagedFile) -> exp.Select:
    """Lines that are no rows at all (relation of ``line, code, detail``), in the form of `located_query`."""
    return exp.select(
        exp.alias_(exp.null(), "_row"),
        exp.alias_(exp.Literal.string(staged.name), "file"),
        "line",
        exp.alias_(exp.Literal.string(""), "column_name"),
        "code",
        exp.alias_(exp.column("detail"), "value"),
    ).from_(lines)


def counts_query(issues: str) -> exp.Select:
    """Faults by column and code."""
    return (
        exp.select("column_name", "code", exp.Count(this=exp.Star()))
        .from_(issues)
        .group_by("column_name", "code")
        .order_by("column_name", "code")
    )
