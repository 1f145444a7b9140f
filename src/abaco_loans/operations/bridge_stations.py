"""The stations on the way from one release to another: tables of loan rows, and every KPI over them.

A recomputed station is the calculation table under a definition; a given one is what a release really produced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InvariantError
from abaco_loans.kpi.catalogue import Catalogue, Grain
from abaco_loans.kpi.compiler import Cell, Statement, compile_catalogue
from abaco_loans.kpi.evaluate import Prices, evaluate, shown_value
from abaco_loans.kpi.result import KpiResult
from abaco_loans.operations.bridge_rates import CURRENCY
from abaco_loans.operations.bridge_rows import LOAN_ID, Actual, World, decimals_of
from abaco_loans.releases.attribution import Sums, needed, sums_of, value_of
from abaco_loans.releases.bridge import Cause, decimal, steps
from abaco_loans.releases.comparison import Key
from abaco_loans.tape.calculation import COLUMNS, TABLE, UNPRICED, Calculation, kind_of
from abaco_loans.tape.contract import Kind
from abaco_loans.tape.definition import Definition

Maker = Callable[[Definition], Calculation]
_TYPES = {Kind.DECIMAL: "DECIMAL(18,4)", Kind.INTEGER: "BIGINT", Kind.TEXT: "VARCHAR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanRows:
    """What a release really produced: a relation of the engine with `loan_id` and columns of the calculation table."""

    relation: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One release of the two.

    Attributes:
        definition: what its numbers are computed under.
        catalogue: its formulas.
        rows: the loan rows that it gave, where it did.
        printed: the values that it gave, by place, with the digits that it printed.
        said: the values that it gave to 28 digits, by place, where what it printed is not known.
    """

    definition: Definition
    catalogue: Catalogue
    rows: LoanRows | None = None
    printed: Mapping[Key, Decimal] = field(default_factory=dict)
    said: Mapping[Key, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRates:
    """The candidate takes exchange rates from elsewhere: ``text`` says how, ``make`` is what it makes of them."""

    text: str
    make: Maker


def typed(rows: LoanRows, columns: Sequence[str]) -> exp.Select:
    """These columns of the rows, with the types of the calculation table."""
    items = (exp.alias_(exp.cast(_column(name), _type(name)), name, quoted=True) for name in columns)
    return exp.select(*items).from_(rows.relation)


class Way(StrEnum):
    """How one comes to a station from the one before."""

    SWITCH = "one cause of the definition is switched"
    FORMULA = "the rows stay, the formula changes"
    ROWS = "from recomputed rows to those that a release gave, or back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A KPI in one place at a station.

    Attributes:
        exact: None: it has no value, which ``reason`` says.
        sums: the KPI as arithmetic over sums of loans, ``amounts`` those sums, where it is that.
        cell: in a segment, the value that the rows have there.
    """

    exact: Fraction | None
    reason: str
    sums: Sums = field(default_factory=Sums)
    amounts: Mapping[str, Fraction] = field(default_factory=dict)
    cell: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A world under a catalogue. ``name``: what no KPI can pass without a value; empty where it can."""

    world: World
    values: Mapping[Key, Value]
    way: Way
    cause: Cause = Cause.UNEXPLAINED
    text: str = ""
    name: str = ""
    actual: Actual | None = None


class Stations:
    """Makes one station after the other."""

    def __init__(
        self,
        engine: Engine,
        make: Maker,
        sides: tuple[Side, Side],
        places: Sequence[Key],
        *,
        plain: bool,
        rates: OtherRates | None = None,
    ) -> None:
        self._engine, self._make, self._sides, self._plain, self._rates = engine, make, sides, plain, rates
        kpis = list(dict.fromkeys(place.kpi for place in places))
        self._places = places
        self._segments = tuple(dict.fromkeys(place.segment for place in places if place.segment))
        self._sums = [{kpi: sums_of(side.catalogue, kpi) for kpi in kpis} for side in sides]
        self._catalogues = [_restricted(side.catalogue, kpis) for side in sides]
        own = [kpi for catalogue in self._catalogues for kpi in catalogue.kpis]
        self._columns = dict.fromkeys((LOAN_ID, UNPRICED, *(name for kpi in own for name in kpi.formula.columns)))
        if any(kpi.grain is Grain.CUSTOMER for kpi in own):
            self._columns |= dict.fromkeys(("customer_id", "outstanding_usd"))
        if self._segments:  # cells of few customers are hidden
            self._columns |= dict.fromkeys(("customer_id", *self._segments))
        if any(side.rows for side in sides):
            self._columns[CURRENCY] = None
        self._kinds: dict[str, str] = {}
        self._unique: bool | None = None

    def all(self) -> Iterator[Station]:
        """The stations in order, each made when it is asked for."""
        old, new = self._sides
        start = Way.SWITCH
        if old.rows:
            start = Way.ROWS
            yield self._station(*self._given(old.rows, "baseline"), 0, way=start, name="the baseline's loan rows")
        made = self._recomputed(0, self._make(old.definition))
        actual = self._actual("calculation_baseline", new=False) if old.rows else None
        text = "in the baseline's loan rows"
        yield self._station(*made, 0, way=start, actual=actual, text=text, name="the baseline's definition")
        switched = [
            (step.cause, step.text, self._make, step.definition) for step in steps(old.definition, new.definition)
        ]
        if self._rates:
            switched.append((Cause.FX, self._rates.text, self._rates.make, new.definition))
        for number, (cause, text, make, definition) in enumerate(switched, start=1):
            calculation = make(definition)
            if not self._plain or calculation.query != made[1].query:
                made = self._recomputed(number, calculation)
            name = "the candidate's definition" if number == len(switched) and not self._formulas_differ() else ""
            yield self._station(*made, 0, way=Way.SWITCH, cause=cause, text=text, name=name)
        if self._formulas_differ():
            text = "the catalogues' formulas"
            name = "the candidate's formula"
            yield self._station(*made, 1, way=Way.FORMULA, cause=Cause.FORMULA, text=text, name=name)
        if new.rows:
            made = self._given(new.rows, "candidate")
            actual = self._actual("calculation_candidate", new=True)
            name = "the candidate's loan rows"
            yield self._station(*made, 1, way=Way.ROWS, actual=actual, text=f"in {name}", name=name)

    def drop_all_but(self, used: set[str]) -> None:
        """Drop the relations that are not used any more."""
        for name in [name for name in self._kinds if name not in used]:
            self._engine.execute(exp.Drop(tables=[exp.to_table(name)], kind=self._kinds.pop(name)))

    def _formulas_differ(self) -> bool:
        first, second = (
            {kpi.id: (kpi.formula.tree, kpi.grain, kpi.valid_range) for kpi in item.kpis} for item in self._catalogues
        )
        return first != second

    def _recomputed(self, number: int, calculation: Calculation) -> tuple[World, Calculation]:
        """The calculation table as ``calculation_<number>``, with the columns that the KPIs read."""
        kept = tuple(name for name in calculation.columns if name in self._columns)
        query = exp.select(*(_column(name) for name in kept)).from_(calculation.query.subquery("made"))
        relation = self._keep(f"calculation_{number}", "TABLE", query)
        if self._unique is None:  # one tape: the loans are the same under every definition
            self._unique = self._no_loan_twice(relation, kept)
        world = World(relation=relation, unique=self._unique, columns=kept)
        return world, replace(calculation, columns=kept)

    def _given(self, rows: LoanRows, side: str) -> tuple[World, Calculation]:
        """The loan rows that a release gave, as a view with the types of the calculation table."""
        kept = tuple(name for name in COLUMNS if name in rows.columns and name in self._columns)
        query = typed(rows, kept)
        relation = self._keep(f"calculation_{side}", "VIEW", query)
        absent = dict.fromkeys((name for name in COLUMNS if name not in kept), f"the {side}'s loan rows lack it")
        calculation = Calculation(query=query, columns=kept, absent=absent)
        unique = self._no_loan_twice(relation, kept)
        return World(relation=relation, unique=unique, columns=kept), calculation

    def _no_loan_twice(self, relation: str, columns: Sequence[str]) -> bool:
        count = exp.select(exp.Count(this=exp.Star()), exp.Count(this=exp.Distinct(expressions=[_column(LOAN_ID)])))
        rows, loans = self._engine.rows(count.from_(relation))[0] if LOAN_ID in columns else (1, 0)
        return bool(rows == loans)

    def _keep(self, name: str, kind: str, query: exp.Select) -> str:
        self._kinds[name] = kind
        self._engine.execute(exp.Create(this=exp.to_table(name), kind=kind, expression=query, replace=True))
        return name

    def _actual(self, relation: str, *, new: bool) -> Actual:
        rows = self._sides[int(new)].rows
        read = [name for name in self._columns if rows and name in rows.columns]
        causes = (Cause.ONLY_BASELINE, Cause.ONLY_CANDIDATE)
        missing, extra = causes if new else causes[::-1]
        return Actual(is_new=new, decimals=decimals_of(self._engine, relation, read), missing=missing, extra=extra)

    def _station(
        self, world: World, calculation: Calculation, side: int, *, way: Way, cause: Cause = Cause.UNEXPLAINED,
        text: str = "", name: str = "", actual: Actual | None = None,
    ) -> Station:  # fmt: skip
        values = self._values(world.relation, calculation, side)
        return Station(world=world, values=values, way=way, cause=cause, text=text, name=name, actual=actual)

    def _values(self, relation: str, calculation: Calculation, side: int) -> dict[Key, Value]:
        compiled = compile_catalogue(self._catalogues[side], calculation, self._segments)
        cells = {item.grain: item.cells(self._engine.rows(_over(item, relation))) for item in compiled.statements}
        found = evaluate(compiled, cells, {}, Prices())
        results = {
            Key(kpi=item.kpi.id, segment=item.segment, segment_value=item.segment_value): item
            for item in (*found.overall, *found.segments)
        }
        of_loans = {
            (cell.segment, shown_value(cell.segment_value) if cell.segment else ""): cell for cell in cells[Grain.LOAN]
        }
        named = LOAN_ID in calculation.columns
        return {
            place: self._value(place, results, of_loans.get((place.segment, place.segment_value)), side, named=named)
            for place in self._places
        }

    def _value(
        self, place: Key, results: Mapping[Key, KpiResult], cell: Cell | None, side: int, *, named: bool
    ) -> Value:
        """The KPI in one place; ``cell``: what its loans add up to there; ``named``: the rows have ids."""
        sums, result = self._sums[side][place.kpi], results.get(place)
        if sums.tree and not named:
            sums = Sums(reason="the rows have no loan_id")
        if result is None or cell is None:
            return Value(exact=None, reason="there are no rows", sums=sums)
        if result.value_exact is None:
            return Value(exact=None, reason=result.reason, sums=sums)
        exact, amounts = Fraction(result.value_exact), {}
        if sums.tree:
            amounts = {name: Fraction(cell.values[name] or 0) for name in sums.rows}
            by_sums = value_of(sums.tree, amounts)
            made_of = (replace(place, kpi=item.id) for item in needed(self._catalogues[side], place.kpi))
            held = any(results[item].held for item in made_of if item in results)
            if by_sums is not None and decimal(by_sums) == result.value_exact:
                exact = by_sums
            elif held:
                sums, amounts = Sums(reason="it is held in its range"), {}
            else:
                raise InvariantError(f"{place.words} is not the arithmetic of its formula")
        return Value(exact=exact, reason="", sums=sums, amounts=amounts, cell=cell.segment_value)


def _restricted(catalogue: Catalogue, kpis: Sequence[str]) -> Catalogue:
    """The catalogue of these KPIs and of those that they are made of."""
    wanted = {item.id for kpi in kpis for item in needed(catalogue, kpi)}
    return replace(catalogue, kpis=tuple(kpi for kpi in catalogue.kpis if kpi.id in wanted))


def _over(statement: Statement, relation: str) -> exp.Select:
    """The statement over another relation than `TABLE`."""
    query = statement.query.copy()
    for table in query.find_all(exp.Table):
        if table.name == TABLE:
            table.set("this", exp.to_identifier(relation))
    return query


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _type(name: str) -> str:
    return "DECIMAL(18,6)" if name == "interest_rate" else _TYPES[kind_of(name)]
