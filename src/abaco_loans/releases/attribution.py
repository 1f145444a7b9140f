"""A KPI's move put down to loans, by the arithmetic of its own formula, exact.

With old values a, b and new values A, B:

    A + B - (a + b) = (A - a) + (B - b)
    A * B -  a * b  = (A - a) * B + a * (B - b)
    A / B -  a / b  = (A - a) / B - a * (B - b) / (b * B)

so the move of any formula over sums is a weighted sum of the moves of its sums, and those are sums over loans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from sqlglot import exp

from abaco_loans.errors import InvariantError
from abaco_loans.kpi.catalogue import Catalogue, Grain, Kpi
from abaco_loans.kpi.formula import Component, component_name, reference_name

_AGGREGATES = (exp.Sum, exp.Count, exp.Min, exp.Max)
_CONSTANT = ""  # the weight that belongs to no loan
Values = Mapping[str, Fraction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """A KPI as arithmetic over sums of rows: its tree with the KPIs that it is made of written out.

    ``rows``: by component, what one row adds to it. ``columns``: what its components read. ``reason``: why it is no
    such thing; then the rest is empty.
    """

    tree: exp.Expr | None = None
    rows: Mapping[str, exp.Expr] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    reason: str = ""


def needed(catalogue: Catalogue, kpi_id: str) -> tuple[Kpi, ...]:
    """The KPI and those that it is made of, in the order of the catalogue."""
    wanted = {kpi_id}
    for kpi in reversed(catalogue.kpis):
        if kpi.id in wanted:
            wanted.update(kpi.formula.kpis)
    return tuple(kpi for kpi in catalogue.kpis if kpi.id in wanted)


def sums_of(catalogue: Catalogue, kpi_id: str) -> Sums:
    """The KPI as arithmetic over sums of loan rows, or why it is none."""
    rows: dict[str, exp.Expr] = {}
    columns: dict[str, None] = {}
    for kpi in needed(catalogue, kpi_id):
        if kpi.grain is not Grain.LOAN:
            return Sums(reason=f"{kpi.id} adds up customers, not loans")
        if kpi.formula.facts:
            return Sums(reason=f"{kpi.id} speaks of the run, not of loans")
        for item in kpi.formula.components:
            row = _row(item)
            if row is None:
                return Sums(reason=f"{item.name} is no sum over loans")
            rows[item.name] = row
            columns |= dict.fromkeys(item.columns)
    return Sums(tree=_written_out(catalogue, kpi_id), rows=rows, columns=tuple(columns))


def _row(item: Component) -> exp.Expr | None:
    """What one row adds to an aggregate; None where it is more than a sum of that."""
    if item.argument is not None:
        return item.argument
    if not isinstance(item.tree, exp.Count) or isinstance(item.tree.this, exp.Distinct):
        return None
    if isinstance(item.tree.this, exp.Star):
        return exp.Literal.number(1)
    absent = exp.Is(this=exp.paren(item.tree.this.copy()), expression=exp.null())
    return exp.case().when(absent, exp.Literal.number(0)).else_(exp.Literal.number(1))


def _written_out(catalogue: Catalogue, kpi_id: str) -> exp.Expr:
    def write(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and node.table:
            return exp.paren(_written_out(catalogue, reference_name(node)))
        return node

    return catalogue.get(kpi_id).formula.tree.transform(write)


def value_of(node: exp.Expr, sums: Values) -> Fraction | None:
    """The value of a formula over its sums; None where it divides by zero."""
    if isinstance(node, exp.Paren):
        return value_of(node.this, sums)
    if isinstance(node, exp.Literal):
        return Fraction(node.this)
    if isinstance(node, _AGGREGATES):
        return sums[component_name(node)]
    left = value_of(node.this, sums)
    if isinstance(node, exp.Neg):
        return None if left is None else -left
    right = value_of(node.expression, sums)
    if left is None or right is None or (isinstance(node, exp.Div) and right == 0):
        return None
    match node:
        case exp.Add():
            return left + right
        case exp.Sub():
            return left - right
        case exp.Mul():
            return left * right
        case exp.Div():
            return left / right
        case _:
            raise InvariantError(f"no arithmetic for {type(node).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A move as a weighted sum: Σ new × sum after it − Σ old × sum before it, by component."""

    new: Mapping[str, Fraction]
    old: Mapping[str, Fraction]

    @property
    def constant(self) -> Fraction:
        """What belongs to no loan."""
        return self.new.get(_CONSTANT, Fraction(0)) - self.old.get(_CONSTANT, Fraction(0))

    @property
    def components(self) -> tuple[str, ...]:
        """Sums that the move depends on."""
        return tuple(name for name in dict.fromkeys((*self.new, *self.old)) if name != _CONSTANT)

    def of(self, before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> Fraction:
        """What a loan, or some loans, add to the move, given their sums before and after it."""
        found = Fraction(0)
        for name in self.components:
            found += self.new.get(name, Fraction(0)) * Fraction(after[name])
            found -= self.old.get(name, Fraction(0)) * Fraction(before[name])
        return found


def weights(old: exp.Expr, new: exp.Expr, before: Values, after: Values) -> Weights:
    """The move from one formula over its sums to another, as a weighted sum. Both have a value.

    Where the two are built alike the rules at the head of this file hold; where they are not, the whole new part
    comes and the whole old part goes.
    """
    old, new = _bare(old), _bare(new)
    if old == new and not old.find(*_AGGREGATES):
        return Weights(new={}, old={})
    if type(old) is not type(new) or not isinstance(old, (exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div)):
        return Weights(new=_share(new, after), old=_share(old, before))
    left = weights(old.this, new.this, before, after)
    if isinstance(old, exp.Neg):
        return _mixed((left, Fraction(-1)))
    right = weights(old.expression, new.expression, before, after)
    match old:
        case exp.Add():
            return _mixed((left, Fraction(1)), (right, Fraction(1)))
        case exp.Sub():
            return _mixed((left, Fraction(1)), (right, Fraction(-1)))
        case exp.Mul():
            return _mixed((left, _known(new.expression, after)), (right, _known(old.this, before)))
        case _:
            over, under, now = _known(old.this, before), _known(old.expression, before), _known(new.expression, after)
            return _mixed((left, 1 / now), (right, -over / (under * now)))


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _known(node: exp.Expr, sums: Values) -> Fraction:
    found = value_of(node, sums)
    if found is None:
        raise InvariantError("weights of a formula without a value")
    return found


def _mixed(*parts: tuple[Weights, Fraction]) -> Weights:
    return Weights(
        new=_added(*((part.new, factor) for part, factor in parts)),
        old=_added(*((part.old, factor) for part, factor in parts)),
    )


def _added(*parts: tuple[Mapping[str, Fraction], Fraction]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for weighted, factor in parts:
        for name, weight in weighted.items():
            found[name] = found.get(name, Fraction(0)) + factor * weight
    return found


def _share(node: exp.Expr, sums: Values) -> dict[str, Fraction]:
    """A formula's value as a weighted sum of its sums."""
    node = _bare(node)
    if isinstance(node, exp.Literal):
        return {_CONSTANT: Fraction(node.this)}
    if isinstance(node, _AGGREGATES):
        return {component_name(node): Fraction(1)}
    if isinstance(node, exp.Neg):
        return _added((_share(node.this, sums), Fraction(-1)))
    left, right = node.this, node.expression
    match node:
        case exp.Add():
            return _added((_share(left, sums), Fraction(1)), (_share(right, sums), Fraction(1)))
        case exp.Sub():
            return _added((_share(left, sums), Fraction(1)), (_share(right, sums), Fraction(-1)))
        case exp.Mul() if not left.find(*_AGGREGATES):
            return _added((_share(right, sums), _known(left, sums)))
        case exp.Mul():
            return _added((_share(left, sums), _known(right, sums)))
        case _:
            return _added((_share(left, sums), 1 / _known(right, sums)))
