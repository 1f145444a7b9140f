"""The rows of two worlds side by side: one join a step, and what each KPI's move owes to which loans.

A world is a relation with a row a loan (or several, where a key is repeated). The engine joins, adds up and ranks;
only sums and the loans on top come back. Sums are exact; the rank alone is a double.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import Any

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.operations.bridge_rates import CURRENCY, RateTest, kept_amounts
from abaco_loans.releases.attribution import Weights
from abaco_loans.releases.bridge import Cause, LoanShare, decimal
from abaco_loans.tape.calculation import kind_of
from abaco_loans.tape.contract import Kind
from abaco_loans.tape.template import expression, filled, number_node

LOAN_ID = "loan_id"
CHANGED = "bridge_changed"
_ENDS = ("from", "to")

# Two relations of one row a loan, ``:old`` and ``:new``, joined by loan.
JOINED = """
WITH o AS (:old), n AS (:new)
SELECT COALESCE(o.loan_id, n.loan_id) AS loan_id, COALESCE(o.row_count, 0) AS rows_old,
       COALESCE(n.row_count, 0) AS rows_new
FROM o FULL JOIN n ON o.loan_id IS NOT DISTINCT FROM n.loan_id
"""
_SAME = "WITH o AS (:world) SELECT loan_id, row_count AS rows_old, row_count AS rows_new FROM o"
# Where a loan stands in a segment on one side; one that the side lacks stands there as on the other.
_PLACE = "SELECT CASE WHEN :rows IS NULL THEN :other ELSE :own END"
# A column of the actual rows that is a row's own value, as it was recomputed, but for how it is printed.
_AGREES = """
SELECT (:made_known) * :actual_rows = :actual_known
       AND (:made_known = 0 OR (:actual_low >= :made_low - :half AND :actual_high <= :made_high + :half))
"""
_SAME_TEXT = """
SELECT (:made_known) * :actual_rows = :actual_known
       AND (:made_known = 0 OR (:actual_low = :made_low AND :actual_high = :made_high))
"""
_CAUSE = """
SELECT CASE WHEN :actual_rows = 0 THEN :missing WHEN :made_rows = 0 THEN :extra WHEN :rated THEN :fx
            WHEN :made_rows > 1 OR NOT (:agrees) THEN :unexplained
            WHEN :actual_rows > 1 THEN :duplicates ELSE :rounding END
"""
_DECIMALS = """
SELECT MAX(CASE WHEN :it <> ROUND(:it, 5) THEN 6 WHEN :it <> ROUND(:it, 4) THEN 5 WHEN :it <> ROUND(:it, 3) THEN 4
                WHEN :it <> ROUND(:it, 2) THEN 3 WHEN :it <> ROUND(:it, 1) THEN 2 WHEN :it <> ROUND(:it, 0) THEN 1
                ELSE 0 END)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A relation of loan rows. ``unique``: no loan stands in it twice. ``columns``: those that it has."""

    relation: str
    unique: bool
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """Which of two worlds is what a release really produced, and the causes that this can have.

    Attributes:
        is_new: the second world is the actual one; otherwise the first.
        decimals: by column, the most decimals that the actual rows have.
        missing: the cause of a loan that the actual rows lack.
        extra: the cause of a loan that only they have.
    """

    is_new: bool
    decimals: Mapping[str, int]
    missing: Cause
    extra: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a loan of `CHANGED` moves: its cause, and where that is its currency's rate, which (else empty)."""

    cause: exp.Expr
    currency: exp.Expr

    @classmethod
    def always(cls, cause: Cause) -> Why:
        """The same cause for every loan."""
        return cls(cause=exp.Literal.string(cause.value), currency=exp.Literal.string(""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a cause moves a KPI by on one step, over how many loans, and the first of them."""

    cause: Cause
    currency: str
    contribution: Fraction
    loans: int
    top: tuple[LoanShare, ...]


def decimals_of(engine: Engine, relation: str, columns: Sequence[str]) -> dict[str, int]:
    """The most decimals, 0 to 6, that the values of each amount have."""
    wanted = [name for name in columns if kind_of(name) is Kind.DECIMAL]
    if not wanted:
        return {}
    items = [expression(_DECIMALS, it=exp.column(name, quoted=True)) for name in wanted]
    row = engine.rows(exp.select(*items).from_(relation))[0]
    return {name: int(value or 0) for name, value in zip(wanted, row, strict=True)}


class Pair:
    """Two worlds joined by loan: the relation `CHANGED` with the sums of both sides, by component.

    Attributes:
        places: by component, the number that its sums have in `CHANGED` (``old_0``, ``new_0``).
        segments: by segment, the number that a loan's values have there (``from_0``, ``to_0``).
    """

    def __init__(
        self,
        engine: Engine,
        rows: Mapping[str, exp.Expr],
        columns: Sequence[str],
        *,
        segments: Sequence[str] = (),
        reporting: str = "",
    ) -> None:
        """What is joined.

        Args:
            engine: holds the worlds.
            rows: by component, what one row adds to it.
            columns: those that are compared themselves.
            segments: dimensions that loans are told apart by.
            reporting: the reporting currency; empty: no other is looked at.
        """
        self._engine = engine
        self._rows = rows
        self.places = {name: index for index, name in enumerate(rows)}
        self.segments = {name: index for index, name in enumerate(segments)}
        self._columns = {name: index for index, name in enumerate(columns)}
        self._reporting = reporting
        self._rates: RateTest | None = None
        self._empty = False

    def join(self, old: World, new: World, actual: Actual | None, *, everything: bool = False) -> None:
        """Make `CHANGED` of the loans in which the two worlds differ, or of all."""
        query = filled(JOINED, old=self._by_loan(old), new=self._by_loan(new))
        differs: list[exp.Expr] = [exp.column("rows_old").neq(exp.column("rows_new"))]
        for index in self.segments.values():
            ends = [_place(index, *sides) for sides in (("o", "n"), ("n", "o"))]
            query = query.select(*(exp.alias_(node, f"{name}_{index}") for node, name in zip(ends, _ENDS, strict=True)))
            differs.append(exp.NullSafeNEQ(this=exp.column(f"from_{index}"), expression=exp.column(f"to_{index}")))
        for index in self.places.values():
            sides = [exp.func("COALESCE", exp.column(f"x_{index}", table=name), number_node(0)) for name in "on"]
            names = [f"old_{index}", f"new_{index}"]
            query = query.select(*(exp.alias_(node, name) for node, name in zip(sides, names, strict=True)))
            differs.append(exp.column(names[0]).neq(exp.column(names[1])))
        if actual:
            query = query.select(*(self._agrees(name, actual) for name in self._columns))
            made = old if actual.is_new else new
            if self._reporting and CURRENCY in made.columns:
                query = query.select(*kept_amounts(self._columns, *("on" if actual.is_new else "no")))
                differs += self._test_rates(actual)
        wanted: exp.Expr = exp.true() if everything else exp.or_(*differs)
        self._make(exp.select("*").from_(query.subquery("joined")).where(wanted))

    def keep(self, world: World, *, everything: bool) -> None:
        """Make `CHANGED` of one world, which is on both sides: of no loan, or of all where the formula changed."""
        query = filled(_SAME, world=self._by_loan(world))
        for index in self.segments.values():
            query = query.select(*(exp.alias_(exp.column(f"d_{index}"), f"{name}_{index}") for name in _ENDS))
        for index in self.places.values():
            node = exp.column(f"x_{index}")
            query = query.select(exp.alias_(node, f"old_{index}"), exp.alias_(node.copy(), f"new_{index}"))
        self._make(query.where(exp.true() if everything else exp.false()))

    def _make(self, query: exp.Select) -> None:
        self._engine.execute(exp.Create(this=exp.to_table(CHANGED), kind="TABLE", expression=query, replace=True))
        self._empty = not self._engine.rows(exp.select(LOAN_ID).from_(CHANGED).limit(1))

    def _by_loan(self, world: World) -> exp.Select:
        """One row a loan: its rows, its sums, and the least and greatest of the columns that are compared."""
        items: list[exp.Expr] = []
        for name, row in self._rows.items():
            amount = exp.func("COALESCE", row.copy(), number_node(0))
            items.append(exp.alias_(amount if world.unique else exp.Sum(this=amount), f"x_{self.places[name]}"))
        for name, index in self._columns.items():
            node = exp.column(name, quoted=True)
            known = expression("SELECT CASE WHEN :it IS NULL THEN 0 ELSE 1 END", it=node)
            ends: tuple[exp.Expr, exp.Expr, exp.Expr] = (node, node.copy(), known)
            if not world.unique:
                ends = (exp.Min(this=node), exp.Max(this=node.copy()), exp.Sum(this=known))
            names = (f"low_{index}", f"high_{index}", f"known_{index}")
            items += [exp.alias_(end, alias) for end, alias in zip(ends, names, strict=True)]
        texts = [(name, f"d_{index}") for name, index in self.segments.items()]
        for name, alias in (*texts, *([(CURRENCY, CURRENCY)] if self._reporting else ())):
            text: exp.Expr = exp.column(name, quoted=True) if name in world.columns else exp.null()
            items.append(exp.alias_(text if world.unique else exp.Min(this=text), alias))
        count: exp.Expr = number_node(1) if world.unique else exp.Count(this=exp.Star())
        query = exp.select(exp.column(LOAN_ID, quoted=True), exp.alias_(count, "row_count"), *items)
        query = query.from_(world.relation)
        return query if world.unique else query.group_by(exp.column(LOAN_ID, quoted=True))

    def _agrees(self, name: str, actual: Actual) -> exp.Expr:
        index = self._columns[name]
        made, given = ("o", "n") if actual.is_new else ("n", "o")
        nodes = {
            f"{side}_{what}": exp.column(f"{what}_{index}", table=table)
            for side, table in (("made", made), ("actual", given))
            for what in ("low", "high", "known")
        }
        nodes["actual_rows"] = exp.column("row_count", table=given)
        if kind_of(name) is Kind.TEXT:
            node = expression(_SAME_TEXT, **nodes)
        else:
            half = Decimal("0.5").scaleb(-actual.decimals[name]) if name in actual.decimals else Decimal(0)
            node = expression(_AGREES, **nodes, half=number_node(format(half, "f")))
        return exp.alias_(exp.func("COALESCE", node, exp.false()), f"agrees_{index}")

    def _test_rates(self, actual: Actual) -> list[exp.Expr]:
        """Have the given rows tested for other rates; the loans that this must see beside those that differ."""
        self._rates = RateTest(
            self._engine,
            CHANGED,
            self._columns,
            actual.decimals,
            made_rows="rows_old" if actual.is_new else "rows_new",
            reporting=self._reporting,
        )
        agrees = (exp.Not(this=exp.column(f"agrees_{index}")) for index in self._columns.values())
        return [exp.column(CURRENCY).neq(exp.Literal.string(self._reporting)), *agrees]

    def factors(self, columns: Sequence[str]) -> Mapping[str, Decimal]:
        """By currency, given ÷ recomputed, where the given rows are those recomputed at another rate."""
        return self._rates.factors(columns) if self._rates and not self._empty else {}

    def why(self, columns: Sequence[str], actual: Actual) -> Why:
        """Why a loan of `CHANGED` differs from what was recomputed, for a KPI that reads ``columns``."""
        sides = ["rows_old", "rows_new"] if actual.is_new else ["rows_new", "rows_old"]
        agrees = exp.and_(exp.true(), *(exp.column(f"agrees_{self._columns[name]}") for name in columns))
        rated: exp.Expr = exp.false()
        factors = self.factors(columns)
        if factors:
            there = (exp.column(name).neq(number_node(0)) for name in sides)
            of_them = exp.column(CURRENCY).isin(*(exp.Literal.string(name) for name in factors))
            rated = exp.and_(*there, of_them, exp.Not(this=exp.paren(agrees)))
        cause = expression(
            _CAUSE,
            made_rows=exp.column(sides[0]),
            actual_rows=exp.column(sides[1]),
            missing=exp.Literal.string(actual.missing.value),
            extra=exp.Literal.string(actual.extra.value),
            rated=rated,
            fx=exp.Literal.string(Cause.FX.value),
            agrees=agrees,
            unexplained=exp.Literal.string(Cause.UNEXPLAINED.value),
            duplicates=exp.Literal.string(Cause.DUPLICATES.value),
            rounding=exp.Literal.string(Cause.INPUT_ROUNDING.value),
        )
        currency = exp.column(CURRENCY) if factors else exp.Literal.string("")
        return Why(cause=cause, currency=exp.case().when(rated.copy(), currency).else_(exp.Literal.string("")))

    def found(self, move: Weights, why: Why, *, every: bool, listed: int) -> list[Found]:
        """A KPI's move by cause, causes in the order of `Cause`.

        Args:
            move: the move as a weighted sum of the components.
            why: the cause of each loan of `CHANGED`.
            every: a loan counts where any sum or its number of rows differs; otherwise only where what it adds does,
                so that a balance that goes from one summand to another is no change.
            listed: how many loans to list of each cause.
        """
        touched = self.touched([move], every=every)
        if touched is None:
            return []
        both = (exp.alias_(why.cause, "cause"), exp.alias_(why.currency, "rate_of"))
        loans = exp.select("*", *both).from_(CHANGED).where(touched).subquery("loans")
        names = self.names(move)
        sums = [exp.Sum(this=exp.column(name)) for name in names]
        rows = self._engine.rows(
            exp.select("cause", "rate_of", exp.Count(this=exp.Star()), *sums)
            .from_(loans.copy())
            .group_by("cause", "rate_of")
        )
        found = []
        for value, currency, count, *amounts in rows:
            query = exp.select(LOAN_ID, *names).from_(loans.copy())
            query = query.where(exp.column("cause").eq(exp.Literal.string(value)))
            query = query.where(exp.column("rate_of").eq(exp.Literal.string(currency)))
            ranked = query.order_by(exp.Ordered(this=self._rank(move), desc=True), LOAN_ID).limit(listed)
            found.append(found_of(move, (value, currency, count, *amounts), self._engine.rows(ranked)))
        return sorted(found, key=in_order)

    def names(self, move: Weights) -> list[str]:
        """The columns of `CHANGED` with the sums of the move's components: those before, then those after."""
        return [f"{side}_{self.places[name]}" for side in ("old", "new") for name in move.components]

    def touched(self, moves: Sequence[Weights], *, every: bool) -> exp.Expr | None:
        """Whether a loan has a say in moves of one formula (`found` says what ``every`` is); None: no loan has."""
        if self._empty:
            return None
        first = moves[0]
        # Components that weigh the same stand for one amount.
        alike: dict[tuple[bool, str | tuple[Fraction, ...]], list[str]] = {}
        for name in first.components:
            even = all(move.old.get(name) == move.new.get(name) for move in moves)
            each = name if every or not even else tuple(move.new[name] for move in moves)
            alike.setdefault((even, each), []).append(name)
        found: list[exp.Expr] = []
        for (even, _), names in alike.items():
            old, new = (self._sum(side, names) for side in ("old", "new"))
            zero = number_node(0)
            found.append(old.neq(new) if even else exp.or_(old.neq(zero), new.neq(zero.copy())))
        if every:
            found.append(exp.column("rows_old").neq(exp.column("rows_new")))
        return exp.or_(*found) if found else None

    def _sum(self, side: str, names: Sequence[str]) -> exp.Expr:
        nodes: list[exp.Expr] = [exp.column(f"{side}_{self.places[name]}") for name in names]
        return reduce(lambda left, right: exp.Add(this=left, expression=right), nodes)

    def _rank(self, move: Weights) -> exp.Expr:
        total: exp.Expr = number_node(0)
        for name in move.components:
            old, new = (exp.column(f"{side}_{self.places[name]}") for side in ("old", "new"))
            if move.old.get(name) == move.new.get(name):
                total = exp.Add(this=total, expression=_times(exp.Sub(this=new, expression=old), move.new[name]))
                continue
            total = exp.Add(this=total, expression=_times(new, move.new.get(name, Fraction(0))))
            total = exp.Sub(this=total, expression=_times(old, move.old.get(name, Fraction(0))))
        return exp.Abs(this=total)


def _times(node: exp.Expr, weight: Fraction) -> exp.Expr:
    factor = exp.cast(exp.Literal.string(str(decimal(weight))), "DOUBLE")
    return exp.Mul(this=exp.cast(exp.paren(node), "DOUBLE"), expression=factor)


def _place(index: int, own: str, other: str) -> exp.Expr:
    nodes = {name: exp.column(f"d_{index}", table=side) for name, side in (("own", own), ("other", other))}
    return expression(_PLACE, rows=exp.column("row_count", table=own), **nodes)


def found_of(move: Weights, whole: Sequence[Any], top: Sequence[Sequence[Any]]) -> Found:
    """What a cause moves a KPI by: ``whole`` is (cause, currency, loans, sums...), ``top`` are (loan, sums...)."""
    cause, currency, count, *amounts = whole
    shares = sorted((_share(move, *line) for line in top), key=lambda item: (-abs(item.contribution), item.loan_id))
    return Found(
        cause=Cause(cause),
        currency=str(currency),
        contribution=_share(move, "", *amounts).contribution,
        loans=int(count),
        top=tuple(shares),
    )


def in_order(item: Found) -> tuple[int, str]:
    """Causes in the order of `Cause`; rates by currency."""
    return list(Cause).index(item.cause), item.currency


def _share(move: Weights, loan_id: Any, *amounts: Any) -> LoanShare:
    half = len(move.components)
    before, after = (
        {name: Decimal(value) for name, value in zip(move.components, side, strict=True)}
        for side in (amounts[:half], amounts[half:])
    )
    return LoanShare(
        loan_id="" if loan_id is None else str(loan_id),
        contribution=move.of(before, after),
        before=before,
        after=after,
    )
