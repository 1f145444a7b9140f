"""Which rows are accepted: queries that find duplicates and conflicts, and that add up what is left out.

A typed relation (`cells.typed_query`) has ``rowid`` (order of the file), the contract's columns, ``_rounded``
and ``_raw``. A row's identity is its key; a row whose first key column is empty, or a table without a key, is
compared as a whole. Same row twice: the first stays, the others are duplicates. Same key, other content: none
of them can be trusted, all are quarantined. Tables that repeat (movements without an id) lose no row.
"""

from __future__ import annotations

from collections.abc import Sequence

from abaco_loans.tape.cells import RAW_COLUMN, rules_in_force
from abaco_loans.tape.contract import Severity, Table
from abaco_loans.tape.expression import row_expression
from abaco_loans.tape.template import number_node
from abaco_loans.tape.tree import exp

DUPLICATE, CONFLICT = "duplicate", "conflict"


def _column(name: str, table: str | None = None) -> exp.Column:
    return exp.column(name, table=table, quoted=True)


def _is_null(node: exp.Expr) -> exp.Expr:
    return exp.Is(this=node, expression=exp.null())


def _readable() -> exp.Expr:
    return _is_null(exp.column(RAW_COLUMN))


def present_key(table: Table, present: Sequence[str]) -> tuple[str, ...]:
    """The key columns that the tape has; empty when it lacks the first, and so has no identity."""
    if not table.key or table.key[0] not in present:
        return ()
    return tuple(name for name in table.key if name in present)


def repeated_keys_query(relation: str, key: Sequence[str]) -> exp.Select:
    """The keys that stand more than once among readable rows that have an identity."""
    columns = [_column(name) for name in key]
    return (
        exp.select(*columns)
        .from_(relation)
        .where(_readable(), exp.Not(this=_is_null(columns[0].copy())))
        .group_by(*columns)
        .having(exp.GT(this=exp.Count(this=exp.Star()), expression=number_node(1)))
    )


def keyed_verdicts_query(relation: str, keys: str, key: Sequence[str], columns: Sequence[str]) -> exp.Select:
    """``_row, verdict`` for the rows whose key stands in the relation ``keys`` and that do not stay."""
    same = exp.and_(*(exp.NullSafeEQ(this=_column(name, "r"), expression=_column(name, "k")) for name in key))
    hits = (
        exp.select(exp.alias_(_column("rowid", "r"), "_row"), *(_column(name, "r") for name in columns))
        .from_(exp.alias_(exp.to_table(relation), "r", table=True))
        .join(exp.alias_(exp.to_table(keys), "k", table=True), on=same)
        .where(_is_null(_column(RAW_COLUMN, "r")))
    )
    # Rows of one key that are equal in every column make one group; a key with two groups is in conflict.
    groups = exp.select(
        "_row",
        exp.alias_(
            exp.Window(this=exp.Min(this=exp.column("_row")), partition_by=[_column(n) for n in key]),
            "first_of_key",
        ),
        exp.alias_(
            exp.Window(this=exp.Min(this=exp.column("_row")), partition_by=[_column(n) for n in columns]),
            "first_of_content",
        ),
    ).from_(hits.subquery("hits"))
    with_conflict = exp.select(
        "_row",
        "first_of_key",
        exp.alias_(
            exp.Window(this=exp.Max(this=exp.column("first_of_content")), partition_by=[exp.column("first_of_key")]),
            "last_content",
        ),
    ).from_(groups.subquery("groups_"))
    conflict = exp.GT(this=exp.column("last_content"), expression=exp.column("first_of_key"))
    verdict = exp.case().when(conflict, exp.Literal.string(CONFLICT)).else_(exp.Literal.string(DUPLICATE))
    return (
        exp.select("_row", exp.alias_(verdict, "verdict"))
        .from_(with_conflict.subquery("judged"))
        .where(exp.or_(conflict.copy(), exp.GT(this=exp.column("_row"), expression=exp.column("first_of_key"))))
    )


def repeated_rows_query(relation: str, columns: Sequence[str], key: Sequence[str]) -> exp.Select:
    """The number of rows beyond the first among equal readable rows without an identity."""
    query = (
        exp.select(exp.alias_(exp.Sub(this=exp.Count(this=exp.Star()), expression=number_node(1)), "extra"))
        .from_(relation)
        .where(_readable())
        .group_by(*(_column(name) for name in columns))
        .having(exp.GT(this=exp.Count(this=exp.Star()), expression=number_node(1)))
    )
    if key:
        query = query.where(_is_null(_column(key[0])))
    return exp.select(exp.func("COALESCE", exp.Sum(this=exp.column("extra")), number_node(0))).from_(
        query.subquery("repeated")
    )


def whole_row_verdicts_query(relation: str, columns: Sequence[str], key: Sequence[str]) -> exp.Select:
    """``_row, verdict`` of the rows without an identity that repeat an earlier one."""
    number = exp.Window(
        this=exp.RowNumber(),
        partition_by=[_column(name) for name in columns],
        order=exp.Order(expressions=[exp.Ordered(this=exp.column("rowid"), nulls_first=False)]),
    )
    inner = (
        exp.select(exp.alias_(exp.column("rowid"), "_row"), exp.alias_(number, "number"))
        .from_(relation)
        .where(_readable())
    )
    if key:
        inner = inner.where(_is_null(_column(key[0])))
    return (
        exp.select("_row", exp.alias_(exp.Literal.string(DUPLICATE), "verdict"))
        .from_(inner.subquery("numbered"))
        .where(exp.GT(this=exp.column("number"), expression=number_node(1)))
    )


def accepted_query(
    relation: str, columns: Sequence[str], left_out: str | None, masks: dict[str, str] | None = None
) -> exp.Select:
    """Accepted rows with ``_row`` and the contract's columns, masked ones replaced by their masked form.

    Args:
        relation: typed rows.
        columns: columns to give.
        left_out: relation of ``_row, verdict``; None when nothing is left out but unreadable rows.
        masks: column → relation of ``raw, masked``.
    """
    masks = masks or {}
    aliases = {name: f"mask_{index}" for index, name in enumerate(masks)}
    items: list[exp.Expr] = [exp.alias_(_column("rowid", "t"), "_row")]
    for name in columns:
        node: exp.Expr = _column(name, "t")
        if name in masks:
            node = exp.alias_(exp.column("masked", table=aliases[name]), name, quoted=True)
        items.append(node)
    query = exp.select(*items).from_(exp.alias_(exp.to_table(relation), "t", table=True))
    for name, mask in masks.items():
        query = query.join(
            exp.alias_(exp.to_table(mask), aliases[name], table=True),
            join_type="left",
            on=_column(name, "t").eq(exp.column("raw", table=aliases[name])),
        )
    query = query.where(_is_null(_column(RAW_COLUMN, "t")))
    if left_out:
        query = query.join(
            exp.alias_(exp.to_table(left_out), "o", table=True),
            join_type="anti",
            on=_column("rowid", "t").eq(_column("_row", "o")),
        )
    return query


def refused_query(relation: str, columns: Sequence[str], left_out: str | None) -> exp.Select:
    """Quarantined rows (unreadable or in conflict) with ``_row`` and the contract's columns, not masked."""
    condition: exp.Expr = exp.Not(this=_is_null(exp.column(RAW_COLUMN)))
    if left_out:
        conflicts = exp.select("_row").from_(left_out).where(exp.column("verdict").eq(CONFLICT))
        condition = exp.or_(condition, exp.In(this=exp.column("rowid"), query=conflicts.subquery()))
    return (
        exp.select(exp.alias_(exp.column("rowid"), "_row"), *(_column(name) for name in columns))
        .from_(relation)
        .where(condition)
    )


def has_amount(table: Table, present: Sequence[str]) -> bool:
    """Whether the tape has what a row is measured by."""
    return amount_expression(table, present) is not None


def total_query(table: Table, present: Sequence[str], relation: str) -> exp.Select:
    """What the rows of a relation are worth; the table `has_amount`."""
    return exp.select(_total(table, present)).from_(relation)


def measured_query(table: Table, present: Sequence[str], relation: str, issues: str) -> exp.Select:
    """What refused rows are worth, and how many of them cannot be measured."""
    amount = amount_expression(table, present)
    assert amount is not None
    unmeasured = unmeasured_condition(table, amount, issues)
    count = exp.Sum(this=exp.case().when(unmeasured, number_node(1)).else_(number_node(0)))
    return exp.select(_total(table, present), count).from_(relation)


def _total(table: Table, present: Sequence[str]) -> exp.Expr:
    return exp.func("COALESCE", exp.Sum(this=amount_expression(table, present)), number_node(0))


def amount_expression(table: Table, present: Sequence[str]) -> exp.Expr | None:
    """What a row is worth, by the contract's measures in their order; None when the tape has none of them."""
    measures = []
    for text in table.amount:
        tree = row_expression(text, columns=table.column_names, code="CFG-203", where=table.name)
        if all(column.name in present for column in tree.find_all(exp.Column)):
            measures.append(exp.Abs(this=tree))
    if not measures:
        return None
    return exp.func("COALESCE", *measures) if len(measures) > 1 else measures[0]


def unmeasured_condition(table: Table, amount: exp.Expr, issues: str) -> exp.Expr:
    """Whether a refused row has no readable amount because a column of the measures is among its faults."""
    columns = sorted({name for text in table.amount for name in table.column_names if name in text})
    faulty = (
        exp.select("_row")
        .from_(issues)
        .where(
            exp.column("column_name").isin(*(exp.Literal.string(name) for name in columns)),
            exp.Not(this=_is_null(exp.column("_row"))),
        )
    )
    return exp.and_(_is_null(amount), exp.In(this=exp.column("_row"), query=faulty.subquery()))


def unreadable_query(relation: str) -> exp.Select:
    """How many rows cannot be read, and how many cells were rounded."""
    return exp.select(exp.Count(this=exp.column(RAW_COLUMN)), exp.Sum(this=exp.column("_rounded"))).from_(relation)


def verdicts_query(left_out: str) -> exp.Select:
    """How many rows are left out, by verdict."""
    return exp.select("verdict", exp.Count(this=exp.Star())).from_(left_out).group_by("verdict")


def warning_codes(table: Table, present: Sequence[str]) -> list[str]:
    """The rules that warn and whose columns the source has, in the order of `broken_query`."""
    return [code for code, _, _ in rules_in_force(table, dict.fromkeys(present), Severity.WARNING)]


def broken_query(table: Table, present: Sequence[str], relation: str) -> exp.Select:
    """In how many rows each of the `warning_codes` surely does not hold."""
    found = rules_in_force(table, dict.fromkeys(present), Severity.WARNING)
    return exp.select(*(_broken_count(tree) for _, _, tree in found)).from_(relation)


def _broken_count(condition: exp.Expr) -> exp.Expr:
    return exp.func(
        "COALESCE",
        exp.Sum(this=exp.case().when(exp.Not(this=exp.Paren(this=condition)), number_node(1)).else_(number_node(0))),
        number_node(0),
    )
