"""What a KPI is computed from: no other column of the tape can move it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.operations.run_tape import RunOutcome
from abaco_loans.operations.trace_columns import trace_kpis
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.outputs.lineage import LineageKpi
from abaco_loans.releases.release import Release
from abaco_loans.sample import SampleSpec
from abaco_loans.tape.calculation import snapshot_calculation, snapshot_sources
from abaco_loans.tape.column_sources import Sources, column_sources
from tests.operations.desk import Desk, read_csv, write_csv

FILES = ("loans", "schedules", "transactions")
CHANGES: Mapping[str, Callable[[str], str]] = {
    "outstanding_principal": lambda text: str(Decimal(text) / 2),
    "days_past_due": lambda text: str(int(text) + 70),
    "disbursed_principal": lambda text: str(Decimal(text) * 3),
    "interest_rate": lambda text: str(Decimal(text) + Decimal("0.01")),
    "customer_id": lambda text: "C1",
}


def traced(release: Release, layout: str, definition: str, absent: tuple[str, ...] = ()) -> dict[str, LineageKpi]:
    """Of a tape with every column of the contract but some."""
    contract = release.contracts[layout]
    present = {
        table.name: [name for name in table.column_names if f"{table.name}.{name}" not in absent]
        for table in contract.tables
    }
    return trace_kpis(release.catalogue, contract, present, release.definition(definition, layout), "USD")


def names(kpi: LineageKpi) -> set[str]:
    return {".".join(item) for item in kpi.columns}


def naming(said: Mapping[str, LineageKpi], table: str, column: str) -> set[str]:
    """KPIs that name a column, whatever for."""
    return {kpi for kpi, it in said.items() if (table, column) in it.columns + it.picked_by + it.grouped_by}


def test_only_what_is_named_moves_a_kpi(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=60, months=8), tmp_path / "sample")
    rows = read_csv(tmp_path / "sample" / "snapshot.csv")
    last = max(row["measurement_date"] for row in rows)
    rows = [row for row in rows if row["measurement_date"] == last]

    def values(name: str, changed: str = "") -> dict[str, str | None]:
        change = CHANGES.get(changed, str)
        tape = write_csv(tmp_path / name, [row | {changed: change(row[changed])} if changed else row for row in rows])
        kpis = desk.kpis(desk.run(tape, definition="investor"))["kpis"]
        return {kpi: found["value_exact"] for kpi, found in kpis.items()}

    before = values("before.csv")
    said = traced(desk.workspace.release(), "snapshot", "investor")
    for column in CHANGES:
        after = values(f"{column}.csv", column)
        moved = {kpi for kpi, value in after.items() if value != before[kpi]}
        named = naming(said, "tape", column)
        assert moved <= named, f"{column} moved what it is not named for"
        assert bool(moved) == bool(named), f"{column} is named for {named}, and moved nothing"


def half(text: str) -> str:
    return str(Decimal(text or 0) / 2)


def later(days: int) -> Callable[[str], str]:
    return lambda text: (date.fromisoformat(text) + timedelta(days)).isoformat()


MOVES: Mapping[tuple[str, str], Callable[[str], str]] = {
    ("transactions", "date"): later(20),
    ("transactions", "principal"): half,
    ("schedules", "due_date"): later(-25),
}


def test_nor_does_another_column_of_a_servicing_extract(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=50, months=8), tmp_path / "sample")
    tables = {name: read_csv(tmp_path / "sample/servicing" / f"{name}.csv") for name in FILES}
    day = date.fromisoformat(max(row["date"] for row in tables["transactions"])).replace(day=1) - timedelta(1)

    def outcome(name: str, changed: tuple[str, str] = ("", "")) -> RunOutcome:
        folder = tmp_path / name
        folder.mkdir()
        for table, rows in tables.items():
            column = changed[1] if table == changed[0] else ""
            change = MOVES.get(changed, str)
            write_csv(folder / f"{table}.csv", [row | {column: change(row[column])} if column else row for row in rows])
        return desk.run(folder, definition="investor", as_of=day)

    first = outcome("before")
    before = desk.kpis(first)["kpis"]
    said = traced_of(desk, first)
    for kpi, found in before.items():
        if found["value"] is None:
            assert said[kpi] == LineageKpi(), f"{kpi} has no value"
    for place in MOVES:
        after = desk.kpis(outcome("-".join(place), place))["kpis"]
        moved = {kpi for kpi, found in after.items() if found["value_exact"] != before[kpi]["value_exact"]}
        assert moved, f"{place} moved nothing"
        assert moved <= naming(said, *place), f"{place} moved what does not name it"


def traced_of(desk: Desk, outcome: RunOutcome) -> dict[str, LineageKpi]:
    """Of the tape of a run, under its definition."""
    release, record = desk.workspace.release(), outcome.record
    present: dict[str, list[str]] = {}
    for item in json.loads((desk.folder(outcome) / "lineage.json").read_text(encoding="utf-8"))["columns"]:
        present.setdefault(item["table"], []).append(item["column"])
    definition = release.definition(record.definition, record.layout)
    return trace_kpis(release.catalogue, release.contracts[record.layout], present, definition, "USD")


def test_of_a_servicing_extract_it_is_read_through_every_step(desk: Desk) -> None:
    said = traced(desk.workspace.release(), "servicing", "investor")
    late = names(said["risk.par_30"])
    assert {"schedules.due_date", "schedules.principal", "transactions.principal", "transactions.interest"} <= late
    assert {"loans.disbursed_principal", "loans.written_off_date", "rates.rate"} <= late
    missed = said["risk.first_payment_default"]
    assert {("transactions", "principal"), ("schedules", "principal")} <= set(missed.picked_by)
    assert not set(missed.picked_by) & set(missed.columns)
    assert not late & {"loans.interest_rate", "loans.status", "loans.customer_id", "loans.product"}
    assert "loans.restructured_date" not in late
    principal = names(traced(desk.workspace.release(), "servicing", "iris")["risk.par_30"])
    assert "loans.restructured_date" in principal
    assert not principal & {"schedules.interest", "transactions.interest"}, "the definition covers principal alone"
    top = said["concentration.top_10_customers"]
    assert top.grouped_by == (("loans", "customer_id"),)
    assert names(top) == names(said["finance.outstanding"])


def test_what_the_tape_lacks_gives_nothing(desk: Desk) -> None:
    release = desk.workspace.release()
    without = traced(release, "servicing", "investor", ("loans.interest_rate", "transactions.fees"))
    assert without["finance.weighted_apr"] == LineageKpi()
    assert without["risk.par_30"].columns and "transactions.fees" not in names(without["risk.par_30"])
    assert traced(release, "bucketed", "original")["risk.par_180"] == LineageKpi()
    # A part that cannot be given, and a customer that is not known.
    assert traced(release, "bucketed", "investor")["risk.portfolio_health"] == LineageKpi()
    unknown = traced(release, "snapshot", "investor", ("tape.customer_id",))
    assert unknown["concentration.top_10_customers"] == unknown["concentration.hhi_customers"] == LineageKpi()


@pytest.mark.parametrize(("layout", "definition"), [("bucketed", "original"), ("snapshot", "iris")])
def test_a_kpi_made_of_kpis_is_made_of_what_these_are(desk: Desk, layout: str, definition: str) -> None:
    release = desk.workspace.release()
    said = traced(release, layout, definition)
    made = [kpi for kpi in release.catalogue.kpis if kpi.formula.kpis]
    assert made
    for kpi in made:
        assert names(said[kpi.id]) >= set().union(*(names(said[part]) for part in kpi.formula.kpis))


@pytest.mark.parametrize("name", ["original", "investor", "iris", "mfrs"])
def test_the_table_by_which_refused_rows_are_priced_misses_no_column(desk: Desk, name: str) -> None:
    release = desk.workspace.release()
    definition = release.definition(name, "snapshot")
    columns = release.contracts["snapshot"].table("tape").column_names
    made = snapshot_calculation("tape", columns, definition, date(2025, 11, 30), "USD")
    known = {"tape": {column: Sources(values=frozenset({("tape", column)})) for column in columns}}
    table = snapshot_sources(definition)
    # Days are priced apart; without dust, what was disbursed stands in the statement and changes nothing.
    apart = {"days_past_due", "restructured"} | (set() if definition.dust_share else {"disbursed_principal"})
    for column, found in column_sources(made.query, known).items():
        assert {source for _, source in found.values} - table[column] <= apart, column
