"""Awkward text files: every row is accounted for, and the line of each refusal is where a person finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from abaco_loans.errors import InputError
from abaco_loans.tape import reasons
from tests.tape.reading import HEADER, read_text

GOOD = "{0},2025-11-30,100.50,{1},shop"


def good(number: int) -> str:
    return GOOD.format(f"L{number}", number)


def bad(number: int) -> str:
    return f"L{number},2025-11-30,1_000,0,shop"


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row["loan_id"] for row in rows]


PLAIN = [HEADER, good(1), bad(2), good(3), bad(4)]


@pytest.mark.parametrize(
    ("text", "bad_lines"),
    [
        pytest.param("\n".join(PLAIN), [3, 5], id="no newline at the end"),
        pytest.param("\n".join(PLAIN) + "\n", [3, 5], id="LF"),
        pytest.param("\r\n".join(PLAIN) + "\r\n", [3, 5], id="CRLF"),
        pytest.param("\r".join(PLAIN) + "\r", [3, 5], id="CR alone"),
        pytest.param(f"{HEADER}\n{good(1)}\r\n{bad(2)}\n{good(3)}\r\n{bad(4)}\n", [3, 5], id="LF and CRLF mixed"),
        pytest.param(f"{HEADER}\r\n{good(1)}\n{bad(2)}\r\n{good(3)}\n{bad(4)}\r\n", [3, 5], id="CRLF and LF mixed"),
        pytest.param("\n" + "\n".join(PLAIN) + "\n", [4, 6], id="a blank line first"),
        pytest.param("\r\n" + "\r\n".join(PLAIN) + "\r\n", [4, 6], id="a blank CRLF line first"),
        pytest.param("\n\n".join(PLAIN) + "\n\n\n", [5, 9], id="blank lines between"),
        pytest.param("\r\n\r\n".join(PLAIN), [5, 9], id="blank CRLF lines between"),
        pytest.param("\n   \n".join(PLAIN), [5, 9], id="lines of blanks between"),
        pytest.param("\ufeff" + "\n".join(PLAIN), [3, 5], id="byte order mark"),
        pytest.param("\ufeff\n" + "\n".join(PLAIN), [4, 6], id="byte order mark, then a blank line"),
        pytest.param(",\n".join(PLAIN) + ",\n", [3, 5], id="trailing delimiter"),
        pytest.param("\n".join([PLAIN[0], *(f"{row}," for row in PLAIN[1:])]), [3, 5], id="in rows alone"),
        pytest.param("\n".join(PLAIN).replace(",", ";"), [3, 5], id="semicolon"),
        pytest.param("\n".join(PLAIN).replace(",", "\t"), [3, 5], id="tab"),
        pytest.param("\n".join(PLAIN).replace(",", "|"), [3, 5], id="pipe"),
        pytest.param("\n".join(PLAIN).replace("shop", '"a, ""b"" shop"'), [3, 5], id="quotes"),
        pytest.param("\n".join(PLAIN).replace("3,shop", '3,"a\nshop"'), [3, 6], id="a quoted newline"),
        pytest.param("\n".join(PLAIN).replace("shop", '"a\n\nb"'), [5, 11], id="quoted newlines everywhere"),
        pytest.param("\r\n".join(PLAIN).replace("shop", '"a\r\nb"'), [4, 8], id="quoted CRLF everywhere"),
        pytest.param("\n".join(PLAIN).replace("product", '"product"'), [3, 5], id="a quoted header"),
        pytest.param("\n".join(PLAIN).replace("loan_id", " loan_id "), [3, 5], id="blanks in the header"),
        pytest.param("\n".join(PLAIN).replace("shop", 'sh"op'), [3, 5], id="a quote inside a cell"),
        pytest.param("\n".join(PLAIN).replace("L3", "Ñandú €"), [3, 5], id="letters beyond ASCII"),
    ],
)
def test_lines_of_refusals(text: str, bad_lines: list[int], tmp_path: Path) -> None:
    told = read_text(text, tmp_path)
    assert [(line, column, code) for line, column, code, _ in told.issues] == [
        (line, "outstanding_principal", reasons.NOT_NUMBER) for line in bad_lines
    ]
    assert told.counts == (4, 2, 2, 0)
    assert len(told.rows) == 2 and told.rows[0]["loan_id"] == "L1"


def test_ragged_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    rows = [HEADER, good(1), "L2,2025-11-30,1", good(3), f"{good(4)},more", "x", good(6)]
    told = read_text("\n".join(rows), tmp_path)
    assert ids(told.rows) == ["L1", "L3", "L6"]
    assert [(line, code) for line, _, code, _ in told.issues] == [(at, reasons.FIELD_COUNT) for at in (3, 5, 6)]
    assert told.issues[0][3] == "3 fields, the header has 5"
    assert told.counts == (6, 3, 3, 0)


@pytest.mark.parametrize("end", ["\n", "\n\n"], ids=["plain", "rewritten"])
def test_a_row_of_empty_cells_is_a_row(end: str, tmp_path: Path) -> None:
    """Whether the file must be rewritten for other reasons does not change what a row is."""
    told = read_text(end.join([HEADER, good(1), ",,,,", good(3)]), tmp_path)
    assert told.counts == (3, 2, 1, 0)
    assert {code for _, _, code, _ in told.issues} == {reasons.MISSING}
    assert {line for line, _, _, _ in told.issues} == {3 if end == "\n" else 5}


def test_nul_bytes_far_down_are_replaced_and_the_row_is_kept(tmp_path: Path) -> None:
    rows = [good(number) for number in range(1, 300)]
    told = read_text("\n".join([HEADER, *rows, good(300).replace("shop", "sh\x00op"), bad(301)]), tmp_path)
    assert told.rows[-1]["product"] == "sh\ufffdop"
    assert told.counts == (301, 300, 1, 0) and told.issues[0][0] == 302


def test_a_first_column_without_a_name_is_left_alone(tmp_path: Path) -> None:
    """What pandas writes when the index is not switched off."""
    told = read_text(f",{HEADER}\n0,{good(1)}\n1,{bad(2)}\n", tmp_path)
    assert ids(told.rows) == ["L1"] and told.issues[0][0] == 3


def test_a_row_that_repeats_over_a_quoted_newline_is_one_row(tmp_path: Path) -> None:
    row = 'L1,2025-11-30,1,0,"a\nb"'
    told = read_text(f"{HEADER}\n{row}\n{row}\n", tmp_path)
    assert told.counts == (2, 1, 0, 1)
    assert told.rows[0]["product"] == "a\nb"


@pytest.mark.parametrize("size", [2_000_000, 10_000_000])
def test_an_enormous_field_is_refused_and_its_neighbours_stay(size: int, tmp_path: Path) -> None:
    told = read_text(f"{HEADER}\n{good(1)}\nL2,2025-11-30,1,0,{'x' * size}\n{good(3)}\n", tmp_path)
    assert ids(told.rows) == ["L1", "L3"]
    ((line, _, code, value),) = told.issues
    assert line == 3 and code in (reasons.CELL_TOO_LONG, reasons.TOO_LONG) and len(value) < 300


@pytest.mark.parametrize("size", [501, 100_000])
def test_a_long_field_is_refused_with_a_short_value(size: int, tmp_path: Path) -> None:
    told = read_text(f"{HEADER}\n{good(1)}\nL2,2025-11-30,1,0,{'x' * size}\n{good(3)}\n", tmp_path)
    assert ids(told.rows) == ["L1", "L3"]
    assert told.issues == [(3, "product", reasons.TOO_LONG, "x" * 200)]


@pytest.mark.parametrize("following", [0, 1, 5, 3_000])
def test_a_quote_that_is_never_closed_swallows_no_row_silently(following: int, tmp_path: Path) -> None:
    rows = [HEADER, good(1), 'L2,2025-11-30,1,0,"shop', *(good(number) for number in range(3, 3 + following))]
    with pytest.raises(InputError, match="never closed") as caught:
        read_text("\n".join(rows) + "\n", tmp_path)
    assert (caught.value.code, caught.value.where) == ("SRC-109", "tape.csv:3")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "Ñandú €"),
        ("utf-16-le", "Ñandú"),
        ("latin-1", "Ñandú"),
        ("cp1252", "Ñandú € “x”"),
        ("utf-8-sig", "Ñandú €"),
    ],
)
def test_encodings(encoding: str, text: str, tmp_path: Path) -> None:
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    rows = [HEADER, good(1).replace("shop", text), bad(2), good(3)]
    told = read_text(mark + "\r\n".join(rows).encode(encoding), tmp_path)
    assert told.rows[0]["product"] == text
    assert [issue[0] for issue in told.issues] == [3]


def test_bytes_that_are_no_letters_anywhere_do_not_stop_the_tape(tmp_path: Path) -> None:
    told = read_text(f"{HEADER}\n{good(1)}\n".encode().replace(b"shop", b"sh\x81\xffop"), tmp_path)
    assert told.counts == (1, 1, 0, 0)


@pytest.mark.parametrize("header", [HEADER + ",loan_id", HEADER + ",LOAN_ID", HEADER + ", Loan_Id "])
def test_a_column_that_stands_twice_stops_the_tape(header: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="loan_id") as caught:
        read_text(f"{header}\n{good(1)},L1\n", tmp_path)
    assert (caught.value.code, caught.value.where) == ("SRC-107", "tape.csv:1")


@pytest.mark.parametrize("text", [HEADER, f"{HEADER}\n", f"{HEADER}\n\n\r\n  \n"])
def test_a_header_alone_is_said_to_be_one(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows") as caught:
        read_text(text, tmp_path)
    assert caught.value.code == "TAPE-107"


@pytest.mark.parametrize("text", ["", "\n", "   \n\t\n", "\ufeff", "\ufeff\n\n"])
def test_an_empty_file_is_said_to_be_one(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty") as caught:
        read_text(text, tmp_path)
    assert caught.value.code == "SRC-101" and "last good outputs stay" in caught.value.hint
