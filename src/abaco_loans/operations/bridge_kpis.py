"""Why two releases say different KPIs of one tape: every difference put down to causes and loans, on the engine.

The way goes from what the baseline printed to what the candidate printed: the baseline's output and its loan rows
(where given), the KPI recomputed under the baseline's definition, one cause after the other switched, the formula, the
candidate's loan rows (where given), its output. Neighbours on the way are joined by loan once, for all KPIs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InvariantError
from abaco_loans.operations.bridge_rows import CHANGED, Pair
from abaco_loans.operations.bridge_stations import Maker, Side, Station, Stations, Value, Way
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.rebuild import check_method, is_foreign, make_facts, normal_relations
from abaco_loans.portfolio.calculation import panel_calculation
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.releases.attribution import Sums, weights
from abaco_loans.releases.bridge import Bridge, Cause, Part, rounds_to, unbridged
from abaco_loans.tape.calculation import Calculation, bucketed_calculation, month_end_before, snapshot_calculation
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.panel import FACTS, LOANS


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
    return bridge_calculations(engine, make, baseline, candidate, kpis, listed=listed, plain=tape.layout != "servicing")


def tape_maker(tape: ReadTape, engine: Engine, day: date, currency: str) -> Maker:
    """How the calculation table of a tape is made under a definition."""
    if tape.layout == "servicing":
        normal_relations(tape, engine, currency, kind="TABLE")
        present, foreign = tape.file("loans").present, is_foreign(engine, currency)
        return lambda definition: rebuilt(engine, definition, day, currency, present, foreign=foreign)
    report = tape.file("tape")
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
) -> tuple[Bridge, ...]:
    """The same for whatever makes calculation tables; ``plain``: the same query always makes the same table."""
    chains = [_Chain(kpi) for kpi in kpis if all(_has(side, kpi) for side in (baseline, candidate))]
    stations = Stations(engine, make, (baseline, candidate), [chain.kpi for chain in chains], plain=plain)
    for station in stations.all() if chains else ():
        _advance(engine, chains, station, listed)
        stations.drop_all_but({item.world.relation for item in (station, *(chain.last for chain in chains)) if item})
    stations.drop_all_but(set())
    engine.execute(exp.Drop(tables=[exp.to_table(CHANGED)], kind="TABLE", exists=True))
    found = {chain.kpi: _closed(chain, baseline, candidate) for chain in chains}
    for kpi in kpis:
        if kpi not in found:
            ends = [_printed(side, kpi) for side in (baseline, candidate)]
            found[kpi] = unbridged(kpi, "one of the catalogues does not have it", *ends)
    return tuple(found[kpi] for kpi in kpis)


def _has(side: Side, kpi_id: str) -> bool:
    return any(kpi.id == kpi_id for kpi in side.catalogue.kpis)


def _printed(side: Side, kpi_id: str) -> Fraction | None:
    return Fraction(side.printed[kpi_id]) if kpi_id in side.printed else None


class _Chain:
    """The bridge of one KPI as far as it has come."""

    def __init__(self, kpi: str) -> None:
        self.kpi = kpi
        self.ends: list[Value] = []
        self.last: Station | None = None
        self.passed: list[str] = []
        self.parts: list[Part] = []
        self.failed = ""
        self.not_by_loan = ""


def _advance(engine: Engine, chains: Sequence[_Chain], station: Station, listed: int) -> None:
    """Take every KPI to the next station; those that come from the same one share one join."""
    moving: dict[str, list[_Chain]] = {}
    for chain in chains:
        value = station.values[chain.kpi]
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
        _move(engine, group, station, listed)
        for chain in group:
            chain.last, chain.passed = station, []


def _move(engine: Engine, group: Sequence[_Chain], station: Station, listed: int) -> None:
    """Add the parts of one step to the KPIs of the group, which all come from the same station."""
    last = group[0].last
    if last is None:
        raise InvariantError("a KPI moves from nowhere")
    by_loan = [chain for chain in group if _sums(last, chain).tree and _sums(station, chain).tree]
    pair = _pair(engine, by_loan, last, station) if by_loan else None
    for chain in group:
        chain.parts += _parts(chain, last, station, pair if chain in by_loan else None, listed)


def _sums(station: Station, chain: _Chain) -> Sums:
    return station.values[chain.kpi].sums


def _pair(engine: Engine, chains: Sequence[_Chain], last: Station, station: Station) -> Pair:
    """The two stations joined by loan, with what these KPIs add up."""
    both = [_sums(item, chain) for item in (last, station) for chain in chains]
    columns = dict.fromkeys(name for sums in both for name in sums.columns)
    rows = {name: row for sums in both for name, row in sums.rows.items()}
    pair = Pair(engine, rows, list(columns) if station.actual else [])
    if last.world != station.world:
        pair.join(last.world, station.world, station.actual, everything=station.way is Way.FORMULA)
    else:
        pair.keep(station.world, everything=station.way is Way.FORMULA)
    return pair


def _parts(chain: _Chain, last: Station, station: Station, pair: Pair | None, listed: int) -> list[Part]:
    old, new = last.values[chain.kpi], station.values[chain.kpi]
    if old.exact is None or new.exact is None:
        raise InvariantError(f"{chain.kpi} moves without a value")
    if pair is None or old.sums.tree is None or new.sums.tree is None:
        chain.not_by_loan = old.sums.reason or new.sums.reason
        found = [Part(cause=station.cause, text=_text(chain, station), contribution=new.exact - old.exact)]
        return [part for part in found if part.contribution or station.way is Way.SWITCH]
    if station.way is Way.FORMULA and old.sums.tree == new.sums.tree:
        return []
    move = weights(old.sums.tree, new.sums.tree, old.amounts, new.amounts)
    if station.actual:
        causes = pair.found(move, pair.cause(new.sums.columns, station.actual), every=True, listed=listed)
        text = _text(chain, station)
        return [
            Part(cause=item.cause, text=text, contribution=item.contribution, loans=item.loans, top=item.top)
            for item in causes
        ]
    causes = pair.found(move, exp.Literal.string(station.cause.value), every=False, listed=listed)
    return [
        Part(
            cause=station.cause,
            text=_text(chain, station),
            contribution=sum((item.contribution for item in causes), move.constant),
            loans=sum(item.loans for item in causes),
            top=tuple(share for item in causes for share in item.top),
        )
    ]


def _text(chain: _Chain, station: Station) -> str:
    """What was switched, with what was switched before it and left the KPI without a value."""
    return ", together with ".join((station.text, *chain.passed))


def _closed(chain: _Chain, baseline: Side, candidate: Side) -> Bridge:
    """The bridge from what was printed to what was printed."""
    printed = [_printed(side, chain.kpi) for side in (baseline, candidate)]
    first, last = chain.ends[0].exact, chain.ends[-1].exact
    ends = [given if given is not None else own for given, own in zip(printed, (first, last), strict=True)]
    if chain.failed or first is None or last is None:
        return unbridged(chain.kpi, chain.failed, *ends)
    outputs = [
        _output("baseline", baseline, chain.kpi, first, sign=-1),
        _output("candidate", candidate, chain.kpi, last, sign=1),
    ]
    return Bridge(
        kpi=chain.kpi,
        baseline=ends[0],
        candidate=ends[1],
        parts=(*outputs[0], *chain.parts, *outputs[1]),
        not_by_loan=chain.not_by_loan,
    )


def _output(name: str, side: Side, kpi: str, exact: Fraction, *, sign: int) -> tuple[Part, ...]:
    """What printing did to a value: its rounding, or more than that."""
    printed = side.printed.get(kpi)
    if printed is None or Fraction(printed) == exact:
        return ()
    cause = Cause.OUTPUT_ROUNDING if rounds_to(exact, printed) else Cause.UNEXPLAINED
    text = f"the {name} printed {printed:f}"
    return (Part(cause=cause, text=text, contribution=sign * (Fraction(printed) - exact)),)
