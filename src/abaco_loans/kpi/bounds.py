"""Priced quarantine: what the refused rows could add to each component if they came back.

A readable amount counts as it stands; an unreadable part of an amount (a bucket of a receivable) lies between
0 and the whole; of several rows with one key only one can be true. What cannot be priced says why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlglot import exp

from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import Compiled, answers
from abaco_loans.kpi.evaluate import Prices
from abaco_loans.kpi.formula import Component
from abaco_loans.tape.calculation import BUCKETS
from abaco_loans.tape.template import number_node

WHOLE = "total_receivable_usd"
_PARTS = (*BUCKETS, "past_due_15_usd", "past_due_180_usd")


def priceable(compiled: Compiled) -> list[Component]:
    """The sums of the catalogue at loan grain: the components whose refused rows can be priced."""
    found = {
        item.name: item
        for kpi in compiled.catalogue.kpis
        if kpi.grain is Grain.LOAN and answers(kpi, compiled.calculation)
        for item in kpi.formula.components
        if item.argument is not None
    }
    return list(found.values())


def prices_query(components: Sequence[Component], relation: str, unreadable: Collection[str]) -> exp.Select:
    """For each component: least sum, greatest sum, number of rows that cannot be priced.

    Args:
        components: from `priceable`.
        relation: the calculation table of the refused rows, with ``loan_id`` filled for every row.
        unreadable: columns of the calculation table in which some refused row holds an unreadable value.
    """
    per_key: list[exp.Expr] = []
    totals: list[exp.Expr] = []
    for index, item in enumerate(components):
        least, greatest, unknown = _row_range(item, unreadable)
        per_key += [
            exp.alias_(exp.Min(this=least), f"least_{index}"),
            exp.alias_(exp.Max(this=greatest), f"greatest_{index}"),
            exp.alias_(exp.Max(this=unknown), f"unknown_{index}"),
        ]
        totals += [exp.Sum(this=exp.column(f"{name}_{index}")) for name in ("least", "greatest", "unknown")]
    inner = exp.select(*per_key).from_(relation).group_by(exp.column("loan_id", quoted=True))
    return exp.select(*totals).from_(inner.subquery("per_key"))


def _row_range(item: Component, unreadable: Collection[str]) -> tuple[exp.Expr, exp.Expr, exp.Expr]:
    argument = item.argument
    assert argument is not None  # `priceable` gives sums only
    zero = number_node(0)
    if not set(item.columns) & set(unreadable):
        known = exp.func("COALESCE", argument, zero)
        return known, known.copy(), zero.copy()
    least = exp.func("COALESCE", argument.copy(), zero)
    empty: exp.Expr = exp.Is(this=exp.Paren(this=argument.copy()), expression=exp.null())
    if item.name in _PARTS:
        whole = exp.column(WHOLE, quoted=True)
        greatest = exp.func("COALESCE", argument.copy(), whole, zero.copy())
        empty = exp.and_(empty, exp.Is(this=whole.copy(), expression=exp.null()))
    else:
        greatest = least.copy()
    return least, greatest, exp.case().when(empty, number_node(1)).else_(number_node(0))


def prices(components: Sequence[Component], row: Sequence[Any], *, count: int) -> Prices:
    """The answer of `prices_query` as ranges; ``count`` is the number of quarantined rows."""
    ranges: dict[str, tuple[Fraction, Fraction]] = {}
    reasons: dict[str, str] = {}
    for index, item in enumerate(components):
        least, greatest, unknown = row[3 * index : 3 * index + 3]
        if unknown:
            reasons[item.name] = f"{unknown} quarantined row(s) have no readable {' or '.join(item.columns)}"
        else:
            ranges[item.name] = Fraction(Decimal(least or 0)), Fraction(Decimal(greatest or 0))
    return Prices(count=count, ranges=ranges, reasons=reasons)
