"""Every KPI of the catalogue at every date of a panel, overall and by the segments asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from abaco_loans.engines.base import Engine
from abaco_loans.errors import UsageError
from abaco_loans.kpi.catalogue import Grain
from abaco_loans.kpi.compiler import Cell, Compiled, compile_catalogue
from abaco_loans.kpi.evaluate import Prices, evaluate
from abaco_loans.kpi.result import KpiResult
from abaco_loans.nearest import nearest
from abaco_loans.operations.build_panel import Panel
from abaco_loans.operations.calculate import facts_of
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.portfolio.calculation import has_period, panel_calculation
from abaco_loans.portfolio.panel import PANEL
from abaco_loans.releases.release import Release
from abaco_loans.tape.calculation import TABLE, Calculation, dimensions_of, snapshot_calculation
from abaco_loans.tape.template import date_node
from abaco_loans.tape.tree import created, exp, later

_ALL, _AS_OF = "calculations", "as_of"
# Rows of the calculation tables that are made at once: some 400 MB of the engine's memory.
ROWS_AT_ONCE = 1_000_000


def kpi_series(
    panel: Panel, tape: ReadTape, engine: Engine, release: Release, *, by: Sequence[str], currency: str
) -> dict[date, list[KpiResult]]:
    """The results at each date. What speaks of the tape as a whole (``run.`` facts) has a value at the last date only.

    Raises:
        UsageError: ``CLI-106`` a segment that the tape does not have.
    """
    found: dict[date, list[KpiResult]] = {}
    for days in _groups(panel, engine):
        calculation = _calculations(panel, tape, engine, days, currency)
        segments = _segments(tape, calculation, by)
        compiled = compile_catalogue(release.catalogue, calculation, segments)
        cells = _cells(compiled, compile_catalogue(release.catalogue, calculation, segments, each=_AS_OF), engine, days)
        for day in days:
            facts = facts_of(tape) if day == panel.dates[-1] else {}
            evaluation = evaluate(compiled, cells[day], facts, _prices(tape))
            found[day] = [*evaluation.overall, *evaluation.segments]
    return found


def _cells(
    compiled: Compiled, dated: Compiled, engine: Engine, days: Sequence[date]
) -> dict[date, dict[Grain, list[Cell]]]:
    """The cells at each date: one statement for all dates; one more where it finds no row of a date."""
    engine.execute(later(created, TABLE, "VIEW", later(_all_dates), True))
    by_date = [each.cells_by(engine.rows(each.query)) for each in dated.statements]
    for one, there in zip(compiled.statements, by_date, strict=True):
        for day in days:
            if day not in there:
                _choose(engine, day)
                there[day] = one.cells(engine.rows(one.query))
    grains = [one.grain for one in compiled.statements]
    return {day: dict(zip(grains, (there[day] for there in by_date), strict=True)) for day in days}


def _groups(panel: Panel, engine: Engine) -> Iterator[tuple[date, ...]]:
    """Dates whose calculation tables have the same columns, as many at once as fit into memory."""
    count = exp.Count(this=exp.Star())
    sizes = dict(engine.rows(exp.select(_AS_OF, count).from_(PANEL).group_by(_AS_OF)))
    group: list[date] = []
    rows = 0
    for day in panel.dates:
        differs = group and has_period(day, panel.starts) != has_period(group[0], panel.starts)
        if group and (differs or rows + sizes.get(day, 0) > ROWS_AT_ONCE):
            yield tuple(group)
            group, rows = [], 0
        group.append(day)
        rows += int(sizes.get(day, 0))
    yield tuple(group)


def _calculations(panel: Panel, tape: ReadTape, engine: Engine, days: Sequence[date], currency: str) -> Calculation:
    """Make the calculation tables of the days as one, with ``as_of``."""
    if panel.dated:
        report = tape.file("tape")
        rows, present = report.accepted_relation, report.present
        made = [snapshot_calculation(rows, present, panel.definition, day, currency) for day in days]
        parts = [item.query.select(exp.alias_(date_node(day), _AS_OF)) for item, day in zip(made, days, strict=True)]
        query: exp.Query = parts[0] if len(parts) == 1 else exp.union(*parts, distinct=False)
        calculation = made[0]
    else:
        calculation = panel_calculation(tape.file("loans").present, panel.definition, days, panel.starts)
        query = calculation.query
        if len(days) == 1:
            query = calculation.query.select(exp.alias_(date_node(days[0]), _AS_OF))
    engine.execute(later(created, _ALL, "TABLE", query, True))
    return calculation


def _choose(engine: Engine, day: date) -> None:
    """Make the calculation table that of one date."""
    engine.execute(later(created, TABLE, "VIEW", later(_at, day), True))


def _at(day: date) -> exp.Select:
    return exp.select("*").from_(_ALL).where(exp.column(_AS_OF).eq(date_node(day)))


def _all_dates() -> exp.Select:
    return exp.select("*").from_(_ALL)


def _segments(tape: ReadTape, calculation: Calculation, by: Sequence[str]) -> list[str]:
    there = [name for name in dimensions_of(tape.contract) if name in calculation.dimensions]
    check_segments(by, there)
    return [name for name in there if name in by]


def check_segments(by: Sequence[str], there: Sequence[str]) -> None:
    """Raises UsageError ``CLI-106`` where a segment is asked for that is not ``there``."""
    for name in by:
        if name not in there:
            raise UsageError(
                f"the tape has no segment {name!r}", code="CLI-106", where="--by", hint=nearest(name, there)
            )


def _prices(tape: ReadTape) -> Prices:
    count = tape.totals[2]
    return Prices(count=count, general_reason="quarantined rows are priced by `abaco run`" if count else "")
