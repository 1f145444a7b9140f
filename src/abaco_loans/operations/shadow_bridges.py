"""Every difference of a shadow run taken apart into causes: overall, and in the segments where that is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import compile_catalogue
from abaco_loans.kpi.evaluate import Prices, evaluate
from abaco_loans.operations.bridge_kpis import bridge_calculations, tape_maker
from abaco_loans.operations.bridge_stations import Maker, Side
from abaco_loans.operations.calculate import run_statements
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.rebuild import check_method
from abaco_loans.releases.attribution import needed
from abaco_loans.releases.bridge import Bridge, Cause, Part, decimal, rounds_to, steps, unbridged
from abaco_loans.releases.comparison import Bridged, Compared, Key, Verdict
from abaco_loans.tape.calculation import TABLE, Calculation
from abaco_loans.tape.tree import created

Printed = Mapping[Key, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridges:
    """Bridges by place, and what could not be bridged, in words."""

    by_key: Mapping[Key, Bridge]
    notes: tuple[str, ...] = ()

    def judged(self) -> dict[Key, Bridged]:
        """What the gate judges: of each bridge that was built, all that is unexplained, whatever its signs.

        Two unexplained parts that cancel each other out are two errors, and not none.
        """
        return {key: _judged(bridge) for key, bridge in self.by_key.items() if not bridge.not_bridged}


def _judged(bridge: Bridge) -> Bridged:
    parts = [part for part in bridge.parts if part.cause is Cause.UNEXPLAINED]
    size = sum((abs(part.contribution) for part in parts), Fraction(0))
    left = bridge.unexplained if abs(bridge.unexplained) == size else size
    causes = dict.fromkeys(part.cause.value for part in bridge.parts if part.cause is not Cause.UNEXPLAINED)
    return Bridged(unexplained=decimal(left), causes=tuple(causes))


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeWork:
    """What is bridged: a tape in the engine, and two sides of which ``printed`` is said here, by place."""

    tape: ReadTape
    engine: Engine
    day: date
    currency: str
    baseline: Side
    candidate: Side
    baseline_printed: Printed
    candidate_printed: Printed


def bridge_all(work: BridgeWork, compared: Sequence[Compared]) -> Bridges:
    """Bridge what differs: every KPI overall, and every cell of a segment that differs beyond its tolerance."""
    try:
        if work.tape.layout == "servicing":
            for side in (work.baseline, work.candidate):
                check_method(work.tape, side.definition)
        make = tape_maker(work.tape, work.engine, work.day, work.currency)
    except InputError as error:
        return Bridges(by_key={}, notes=(f"not bridged: {error.what}",))
    whole = [item.key.kpi for item in compared if item.difference and not item.key.segment]
    sides = (_printing(work.baseline, work.baseline_printed), _printing(work.candidate, work.candidate_printed))
    found: dict[Key, Bridge] = {}
    for kpis, first, second in _by_rows(whole, *sides):
        plain = work.tape.layout != "servicing"
        for bridge in bridge_calculations(work.engine, make, first, second, kpis, plain=plain):
            found[Key(kpi=bridge.kpi)] = bridge
    cells = [item for item in compared if item.key.segment and item.verdict is Verdict.UNEXPLAINED]
    return Bridges(by_key={**found, **_bridge_cells(work, make, cells)})


def _printing(side: Side, printed: Printed) -> Side:
    """A side with what it printed overall."""
    return replace(side, printed={key.kpi: value for key, value in printed.items() if not key.segment})


def _by_rows(kpis: Sequence[str], baseline: Side, candidate: Side) -> Iterator[tuple[list[str], Side, Side]]:
    """The KPIs, by which sides gave all columns that they read; a side that did not goes without its rows."""
    groups: dict[tuple[bool, bool], list[str]] = {}
    for kpi in kpis:
        groups.setdefault((_answers(baseline, kpi), _answers(candidate, kpi)), []).append(kpi)
    for (first, second), these in groups.items():
        yield (
            these,
            baseline if first else replace(baseline, rows=None),
            candidate if second else replace(candidate, rows=None),
        )


def _answers(side: Side, kpi: str) -> bool:
    """Whether the loan rows of a side have all that a KPI reads."""
    if side.rows is None or all(item.id != kpi for item in side.catalogue.kpis):
        return False
    read = set()
    for item in needed(side.catalogue, kpi):
        read |= set(item.formula.columns)
        if item.grain is Grain.CUSTOMER:
            read |= {"customer_id", "outstanding_usd"}
    return read <= {*side.rows.columns, "unpriced"}


# --- segments: all cells at once, by cause and not by loan ---


def _bridge_cells(work: BridgeWork, make: Maker, cells: Sequence[Compared]) -> dict[Key, Bridge]:
    """The bridges of cells: the same way, each KPI recomputed in every cell at every stop.

    What a side said of a cell and is not what is recomputed there is unexplained, but for the rounding of its output.
    """
    if not cells:
        return {}
    stops = list(_stops(work, make, cells))
    found = {}
    for item in cells:
        values = [stop.values.get(item.key) for stop in stops]
        ends = [None if value is None else Fraction(value) for value in (item.baseline, item.candidate)]
        if None in values or None in ends:
            found[item.key] = unbridged(item.key.kpi, "it has no value at a stop of the way", *ends)
        else:
            found[item.key] = _cell_bridge(
                work, item, stops, [Fraction(value) for value in values if value is not None]
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    """One stop of the way: the cause that led there, and the value of every KPI in every cell."""

    cause: Cause
    text: str
    values: Mapping[Key, Decimal | None]


def _stops(work: BridgeWork, make: Maker, cells: Sequence[Compared]) -> Iterator[_Stop]:
    old, new = work.baseline, work.candidate
    kpis = {item.key.kpi for item in cells}
    segments = tuple(dict.fromkeys(item.key.segment for item in cells))
    calculation = _made(work.engine, make(old.definition))
    yield _Stop(cause=Cause.UNEXPLAINED, text="", values=_values(work.engine, calculation, old, kpis, segments))
    for step in steps(old.definition, new.definition):
        calculation = _made(work.engine, make(step.definition))
        values = _values(work.engine, calculation, old, kpis, segments)
        yield _Stop(cause=step.cause, text=step.text, values=values)
    values = _values(work.engine, calculation, new, kpis, segments)
    yield _Stop(cause=Cause.FORMULA, text="the catalogues' formulas", values=values)
    work.engine.execute(exp.Drop(tables=[exp.to_table(TABLE)], kind="TABLE"))


def _made(engine: Engine, calculation: Calculation) -> Calculation:
    """The calculation, its table made anew."""
    engine.execute(created(TABLE, "TABLE", calculation.query, replace=True))
    return calculation


def _values(
    engine: Engine, calculation: Calculation, side: Side, kpis: set[str], segments: Sequence[str]
) -> dict[Key, Decimal | None]:
    wanted = {item.id for kpi in kpis for item in needed(side.catalogue, kpi)}
    catalogue = replace(side.catalogue, kpis=tuple(kpi for kpi in side.catalogue.kpis if kpi.id in wanted))
    dimensions = [name for name in segments if name in calculation.columns]
    compiled = compile_catalogue(catalogue, calculation, dimensions)
    results = evaluate(compiled, run_statements(compiled, engine), {}, Prices()).segments
    return {
        Key(kpi=item.kpi.id, segment=item.segment, segment_value=item.segment_value): item.value_exact
        for item in results
    }


def _cell_bridge(work: BridgeWork, item: Compared, stops: Sequence[_Stop], values: Sequence[Fraction]) -> Bridge:
    """The parts of one cell: what was printed, the stops, what was printed."""
    parts = [_output(item.key, work.baseline_printed, item.baseline, values[0], sign=-1)]
    for stop, (before, after) in zip(stops[1:], pairwise(values), strict=True):
        parts.append(Part(cause=stop.cause, text=stop.text, contribution=after - before))
    parts.append(_output(item.key, work.candidate_printed, item.candidate, values[-1], sign=1))
    return Bridge(
        kpi=item.key.kpi,
        baseline=None if item.baseline is None else Fraction(item.baseline),
        candidate=None if item.candidate is None else Fraction(item.candidate),
        parts=tuple(part for part in parts if part.contribution),
        not_by_loan="in segments, causes are not put down to loans",
    )


def _output(key: Key, printed: Printed, said: Decimal | None, exact: Fraction, *, sign: int) -> Part:
    """What lies between what a side said of a cell and what is recomputed there."""
    value = Fraction(said or 0)
    rounds = key in printed and rounds_to(exact, printed[key])
    cause = Cause.OUTPUT_ROUNDING if rounds else Cause.UNEXPLAINED
    return Part(cause=cause, text="what was said of the cell", contribution=sign * (value - exact))
