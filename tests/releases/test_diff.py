"""What changed between two releases, and which KPIs it can touch."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.releases.diff import Change, Part, ReleaseDiff, columns_of, release_diff
from abaco_loans.releases.release import Release, read_release
from abaco_loans.tape.calculation import BY_DAYS
from abaco_loans.tape.definition import Boundary, Cover, Definition, DpdMethod, Restructured, WriteOff
from tests.tape.servicing_books import Bench
from tests.tape.test_servicing_property import RATES, some_loan

CATALOGUE, DEFINITIONS, BUCKETED, MAPPING = (
    "catalogue.yml",
    "definitions.yml",
    "contracts/bucketed.yml",
    "mappings/factoring.yml",
)
FILES = builtin_texts()
BASE = read_release("v2", FILES)
PARS = tuple(f"risk.par_{days}" for days in (15, 180, 30, 60, 7, 90))


def changed(name: str, old: str, new: str) -> Release:
    assert old in FILES[name], old
    return read_release("v3", {**FILES, name: FILES[name].replace(old, new, 1)})


def diff(name: str, old: str, new: str) -> ReleaseDiff:
    return release_diff(BASE, changed(name, old, new))


def only(found: ReleaseDiff) -> Change:
    (change,) = found.changes
    return change


MEANING = [
    (CATALOGUE, "SUM(dpd_90_plus_usd) / SUM(total_receivable_usd) * 100", "SUM(dpd_90_plus_usd)"),
    (CATALOGUE, "valid_range: {min: 0, max: 10, clamp: true}", "valid_range: {min: 0, max: 10}"),
    (CATALOGUE, "precision: 2", "precision: 3"),
    (CATALOGUE, "grain: customer", "grain: customer\n    segmented: false"),
    (DEFINITIONS, "write_off_after_days: 180", "write_off_after_days: 181"),
    (DEFINITIONS, "boundary: more_than", "boundary: at_least"),
    (DEFINITIONS, 'version: "1"', 'version: "2"'),
    (BUCKETED, "<= total_receivable_usd + 0.05", "<= total_receivable_usd + 0.06"),
    (BUCKETED, "logicalTypeOptions: {minimum: 0}", "logicalTypeOptions: {minimum: 1}"),
    (BUCKETED, "physicalType: DECIMAL(18,4)", "physicalType: DECIMAL(18,2)"),
    (BUCKETED, '"e?mail"', '"e?mails"'),
    (BUCKETED, "tags: [dimension]", "tags: [pii]"),
    (MAPPING, "due_date: date_due", "due_date: date_owed"),
    (MAPPING, "name: factoring", "name: other"),
]
POLICY = [
    (CATALOGUE, "warning: 5, critical: 8", "warning: 4, critical: 8"),
    (CATALOGUE, "owner: risk", "owner: finance"),
    (CATALOGUE, "description: Share of the receivable", "description: The share of the receivable"),
    (DEFINITIONS, "default_for: [bucketed, snapshot]", "default_for: [bucketed]"),
    (DEFINITIONS, "description: As the first catalogue counted", "description: As it counted"),
    (BUCKETED, '{property: limitRows, value: "0.05"}', '{property: limitRows, value: "0.01"}'),
    (BUCKETED, "{property: limitUnmeasured, value: 0}", "{property: limitUnmeasured, value: 3}"),
    (BUCKETED, 'description: "Total receivable."', 'description: "The receivable."'),
]


@pytest.mark.parametrize(("name", "old", "new"), [*MEANING, *POLICY])
def test_the_diff_and_the_digests_say_the_same(name: str, old: str, new: str) -> None:
    after = changed(name, old, new)
    found = release_diff(BASE, after)
    assert bool(found.meaning) is (after.meaning_digest != BASE.meaning_digest)
    assert bool(found.policy) is (after.policy_digest != BASE.policy_digest)
    assert all(change.part is not Part.OTHER for change in found.changes)
    back = release_diff(after, BASE)
    assert [(item.name, item.path, item.before, item.after) for item in found.changes] == [
        (item.name, item.path, item.after, item.before) for item in back.changes
    ] or name == MAPPING
    assert found.kpis == back.kpis


def test_the_same_release_does_not_differ() -> None:
    found = release_diff(BASE, read_release("v3", FILES))
    assert found.changes == () and found.kpis == ()


def test_a_formula_touches_its_kpi_and_those_made_of_it() -> None:
    old = "(SUM(dpd_30_60_usd) + SUM(dpd_60_90_usd) + SUM(dpd_90_plus_usd)) / SUM(total_receivable_usd) * 100"
    found = only(diff(CATALOGUE, old, "SUM(dpd_90_plus_usd) / SUM(total_receivable_usd) * 100"))
    assert found.part is Part.KPI and found.path == ("formula",)
    assert found.kpis == ("risk.par_30", "risk.portfolio_health")
    shown = only(diff(CATALOGUE, "precision: 2", "precision: 3"))
    assert shown.words == "kpi risk.par_30: precision 2 → 3" and shown.kpis == ("risk.par_30",)


def test_a_definitions_parameters_touch_what_stands_on_them() -> None:
    boundary = only(diff(DEFINITIONS, "boundary: more_than", "boundary: at_least"))
    assert boundary.words == "definition iris: boundary more_than → at_least"
    assert {*PARS, "risk.npl_ratio", "risk.portfolio_health"} <= set(boundary.kpis)
    assert not {"finance.outstanding", "growth.origination_volume"} & set(boundary.kpis)
    dust = only(diff(DEFINITIONS, "dust_share: 0.01", "dust_share: 0"))
    assert {"finance.outstanding", "growth.active_clients", "concentration.top_10_customers"} <= set(dust.kpis)
    assert "concentration.hhi_customers_normalised" in dust.kpis
    assert not {"growth.origination_volume", "risk.collection_rate"} & set(dust.kpis)
    assert only(diff(DEFINITIONS, 'version: "1"', 'version: "2"')).kpis == ()


def test_another_default_touches_what_the_two_definitions_differ_in() -> None:
    text = FILES[DEFINITIONS].replace("[bucketed, snapshot]", "[bucketed]")
    text = text.replace("[servicing]", "[servicing, snapshot]")
    found = release_diff(BASE, read_release("v3", {**FILES, DEFINITIONS: text}))
    assert {change.path for change in found.changes} == {("default_for",)}
    assert all({*PARS, "finance.outstanding"} <= set(change.kpis) for change in found.changes)


def test_a_column_of_a_tape_touches_what_reads_it_and_may_refuse_rows() -> None:
    column = "name: cash_available_usd\n        logicalType: number\n        physicalType: DECIMAL(18,{})"
    found = only(diff(BUCKETED, column.format(4), column.format(2)))
    assert found.path == ("tables", "tape", "columns", "cash_available_usd", "scale")
    assert found.kpis == ("risk.collection_rate", "risk.portfolio_health") and found.rows
    limit = only(diff(BUCKETED, '{property: limitRows, value: "0.05"}', '{property: limitRows, value: "0.01"}'))
    assert not limit.meaning and limit.kpis == () and not limit.rows


def test_a_rule_that_only_warns_touches_nothing_until_it_refuses() -> None:
    quiet = only(diff(BUCKETED, "<= total_receivable_usd + 0.05", "<= total_receivable_usd + 0.06"))
    loud = only(diff(BUCKETED, "severity: warning", "severity: error"))
    assert loud.rows and {*PARS} <= set(loud.kpis)
    assert quiet.meaning


def test_mappings_come_and_go_and_change() -> None:
    other = FILES[MAPPING].replace("name: factoring", "name: other", 1)
    added = only(release_diff(BASE, read_release("v3", {**FILES, "mappings/other.yml": other})))
    assert added.words == "mapping other added" and added.meaning and added.kpis == () and not added.rows
    moved = only(diff(MAPPING, "due_date: date_due", "due_date: date_owed"))
    assert moved.rows and "risk.par_30" in moved.kpis


def test_the_order_of_columns_is_seen() -> None:
    table = BASE.contracts["bucketed"].tables[0]
    turned = replace(table, columns=table.columns[::-1])
    contracts = {**BASE.contracts, "bucketed": replace(BASE.contracts["bucketed"], tables=(turned,))}
    found = only(release_diff(BASE, replace(BASE, name="v3", contracts=contracts)))
    assert found.path == ("tables", "tape", "columns", "(order)")


def test_digests_that_differ_in_something_else_touch_everything() -> None:
    found = only(release_diff(BASE, replace(BASE, name="v3", meaning_digest="0" * 64)))
    assert found.part is Part.OTHER and found.meaning
    assert set(found.kpis) == {kpi.id for kpi in BASE.catalogue.kpis}


# --- what a parameter can touch, held against the engine ------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder: Path = tmp_path_factory.mktemp("books")
    return Bench(folder)


DAY = date(2024, 9, 30)
KEPT = Definition(name="kept", version="1")
WRITTEN_OFF = replace(KEPT, write_off_after_days=60)
OTHERS: dict[str, Any] = {
    "boundary": Boundary.MORE_THAN,
    "cover": Cover.PRINCIPAL,
    "dpd_method": DpdMethod.STRICT,
    "arrears_tolerance": Decimal(5),
    "grace_days": 35,
    "dust_share": Decimal("0.25"),
    "restructured": Restructured.AT_RISK,
    "dpd_edges": (0, 10, 30, 60, 90),
    "write_off_after_days": 90,
    "write_off": WriteOff.STICKY,
}


@pytest.mark.slow
def test_a_parameter_changes_no_other_columns(bench: Bench) -> None:
    rng = Random(5)
    bench.load([some_loan(rng, number) for number in range(200)], RATES)
    names = {field.name for field in fields(Definition)} - {"name", "version", "description", "default_for"}
    assert set(OTHERS) == names
    days_only = {"cover", "grace_days"}
    for first, parameters in ((WRITTEN_OFF, names), (KEPT, days_only)):
        old = bench.calculation(first, DAY)
        for name in sorted(parameters):
            after = replace(first, **{name: OTHERS[name]})
            moved = {
                column
                for loan, cells in bench.calculation(after, DAY).items()
                for column, cell in cells.items()
                if cell != old[loan][column]
            }
            assert moved <= columns_of(name, first, after), name
            assert bool(moved) is bool(columns_of(name, first, after)), name


def test_a_parameter_that_changes_no_column_says_so() -> None:
    investor = BASE.definitions["investor"]
    assert columns_of("dpd_edges", investor, investor) == frozenset()
    assert columns_of("restructured", investor, investor) == frozenset(BY_DAYS)
