"""Priced quarantine: what the refused rows could add to each component if they came back.

A readable amount counts as it stands; an unreadable part of an amount (a bucket of a receivable) lies between
0 and the whole; a row whose date is unreadable may be of this date or not; of several rows with one key only one
can be true. What cannot be priced says why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import Compiled, answers
from abaco_loans.kpi.evaluate import Prices
from abaco_loans.kpi.formula import Component
from abaco_loans.tape.calculation import UNPRICED, is_money
from abaco_loans.tape.template import number_node
from abaco_loans.tape.tree import exp

WHOLE = "total_receivable_usd"
KEY, MAYBE = "bound_key", "bound_maybe"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which cells of the refused rows cannot be read, as columns of the relation that are 1 where that is so.

    ``unknown``: column of the calculation table → flags that leave it without a value. ``between``: flags that
    leave it somewhere between 0 and the whole receivable.
    """

    unknown: Mapping[str, Collection[str]] = field(default_factory=dict)
    between: Mapping[str, Collection[str]] = field(default_factory=dict)


def prices_query(components: Sequence[Component], relation: str, faults: Faults, *, unpriced: bool) -> exp.Select:
    """For each component: least sum, greatest sum, number of rows that cannot be priced.

    Args:
        components: from `priceable`.
        relation: the calculation table of the refused rows, with the columns of ``faults`` and `KEY` (rows of one
            key exclude each other) and `MAYBE` (1 where the row may be of another date).
        faults: what cannot be read.
        unpriced: whether the table says which rows have no rate.
    """
    per_key: list[exp.Expr] = []
    totals: list[exp.Expr] = []
    for index, item in enumerate(components):
        least, greatest, unknown = _row_range(item, faults, unpriced=unpriced)
        per_key += [
            exp.alias_(exp.Min(this=_hull(exp.Least, least)), f"least_{index}"),
            exp.alias_(exp.Max(this=_hull(exp.Greatest, greatest)), f"greatest_{index}"),
            exp.alias_(exp.Max(this=unknown), f"unknown_{index}"),
        ]
        totals += [exp.Sum(this=exp.column(f"{name}_{index}")) for name in ("least", "greatest", "unknown")]
    inner = exp.select(*per_key).from_(relation).group_by(exp.column(KEY))
    return exp.select(*totals).from_(inner.subquery("per_key"))


def _hull(end: type[exp.Least | exp.Greatest], node: exp.Expr) -> exp.Expr:
    """The end of a row's range: with 0 in it where the row may be of another date."""
    with_zero = end(this=node.copy(), expressions=[number_node(0)])
    return exp.case().when(exp.column(MAYBE).eq(number_node(1)), with_zero).else_(node)


def _any(flags: Iterable[str]) -> exp.Expr:
    """Whether one of the flags is set."""
    found = [exp.column(name).eq(number_node(1)) for name in sorted(set(flags))]
    return exp.or_(*found) if found else exp.false()


def _row_range(item: Component, faults: Faults, *, unpriced: bool) -> tuple[exp.Expr, exp.Expr, exp.Expr]:
    argument = item.argument
    assert argument is not None  # `priceable` gives sums only
    zero = number_node(0)
    known = exp.func("COALESCE", argument.copy(), zero)
    hidden = {flag for name in item.columns for flag in faults.unknown.get(name, ())}
    part = {flag for name in item.columns for flag in faults.between.get(name, ())}
    lost = [_any(hidden)]
    if unpriced and any(is_money(name) for name in item.columns):
        lost.append(exp.column(UNPRICED, quoted=True).eq(number_node(1)))
    if item.name not in item.columns:
        lost.append(_any(part))  # a part inside an expression: how it moves the sum is not known
        part = set()
    if not part:
        return known, known.copy(), _one_where(exp.or_(*lost))
    whole = exp.func("COALESCE", exp.column(WHOLE, quoted=True), zero)
    lost.append(exp.and_(_any(part), _any(faults.unknown.get(WHOLE, ()))))
    ends = [
        exp.case().when(_any(part), end(this=whole.copy(), expressions=[zero.copy()])).else_(known.copy())
        for end in (exp.Least, exp.Greatest)
    ]
    return ends[0], ends[1], _one_where(exp.or_(*lost))


def _one_where(condition: exp.Expr) -> exp.Expr:
    return exp.case().when(condition, number_node(1)).else_(number_node(0))


def prices(components: Sequence[Component], row: Sequence[Any], *, count: int) -> Prices:
    """The answer of `prices_query` as ranges; ``count`` is the number of quarantined rows."""
    ranges: dict[str, tuple[Fraction, Fraction]] = {}
    reasons: dict[str, str] = {}
    for index, item in enumerate(components):
        least, greatest, unknown = row[3 * index : 3 * index + 3]
        if unknown:
            reasons[item.name] = f"{unknown} quarantined row(s) give no {' or '.join(item.columns)}"
        else:
            ranges[item.name] = Fraction(Decimal(least or 0)), Fraction(Decimal(greatest or 0))
    return Prices(count=count, ranges=ranges, reasons=reasons)
