"""Why two releases say different KPIs of one tape: every difference put down to causes and loans, on the engine.

The way goes from what the baseline printed to what the candidate printed: the baseline's output and its loan rows
(where given), the KPI recomputed under the baseline's definition, one cause after the other switched, the formula, the
candidate's loan rows (where given), its output. Neighbours on the way are joined by loan once, for all KPIs, overall
and in the cells of segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InvariantError
from abaco_loans.operations.bridge_cells import CELLS, Cells
from abaco_loans.operations.bridge_rows import CHANGED, Found, Pair, Why
from abaco_loans.operations.bridge_stations import Maker, OtherRates, Side, Station, Stations, Value, Way
from abaco_loans.operations.judge_rows import FileReport
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.rebuild import check_method, is_foreign, make_facts, normal_relations
from abaco_loans.operations.shadow_tape import RatesElsewhere
from abaco_loans.portfolio.calculation import panel_calculation
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.releases.attribution import Sums, Weights, weights
from abaco_loans.releases.bridge import Bridge, Cause, Part, decimal, rounds_to, unbridged
from abaco_loans.releases.comparison import Key
from abaco_loans.tape.calculation import Calculation, bucketed_calculation, month_end_before, snapshot_calculation
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.panel import FACTS, LOANS
from abaco_loans.tape.servicing import RATES

LISTED_IN_CELL = 3


def bridge_kpis(
    tape: ReadTape,
    engine: Engine,
    *,
    day: date,
    currency: str,
    baseline: Side,
    candidate: Side,
    kpis: Sequence[str],
    listed: int = 10,
) -> tuple[Bridge, ...]:
    """Bridge every KPI of ``kpis`` from the baseline to the candidate, on a tape that is in the engine.

    Args:
        tape: the tape as it was read.
        engine: holds its accepted rows.
        day: the date of the KPIs.
        currency: the reporting currency.
        baseline: the release to come from.
        candidate: the release to come to.
        kpis: ids.
        listed: how many loans to list of each part.

    Raises:
        InputError: ``TAPE-109`` a definition's DPD method needs a column that the tape lacks.
    """
    for side in (baseline, candidate):
        if tape.layout == "servicing":
            check_method(tape, side.definition)
    make = tape_maker(tape, engine, day, currency)
    plain = tape.layout != "servicing"
    return bridge_calculations(engine, make, baseline, candidate, kpis, listed=listed, plain=plain, reporting=currency)


def tape_maker(tape: ReadTape, engine: Engine, day: date, currency: str) -> Maker:
    """How the calculation table of a tape is made under a definition."""
    if tape.layout == "servicing":
        normal_relations(tape, engine, currency, kind="TABLE")
        return _servicing_maker(tape, engine, day, currency, next((f for f in tape.files if f.table == "rates"), None))
    return _report_maker(tape, tape.file("tape"), day, currency)


def other_rates(tape: ReadTape, engine: Engine, day: date, currency: str, rates: RatesElsewhere) -> OtherRates:
    """What a candidate that takes exchange rates from elsewhere makes of the tape, after `tape_maker`."""
    if tape.layout == "servicing":
        return OtherRates(text=rates.text, make=_servicing_maker(tape, engine, day, currency, rates.file))
    return OtherRates(text=rates.text, make=_report_maker(tape, rates.file, day, currency))


def _servicing_maker(tape: ReadTape, engine: Engine, day: date, currency: str, rates: FileReport | None) -> Maker:
    """Over the relations of `rebuild.normal_relations`; another table with these rates takes the place of theirs."""
    present, foreign = tape.file("loans").present, is_foreign(engine, currency)

    def make(definition: Definition) -> Calculation:
        if rates and foreign:
            query = exp.select("date", "currency", "rate").from_(rates.accepted_relation)
            engine.execute(exp.Create(this=exp.to_table(RATES), kind="TABLE", expression=query, replace=True))
        return rebuilt(engine, definition, day, currency, present, foreign=foreign)

    return make


def _report_maker(tape: ReadTape, report: FileReport, day: date, currency: str) -> Maker:
    if tape.layout == "bucketed":
        table = tape.contract.table("tape")
        return lambda definition: bucketed_calculation(report.accepted_relation, table, report.present, definition, day)
    return lambda definition: snapshot_calculation(report.accepted_relation, report.present, definition, day, currency)


def rebuilt(
    engine: Engine, definition: Definition, day: date, currency: str, present: Sequence[str], *, foreign: bool
) -> Calculation:
    """The calculation table of a servicing extract whose normal relations are made (`rebuild.normal_relations`)."""
    before = month_end_before(day)
    make_facts(engine, definition, [before, day], currency, foreign=foreign)
    source = PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=foreign, definition=definition)
    engine.execute(exp.Create(this=exp.to_table(PANEL), kind="VIEW", expression=panel_of(source), replace=True))
    return panel_calculation(present, definition, [day], [before])


def bridge_calculations(
    engine: Engine,
    make: Maker,
    baseline: Side,
    candidate: Side,
    kpis: Sequence[str],
    *,
    listed: int = 10,
    plain: bool = False,
    reporting: str = "",
) -> tuple[Bridge, ...]:
    """The same for whatever makes calculation tables; for the last arguments see `bridge_places`."""
    places = [Key(kpi=kpi) for kpi in kpis]
    found = bridge_places(engine, make, baseline, candidate, places, listed=listed, plain=plain, reporting=reporting)
    return tuple(found[place] for place in places)


def bridge_places(
    engine: Engine,
    make: Maker,
    baseline: Side,
    candidate: Side,
    places: Sequence[Key],
    *,
    listed: int = 10,
    plain: bool = False,
    reporting: str = "",
    rates: OtherRates | None = None,
) -> dict[Key, Bridge]:
    """Bridge KPIs in these places: overall, or in cells of segments.

    Args:
        engine: holds what ``make`` reads.
        make: makes the calculation table under a definition.
        baseline: the release to come from.
        candidate: the release to come to.
        places: what to bridge.
        listed: how many loans to list of each part; in cells `LISTED_IN_CELL` at most.
        plain: the same query always makes the same table.
        reporting: the reporting currency; empty: given rows are not tested for other rates.
        rates: other exchange rates of the candidate.
    """
    chains = [_Chain(place) for place in places if all(_has(side, place.kpi) for side in (baseline, candidate))]
    stations = Stations(
        engine, make, (baseline, candidate), [chain.place for chain in chains], plain=plain, rates=rates
    )
    move = _Move(engine=engine, listed=listed, reporting=reporting)
    for station in stations.all() if chains else ():
        _advance(move, chains, station)
        stations.drop_all_but({item.world.relation for item in (station, *(chain.last for chain in chains)) if item})
    stations.drop_all_but(set())
    engine.execute(exp.Drop(tables=[exp.to_table(CELLS)], kind="VIEW", exists=True))
    engine.execute(exp.Drop(tables=[exp.to_table(CHANGED)], kind="TABLE", exists=True))
    found = {chain.place: _closed(chain, baseline, candidate) for chain in chains}
    for place in places:
        if place not in found:
            ends = [_given(side, place) for side in (baseline, candidate)]
            found[place] = unbridged(place.kpi, "one of the catalogues does not have it", *ends)
    return found


def _has(side: Side, kpi_id: str) -> bool:
    return any(kpi.id == kpi_id for kpi in side.catalogue.kpis)


def _given(side: Side, place: Key) -> Fraction | None:
    """What a side itself says there."""
    value = side.printed.get(place, side.said.get(place))
    return None if value is None else Fraction(value)


class _Chain:
    """The bridge of one KPI in one place as far as it has come."""

    def __init__(self, place: Key) -> None:
        self.place = place
        self.ends: list[Value] = []
        self.last: Station | None = None
        self.passed: list[str] = []
        self.parts: list[Part] = []
        self.failed = ""
        self.not_by_loan = ""

    def sums(self, station: Station) -> Sums:
        """Its arithmetic at a station."""
        return station.values[self.place].sums

    def weights(self, station: Station) -> Weights:
        """Its move from the last station to this one; both have values."""
        old, new = (item.values[self.place] for item in (self.last or station, station))
        if old.sums.tree is None or new.sums.tree is None:
            raise InvariantError(f"{self.place.words} is no sum over loans")
        return weights(old.sums.tree, new.sums.tree, old.amounts, new.amounts)


def _advance(move: _Move, chains: Sequence[_Chain], station: Station) -> None:
    """Take every KPI to the next station; those that come from the same one share one join."""
    moving: dict[str, list[_Chain]] = {}
    for chain in chains:
        value = station.values[chain.place]
        if station.name:
            chain.ends = [*chain.ends[:1], value]
        if chain.failed:
            continue
        if value.exact is None and station.name:
            chain.failed = f"no value under {station.name}: {value.reason}"
        elif value.exact is None:
            chain.passed.append(station.text)
        elif chain.last is None:
            chain.last = station
        else:
            moving.setdefault(chain.last.world.relation, []).append(chain)
    for group in moving.values():
        move.take(group, station)
        for chain in group:
            chain.last, chain.passed = station, []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """From one station to the next."""

    engine: Engine
    listed: int
    reporting: str

    def take(self, group: Sequence[_Chain], station: Station) -> None:
        """Add the parts of one step to the KPIs of the group, which all come from the same station."""
        last = group[0].last
        if last is None:
            raise InvariantError("a KPI moves from nowhere")
        by_loan = [chain for chain in group if chain.sums(last).tree and chain.sums(station).tree]
        pair = self._pair(by_loan, last, station) if by_loan else None
        for chain in group:
            if chain not in by_loan:
                chain.not_by_loan = chain.sums(last).reason or chain.sums(station).reason
                chain.parts += _whole(chain, station)
        if pair is None:
            return
        by_kpi: dict[str, list[_Chain]] = {}
        for chain in by_loan:
            if chain.place.segment:
                by_kpi.setdefault(chain.place.kpi, []).append(chain)
            elif not _stays(chain, station):
                why, every = _why(chain, station, pair)
                found = pair.found(chain.weights(station), why, every=every, listed=self.listed)
                chain.parts += _parts(chain, station, pair, found)
        cells = Cells(self.engine, pair) if by_kpi else None
        for chains in by_kpi.values():
            if cells and not _stays(chains[0], station):
                self._in_cells(cells, pair, chains, station)

    def _pair(self, chains: Sequence[_Chain], last: Station, station: Station) -> Pair:
        """The two stations joined by loan, with what these KPIs add up."""
        both = [chain.sums(item) for item in (last, station) for chain in chains]
        columns = dict.fromkeys(name for sums in both for name in sums.columns)
        pair = Pair(
            self.engine,
            {name: row for sums in both for name, row in sums.rows.items()},
            list(columns) if station.actual else [],
            segments=list(dict.fromkeys(chain.place.segment for chain in chains if chain.place.segment)),
            reporting=self.reporting if station.actual else "",
        )
        if last.world != station.world:
            pair.join(last.world, station.world, station.actual, everything=station.way is Way.FORMULA)
        else:
            pair.keep(station.world, everything=station.way is Way.FORMULA)
        return pair

    def _in_cells(self, cells: Cells, pair: Pair, chains: Sequence[_Chain], station: Station) -> None:
        """The parts of one KPI in its cells."""
        places = {(chain.place.segment, station.values[chain.place].cell): chain for chain in chains}
        moves = {place: chain.weights(station) for place, chain in places.items()}
        why, every = _why(chains[0], station, pair)
        listed = min(self.listed, LISTED_IN_CELL)
        for place, found in cells.found(moves, why, every=every, listed=listed).items():
            chain = places[place]
            parts = _parts(chain, station, pair, found)
            whole = _whole(chain, station)
            if _sum(parts) != _sum(whole):  # a loan stands twice, in two cells of the segment
                chain.not_by_loan, parts = "a loan stands in several cells", whole
            chain.parts += parts


def _stays(chain: _Chain, station: Station) -> bool:
    """Whether only formulas change here, and not this one."""
    return (
        station.way is Way.FORMULA
        and chain.last is not None
        and (chain.sums(chain.last).tree == chain.sums(station).tree)
    )


def _why(chain: _Chain, station: Station, pair: Pair) -> tuple[Why, bool]:
    """Why loans move the KPI on this step, and whether one counts wherever it differs (see `Pair.found`)."""
    if station.actual:
        return pair.why(chain.sums(station).columns, station.actual), True
    return Why.always(station.cause), False


def _parts(chain: _Chain, station: Station, pair: Pair, found: Sequence[Found]) -> list[Part]:
    """What was found of a step as parts of the bridge."""
    text = _text(chain, station)
    if station.actual:
        factors = pair.factors(chain.sums(station).columns)
        return [
            Part(
                cause=item.cause,
                text=f"{text}: {_rate(item.currency, factors)}" if item.currency else text,
                contribution=item.contribution,
                loans=item.loans,
                top=item.top,
            )
            for item in found
        ]
    return [
        Part(
            cause=station.cause,
            text=text,
            contribution=sum((item.contribution for item in found), chain.weights(station).constant),
            loans=sum(item.loans for item in found),
            top=tuple(share for item in found for share in item.top),
        )
    ]


def _rate(currency: str, factors: Mapping[str, Decimal]) -> str:
    return f"{currency} at {factors[currency]:f} times the rate that was recomputed with"


def _whole(chain: _Chain, station: Station) -> list[Part]:
    """A step that is not put down to loans."""
    old, new = (item.values[chain.place].exact for item in (chain.last or station, station))
    if old is None or new is None:
        raise InvariantError(f"{chain.place.words} moves without a value")
    found = Part(cause=station.cause, text=_text(chain, station), contribution=new - old)
    return [found] if found.contribution or station.way is Way.SWITCH else []


def _sum(parts: Sequence[Part]) -> Fraction:
    return sum((part.contribution for part in parts), Fraction(0))


def _text(chain: _Chain, station: Station) -> str:
    """What was switched, with what was switched before it and left the KPI without a value."""
    return ", together with ".join((station.text, *chain.passed))


def _closed(chain: _Chain, baseline: Side, candidate: Side) -> Bridge:
    """The bridge from what was said to what was said."""
    given = [_given(side, chain.place) for side in (baseline, candidate)]
    if chain.failed or not chain.ends or chain.ends[0].exact is None or chain.ends[-1].exact is None:
        own = [chain.ends[index].exact if chain.ends else None for index in (0, -1)]
        ends = [said if said is not None else exact for said, exact in zip(given, own, strict=True)]
        return unbridged(chain.place.kpi, chain.failed, *ends)
    first, last = chain.ends[0].exact, chain.ends[-1].exact
    outputs = [
        _output("baseline", baseline, chain.place, first, sign=-1),
        _output("candidate", candidate, chain.place, last, sign=1),
    ]
    parts = (*outputs[0], *chain.parts, *outputs[1])
    if chain.place.segment:  # of hundreds of cells, only what moves something there
        parts = tuple(part for part in parts if part.contribution)
    return Bridge(
        kpi=chain.place.kpi,
        baseline=first - _sum(outputs[0]),
        candidate=last + _sum(outputs[1]),
        parts=parts,
        not_by_loan=chain.not_by_loan,
    )


def _output(name: str, side: Side, place: Key, exact: Fraction, *, sign: int) -> tuple[Part, ...]:
    """What lies between a value and what its side says: rounding of what it printed, or more than that."""
    printed, said = side.printed.get(place), side.said.get(place)
    value = said if printed is None else printed
    if value is None or Fraction(value) == exact or (printed is None and value == decimal(exact)):
        return ()
    rounded = printed is not None and rounds_to(exact, printed)
    return (
        Part(
            cause=Cause.OUTPUT_ROUNDING if rounded else Cause.UNEXPLAINED,
            text=f"the {name} {'said' if printed is None else 'printed'} {value:f}",
            contribution=sign * (Fraction(value) - exact),
        ),
    )
