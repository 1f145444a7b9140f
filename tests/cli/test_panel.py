"""`abaco panel` and `abaco view` as a person or a script uses them."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.cli import main
from abaco_loans.portfolio.views import VIEWS

from .conftest import Abaco, Said


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a sample beside it, and its panel of four months."""
    place = tmp_path_factory.mktemp("panel")
    words = [
        ["sample", "--out", place / "tapes", "--loans", "80", "--months", "4", "--dirty", "0.01"],
        ["init", place / "book"],
        ["panel", place / "tapes" / "servicing", "--by", "product", "-w", place / "book"],
    ]
    for line in words:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in line])
        assert left.value.code == 0, line
    return place


def panel(abaco: Abaco, book: Path, *words: object) -> Said:
    return abaco("panel", book / "tapes" / "servicing", "-w", book / "book", *words)


def view(abaco: Abaco, book: Path, *words: object) -> Said:
    return abaco("view", *words, "-w", book / "book")


def snapshots(path: Path, *days: str) -> Path:
    lines = ["loan_id,measurement_date,customer_id,outstanding_principal,days_past_due"]
    lines += [f"L{n},{day},c{n},1000,{n}" for day in days for n in range(5)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def failed(said: Said, code: int, name: str) -> None:
    assert (said.code, said.out) == (code, ""), said
    assert f"code:  {name}" in said.err
    assert "hint:" in said.err


MONTHS = ["2025-08-31", "2025-09-30", "2025-10-31", "2025-11-30"]


def test_a_panel_for_scripts_is_found_again(abaco: Abaco, book: Path) -> None:
    said = panel(abaco, book, "--by", "product", "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document
    assert document["earlier"] is True
    assert document["dates"] == MONTHS
    assert document["starts"] == ["2025-07-31", *MONTHS[:-1]]
    assert (document["by"], document["dated"], document["currency"]) == (["product"], False, "USD")
    rows = document["rows"]
    assert rows["in"] == rows["accepted"] + rows["quarantined"] + rows["duplicates"]
    assert rows["quarantined"] > 0
    assert {item["code"]: item["status"] for item in document["checks"]}["ROLL-101"] == "passed"
    folder = Path(document["folder"])
    written = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    assert document == {**written, "earlier": True, "folder": str(folder)}
    assert document["tape"]["name"] == "servicing"


def test_a_panel_for_people(abaco: Abaco, book: Path) -> None:
    said = panel(abaco, book, "--by", "product")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("servicing: servicing, 4 dates from 2025-08-31 to 2025-11-30, definition investor")
    assert lines[0].endswith("(found: built before)")
    assert " quarantined + " in lines[1]
    (rolls,) = [line for line in lines if line.endswith("ROLL-101")]
    assert rolls.split()[-4:] == ["passed", "0", "-", "ROLL-101"]
    assert lines[-2].startswith("panel panel-20251130-")
    assert lines[-1].startswith("next: `abaco view ageing`")


@pytest.mark.parametrize(
    ("words", "dates"),
    [
        (("--from", "2025-09", "--to", "2025-10"), ["2025-09-30", "2025-10-31"]),
        (("--at", "2025-11-15", "--at", "2025-10-01", "--at", "2025-11-15"), ["2025-10-01", "2025-11-15"]),
        (("--from", "2025-11-10", "--every", "week"), ["2025-11-16", "2025-11-23", "2025-11-30"]),
        (("--from", "2025-11-28", "--to", "2025-11", "--every", "day"), ["2025-11-28", "2025-11-29", "2025-11-30"]),
    ],
)
def test_months_weeks_days_and_dates_by_name(
    abaco: Abaco, book: Path, words: tuple[str, ...], dates: list[str]
) -> None:
    assert panel(abaco, book, *words, "--json").document["dates"] == dates


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--from", "2025-12", "--to", "2025-11"), "PAN-103"),
        (("--from", "2020-01", "--to", "2025-11", "--every", "day"), "PAN-103"),
        (("--by", "prodcut"), "CLI-106"),
        (("--out", "panel.xlsx"), "PAN-104"),
        (("--definition", "investors"), "REL-102"),
    ],
)
def test_what_cannot_be_asked(abaco: Abaco, book: Path, words: tuple[str, ...], code: str) -> None:
    said = panel(abaco, book, *words, "--json")
    assert said.code == 2
    assert f"code:  {code}" in said.err
    assert said.document["error"]["code"] == code


@pytest.mark.parametrize("value", ["2025-13", "2025", "11/2025", "2025-02-30"])
def test_what_is_no_date(abaco: Abaco, book: Path, value: str) -> None:
    for option in ("--from", "--to", "--at"):
        said = panel(abaco, book, option, value)
        assert said.code == 2
        assert value in said.err


def test_tapes_that_are_not_there_or_have_no_loans(abaco: Abaco, book: Path, tmp_path: Path) -> None:
    assert abaco("panel", tmp_path / "nothing.csv", "-w", book / "book").code == 2
    bucketed = abaco("panel", book / "tapes" / "bucketed.csv", "-w", book / "book")
    failed(bucketed, 3, "PAN-101")
    assert "kpi history" in bucketed.err
    two = abaco("panel", book / "tapes" / "servicing", book / "tapes" / "snapshot.csv", "-w", book / "book")
    failed(two, 2, "PAN-102")
    assert abaco("panel").code == 2


def test_a_series_of_snapshots(abaco: Abaco, tmp_path: Path) -> None:
    place = tmp_path / "book"
    assert abaco("init", place).code == 0
    failed(abaco("view", "ageing", "-w", place), 2, "PAN-105")
    tapes = [snapshots(tmp_path / f"{day}.csv", day) for day in MONTHS[2:]]
    document = abaco("panel", *tapes, "-w", place, "--out", tmp_path / "all.csv", "--json").document
    assert (document["dates"], document["dated"]) == (MONTHS[2:], True)
    assert document["tape"]["name"] == f"{MONTHS[2]}.csv, {MONTHS[3]}.csv"
    checks = {item["code"]: item["status"] for item in document["checks"]}
    assert checks == {
        **dict.fromkeys(("ROLL-101", "ROLL-102"), "not_computable"),
        **dict.fromkeys(("MOVE-101", "MOVE-102", "MOVE-103", "MOVE-104", "MOVE-105"), "passed"),
    }
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 10
    for name in ("roll_forward", "collections", "speeds"):
        said = abaco("view", name, "-w", place)
        assert (said.code, said.err) == (0, ""), name
    people = abaco("panel", *tapes, "-w", place, "--out", tmp_path / "again.parquet").out
    assert "not computable" in people
    assert f"every column in {tmp_path / 'again.parquet'}" in people


# --- views --------------------------------------------------------------------------------------------------------


def test_without_a_name_the_views_are_listed(abaco: Abaco, book: Path) -> None:
    assert [line.split()[0] for line in abaco("view").out.splitlines()[2:]] == list(VIEWS)
    listed = abaco("view", "--json").document
    assert [item["name"] for item in listed] == list(VIEWS)
    assert all(item["title"] and item["text"] for item in listed)


def test_a_view_for_scripts(abaco: Abaco, book: Path) -> None:
    said = view(abaco, book, "roll-forward", "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document
    assert (document["view"], document["by"], document["restricted"]) == ("roll_forward", None, False)
    assert document["panel_id"].startswith("panel-20251130-")
    assert len(document["policy"]) == 64
    assert {"name", "unit", "text"} == set(document["columns"][0])
    assert [row["as_of"] for row in document["rows"]][-1] == "2025-11-30"
    for row in document["rows"]:
        assert set(row) == {column["name"] for column in document["columns"]}
        assert Decimal(row["difference"]) == 0
    ageing = view(abaco, book, "ageing", "--by", "product", "--last", "1", "--json").document
    assert {row["as_of"] for row in ageing["rows"]} == {"2025-11-30"}
    assert all(isinstance(row["loans"], int) and isinstance(row["outstanding"], str) for row in ageing["rows"])


def test_a_view_for_people(abaco: Abaco, book: Path) -> None:
    for name in VIEWS:
        said = view(abaco, book, name)
        assert (said.code, said.err) == (0, ""), name
        lines = said.out.splitlines()
        assert lines[0].endswith(", USD, definition investor"), name
        assert any(VIEWS[name].text in line for line in lines), name
        assert ("restricted: " in said.out) == VIEWS[name].restricted
    lines = view(abaco, book, "ageing", "--by", "product").out.splitlines()
    assert max(map(len, lines[1:-1])) <= 100
    assert lines[2].split() == ["product", "as_of", "state", "loans", "outstanding", "share", "written_off_balance"]


def test_last_keeps_whole_dates_of_the_end(abaco: Abaco, book: Path) -> None:
    everything = view(abaco, book, "collections", "--json").document["rows"]
    for last in (1, 2, 99):
        rows = view(abaco, book, "collections", "--last", last, "--json").document["rows"]
        assert rows == everything[-last:]
    assert view(abaco, book, "concentration", "--last", "1", "--json").document["rows"]
    assert view(abaco, book, "collections", "--last", "0").code == 2


def test_out_is_the_table_as_csv(abaco: Abaco, book: Path, tmp_path: Path) -> None:
    out = tmp_path / "ageing.csv"
    said = view(abaco, book, "ageing", "--out", out)
    document = view(abaco, book, "ageing", "--json").document
    with out.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert said.out == f"{len(rows)} rows in {out}\n"
    wanted = [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in document["rows"]]
    assert [{**row, "state": row["state"].lstrip("'")} for row in rows] == wanted
    failed(view(abaco, book, "ageing", "--out", tmp_path / "ageing.xlsx"), 2, "PAN-104")
    assert view(abaco, book, "ageing", "--out", tmp_path / "no" / "ageing.csv").code == 4


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("ageng",), "CLI-108", "'ageing'"),
        (("ageing", "--by", "prodct"), "CLI-106", "'product'"),
        (("covenants", "--by", "product"), "CLI-109", "--by"),
        (("ageing", "--panel", "panel-2024"), "PAN-105", "panel-2025"),
    ],
)
def test_what_is_not_there(abaco: Abaco, book: Path, words: tuple[str, ...], code: str, hint: str) -> None:
    said = view(abaco, book, *words)
    failed(said, 2, code)
    assert hint in said.err
    assert view(abaco, book, *words, "--json").document["error"]["code"] == code


def test_an_older_panel_by_the_beginning_of_its_id(abaco: Abaco, book: Path) -> None:
    made = panel(abaco, book, "--from", "2025-10", "--to", "2025-10", "--json").document["panel_id"]
    for name in (made, made[:-3], made.removeprefix("panel-")):
        document = view(abaco, book, "growth", "--panel", name, "--json").document
        assert document["panel_id"] == made
        assert [row["as_of"] for row in document["rows"]] == ["2025-10-31"]


def test_help_says_every_option(abaco: Abaco) -> None:
    for command, options in (
        ("panel", ("--from", "--to", "--every", "--at", "--by", "--out", "--definition", "--json")),
        ("view", ("--by", "--window", "--horizon", "--last", "--panel", "--out", "--json")),
    ):
        said = abaco(command, "--help")
        assert said.code == 0
        assert all(f"{option} " in said.out or f"{option}\n" in said.out for option in options), command


def test_the_ledger_knows_the_panels(abaco: Abaco, book: Path) -> None:
    assert abaco("audit", "verify", "-w", book / "book").code == 0
    listed = abaco("runs", "list", "-w", book / "book", "--json").document
    assert all(item["status"] == "finished" for item in listed), "what was refused left no run behind"
    history = abaco("kpi", "history", "risk.par_30", "--every", "month", "-w", book / "book", "--json").document
    assert [item["as_of"] for item in history["series"]][-4:] == MONTHS
