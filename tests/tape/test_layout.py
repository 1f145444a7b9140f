"""Which layout and mapping a tape has, and what a person is told when none fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from abaco_loans.errors import InputError
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.layout import choose_mapping
from abaco_loans.tape.mapping import Mapping
from abaco_loans.tape.mapping_file import read_mapping
from tests.tape.reading import shipped
from tests.tape.test_configuration import MAPPING

CONTRACTS = shipped().contracts
THEIRS = read_mapping(parse(MAPPING, name="m.yml"), dict(CONTRACTS))
MAPPINGS = (*shipped().mappings, THEIRS)
BUCKETED = [column.name for column in CONTRACTS["bucketed"].table("tape").columns]
SNAPSHOT = ["loan_id", "measurement_date", "outstanding_principal", "days_past_due"]
SPANISH = ["Préstamo", "Fecha", "Saldo", "Mora", "Tasa", "Estado", "Notas"]
SERVICING = {
    "loans": ["loan_id", "disbursement_date", "disbursed_principal"],
    "schedules": ["loan_id", "due_date", "principal"],
    "transactions": ["loan_id", "type", "date", "principal"],
}
FACTORING = {
    table.table: [field.source for field in table.fields.values()]
    for mapping in shipped().mappings
    if mapping.name == "factoring"
    for table in mapping.tables
}


def choose(headers: dict[str, list[str]], **how: str | None) -> Mapping:
    return choose_mapping(CONTRACTS, MAPPINGS, headers, name="tape.csv", **how)


def refusal(headers: dict[str, list[str]], **how: str | None) -> InputError:
    with pytest.raises(InputError) as caught:
        choose(headers, **how)
    assert caught.value.exit_code == 3 and caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("headers", "layout", "name"),
    [
        ({"tape": BUCKETED}, "bucketed", "bucketed"),
        ({"tape": [column for column in BUCKETED if column != "loan_id"]}, "bucketed", "bucketed"),
        ({"tape": SNAPSHOT}, "snapshot", "snapshot"),
        ({"tape": [name.upper() for name in reversed(SNAPSHOT)] + ["more"]}, "snapshot", "snapshot"),
        ({"tape": SPANISH}, "snapshot", "their-snapshot"),
        (SERVICING, "servicing", "servicing"),
        ({**SERVICING, "rates": ["date", "currency", "rate"]}, "servicing", "servicing"),
        (FACTORING, "servicing", "factoring"),
    ],
)
def test_each_layout_is_recognised_by_its_header(headers: dict[str, list[str]], layout: str, name: str) -> None:
    chosen = choose(headers)
    assert (chosen.layout, chosen.name) == (layout, name)


def test_the_headers_own_spelling_is_what_is_read() -> None:
    chosen = choose({"tape": ["LOAN_ID", "Measurement_Date", "outstanding_principal", "DAYS_past_due"]}).table("tape")
    assert chosen is not None
    assert {column: field.source for column, field in chosen.fields.items()} == {
        "loan_id": "LOAN_ID",
        "measurement_date": "Measurement_Date",
        "outstanding_principal": "outstanding_principal",
        "days_past_due": "DAYS_past_due",
    }


def test_an_optional_column_that_is_not_there_is_left_out_with_its_formats_kept() -> None:
    chosen = choose({"tape": SPANISH[:4]}).table("tape")
    assert chosen is not None
    assert set(chosen.fields) == set(SNAPSHOT) and chosen.formats.decimal == ","


@pytest.mark.parametrize("gone", [name for name in BUCKETED[1:11] if name != "measurement_date"])
def test_a_column_that_is_gone_is_named(gone: str) -> None:
    error = refusal({"tape": [name for name in BUCKETED if name != gone]})
    assert error.code == "TAPE-102" and gone in error.what


def test_a_renamed_column_comes_with_the_nearest_name() -> None:
    renamed = ["cash_availble_usd" if name == "cash_available_usd" else name for name in BUCKETED]
    error = refusal({"tape": renamed})
    assert error.code == "TAPE-102" and "cash_available_usd" in error.what
    assert "did you mean 'cash_availble_usd'?" in error.hint


def test_another_lenders_tape_is_told_from_a_broken_one() -> None:
    error = refusal({"tape": ["Contrato", "Cliente", "Capital", "Vence", "Sucursal"]})
    assert error.code == "TAPE-101" and "another lender's" in error.what
    assert "Contrato" in error.hint and "mapping" in error.hint


def test_a_file_of_the_extract_that_misses_a_column() -> None:
    error = refusal({**SERVICING, "transactions": ["loan_id", "kind", "date"]})
    assert error.code == "TAPE-102" and "type" in error.what


def test_a_person_may_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"tape": [*SNAPSHOT, *BUCKETED[2:]]}
    assert choose(both).layout == "bucketed"
    assert choose(both, layout="snapshot").layout == "snapshot"
    assert choose({"tape": [*SPANISH, *SNAPSHOT]}, mapping="their-snapshot").name == "their-snapshot"
    error = refusal({"tape": SNAPSHOT}, mapping="their-snapshot")
    assert error.code == "TAPE-102" and "Fecha" in error.what


@pytest.mark.parametrize(
    ("how", "hint"),
    [({"layout": "snapshots"}, "did you mean 'snapshot'?"), ({"mapping": "factorin"}, "did you mean 'factoring'?")],
)
def test_a_name_that_nobody_knows_comes_with_the_nearest(how: dict[str, str], hint: str) -> None:
    error = refusal({"tape": SNAPSHOT}, **how)
    assert (error.code, error.hint) == ("TAPE-103", hint)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (SPANISH, []),
        ([*SPANISH[:4], "Tasas", "Notas"], [("interest_rate", "Tasa", "Tasas"), ("status", "Estado", None)]),
        ([*SNAPSHOT, "writen_off", "notes"], [("written_off", "written_off", "writen_off")]),
        ([*SNAPSHOT, "written_off", "written_of", "company_2"], []),
    ],
)
def test_what_was_looked_for_in_vain_is_known(header: list[str], found: list[tuple[str, str, str | None]]) -> None:
    unread = choose({"tape": header}).unread
    assert [(item.column, item.source, item.like) for item in unread] == found


def test_another_mapping_that_reads_as_well_is_known() -> None:
    twin = replace(THEIRS, name="another")
    for mappings in ([THEIRS, twin], [twin, THEIRS]):
        chosen = choose_mapping(CONTRACTS, mappings, {"tape": SPANISH}, name="x")
        assert (chosen.name, chosen.rivals) == (mappings[0].name, (mappings[1].name,))
    assert choose_mapping(CONTRACTS, [THEIRS, twin], {"tape": SPANISH}, name="x", mapping="another").rivals == ()
    assert choose({"tape": SPANISH}).rivals == ()


def test_a_column_that_a_mapping_leaves_out_on_purpose_is_not_missed() -> None:
    headers = {**FACTORING, "loans": [*FACTORING["loans"], "status"]}
    assert choose(headers).unread == ()


def test_a_mapping_for_a_layout_that_the_release_lacks_is_never_chosen() -> None:
    stray = replace(THEIRS, layout="unknown")
    chosen = choose_mapping(CONTRACTS, [stray], {"tape": SNAPSHOT}, name="x")
    assert chosen.name == "snapshot"
