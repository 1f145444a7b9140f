"""Every difference of a shadow run taken apart into causes and loans: overall, and in the segments where needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.kpi.catalogue import CUSTOMER_RANK, Grain
from abaco_loans.operations.bridge_kpis import bridge_places, other_rates, tape_maker
from abaco_loans.operations.bridge_stations import Side
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.rebuild import check_method
from abaco_loans.operations.shadow_tape import RatesElsewhere
from abaco_loans.releases.attribution import needed
from abaco_loans.releases.bridge import Bridge, Cause, decimal
from abaco_loans.releases.comparison import Bridged, Compared, Key, Verdict

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
    """What is bridged: a tape in the engine, and two sides of which ``printed`` is said here, by place.

    ``rates``: those that the candidate takes from elsewhere, where it does.
    """

    tape: ReadTape
    engine: Engine
    day: date
    currency: str
    baseline: Side
    candidate: Side
    baseline_printed: Printed
    candidate_printed: Printed
    rates: RatesElsewhere | None = None


def bridge_all(work: BridgeWork, compared: Sequence[Compared]) -> Bridges:
    """Bridge what differs: every KPI overall, and every cell of a segment that differs beyond its tolerance."""
    try:
        if work.tape.layout == "servicing":
            for side in (work.baseline, work.candidate):
                check_method(work.tape, side.definition)
        make = tape_maker(work.tape, work.engine, work.day, work.currency)
    except InputError as error:
        return Bridges(by_key={}, notes=(f"not bridged: {error.what}",))
    tape, rates = work.tape, None
    if work.rates:
        rates = other_rates(tape, work.engine, work.day, work.currency, work.rates)
    wanted = [item for item in compared if item.difference and not item.key.segment]
    wanted += [item for item in compared if item.key.segment and item.verdict is Verdict.UNEXPLAINED]
    baseline = _saying(work.baseline, work.baseline_printed, {item.key: item.baseline for item in wanted})
    candidate = _saying(work.candidate, work.candidate_printed, {item.key: item.candidate for item in wanted})
    found: dict[Key, Bridge] = {}
    for places, first, second in _by_rows([item.key for item in wanted], baseline, candidate):
        found |= bridge_places(
            work.engine,
            make,
            first,
            second,
            places,
            plain=tape.layout != "servicing",
            reporting=work.currency,
            rates=rates,
        )
    return Bridges(by_key={item.key: found[item.key] for item in wanted})


def _saying(side: Side, printed: Printed, values: Mapping[Key, Decimal | None]) -> Side:
    """A side with what it printed, and what it said in cells: its own loan rows may not tell them apart."""
    said = {key: value for key, value in values.items() if key.segment and value is not None}
    return replace(side, printed=printed, said=said)


def _by_rows(places: Sequence[Key], baseline: Side, candidate: Side) -> Iterator[tuple[list[Key], Side, Side]]:
    """The places, by which sides gave all columns that they read; a side that did not goes without its rows."""
    groups: dict[tuple[bool, bool], list[Key]] = {}
    for place in places:
        groups.setdefault((_answers(baseline, place), _answers(candidate, place)), []).append(place)
    for (first, second), these in groups.items():
        yield (
            these,
            baseline if first else replace(baseline, rows=None),
            candidate if second else replace(candidate, rows=None),
        )


def _answers(side: Side, place: Key) -> bool:
    """Whether the loan rows of a side have all that a KPI reads in a place."""
    if side.rows is None or all(item.id != place.kpi for item in side.catalogue.kpis):
        return False
    read = {place.segment} if place.segment else set()
    for item in needed(side.catalogue, place.kpi):
        read |= set(item.formula.columns)
        if item.grain is Grain.CUSTOMER:
            read |= {"customer_id", "outstanding_usd"}
    return read <= {*side.rows.columns, "unpriced", CUSTOMER_RANK}
