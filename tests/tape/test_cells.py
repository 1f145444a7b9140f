"""Every cell is text until we type it: what is read, to the digit, and what is refused, and why."""

from __future__ import annotations

import re
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from abaco_loans.tape import reasons
from abaco_loans.tape.contract import Column, Kind, Table
from abaco_loans.tape.mapping import Field, Formats, Unit
from tests.tape.typing_bench import TypingBench, rule

MONEY = Column(name="it", kind=Kind.DECIMAL)
RATE = Column(name="it", kind=Kind.DECIMAL, scale=6)
DAY = Column(name="it", kind=Kind.DATE)
COUNT = Column(name="it", kind=Kind.INTEGER)
TEXT = Column(name="it", kind=Kind.TEXT, length_max=10)
FLAG = Column(name="it", kind=Kind.BOOLEAN)
COMMA = Formats(decimal=",")
EUROPEAN = Formats(decimal=",", thousands=".")
ENGLISH = Formats(thousands=",")
SWISS = Formats(thousands="'")
SPACED = Formats(decimal=",", thousands=" ")
QUICK = settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> TypingBench:
    folder: Path = tmp_path_factory.mktemp("cells")
    return TypingBench(folder)


def values(bench: TypingBench, texts: dict[str, Any], column: Column, **how: Any) -> dict[str, Any]:
    """The values of texts that must all be read."""
    found = bench.column(list(texts), column, **how)
    assert [item.codes for item in found] == [()] * len(texts)
    return dict(zip(texts, (item.value for item in found), strict=True))


def refusals(bench: TypingBench, texts: dict[str, str], column: Column, **how: Any) -> dict[str, Any]:
    """The reason of texts that must all be refused, and their value: none."""
    found = bench.column(list(texts), column, **how)
    assert [item.value for item in found] == [None] * len(texts)
    return {
        text: item.codes[0] if len(item.codes) == 1 else item.codes for text, item in zip(texts, found, strict=True)
    }


READ = {
    "0": "0",
    "-0": "0",
    "007": "7",
    "1234.5678": "1234.5678",
    "-1234.5678": "-1234.5678",
    "+5": "5",
    "+.5": "0.5",
    ".5": "0.5",
    "-.5": "-0.5",
    "5.": "5",
    "  12.5  ": "12.5",
    "5.68E-14": "0",
    "-5.68E-14": "0",
    "1e3": "1000",
    "1E+3": "1000",
    "12e-1": "1.2",
    "1.23456e4": "12345.6",
    "1e13": "10000000000000",
    "99999999999999.9999": "99999999999999.9999",
    "-99999999999999.9999": "-99999999999999.9999",
    "203.42999999999995": "203.43",
    "0.00005": "0.0001",
    "-0.00005": "-0.0001",
    "0.00004999999999999999": "0",
    "2.00015": "2.0002",
    "2.00025": "2.0003",
    ".01E13": "100000000000",
    "0.000000000000000000001e25": "10000",
    "327242.0509090684879E7": "3272420509090.6849",
    "88030686071335950044.30e-10": "8803068607.1336",
    "1.00005e0": "1.0001",
    "100005e-5": "1.0001",
    "-100005e-5": "-1.0001",
    "1" + "0" * 3 + "." + "1" * 60: "1000.1111",
    "0" * 40 + "1.5": "1.5",
}


def test_numbers_are_read_to_the_digit(bench: TypingBench) -> None:
    assert values(bench, READ, MONEY) == {text: Decimal(meant) for text, meant in READ.items()}


def test_rounding_is_counted_and_plain_numbers_are_not(bench: TypingBench) -> None:
    plain = ["1", "-1.5", "1.2345", " 7 ", "99999999999999.9999", ""]
    rounded = ["1.23456", "5.68E-14", "1e3", "203.42999999999995"]
    assert [item.rounded for item in bench.column(plain + rounded, MONEY)] == [False] * 6 + [True] * 4


NOT_NUMBERS = [
    *("1_000", "1,5", "1,000", "1.000.000", "NaN", "nan", "inf", "-Infinity", "0x10", "1e", "e5", "1e5.5", "--1"),
    *(
        "１２",
        "٣",
        "1 000",
        "1-",
        "(5)",
        "$5",
        "5%",
        ".",
        "-",
        "+",
        "1.2.3",
        "TRUE",
        "null",
        "=1",
        "1'000",
        "½",
    ),
    *("1\n2", "1\xa0000", "−5", "1e99999", "0b1", "1f", "1d", "1L", "12abc", "N/A", "#N/A", "-.", "+-1"),
]


def test_text_that_only_looks_like_a_number_is_refused(bench: TypingBench) -> None:
    assert refusals(bench, dict.fromkeys(NOT_NUMBERS, ""), MONEY) == dict.fromkeys(NOT_NUMBERS, reasons.NOT_NUMBER)


def test_too_large_is_said_to_be_that(bench: TypingBench) -> None:
    texts = [
        "1e400",
        "1e14",
        ".49999E15",
        ".1e15",
        "100000000000000",
        "-123456789012345.5",
        "9" * 60,
        "99999999999999.99995",
    ]
    assert refusals(bench, dict.fromkeys(texts, ""), MONEY) == dict.fromkeys(texts, reasons.TOO_LARGE)


NUMBER = re.compile(r" *([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,3}))? *", re.ASCII)


def meant_number(text: str, scale: int = 4) -> Decimal | None:
    """DEFINITIONS, Arithmetic: read exactly, rounded half away from zero; None where it must be refused."""
    if not NUMBER.fullmatch(text):
        return None
    exact = Decimal(text.strip(" "))
    if exact and exact.adjusted() > 20:
        return None
    rounded = exact.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP)
    return rounded if abs(rounded) < Decimal(10) ** (18 - scale) else None


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """A decimal number, written in any accepted way."""
    digits = draw(st.text("0123456789", min_size=1, max_size=22))
    point = draw(st.integers(0, len(digits)))
    text = digits[:point] + draw(st.sampled_from([".", "."] if 0 < point < len(digits) else [".", ""])) + digits[point:]
    exponent = draw(st.sampled_from(["", "", "", "e0", "E-3", "e+4", "e-20", "E5", "e-30", "e12"]))
    around = draw(st.sampled_from(["{}", "{}", " {}", "{}  "]))
    return around.format(draw(st.sampled_from(["", "-", "+"])) + text + exponent)


@QUICK
@given(texts=st.lists(numbers(), min_size=20, max_size=60))
def test_any_decimal_written_any_way_reads_back_exactly(bench: TypingBench, texts: list[str]) -> None:
    found = bench.column(texts, MONEY)
    assert {text: item.value for text, item in zip(texts, found, strict=True)} == {
        text: meant_number(text) for text in texts
    }


LOOKALIKES = st.text("0123456789+-.,eE_ xnaif１'\t", max_size=12)


@QUICK
@given(texts=st.lists(LOOKALIKES, min_size=20, max_size=60))
def test_any_other_text_is_refused(bench: TypingBench, texts: list[str]) -> None:
    for text, item in zip(texts, bench.column(texts, MONEY), strict=True):
        assert item.value == meant_number(text), text
        refused = item.value is None and bool(text.strip(" "))
        assert bool(item.codes) is refused, text


@pytest.mark.parametrize(
    ("formats", "read", "refused"),
    [
        (
            COMMA,
            {"1,5": "1.5", ",5": "0.5", "-1234,56789": "-1234.5679", "12": "12", "1,5e2": "150"},
            ["1.5", "1.000,5"],
        ),
        (EUROPEAN, {"1.234,5": "1234.5", "1234,5": "1234.5", "1.234.567": "1234567"}, ["1.23", "1,234.5", "12.34,5"]),
        (ENGLISH, {"1,234.5": "1234.5", "-12,345,678": "-12345678", "5.": "5"}, ["1,23", "1,2345", "1.234,5", ",123"]),
        (SWISS, {"1'234.50": "1234.5"}, ["1'23", "1’234"]),
        (SPACED, {"1 234 567,89": "1234567.89", " 1 234 ": "1234"}, ["1  234", "12 34"]),
    ],
)
def test_the_formats_of_a_mapping(
    bench: TypingBench, formats: Formats, read: dict[str, str], refused: list[str]
) -> None:
    assert values(bench, read, MONEY, formats=formats) == {text: Decimal(meant) for text, meant in read.items()}
    codes = refusals(bench, dict.fromkeys(refused, ""), MONEY, formats=formats)
    assert codes == dict.fromkeys(refused, reasons.NOT_NUMBER)


@pytest.mark.parametrize("formats", [COMMA, EUROPEAN, ENGLISH, SWISS, SPACED])
def test_a_number_too_large_is_never_silently_empty(bench: TypingBench, formats: Formats) -> None:
    """The bug one fears: a cell that is graded as read, and whose cast gives nothing."""
    large = ["1" * 30, "1" * 15, f"{'1' * 20}{formats.decimal}5"]
    assert refusals(bench, dict.fromkeys(large, ""), MONEY, formats=formats) == dict.fromkeys(large, reasons.TOO_LARGE)


@pytest.mark.parametrize("formats", [COMMA, EUROPEAN, ENGLISH, SWISS, SPACED])
def test_separators_alone_are_no_rounding(bench: TypingBench, formats: Formats) -> None:
    grouped = f"1{formats.thousands}234{formats.decimal}5678"
    found = bench.column([grouped, f"{grouped}9", f"7{formats.decimal}5"], MONEY, formats=formats)
    assert [(item.value, item.rounded) for item in found] == [
        (Decimal("1234.5678"), False),
        (Decimal("1234.5679"), True),
        (Decimal("7.5"), False),
    ]


def test_percent_is_a_hundredth(bench: TypingBench) -> None:
    read = {"24": "0.24", "24.5": "0.245", "0.0001": "0.000001", "1500": "15", "-3": "-0.03", "33.333333": "0.333333"}
    found = values(bench, read, RATE, field=Field(source="it", unit=Unit.PERCENT))
    assert found == {text: Decimal(meant) for text, meant in read.items()}


def test_codes_are_taken_to_ours_and_others_are_refused(bench: TypingBench) -> None:
    field = Field(source="source column", codes={"PAYMENT": "payment", "AB'ONO": "payment", "": "adjustment"})
    kind = Column(name="it", kind=Kind.TEXT, nullable=False)
    assert values(bench, {"PAYMENT": "", " PAYMENT ": "", "AB'ONO": ""}, kind, field=field) == dict.fromkeys(
        ("PAYMENT", " PAYMENT ", "AB'ONO"), "payment"
    )
    codes = refusals(bench, {"payment": "", "x": "", "PAYMENT;": ""}, kind, field=field)
    assert set(codes.values()) == {reasons.UNKNOWN_CODE}


def test_codes_of_a_boolean_are_the_words_that_it_is_read_by(bench: TypingBench) -> None:
    field = Field(source="source column", codes={"S": "sí", "N": "No", "C": "true", "-": ""})
    kind = Column(name="it", kind=Kind.BOOLEAN)
    read = values(bench, {"S": "", "N": "", "C": "", "-": ""}, kind, field=field)
    assert (read["S"], read["N"], read["C"], read["-"]) == (True, False, True, None)


def test_dates(bench: TypingBench) -> None:
    day = date(2025, 11, 30)
    read = ["2025-11-30", " 2025-11-30 ", "2025-11-30T23:59", "2025-11-30 23:59:59", "2025-11-30T00:00:00.000Z"]
    read += ["2025-11-30T23:00:00-06:00", "2025-11-30T23:00:00+0000"]
    assert set(values(bench, dict.fromkeys(read), DAY).values()) == {day}
    assert values(bench, {"2024-02-29": 0}, DAY) == {"2024-02-29": date(2024, 2, 29)}
    refused = ["infinity", "-infinity", "epoch", "today", "now", "25-12-02", "2025-02-30", "2025-02-29", "2025-13-01"]
    refused += ["2025-00-10", "2025-1-5", "20251130", "30/11/2025", "11/30/2025", "2025-11-30x", "2025-11", "0"]
    refused += ["2025-11-30 BC", "12025-11-30", "-2025-11-30", "２０２５-11-30", "2025-11-31", "2025-W48-7", "45991"]
    assert set(refusals(bench, dict.fromkeys(refused, ""), DAY).values()) == {reasons.NOT_DATE}


@pytest.mark.parametrize(
    ("pattern", "read", "refused"),
    [
        (
            "%d/%m/%Y",
            ["30/11/2025"],
            ["11/30/2025", "2025-11-30", "30-11-2025", "31/11/2025", "30/11/25", "30/11/2025 "[:9]],
        ),
        ("%m/%d/%Y", ["11/30/2025"], ["30/11/2025"]),
        ("%d.%m.%y", ["30.11.25"], ["30.11.2025", "30x11x25"]),
        ("%Y%m%d", ["20251130"], ["2025-11-30", "20251131"]),
        ("%d %b %Y", ["30 Nov 2025"], ["30 Nox 2025"]),
        ("%d/%m/%Y %H:%M:%S", ["30/11/2025 10:11:12"], ["30/11/2025", "30/11/2025 25:00:00"]),
    ],
)
def test_date_formats_of_a_mapping(bench: TypingBench, pattern: str, read: list[str], refused: list[str]) -> None:
    for how in ({"field": Field(source="it", date_format=pattern)}, {"formats": Formats(date=pattern)}):
        assert set(values(bench, dict.fromkeys(read), DAY, **how).values()) == {date(2025, 11, 30)}
        assert set(refusals(bench, dict.fromkeys(refused, ""), DAY, **how).values()) == {reasons.NOT_DATE}


@QUICK
@given(days=st.lists(st.dates(min_value=date(1, 1, 1)), min_size=5, max_size=30))
def test_any_day_reads_back(bench: TypingBench, days: list[date]) -> None:
    texts = {day.isoformat(): day for day in days}
    assert values(bench, texts, DAY) == texts


def test_whole_numbers_booleans_and_texts(bench: TypingBench) -> None:
    assert values(bench, {"7": 7, " 7 ": 7, "-3": -3, "+4": 4, "5.0": 5, "6.": 6, "9" * 18: int("9" * 18)}, COUNT) == {
        "7": 7, " 7 ": 7, "-3": -3, "+4": 4, "5.0": 5, "6.": 6, "9" * 18: int("9" * 18)
    }  # fmt: skip
    refused = ["7.5", "1e3", "7 days", "0x7", "1_0", "７", "9" * 19, "NaN", "1,0"]
    assert set(refusals(bench, dict.fromkeys(refused, ""), COUNT).values()) == {reasons.NOT_WHOLE}
    flags = {"true": True, "T": True, "Yes": True, "y": True, "1": True, "sí": True, "SÍ": True, "si": True}
    flags |= {"false": False, "F": False, "No": False, "n": False, "0": False, " FALSE ": False}
    assert values(bench, flags, FLAG) == flags
    assert set(refusals(bench, {"2": "", "ja": "", "-1": "", "on": "", "x": ""}, FLAG).values()) == {
        reasons.NOT_BOOLEAN
    }
    assert values(bench, {"  a b ": "", "ñ" * 10: ""}, TEXT) == {"  a b ": "a b", "ñ" * 10: "ñ" * 10}
    assert refusals(bench, {"ñ" * 11: ""}, TEXT) == {"ñ" * 11: reasons.TOO_LONG}


@pytest.mark.parametrize("column", [MONEY, DAY, COUNT, FLAG, TEXT])
def test_empty_cells_are_missing_only_where_a_value_is_required(bench: TypingBench, column: Column) -> None:
    empty = ["", " ", "    "]
    assert [(item.value, item.codes) for item in bench.column(empty, column)] == [(None, ())] * 3
    required = Column(name="it", kind=column.kind, nullable=False)
    assert [item.codes for item in bench.column(empty, required)] == [(reasons.MISSING,)] * 3


def test_ranges_are_inclusive(bench: TypingBench) -> None:
    bounded = Column(name="it", kind=Kind.DECIMAL, minimum="0", maximum="50")
    found = bench.column(["0", "-0.0001", "50", "50.0001", "50.00001", "-0.00001"], bounded)
    assert [item.codes for item in found] == [(), (reasons.BELOW,), (), (reasons.ABOVE,), (), ()]
    days = Column(name="it", kind=Kind.DATE, minimum="1990-01-01", maximum="2100-12-31")
    found = bench.column(["1990-01-01", "1989-12-31", "2100-12-31", "2101-01-01"], days)
    assert [item.codes for item in found] == [(), (reasons.BELOW,), (), (reasons.ABOVE,)]


def test_every_fault_of_a_row_is_said_and_an_unknown_value_breaks_no_rule(bench: TypingBench) -> None:
    columns = (
        Column(name="a", kind=Kind.DECIMAL, minimum="0"),
        Column(name="b", kind=Kind.DECIMAL, nullable=False),
        Column(name="d", kind=Kind.DATE),
    )
    table = Table(name="t", columns=columns, rules=(rule("TAPE-901", "a <= b"), rule("TAPE-902", "a + b < 100")))
    fields = {name: Field(source=name.upper()) for name in ("a", "b", "d")}
    rows = [("1", "2", "2025-01-01"), ("-1", "x", "soon"), ("60", "50", ""), ("", "2", ""), ("5", "", "")]
    found = bench.table(rows, ("A", "B", "D"), table, fields)
    assert [issues for _, _, issues in found] == [
        (),
        (("TAPE-202", "b", "x"), ("TAPE-205", "d", "soon"), ("TAPE-208", "a", "-1")),
        (("TAPE-901", "a, b", "60; 50"), ("TAPE-902", "a, b", "60; 50")),
        (),
        (("TAPE-201", "b", ""),),
    ]


@pytest.mark.parametrize("text", ["Maria Perez 0801-1990-1234", "x" * 600])
def test_a_persons_data_is_not_repeated_in_an_issue(bench: TypingBench, text: str) -> None:
    (item,) = bench.column([text], TEXT, masked=True)
    assert item.issues == ((reasons.TOO_LONG, "it", "(masked)"),)


def test_a_long_value_is_cut_in_its_issue(bench: TypingBench) -> None:
    (item,) = bench.column(["y" * 5_000], TEXT)
    assert item.issues == ((reasons.TOO_LONG, "it", "y" * 200),)


def test_every_reason_has_words_and_is_used() -> None:
    codes = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert codes == set(reasons.REASONS)
    assert all(words[0].islower() and not words.endswith(".") for words in reasons.REASONS.values())
