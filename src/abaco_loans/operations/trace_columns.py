"""From the columns of a tape to its KPIs: what the statements of a run compute each KPI from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from abaco_loans.kpi.catalogue import CUSTOMER_RANK, Catalogue, Grain
from abaco_loans.outputs.lineage import LineageKpi
from abaco_loans.portfolio.calculation import panel_calculation
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.tape import servicing
from abaco_loans.tape.calculation import month_end_before, tape_calculation
from abaco_loans.tape.column_sources import Sources, column_sources
from abaco_loans.tape.contract import Contract
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.memory import remembered
from abaco_loans.tape.panel import FACTS, LOANS, panel_steps
from abaco_loans.tape.tree import exp

# Statements of another date compute from the same columns.
_DAY = date(2000, 1, 31)
_CUSTOMER = "customer_id"


def trace_kpis(
    catalogue: Catalogue,
    contract: Contract,
    present: Mapping[str, Sequence[str]],
    definition: Definition,
    reporting_currency: str,
) -> dict[str, LineageKpi]:
    """What each KPI of a catalogue is computed from; of one that the tape cannot give, nothing.

    Args:
        catalogue: the KPIs.
        contract: of the tape's layout.
        present: by table of the contract, its columns that the tape has.
        definition: the parameters in force.
        reporting_currency: ISO code; loans are taken to be in several currencies where the tape can say so.

    Raises:
        ValueError: a statement is written in a way of which sources are not read.
    """
    given = tuple((table, tuple(columns)) for table, columns in present.items())
    made_of = remembered(_calculation_sources, contract, given, definition, reporting_currency)
    found: dict[str, LineageKpi] = {}
    for kpi in catalogue.kpis:
        # Customers are ranked by what is outstanding.
        needed = {"outstanding_usd" if name == CUSTOMER_RANK else name for name in kpi.formula.columns}
        grouping = {_CUSTOMER} if kpi.grain is Grain.CUSTOMER else set()
        parts = [found.get(part) for part in kpi.formula.kpis]
        if (needed | grouping) - made_of.keys() or None in parts:
            continue
        columns, picks, grouped = set(), set(), set()
        for name in needed:
            columns |= _pairs(made_of[name]["values"])
            picks |= _pairs(made_of[name]["picks"])
        for name in grouping:
            grouped |= _pairs(made_of[name]["values"])
        for part in filter(None, parts):
            columns.update(part.columns)
            picks.update(part.picked_by)
            grouped.update(part.grouped_by)
        found[kpi.id] = LineageKpi(
            columns=tuple(sorted(columns)),
            picked_by=tuple(sorted(picks - columns)),
            grouped_by=tuple(sorted(grouped)),
        )
    return {kpi.id: found.get(kpi.id, LineageKpi()) for kpi in catalogue.kpis}


def _pairs(columns: Sequence[Sequence[str]]) -> set[tuple[str, str]]:
    return {(table, name) for table, name in columns}


def _calculation_sources(
    contract: Contract,
    present: Sequence[tuple[str, Sequence[str]]],
    definition: Definition,
    reporting_currency: str,
) -> dict[str, dict[str, list[list[str]]]]:
    """By column of the calculation table, ``values`` and ``picks`` of its `Sources`, as lists."""
    columns = dict(present)
    known: dict[str, Mapping[str, Sources]] = {
        table: {name: Sources(values=frozenset({(table, name)})) for name in names} for table, names in columns.items()
    }
    if contract.layout == "servicing":
        for relation, query in _steps(columns, definition, reporting_currency).items():
            known[relation] = column_sources(query, known)
        calculation = panel_calculation(columns["loans"], definition, [_DAY], [month_end_before(_DAY)])
    else:
        calculation = tape_calculation(contract, "tape", columns["tape"], definition, _DAY, reporting_currency)
    found = column_sources(calculation.query, known)
    return {
        name: {"values": sorted(map(list, found[name].values)), "picks": sorted(map(list, found[name].picks))}
        for name in calculation.columns
    }


def _steps(
    columns: Mapping[str, Sequence[str]], definition: Definition, reporting_currency: str
) -> dict[str, exp.Expr]:
    """The relations of a servicing extract, in the order in which `rebuild.make_panel` makes them."""
    present = {table: frozenset(names) for table, names in columns.items()}
    steps: dict[str, exp.Expr] = {}
    steps |= servicing.normal_views({table: table for table in columns}, present, reporting_currency)
    steps |= panel_steps(definition, [month_end_before(_DAY), _DAY], reporting_currency, foreign=True)
    steps[PANEL] = panel_of(PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=True, definition=definition))
    return steps
