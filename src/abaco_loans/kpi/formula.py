"""KPI formulas: the text in the catalogue is what runs.

A formula is arithmetic over aggregates (``SUM``, ``COUNT``, ``MIN``, ``MAX`` of row expressions), other KPIs
(``risk.par_30``) and facts of the run (``run.rows_in``). The aggregates are computed by the engine; the
arithmetic is done here, exactly, on fractions, and divided out once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from abaco_loans.errors import ConfigError, InvariantError
from abaco_loans.kpi.measure import Sort, measured
from abaco_loans.nearest import nearest
from abaco_loans.tape.expression import column_hint, column_names, parse_allowed, row_nodes
from abaco_loans.tape.memory import remembered
from abaco_loans.tape.tree import exp

EXACT = Context(prec=28, rounding=ROUND_HALF_EVEN)
_WIDE = Context(prec=120, rounding=ROUND_HALF_EVEN)
FACTS = ("rows_in", "rows_accepted", "rows_quarantined", "rows_duplicate", "failed_checks", "open_alerts")

Ratio = tuple[int, int]  # numerator, denominator > 0, not reduced
Evaluator = Callable[[Mapping[str, Ratio]], "Ratio | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One aggregate of a formula. ``name`` is the column for a plain sum, else the aggregate's own text."""

    name: str
    columns: tuple[str, ...]
    formula: str
    where: str = field(repr=False)

    @property
    def tree(self) -> exp.Expr:
        """The aggregate, with room in its products."""
        return _components(self.formula, self.where)[self.name]

    @property
    def argument(self) -> exp.Expr | None:
        """The row expression that a SUM adds up; None for other aggregates."""
        tree = self.tree
        return tree.this if isinstance(tree, exp.Sum) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A checked formula; see :func:`parse_formula`. ``columns``: those of the calculation table that it reads.

    ``normal``: the text as it is written when it is parsed and written again. ``where``: file and line.
    """

    text: str
    normal: str
    components: tuple[Component, ...]
    kpis: tuple[str, ...]
    facts: tuple[str, ...]
    columns: tuple[str, ...]
    evaluate: Evaluator = field(compare=False, repr=False)
    where: str = field(repr=False)

    @property
    def tree(self) -> exp.Expr:
        """The formula, parsed."""
        return _tree(self.text, self.where)


def parse_formula(text: str, *, columns: Collection[str], where: str) -> Formula:
    """Parse and check a formula.

    Raises:
        ConfigError: ``KPI-101`` not a formula, or something that is not allowed; ``KPI-102`` a column outside
            an aggregate; ``KPI-103`` an aggregate inside another; ``KPI-104`` an unknown column or fact;
            ``KPI-108`` parts that do not go together.
    """
    parts = remembered(_parts, text, tuple(columns), where)
    components = tuple(
        Component(name=name, columns=tuple(names), formula=text, where=where) for name, names in parts["components"]
    )
    return Formula(
        text=text,
        normal=parts["normal"],
        components=components,
        kpis=tuple(parts["kpis"]),
        facts=tuple(parts["facts"]),
        columns=tuple(dict.fromkeys(name for item in components for name in item.columns)),
        evaluate=_evaluator(parts["steps"]),
        where=where,
    )


def _parts(text: str, columns: Collection[str], where: str) -> dict[str, Any]:
    """What a formula is made of, once it is checked, as plain data."""
    tree = _tree(text, where)
    components: dict[str, list[str]] = {}
    kpis: dict[str, None] = {}
    facts: dict[str, None] = {}
    _walk(tree, columns, _Place(where=where, text=text), components, kpis, facts)
    return {
        "normal": tree.sql(dialect="duckdb", normalize_functions="lower"),
        "components": [[name, names] for name, names in components.items()],
        "kpis": list(kpis),
        "facts": list(facts),
        "steps": _steps(tree),
    }


@lru_cache(maxsize=1_000)
def _tree(text: str, where: str) -> exp.Expr:
    allowed = (*row_nodes(), *_aggregates(), exp.Distinct, exp.Star, exp.Div)
    return parse_allowed(text, allowed=allowed, code="KPI-101", where=where)


@lru_cache(maxsize=1_000)
def _components(text: str, where: str) -> dict[str, exp.Expr]:
    return {component_name(node): _widened(node) for node in _tree(text, where).find_all(*_aggregates())}


@cache
def _aggregates() -> tuple[type[exp.Expr], ...]:
    return exp.Sum, exp.Count, exp.Min, exp.Max


@cache
def _outer() -> tuple[type[exp.Expr], ...]:
    return exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Literal, exp.Column, *_aggregates()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a formula stands, and its text, to say where in it a name is."""

    where: str
    text: str

    def of(self, name: str) -> str:
        """File, line and the first character of ``name``."""
        found = self.text.casefold().find(name.casefold())
        return self.where if found < 0 else f"{self.where}, character {found + 1}"


def _walk(
    node: exp.Expr,
    columns: Collection[str],
    place: _Place,
    components: dict[str, list[str]],
    kpis: dict[str, None],
    facts: dict[str, None],
) -> None:
    if isinstance(node, _aggregates()):
        name, names = _component(node, columns, place)
        components[name] = names
        return
    if isinstance(node, exp.Column):
        if not node.table:
            raise ConfigError(
                f"the column {node.name!r} stands outside an aggregate",
                code="KPI-102",
                where=place.of(node.name),
                hint="put it inside an aggregate, such as SUM",
            )
        if node.args.get("db") or isinstance(node.this, exp.Star):
            raise ConfigError(
                f"{node.sql()!r} is no KPI",
                code="KPI-104",
                where=place.of(node.sql()),
                hint="a KPI is named by two words, as risk.par_30",
            )
        if node.table == "run":
            if node.name not in FACTS:
                raise ConfigError(
                    f"unknown fact of a run {node.name!r}",
                    code="KPI-104",
                    where=place.of(node.name),
                    hint=nearest(node.name, FACTS),
                )
            facts[node.name] = None
        else:
            kpis[f"{node.table}.{node.name}"] = None
        return
    if not isinstance(node, _outer()) or (isinstance(node, exp.Literal) and node.is_string):
        raise ConfigError(
            f"{type(node).__name__} is only allowed inside an aggregate",
            code="KPI-101",
            where=place.where,
            hint="use + - * / and numbers between aggregates",
        )
    for child in node.iter_expressions():
        _walk(child, columns, place, components, kpis, facts)


def _component(node: exp.Expr, columns: Collection[str], place: _Place) -> tuple[str, list[str]]:
    """The name of an aggregate and the columns that it reads, if it is one that may be."""
    where = place.of(node.key)
    for inner in node.find_all(*_aggregates()):
        if inner is not node:
            raise ConfigError(
                "an aggregate stands inside an aggregate",
                code="KPI-103",
                where=where,
                hint="use a KPI of grain customer, or two KPIs",
            )
    if node.find(exp.Div):
        raise ConfigError(
            "a division stands inside an aggregate",
            code="KPI-103",
            where=where,
            hint="divide sums: SUM(a) / SUM(b)",
        )
    names = column_names(node)
    for column in node.find_all(exp.Column):
        if column.table or column.name not in columns:
            raise ConfigError(
                f"the formula uses unknown column {column.sql()!r}",
                code="KPI-104",
                where=place.of(column.name),
                hint=column_hint(column, columns),
            )
    _refuse_arguments(node, where)
    _widened(node)  # what has no room is refused here, not when a tape comes
    return component_name(node), names


def _refuse_arguments(node: exp.Expr, where: str) -> None:
    """An aggregate takes one argument: SUM, MIN and MAX a number, COUNT also ``*`` or DISTINCT."""
    argument = node.this
    if isinstance(node, exp.Count) and isinstance(argument, exp.Distinct) and len(argument.expressions) == 1:
        argument = argument.expressions[0]
    elif isinstance(node, exp.Count) and isinstance(argument, exp.Star):
        return
    others = [name for name, value in node.args.items() if value and name not in ("this", "big_int")]
    if argument is None or others or argument.find(exp.Star, exp.Distinct):
        raise ConfigError(
            f"{node.sql(dialect='duckdb')} has not the one argument that it takes",
            code="KPI-108",
            where=where,
            hint="write SUM(column), COUNT(column), COUNT(*) or COUNT(DISTINCT column)",
        )
    found = measured(argument, where=where)
    if found.sort is Sort.TRUTH and isinstance(node, exp.Count):
        raise ConfigError(
            f"{node.sql(dialect='duckdb')} counts the rows where the condition is false, too",
            code="KPI-108",
            where=where,
            hint="count with SUM(CASE WHEN ... THEN 1 ELSE 0 END)",
        )
    if found.sort is not Sort.NUMBER and not isinstance(node, exp.Count):
        raise ConfigError(
            f"{node.sql(dialect='duckdb')} takes a number, and was given {found.sort}",
            code="KPI-108",
            where=where,
            hint="count with SUM(CASE WHEN ... THEN 1 ELSE 0 END) or COUNT(DISTINCT column)",
        )


def _widened(node: exp.Expr) -> exp.Expr:
    """The aggregate with room in its products: 18 digits times 18 digits overflow, 19 times 18 do not."""

    def widen(part: exp.Expr) -> exp.Expr:
        if isinstance(part, exp.Mul) and not part.this.find(exp.Mul):
            scale = measured(part.this, where="").scale
            part.set("this", exp.cast(part.this, f"DECIMAL({max(19, 13 + scale)},{scale})"))
        return part

    return node.transform(widen)


def component_name(node: exp.Expr) -> str:
    """The name under which an aggregate's value is looked up."""
    if isinstance(node, exp.Sum) and isinstance(node.this, exp.Column):
        return node.this.name
    return node.sql(dialect="duckdb", normalize_functions="lower")


def reference_name(node: exp.Column) -> str:
    """The name under which a KPI or fact is looked up."""
    return f"{node.table}.{node.name}"


def as_ratio(value: Decimal | int) -> Ratio:
    """A number as numerator and denominator, exact."""
    return (value, 1) if isinstance(value, int) else value.as_integer_ratio()


def as_decimal(ratio: Ratio) -> Decimal:
    """The ratio divided out once, to 28 digits, half-even."""
    return EXACT.divide(Decimal(ratio[0]), Decimal(ratio[1]))


def rounded(value: Decimal, places: int, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """The value with ``places`` decimals."""
    return value.quantize(Decimal(1).scaleb(-places), rounding=rounding, context=_WIDE)


def _steps(node: exp.Expr) -> list[Any]:
    """The arithmetic of a formula as plain data: ``[operation, part, part]`` down to numbers and names."""
    if isinstance(node, exp.Paren):
        return _steps(node.this)
    if isinstance(node, exp.Literal):
        return ["number", node.this]
    if isinstance(node, exp.Column):
        return ["value", reference_name(node)]
    if isinstance(node, _aggregates()):
        return ["value", component_name(node)]
    if isinstance(node, exp.Neg):
        return ["negative", _steps(node.this)]
    if node.key not in _COMBINE:
        raise InvariantError(f"no arithmetic for {type(node).__name__}")
    return [node.key, _steps(node.this), _steps(node.expression)]


def _evaluator(steps: list[Any]) -> Evaluator:
    """A function from names to the exact value; None on division by zero."""
    operation, first, *rest = steps
    if operation == "number":
        constant = as_ratio(Decimal(first))
        return lambda values: constant
    if operation == "value":
        return lambda values: values[first]
    inner = _evaluator(first)
    if operation == "negative":
        return lambda values: None if (found := inner(values)) is None else (-found[0], found[1])
    other, combine = _evaluator(rest[0]), _COMBINE[operation]

    def run(values: Mapping[str, Ratio]) -> Ratio | None:
        left, right = inner(values), other(values)
        return None if left is None or right is None else combine(left, right)

    return run


def _add(left: Ratio, right: Ratio) -> Ratio:
    if left[1] == right[1]:
        return left[0] + right[0], left[1]
    return left[0] * right[1] + right[0] * left[1], left[1] * right[1]


def _divide(left: Ratio, right: Ratio) -> Ratio | None:
    if right[0] == 0:
        return None
    sign = 1 if right[0] > 0 else -1
    return left[0] * right[1] * sign, left[1] * right[0] * sign


_COMBINE: dict[str, Callable[[Ratio, Ratio], Ratio | None]] = {
    "add": _add,
    "sub": lambda left, right: _add(left, (-right[0], right[1])),
    "mul": lambda left, right: (left[0] * right[0], left[1] * right[1]),
    "div": _divide,
}

Interval = tuple[Fraction, Fraction]


def interval(node: exp.Expr, values: Mapping[str, Interval]) -> Interval | None:
    """The least and greatest value of a formula over ranges of its parts; None when it may divide by zero."""
    if isinstance(node, exp.Paren):
        return interval(node.this, values)
    if isinstance(node, exp.Literal):
        return Fraction(node.this), Fraction(node.this)
    if isinstance(node, exp.Column):
        return values[reference_name(node)]
    if isinstance(node, _aggregates()):
        return values[component_name(node)]
    if isinstance(node, exp.Neg):
        inner = interval(node.this, values)
        return None if inner is None else (-inner[1], -inner[0])
    left, right = interval(node.this, values), interval(node.expression, values)
    if left is None or right is None:
        return None
    if isinstance(node, exp.Add):
        return left[0] + right[0], left[1] + right[1]
    if isinstance(node, exp.Sub):
        return left[0] - right[1], left[1] - right[0]
    if isinstance(node, exp.Div):
        if right[0] <= 0 <= right[1]:
            return None
        right = 1 / right[1], 1 / right[0]
    products = [first * second for first in left for second in right]
    return min(products), max(products)
