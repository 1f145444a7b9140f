"""Files that people write: contracts, mappings, definitions. Every fault is told with file and line."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.errors import ConfigError
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.contract_file import read_contract
from abaco_loans.tape.definition_file import read_definitions
from abaco_loans.tape.mapping_file import read_mapping
from tests.tape.reading import shipped

SNAPSHOT = builtin_texts()["contracts/snapshot.yml"]
DEFINITIONS = builtin_texts()["definitions.yml"]
MAPPING = """\
name: their-snapshot
layout: snapshot
tables:
  tape:
    formats: {decimal: ",", thousands: ".", date: "%d/%m/%Y"}
    delimiter: ";"
    columns:
      loan_id: Préstamo
      measurement_date: Fecha
      outstanding_principal: {from: Saldo, unit: as_is}
      days_past_due: Mora
      interest_rate: {from: Tasa, unit: percent}
      status: {from: Estado, codes: {A: active, "0": closed}}
"""


def contract(text: str) -> object:
    return read_contract(parse(text, name="c.yml"))


def mapping(text: str) -> object:
    return read_mapping(parse(text, name="m.yml"), dict(shipped().contracts))


def definitions(text: str) -> object:
    return read_definitions(parse(text, name="d.yml"))


def refused(read: Callable[[str], object], text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.exit_code == 2 and caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("interest_rate: {from: Tasa, units: percent}", "columns.interest_rate.units: unknown key"),
        ("status: {from: Estado, codes: {A: active, B: 5}}", "columns.status.codes.B: not a text; put it in quotes"),
        ("status: 5", "columns.status: not a text; put it in quotes"),
        ("status: {codes: {A: active}}", "columns.status.from: missing"),
    ],
)
def test_a_fault_of_a_mapping_is_told_once_and_in_words(wrong: str, told: str) -> None:
    name = wrong.split(":")[0]
    lines = [f"      {wrong}" if line.strip().startswith(name) else line for line in MAPPING.splitlines()]
    error = refused(mapping, "\n".join(lines))
    assert "1 fault(s)" in error.what and error.what.endswith(told), error.what


def bomb() -> str:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(levels)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (bomb(), "CFG-102", 1),
        ("a: 1\nb: &x 2\n", "CFG-102", 2),
        ("a: 1\nb: *x\n", "CFG-102", 2),
        ("a: !!python/object/apply:os.system [id]\n", "CFG-102", 1),
        ("a: 1\nb: !ruby/object:X {}\n", "CFG-102", 2),
        ("a: !!str 5\n", "CFG-102", 1),
        ("!!map {a: 1}\n", "CFG-102", 1),
        ("a: 1\nb: 2\na: 3\n", "CFG-103", 3),
        ("a:\n  - x: 1\n    x: 2\n", "CFG-103", 3),
        ("a: 1\n'a': 2\n", "CFG-103", 2),
        ("<<: {a: 1}\n<<: {b: 1}\n", "CFG-103", 2),
        ("a: [1, 2\nb: 3\n", "CFG-101", 2),
        ("a: 1\n--- \nb: 2\n", "CFG-101", 2),
        ("? [a, b]\n: 1\n", "CFG-101", 1),
        ("a: 1\n\tb: 2\n", "CFG-101", 2),
        ("[" * 100 + "]" * 100, "CFG-104", 1),
        ("[" * 100_000, "CFG-10", 1),
        ("a: " + "x" * 4_000_000, "CFG-104", 0),
        ("a: \x01\n", "CFG-101", 0),
    ],
)
def test_yaml_that_could_surprise_is_refused_with_its_line(text: str, code: str, line: int) -> None:
    error = refused(lambda given: parse(given, name="f.yml"), text)
    assert error.code.startswith(code)
    assert error.where == (f"f.yml:{line}" if line else "f.yml")


def test_scalars_are_text_unless_they_are_plainly_something_else() -> None:
    data = parse(
        "{a: 0.05, b: no, c: 1e3, d: 12, e: '12', f: true, g: ~, h: 2025-01-01, i: 0x10, j: 007}", name="x"
    ).data
    assert data == {
        "a": "0.05",
        "b": "no",
        "c": "1e3",
        "d": 12,
        "e": "12",
        "f": True,
        "g": None,
        "h": "2025-01-01",
        "i": "0x10",
        "j": "007",
    }


@settings(max_examples=150)
@given(text=st.text(st.sampled_from("ab: \n-[]{}&*!?|>'\"#%@,\t1.~<é\x00"), max_size=40))
def test_no_yaml_raises_anything_but_a_refusal(text: str) -> None:
    try:
        document = parse(text, name="f.yml")
    except ConfigError as refusal:
        told = refusal.as_dict()
        assert told["where"].startswith("f.yml") and told["hint"]
        return
    assert isinstance(document.data, dict | list | str | int | None)


def test_the_shipped_contract_says_what_it_says() -> None:
    read = read_contract(parse(SNAPSHOT, name="c.yml"))
    table = read.table("tape")
    assert (read.layout, table.key, read.limit_rows) == ("snapshot", ("loan_id", "measurement_date"), Decimal("0.05"))
    assert table.column("interest_rate").scale == 6 and table.column("interest_rate").maximum == "50"
    assert read.masked_columns(table) == ("customer_id",)


def sla(*promised: str) -> str:
    return "".join(["slaProperties:\n", *(f"  - {{property: {words}}}\n" for words in promised), "schema:\n"])


def test_a_contract_says_when_tapes_are_expected() -> None:
    def hours(text: str) -> tuple[int | None, int | None]:
        read = read_contract(parse(text, name="c.yml"))
        return read.arrives_every_h, read.arrives_within_h

    assert hours(SNAPSHOT) == (None, None)
    both = sla("latency, value: 11, unit: hours", "frequency, value: 2, unit: d")
    assert hours(SNAPSHOT.replace("schema:\n", both, 1)) == (48, 11)


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("apiVersion: v3.1.0", "apiVersion: v9", "CFG-201", "v3.1.0"),
        ("kind: DataContract", "kinds: DataContract", "CFG-201", "kinds: unknown key"),
        ("logicalType: integer", "logicalType: float", "CFG-201", "logicalType"),
        ("physicalType: DECIMAL(18,6)", "physicalType: DOUBLE", "CFG-202", "DOUBLE"),
        ("name: days_past_due", "name: Days Past Due", "CFG-201", "name"),
        ("name: days_past_due", "name: term_days", "CFG-202", "stands twice"),
        ('value: "0.05"}', 'value: "5%"}', "CFG-202", "not a share"),
        ('value: "0.05"}', "value: 2}", "CFG-202", "not a share"),
        ("limitUnmeasured, value: 0", "limitUnmeasured, value: many", "CFG-202", "limitUnmeasured"),
        ("property: limitRows", "property: limitRow", "CFG-201", "limitRow"),
        ('- "e?mail"', '- "e[mail"', "CFG-202", "regular expression"),
        (
            '"outstanding_principal", "disbursed',
            '"outstanding_princpal", "disbursed',
            "CFG-202",
            "outstanding_princpal",
        ),
        ("id: TAPE-222", "id: rule one", "CFG-201", "id"),
        ("engine: abaco", "engine: python", "CFG-201", "engine"),
        ("schema:\n", sla("retention, value: 1, unit: d"), "CFG-201", "frequency"),
        ("schema:\n", sla("latency, value: 1, unit: fortnights"), "CFG-201", "unit"),
        ("schema:\n", sla("latency, value: 0, unit: d"), "CFG-201", "value"),
        ("schema:\n", sla("latency, value: 1.5, unit: d"), "CFG-201", "value"),
        ("schema:\n", sla("latency, value: 1, unit: d", "latency, value: 2, unit: d"), "CFG-202", "latency twice"),
    ],
)
def test_a_contract_that_is_wrong_is_refused_with_a_line(old: str, new: str, code: str, words: str) -> None:
    assert old in SNAPSHOT
    error = refused(contract, SNAPSHOT.replace(old, new, 1))
    assert error.code == code
    assert words in error.what or words in error.hint
    assert error.where.startswith("c.yml:")


def test_the_line_of_an_unknown_key_is_its_own() -> None:
    text = SNAPSHOT.replace("      - name: days_past_due\n", "      - name: days_past_due\n        requird: true\n")
    error = refused(contract, text)
    assert error.where == f"c.yml:{line_of(text, 'requird')}" and "requird" in error.what


def test_a_mapping_is_read() -> None:
    read = read_mapping(parse(MAPPING, name="m.yml"), dict(shipped().contracts))
    table = read.tables[0]
    assert (table.formats.decimal, table.formats.thousands, table.delimiter) == (",", ".", ";")
    assert dict(table.fields["status"].codes) == {"A": "active", "0": "closed"}
    assert table.fields["interest_rate"].unit == "percent"


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("layout: snapshot", "layout: snapshots", "CFG-302", "bucketed"),
        ("  tape:", "  tapes:", "CFG-302", "tables are tape"),
        ("days_past_due: Mora", "day_past_due: Mora", "CFG-302", "did you mean 'days_past_due'?"),
        ("      days_past_due: Mora\n", "", "CFG-302", "days_past_due"),
        ('thousands: "."', 'thousands: ","', "CFG-302", "the same"),
        ('thousands: "."', 'thousands: "_"', "CFG-301", "thousands"),
        ("unit: percent", "unit: bp", "CFG-301", "unit"),
        ("{from: Tasa, ", "{form: Tasa, ", "CFG-301", "form"),
        ('delimiter: ";"', 'delimiter: ";;"', "CFG-301", "delimiter"),
        ("name: their-snapshot", "name: ../../etc", "CFG-301", "name"),
        ('    delimiter: ";"\n', "    file: ../loans.csv\n", "CFG-301", "file"),
        ("days_past_due: Mora", 'days_past_due: {from: Mora, codes: {"120": twelve}}', "CFG-302", "a whole number"),
        ("days_past_due: Mora", 'days_past_due: {from: Mora, codes: {"-": ""}}', "CFG-302", "a whole number"),
        (
            "days_past_due: Mora",
            "days_past_due: Mora\n      written_off: {from: C, codes: {S: verdad}}",
            "CFG-302",
            "true",
        ),
        (
            "days_past_due: Mora",
            "days_past_due: Mora\n      fx_rate: {from: R, codes: {A: high}}",
            "CFG-302",
            "a number",
        ),
        (
            "days_past_due: Mora",
            'days_past_due: Mora\n      maturity_date: {from: V, codes: {A: "2025-02-30"}}',
            "CFG-302",
            "a date like",
        ),
    ],
)
def test_a_mapping_that_is_wrong_is_refused_with_a_line(old: str, new: str, code: str, words: str) -> None:
    assert old in MAPPING
    error = refused(mapping, MAPPING.replace(old, new, 1))
    assert error.code == code and error.where.startswith("m.yml:")
    assert words in error.what or words in error.hint


def test_the_line_of_a_wrong_mapping_column_is_its_own() -> None:
    error = refused(mapping, MAPPING.replace("days_past_due: Mora", "day_past_due: Mora"))
    assert error.where == "m.yml:11"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("boundary: more_than", "boundary: above", "boundary"),
        ("write_off_after_days: 180", "write_off_after_days: 0", "write_off_after_days"),
        ("write_off_after_days: 180", "write_of_after_days: 180", "write_of_after_days: unknown key"),
        ("dust_share: 0.01", "dust_share: 1", "dust_share"),
        ("dust_share: 0.01", "dust_share: -0.01", "dust_share"),
        ("dust_share: 0.01", "dust_share: NaN", "dust_share"),
        ("default_for: [servicing]", "default_for: [service]", "default_for"),
    ],
)
def test_a_definition_that_is_wrong_is_refused(old: str, new: str, words: str) -> None:
    assert old in DEFINITIONS
    error = refused(definitions, DEFINITIONS.replace(old, new, 1))
    assert error.code == "CFG-401" and words in error.what
    assert error.where == f"d.yml:{line_of(DEFINITIONS, old)}"
