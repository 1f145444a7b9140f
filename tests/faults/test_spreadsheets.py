"""Text that a spreadsheet or a terminal would run comes out inert (FAULTS 23, 25)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_NEW, Bench

ATTACKS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "\t=1+1", "=cmd|' /C calc'!A0", "＝1+1")
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
HEADER = "loan_id,measurement_date,customer_id,outstanding_principal,days_past_due,product,region,accrued_interest"


def tape_of(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER.split(","))
        writer.writerows(rows)
    return path


def plain_rows(number: int) -> list[list[str]]:
    return [
        [f"L{index:03d}", AS_OF_NEW, f"C{index % 5}", "1000.25", "0", "factoring", "North", "0"]
        for index in range(number)
    ]


def dangerous(text: str) -> bool:
    if text.startswith(("=", "@", "\t", "\r", "\n", "＝")):
        return True
    return text.startswith(("+", "-")) and not text[1:].replace(".", "", 1).isdigit()


def cells(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [cell for row in csv.reader(stream) for cell in row]


def test_text_columns(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    rows = plain_rows(40)
    for index, attack in enumerate(ATTACKS):
        rows[index][5], rows[index + 10][6], rows[index + 20][0] = attack, attack, f"{attack}{index}"
        rows[index + 30][5] = "-12.50"
    done = bench.server.run("run", tape_of(tmp_path / "tape.csv", rows), "-w", workspace, "--csv")
    assert done.code == 0, done.err
    (folder,) = (workspace / "outputs" / AS_OF_NEW).iterdir()
    for name in ("clean.csv", "kpis.csv", "quarantine.csv"):
        assert [cell for cell in cells(folder / name) if dangerous(cell)] == [], name
    clean = cells(folder / "clean.csv")
    assert "'=1+1" in clean and "'@SUM(A1)" in clean
    assert "-12.50" in clean and "'-12.50" not in clean, "a negative number was touched"


def test_refused_cells_and_their_names(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    rows = plain_rows(20)
    for index, attack in enumerate(ATTACKS):
        rows[index][4] = attack
    rows[10][4] = "-5"
    tape = tape_of(tmp_path / "=1+1.csv", rows)
    assert bench.server.run("run", tape, "-w", workspace).code == 3
    (path,) = (workspace / "outputs" / "refused").glob("*/quarantine.csv")
    assert [cell for cell in cells(path) if dangerous(cell)] == []
    assert "-5" in cells(path)


@pytest.mark.parametrize("json", [False, True])
def test_control_characters(json: bool, bench: Bench, tmp_path: Path) -> None:
    """In a value, a column name and the name of the file: escaped wherever they are printed."""
    workspace = bench.copy(tmp_path)
    rows = plain_rows(20)
    rows[0][4] = rows[1][4] = f"5{ESCAPE}"
    rows[2][5] = f"fact{ESCAPE}"
    tape = tape_of(tmp_path / f"ta{ESCAPE}pe.csv".replace("/", ""), rows)
    options = ["-w", str(workspace), *(["--json"] if json else [])]
    said = [bench.server.run("run", tape, *options)]
    assert said[0].code == 3
    text = tape.read_text(encoding="utf-8")
    other = tmp_path / "other.csv"
    other.write_text(text.replace(HEADER, HEADER.replace("days_past_due", f"days{ESCAPE}")), encoding="utf-8")
    said.append(bench.server.run("run", other, *options))
    assert said[1].code == 3
    said += [bench.server.run(*words, *options) for words in (["runs", "list"], ["runs", "show"], ["quarantine"])]
    for done in said:
        for mark in ("\x1b", "\x07"):
            assert mark not in done.out and mark not in done.err, done
    assert "x1b" in said[0].err or "u001b" in said[0].out


def test_a_good_tape_with_control_characters(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    rows = plain_rows(20)
    rows[2][5] = f"fact{ESCAPE}"
    tape = tape_of(tmp_path / f"ta{ESCAPE}pe.csv", rows)
    for options in ([], ["--json"]):
        done = bench.server.run("run", tape, "-w", workspace, *options)
        assert done.code == 0, done.err
        assert "\x1b" not in done.out + done.err
