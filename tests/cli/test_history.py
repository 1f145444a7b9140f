"""`abaco kpi history` as a person or a script uses it."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.cli.history import sparkline
from abaco_loans.operations.workspace import make_workspace
from abaco_loans.wiring import open_records
from tests.operations.said import say

from .conftest import Abaco

PAR = "risk.par_30"
MONTH_ENDS = [date(2025, month, day) for month, day in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30), 1)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book with a panel to November 2025, of which October was said before, and one value under `original`."""
    folder = tmp_path_factory.mktemp("history") / "book"
    by_month = ["1", "2", "3", "4", "5", "6", "2.004", "4", "3", "2", "20"]
    with open_records(make_workspace(folder, os.environ)) as records:
        say(records, "r-plain", {MONTH_ENDS[0]: "8"}, definition="original", tape="tape\x1b[2J.csv")
        say(records, "r-october", {MONTH_ENDS[9]: "2.5"})
        panel = dict(zip(MONTH_ENDS, by_month, strict=True))
        say(records, "panel-1", {**panel, date(2025, 12, 3): None}, tape="b.csv")
        say(records, "r-cell", {MONTH_ENDS[9]: "7"}, segment=("product", "leasing"))
    return folder


def test_a_series_for_people(abaco: Abaco, workspace: Path) -> None:
    said = abaco("kpi", "history", PAR, "--every", "month", "-w", workspace)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[:3] == [
        "risk.par_30 by month, definition investor, release v2",
        "▁▁▂▂▂▃▁▂▂▁█",
        "left out: definition original, release v2 (1 said)",
    ]
    assert lines[3].split("  ")[0] == "as of"
    assert len(lines) == 5 + 11
    # 1 2 3 4 5 6 2.004 4 3 2: median 3, deviations 2 1 0 1 2 3 .996 1 0 1, MAD 1; 0.6745 × 17
    assert lines[-1].split() == [
        *("2025-11-30", "20.00", "ok", "+18.00", "(+900.0%)", "+16.00", "(+400.0%)", "-"),
        *["unusual:", "11.5", "robust", "deviations", "above", "the", "median", "of", "the", "10", "before"],
    ]
    assert lines[11].split()[3:5] == ["-4.00", "(-66.6%)"], "rounded to the digits of the value"
    by_day = abaco("kpi", "history", PAR, "--every", "day", "-w", workspace).out.splitlines()
    assert by_day[-1].split() == ["2025-12-03", "-", "not", "computable", "-", "-", "-", "no", "rows"]
    assert len(by_day) == 5 + 12
    assert len(abaco("kpi", "history", PAR, "--every", "week", "-w", workspace).out.splitlines()) == 5 + 12


def test_a_series_for_scripts(abaco: Abaco, workspace: Path) -> None:
    said = abaco("kpi", "history", PAR, "--every", "month", "-w", workspace, "--json")
    document = said.document
    assert list(document) == ["kpi", "unit", "definition", "release", "left_out", "series"]
    assert document["left_out"] == [{"definition": "original", "release": "v2", "rows": 1}]
    july, november = document["series"][6], document["series"][-1]
    assert (july["value"], july["value_exact"]) == ("2.00", "2.004")
    assert july["change_month"] == {"absolute": "-3.996", "relative": "-0.666"}
    assert july["anomaly"]["flagged"] is False
    assert (november["as_of"], november["run_id"], november["change_year"]) == ("2025-11-30", "panel-1", None)
    assert november["anomaly"]["score"] == "11.4665"
    other = abaco("kpi", "history", PAR, "--every", "month", "--definition", "original", "-w", workspace, "--json")
    assert [item["value"] for item in other.document["series"]] == ["8.00"]
    cell = abaco(
        "kpi", "history", PAR, "--every", "month", "--segment", "product=leasing", "-w", workspace, "--json"
    ).document
    assert (cell["segment"], cell["segment_value"], len(cell["series"])) == ("product", "leasing", 1)


def test_restatements_of_one_date(abaco: Abaco, workspace: Path) -> None:
    said = abaco("kpi", "history", PAR, "--as-of", "2025-10-31", "-w", workspace)
    lines = said.out.splitlines()
    assert lines[0] == "risk.par_30 as of 2025-10-31: said 2 times"
    assert "said first (a.csv, " in lines[3]
    assert "-0.50 (-20.0%)" in lines[4]
    assert "another tape (b.csv, " in lines[4]
    document = abaco("kpi", "history", PAR, "--as-of", "2025-10-31", "-w", workspace, "--json").document
    assert (document["kpi"], document["as_of"]) == (PAR, "2025-10-31")
    assert [item["value"] for item in document["said"]] == ["2.50", "2.00"]
    assert document["said"][1]["change"] == {"absolute": "-0.5", "relative": "-0.2"}
    odd = abaco("kpi", "history", PAR, "--as-of", "2025-01-31", "-w", workspace).out
    assert "\\x1b[2J" in odd, "a name of a tape cannot write to the terminal"
    assert "\x1b" not in odd


def test_everything_that_was_said(abaco: Abaco, workspace: Path) -> None:
    everything = abaco("kpi", "history", PAR, "-w", workspace, "--json").document
    assert len(everything) == 14
    assert [item["definition"] for item in everything[:2]] == ["original", "investor"]
    some = abaco("kpi", "history", PAR, "--definition", "original", "-w", workspace)
    assert [line.split()[:2] for line in some.out.splitlines()[2:]] == [["2025-01-31", "8.00"]]


@pytest.mark.parametrize(
    "words",
    [
        ("finance.weighted_apr",),
        ("finance.weighted_apr", "--every", "week"),
        (PAR, "--as-of", "2001-01-01"),
        (PAR, "--definition", "mfrs"),
        (PAR, "--definition", "mfrs", "--every", "day"),
    ],
)
def test_nothing_said_is_no_failure(abaco: Abaco, workspace: Path, words: tuple[str, ...]) -> None:
    said = abaco("kpi", "history", *words, "-w", workspace)
    assert said.code == 0
    assert f"nothing has been said of {words[0]}" in said.out


def test_a_kpi_that_nobody_knows_comes_with_the_nearest(abaco: Abaco, workspace: Path) -> None:
    said = abaco("kpi", "history", "risk.par30", "-w", workspace)
    assert (said.code, said.out) == (2, "")
    assert abaco("kpi", "history", PAR, "--segment", "prodct=leasing", "-w", workspace).out.startswith(
        "nothing has been said of risk.par_30 of prodct=leasing"
    )
    assert "CLI-104" in said.err and "did you mean 'risk.par_30'?" in said.err


def test_one_date_or_a_series(abaco: Abaco, workspace: Path) -> None:
    said = abaco("kpi", "history", PAR, "--as-of", "2025-10-31", "--every", "day", "-w", workspace)
    assert said.code == 2
    assert "CLI-107" in said.err
    assert abaco("kpi", "history", PAR, "--every", "year", "-w", workspace).code == 2


def test_the_shape_of_a_series() -> None:
    assert sparkline([Decimal(0), None, Decimal(7), Decimal("3.4")]) == "▁ █▄"
    assert sparkline([Decimal(5), Decimal(5)]) == "▄▄"
    assert sparkline([None]) == sparkline([]) == ""
    assert len(sparkline([Decimal(n) for n in range(100)])) == 60
