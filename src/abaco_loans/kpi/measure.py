"""What a row expression gives: a number with so many decimals, a text, or a truth.

So that a formula that an engine would refuse, or compute with fewer digits than it has, is refused when the
catalogue loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from abaco_loans.errors import ConfigError
from abaco_loans.tape.calculation import kind_of
from abaco_loans.tape.contract import Kind
from abaco_loans.tape.tree import exp

SCALE_MAX = 18
_RATE_SCALE, _MONEY_SCALE = 6, 4


class Sort(StrEnum):
    """What kind of thing an expression gives."""

    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "a condition"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """``scale``: decimals that hold every value of a number exactly."""

    sort: Sort
    scale: int = 0


_TRUTH = Measure(sort=Sort.TRUTH)


def measured(node: exp.Expr, *, where: str) -> Measure:
    """The measure of a row expression.

    Raises:
        ConfigError: ``KPI-108`` its parts do not go together, or it has more than 18 decimals.
    """
    found = _measured(node, where)
    if found.scale > SCALE_MAX:
        raise _unfit(node, f"has more than {SCALE_MAX} decimals", where)
    return found


def _measured(node: exp.Expr, where: str) -> Measure:
    if isinstance(node, exp.Column):
        return _column(node.name)
    if isinstance(node, exp.Literal):
        if node.is_string:
            return Measure(sort=Sort.TEXT)
        return Measure(sort=Sort.NUMBER, scale=len(node.this.partition(".")[2]))
    if isinstance(node, exp.Null):
        return Measure(sort=Sort.NOTHING)
    if isinstance(node, exp.Boolean):
        return _TRUTH
    if isinstance(node, exp.Paren):
        return _measured(node.this, where)
    if isinstance(node, (exp.Neg, exp.Abs)):
        return _wanted(node.this, Sort.NUMBER, where)
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul)):
        left, right = (_wanted(part, Sort.NUMBER, where) for part in (node.this, node.expression))
        scale = left.scale + right.scale if isinstance(node, exp.Mul) else max(left.scale, right.scale)
        return Measure(sort=Sort.NUMBER, scale=scale)
    if isinstance(node, (exp.Case, exp.If)):
        return _case(node, where)
    if isinstance(node, (exp.Coalesce, exp.Least, exp.Greatest)):
        return _same(node, (node.this, *node.expressions), where)
    return _condition(node, where)


def _column(name: str) -> Measure:
    kind = kind_of(name)
    if kind is Kind.TEXT:
        return Measure(sort=Sort.TEXT)
    decimals = _RATE_SCALE if name == "interest_rate" else _MONEY_SCALE
    return Measure(sort=Sort.NUMBER, scale=decimals if kind is Kind.DECIMAL else 0)


def _condition(node: exp.Expr, where: str) -> Measure:
    if isinstance(node, (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is)):
        _same(node, (node.this, node.expression), where)
    elif isinstance(node, exp.Between):
        _same(node, (node.this, node.args["low"], node.args["high"]), where)
    elif isinstance(node, exp.In) and node.expressions:
        _same(node, (node.this, *node.expressions), where)
    elif isinstance(node, exp.Not):
        _wanted(node.this, Sort.TRUTH, where)
    elif isinstance(node, (exp.And, exp.Or)):
        for part in (node.this, node.expression):
            _wanted(part, Sort.TRUTH, where)
    else:
        raise _unfit(node, "cannot stand here", where)
    return _TRUTH


def _case(node: exp.Expr, where: str) -> Measure:
    branches = node.args.get("ifs") or [node]
    for branch in branches:
        if node.this is not None and branch is not node:
            _same(node, (node.this, branch.this), where)
        else:
            _wanted(branch.this, Sort.TRUTH, where)
    last = node.args.get("default") or node.args.get("false")
    return _same(node, (*(branch.args["true"] for branch in branches), *([last] if last else [])), where)


def _wanted(node: exp.Expr, sort: Sort, where: str) -> Measure:
    found = _measured(node, where)
    if found.sort not in (sort, Sort.NOTHING):
        raise _unfit(node, f"is {found.sort}, and {sort} is wanted", where)
    return found


def _same(node: exp.Expr, parts: Iterable[exp.Expr], where: str) -> Measure:
    found = [_measured(part, where) for part in parts]
    sorts = {item.sort for item in found} - {Sort.NOTHING}
    if len(sorts) > 1:
        raise _unfit(node, f"mixes {' and '.join(sorted(sorts))}", where)
    return Measure(sort=sorts.pop() if sorts else Sort.NOTHING, scale=max(item.scale for item in found))


def _unfit(node: exp.Expr, why: str, where: str) -> ConfigError:
    return ConfigError(
        f"{node.sql(dialect='duckdb')} {why}",
        code="KPI-108",
        where=where,
        hint="numbers are added and multiplied, like is compared with like; a SUM, MIN or MAX takes numbers",
    )
