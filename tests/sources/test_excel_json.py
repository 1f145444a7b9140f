"""Excel workbooks and newline JSON: values keep their meaning, lines are the sheet's or the file's own."""

from __future__ import annotations

import json
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from abaco_loans.errors import InputError
from abaco_loans.sources.plain import ReadOptions, as_staged
from abaco_loans.sources.stage import stage
from abaco_loans.tape import reasons
from tests.tape.reading import HEADER, read, read_text

COLUMNS = [*HEADER.split(","), "written_off", "disbursed_principal"]
DAY = date(2025, 11, 30)


def book(path: Path, rows: list[list[Any]], *, first_row: int = 1) -> Path:
    made = openpyxl.Workbook()
    sheet = made.active
    assert sheet is not None
    for number, row in enumerate(rows, first_row):
        for column, value in enumerate(row, 1):
            sheet.cell(row=number, column=column, value=value)
    made.save(path)
    return path


def test_numbers_dates_and_booleans_of_a_workbook(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        COLUMNS,
        ["L1", DAY, 203.42999999999995, 3, "shop", True, 1000],
        [2, datetime(2025, 11, 30, 23, 59), 5.68e-14, 0, None, False, 0.1],  # noqa: DTZ001 - a sheet has no zones
        ["L3", "2025-11-30", "1234.5", "7", "ñ €", "yes", 12345678901.25],
        [None] * 7,
        ["L4", DAY, "many", 0, "shop", False, 1],
        ["L5", DAY, 1, 0.5, "shop", False, 1],
    ]
    told = read(book(tmp_path / "tape.xlsx", rows), tmp_path).only
    assert [(row["loan_id"], row["outstanding_principal"], row["written_off"]) for row in told.rows] == [
        ("L1", Decimal("203.4300"), True),
        ("2", Decimal(0), False),
        ("L3", Decimal("1234.5"), True),
    ]
    assert [row["disbursed_principal"] for row in told.rows] == [1000, Decimal("0.1"), Decimal("12345678901.25")]
    assert {row["measurement_date"] for row in told.rows} == {DAY}
    assert [(line, column, code) for line, column, code, _ in told.issues] == [
        (6, "outstanding_principal", reasons.NOT_NUMBER),
        (7, "days_past_due", reasons.NOT_WHOLE),
    ]
    assert told.counts == (5, 3, 2, 0)


def test_lines_of_a_sheet_that_does_not_begin_at_the_top(tmp_path: Path) -> None:
    rows: list[list[Any]] = [HEADER.split(","), ["L1", DAY, 1, 0, "x"], ["L2", DAY, "bad", 0, "x"]]
    told = read(book(tmp_path / "tape.xlsx", rows, first_row=4), tmp_path).only
    assert [issue[0] for issue in told.issues] == [6]


def test_a_sheet_is_chosen_by_name_and_a_wrong_name_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "tape.xlsx"
    made = xlsxwriter.Workbook(str(path))
    made.add_worksheet("Notes").write(0, 0, "read me")
    sheet = made.add_worksheet("Tape")
    sheet.write_row(0, 0, HEADER.split(","))
    sheet.write_row(1, 0, ["L1", "2025-11-30", 12.5, 0, "x"])
    made.close()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    raw = stage(path, scratch)
    staged = as_staged(raw, ReadOptions(sheet="Tape"))
    assert (staged.header, staged.rows_expected) == (tuple(HEADER.split(",")), 1)
    with pytest.raises(InputError, match="no sheet 'Tapes'") as caught:
        as_staged(raw, ReadOptions(sheet="Tapes"))
    assert caught.value.code == "SRC-110" and "'Tape'" in caught.value.hint


@pytest.mark.parametrize(("row", "column"), [(1_048_575, 16_383), (1_048_575, 200), (900_000, 700)])
def test_one_stray_cell_far_away_does_not_eat_the_memory(row: int, column: int, tmp_path: Path) -> None:
    path = tmp_path / "tape.xlsx"
    made = xlsxwriter.Workbook(str(path))
    sheet = made.add_worksheet()
    sheet.write_row(0, 0, HEADER.split(","))
    sheet.write(row, column, "x")
    made.close()
    with pytest.raises(InputError, match="all but empty") as caught:
        read(path, tmp_path)
    assert caught.value.code == "SRC-105"


@pytest.mark.parametrize("data", [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(3000)])
def test_a_broken_workbook(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workbook cannot be read") as caught:
        read_text(data, tmp_path, name="tape.xls")
    assert caught.value.code == "SRC-108"


def line(**changes: object) -> str:
    fields = {"loan_id": "L1", "measurement_date": "2025-11-30", "outstanding_principal": "1", "days_past_due": "0"}
    return json.dumps({**fields, **changes})


def test_json_numbers_keep_their_text(tmp_path: Path) -> None:
    big = '{"loan_id": 7, "measurement_date": "2025-11-30", "outstanding_principal": 12345678901234.1234, '
    small = '{"loan_id": "L2", "measurement_date": "2025-11-30", "outstanding_principal": 1.00005, '
    text = f'{big}"days_past_due": 0}}\n{small}"days_past_due": 3}}\n'
    told = read_text(text, tmp_path, name="tape.json")
    assert [(row["loan_id"], row["outstanding_principal"]) for row in told.rows] == [
        ("7", Decimal("12345678901234.1234")),
        ("L2", Decimal("1.0001")),
    ]


def test_json_lines_that_are_no_objects_are_refused_one_by_one(tmp_path: Path) -> None:
    lines = [line(), "", "[1, 2]", line(loan_id="L2", outstanding_principal="x"), "{broken", "7", "{" * 5_000]
    told = read_text("\r\n".join([*lines, line(loan_id="L3")]), tmp_path, name="tape.json")
    assert [row["loan_id"] for row in told.rows] == ["L1", "L3"]
    assert [(at, code) for at, _, code, _ in told.issues] == [
        (3, reasons.NOT_JSON),
        (4, reasons.NOT_NUMBER),
        (5, reasons.NOT_JSON),
        (6, reasons.NOT_JSON),
        (7, reasons.NOT_JSON),
    ]
    assert told.counts == (7, 2, 5, 0)


def test_json_values_of_every_kind(tmp_path: Path) -> None:
    lines = [
        line(written_off=True, product=None),
        line(loan_id="L2", written_off=False, product={"a": ["ñ"]}),
        line(loan_id="L3", outstanding_principal=float("nan")),
        line(loan_id="L4", outstanding_principal=float("inf")),
        line(loan_id="L5", product="half \ud800 a letter, and a \x00"),
        line(loan_id="L6", measurement_date=None),
    ]
    told = read_text("\n".join(lines), tmp_path, name="tape.json")
    assert [(row["loan_id"], row["written_off"], row["product"]) for row in told.rows] == [
        ("L1", True, None),
        ("L2", False, '{"a": ["ñ"]}'),
        ("L5", None, "half ? a letter, and a \ufffd"),
    ]
    assert [(at, code) for at, _, code, _ in told.issues] == [
        (3, reasons.NOT_NUMBER),
        (4, reasons.NOT_NUMBER),
        (6, reasons.MISSING),
    ]


def test_a_json_key_that_stands_twice_is_not_silently_the_last(tmp_path: Path) -> None:
    twice = line()[:-1] + ', "outstanding_principal": "2"}'
    told = read_text(f"{twice}\n{line(loan_id='L2')}\n", tmp_path, name="tape.json")
    assert [(at, code) for at, _, code, _ in told.issues] == [(1, reasons.NOT_JSON)]


def trimmed(text: str) -> str:
    """Without spaces of any width around it."""
    spaces = "".join({letter for letter in text if unicodedata.category(letter) == "Zs"})
    return text.strip(spaces) if spaces else text


@settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_comes_through_a_rewritten_file(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("json")
    lines = [line(loan_id=f"L{number}", product=text) for number, text in enumerate(texts)]
    told = read_text("\n".join(lines), folder, name="tape.json")
    assert [row["product"] for row in told.rows] == [trimmed(text) or None for text in texts]
