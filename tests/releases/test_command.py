"""A command release: its file, its output to the printed digit, its digest."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import ConfigError, InputError
from abaco_loans.releases.command import CommandSpec, LoanRows, Printed, arguments, parse_output
from abaco_loans.releases.command_file import read_command
from abaco_loans.strict_yaml import parse

FILE = """\
kind: command
command:
  argv: ["{python}", legacy.py, "--tape={tape}", "{as_of}", "{loans_out}"]
  timeout_s: 20
  memory_mb: 256
  output_bytes_max: 5000
  environment: [TZ, LEGACY_HOME]
  loans:
    format: parquet
    columns: {loan_id: id, outstanding: saldo}
"""
SPEC = CommandSpec(argv=("a",), timeout_s=1, memory_mb=64, output_bytes_max=1000, file_mb_max=1)


def read(text: str) -> CommandSpec:
    return read_command(parse(text, name="releases/v1/release.yml"))


def test_the_file_says_how_the_program_is_called() -> None:
    assert read(FILE) == CommandSpec(
        argv=("{python}", "legacy.py", "--tape={tape}", "{as_of}", "{loans_out}"),
        timeout_s=20,
        memory_mb=256,
        output_bytes_max=5000,
        file_mb_max=1024,
        environment=("TZ", "LEGACY_HOME"),
        loans=LoanRows(format="parquet", columns={"loan_id": "id", "outstanding": "saldo"}),
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{as_of}", "{asof}", "release.yml:3: command.argv: .*{asof} is not known; known are {python}, {tape}"),
        ('"{as_of}", "{loans_out}"', '"{as_of}"', "belong together"),
        ("  timeout_s: 20", "  timeout_s: 0", "release.yml:4: command.timeout_s"),
        ("  timeout_s: 20", "  timeout: 20", "release.yml:4: command.timeout: unknown key"),
        ("[TZ, LEGACY_HOME]", "[abaco_masking_key]", "never are"),
        ("[TZ, LEGACY_HOME]", '["A=B"]', "cannot be passed on"),
        ("outstanding: saldo", "days_past_due: dias", "columns lack outstanding"),
        ("outstanding: saldo", "outstanding: id", "the same one"),
        ('argv: ["{python}"', 'argv: [""', "the first argument is a program"),
        ("legacy.py", r'"\0"', "zero byte"),
        ("kind: command", "kind: catalogue", "release.yml:1: kind"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, told: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError, match=rf"(?s)REL-201.*{told}"):
        read(FILE.replace(old, new, 1))


def test_what_a_placeholder_brings_in_is_no_placeholder() -> None:
    spec = replace(SPEC, argv=("{tape}", "-x{as_of}-{as_of}", "plain"))
    assert arguments(spec, {"tape": "a {as_of}", "as_of": "1"}) == ["a {as_of}", "-x1-1", "plain"]


@pytest.mark.parametrize(
    ("text", "value", "decimals"),
    [
        ("2.2", "2.2", 1),
        ("2.20", "2.20", 2),
        ("12", "12", 0),
        ("-0.0", "0.0", 1),
        ("2e-3", "0.002", 3),
        ("1.2E3", "1.2E+3", -2),
        ("0.1234567890123456789012345678901", "0.1234567890123456789012345678901", 31),
    ],
)
def test_a_number_is_what_was_printed(text: str, value: str, decimals: int) -> None:
    printed = parse_output(f'{{"kpis": {{"risk.par_30": {text}}}}}').kpis["risk.par_30"]
    assert printed is not None
    assert (printed.text, str(printed.value), printed.decimals) == (text, value, decimals)


def test_segments_and_nulls() -> None:
    found = parse_output(
        ' {"kpis": {"risk.par_30": null}, "segments": {"company": {"São José": {"risk.par_30": 1}, "B": {}}}}\n'
    )
    assert found.kpis == {"risk.par_30": None}
    assert found.segments == {"company": {"São José": {"risk.par_30": Printed(text="1")}, "B": {}}}


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("", "REL-211", "nothing was printed"),
        (" \n", "REL-211", "nothing was printed"),
        ('{"kpis": {"risk.par_30": 2.', "REL-211", "stdout:1:"),
        ('{"kpis": {"risk.par_30": 2.2}', "REL-211", "not one JSON document"),
        ('{"kpis": {"risk.par_30": 2.2}} done', "REL-211", "Extra data"),
        ('done\n{"kpis": {"risk.par_30": 2.2}}', "REL-211", "stdout:1:1"),
        ('{"kpis": {"risk.par_30": 2}}{"kpis": {"risk.par_30": 3}}', "REL-211", "Extra data"),
        ("[" * 100_000, "REL-211", "nested too deeply"),
        ('\ufeff{"kpis": {"risk.par_30": 2}}', "REL-211", "BOM"),
        ('{"kpis": {"risk.par_30": NaN}}', "REL-213", "NaN is no number"),
        ('{"kpis": {"risk.par_30": -Infinity}}', "REL-213", "-Infinity is no number"),
        ('{"kpis": {"risk.par_30": 1e999999999}}', "REL-213", "longer or larger"),
        ('{"kpis": {"risk.par_30": 1e-41}}', "REL-213", "longer or larger"),
        ('{"kpis": {"risk.par_30": %s}}' % ("9" * 5000), "REL-213", "longer or larger"),
        ('{"kpis": {"risk.par_30": 1, "risk.par_30": 1}}', "REL-213", "'risk.par_30' stands twice"),
        ('{"kpis": {}, "kpis": {"risk.par_30": 1}}', "REL-213", "'kpis' stands twice"),
        ('{"kpis": {"risk.par_30": 1e}}', "REL-211", "not one JSON document"),
        ("[]", "REL-212", "a list"),
        ("2.2", "REL-212", "a number"),
        ("null", "REL-212", "null"),
        ("{}", "REL-212", "an object"),
        ('{"kpis": {"risk.par_30": 1}, "segment": {}}', "REL-212", "not an object with kpis"),
        ('{"kpis": {}}', "REL-212", "no KPI"),
        ('{"kpis": [1]}', "REL-212", "'kpis' is a list"),
        ('{"kpis": {"risk.par_30": "2.2"}}', "REL-212", "risk.par_30 is text"),
        ('{"kpis": {"risk.par_30": true}}', "REL-212", "risk.par_30 is true or false"),
        ('{"kpis": {"risk.par_30": {"value": 1}}}', "REL-212", "risk.par_30 is an object"),
        ('{"kpis": {"PAR30": 1}}', "REL-212", "'PAR30' is no KPI id"),
        ('{"kpis": {"risk.par_30": 1}, "segments": 3}', "REL-212", "'segments' is a number"),
        ('{"kpis": {"risk.par_30": 1}, "segments": {"a": {"b": 1}}}', "REL-212", "'segments.a.b' is a number"),
        ('{"kpis": {"risk.par_30": 1}, "segments": {"a": {"\\u001b[2J": {}}}}', "REL-212", r"is no name"),
        ('{"kpis": {"risk.par_30": 1}, "segments": {"a": {"\\ud800": {}}}}', "REL-212", r"is no name"),
    ],
)
def test_any_other_output_is_refused(text: str, code: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_output(text)
    assert caught.value.code == code
    assert told in str(caught.value)
    assert caught.value.where.startswith("stdout") and caught.value.hint
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@given(st.text(max_size=200) | st.text(alphabet='{}[]",:0.1e-knul ', max_size=200))
def test_whatever_is_printed_is_an_output_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_output(text).kpis


def test_meaning_is_what_can_change_a_number() -> None:
    files = {"legacy.py": b"print(1)", "data/rates.csv": b"1"}
    digest = SPEC.meaning_digest(files)
    limits = replace(SPEC, timeout_s=9, memory_mb=999, output_bytes_max=9, file_mb_max=9)
    assert limits.meaning_digest(dict(reversed(files.items()))) == digest
    rows = LoanRows(format="csv", columns={"loan_id": "a", "outstanding": "b"})
    others = {
        digest,
        replace(SPEC, argv=("a", "b")).meaning_digest(files),
        replace(SPEC, environment=("TZ",)).meaning_digest(files),
        replace(SPEC, loans=rows).meaning_digest(files),
        SPEC.meaning_digest({**files, "legacy.py": b"print(2)"}),
        SPEC.meaning_digest({**files, "more.py": b""}),
        SPEC.meaning_digest({"other.py": files["legacy.py"], "data/rates.csv": b"1"}),
    }
    assert len(others) == 7
