"""From the columns of a tape to its KPIs: what the statements of a run compute each KPI from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from abaco_loans.kpi.catalogue import CUSTOMER_RANK, Catalogue, Grain
from abaco_loans.outputs.lineage import LineageKpi
from abaco_loans.portfolio.calculation import panel_calculation
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.tape import servicing
from abaco_loans.tape.calculation import Calculation, bucketed_calculation, month_end_before, snapshot_calculation
from abaco_loans.tape.column_sources import Sources, column_sources
from abaco_loans.tape.contract import Contract
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.memory import remembered
from abaco_loans.tape.panel import FACTS, LOANS, panel_steps
from abaco_loans.tape.tree import exp

# Statements of another date compute from the same columns.
_DAY = date(2000, 1, 31)


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
        reporting_currency: ISO code.
    """
    given = tuple((table, tuple(columns)) for table, columns in present.items())
    made_of = remembered(_calculation_sources, contract, given, definition, reporting_currency)
    found: dict[str, LineageKpi] = {}
    for kpi in catalogue.kpis:
        # Customers are ranked by what is outstanding.
        needed = {"outstanding_usd" if name == CUSTOMER_RANK else name for name in kpi.formula.columns}
        if needed - made_of.keys():
            found[kpi.id] = LineageKpi()
            continue
        columns = {(table, name) for column in needed for table, name in made_of[column]}
        grouped = {(table, name) for table, name in made_of.get("customer_id", ()) if kpi.grain is Grain.CUSTOMER}
        for part in kpi.formula.kpis:
            columns.update(found[part].columns)
            grouped.update(found[part].grouped_by)
        found[kpi.id] = LineageKpi(columns=tuple(sorted(columns)), grouped_by=tuple(sorted(grouped)))
    return found


def _calculation_sources(
    contract: Contract,
    present: Sequence[tuple[str, Sequence[str]]],
    definition: Definition,
    reporting_currency: str,
) -> dict[str, list[list[str]]]:
    """By column of the calculation table, the columns (table, name) that it is computed from."""
    columns = dict(present)
    known: dict[str, Mapping[str, Sources]] = {
        table: {name: frozenset({(table, name)}) for name in names} for table, names in columns.items()
    }
    if contract.layout == "servicing":
        for relation, query in _steps(columns, definition, reporting_currency).items():
            known[relation] = column_sources(query, known)
        calculation = panel_calculation(columns["loans"], definition, [_DAY], [month_end_before(_DAY)])
    else:
        calculation = _of_one_file(contract, columns["tape"], definition, reporting_currency)
    found = column_sources(calculation.query, known)
    return {name: sorted(map(list, found[name])) for name in calculation.columns}


def _of_one_file(
    contract: Contract, columns: Sequence[str], definition: Definition, reporting_currency: str
) -> Calculation:
    if contract.layout == "bucketed":
        return bucketed_calculation("tape", contract.table("tape"), columns, definition, None)
    return snapshot_calculation("tape", columns, definition, _DAY, reporting_currency)


def _steps(
    columns: Mapping[str, Sequence[str]], definition: Definition, reporting_currency: str
) -> dict[str, exp.Expr]:
    """The relations of a servicing extract, in the order in which `rebuild` makes them."""
    present = {table: frozenset(names) for table, names in columns.items()}
    steps: dict[str, exp.Expr] = {}
    steps |= servicing.normal_views({table: table for table in columns}, present, reporting_currency)
    steps |= panel_steps(definition, [month_end_before(_DAY), _DAY], reporting_currency, foreign=True)
    steps[PANEL] = panel_of(PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=True, definition=definition))
    return steps
