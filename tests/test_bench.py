"""The bench: its verdicts can fail, its table holds together, and it still runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.process import BenchError, Took, python, took
from bench.shadow import same_findings
from bench.table import MET, NONE, NOT_MET, Budget, Line, markdown


@pytest.mark.parametrize(
    ("budget", "measured", "verdict"),
    [
        (Budget(at_most=0.8), 0.79, MET),
        (Budget(at_most=0.8), 0.8, NOT_MET),
        (Budget(at_most=0.8), 5.0, NOT_MET),
        (Budget(at_least=100), 100, MET),
        (Budget(at_least=100), 99.9, NOT_MET),
    ],
)
def test_a_budget_is_met_or_not(budget: Budget, measured: float, verdict: str) -> None:
    assert budget.verdict(measured) == verdict


def test_a_line_meets_its_budgets_only_if_it_meets_both() -> None:
    def line(ratio: float) -> Line:
        budget, limit = Budget(at_most=3.0), Budget(at_most=ratio, unit="×")
        return Line(what="a", measured=[2.0, 9.0, 2.2], beside=[1.0, 4.5, 1.0], budget=budget, ratio_budget=limit)

    assert line(2.5).ratio == 2.0
    assert line(2.5).verdict == MET
    assert line(1.5).verdict == NOT_MET
    assert Line(what="a", measured=[9.0]).verdict == NONE


def test_the_table_says_what_is_not_met() -> None:
    text = markdown(
        [Line(what="slow", measured=[0.9, 1.0], budget=Budget(at_most=0.8)), Line(what="free", measured=[2])]
    )
    header, rule, slow, free = text.splitlines()
    assert len({len(line) for line in (header, rule, slow, free)}) == 1
    assert "not met" in slow
    assert "under 0.8 s" in slow
    assert "met" not in free


def test_a_program_that_fails_is_not_measured() -> None:
    with pytest.raises(BenchError, match="exit code 3"):
        took(python("-c", "raise SystemExit(3)"))


def test_the_page_keeps_its_words_around_the_table(repository: Path) -> None:
    page = (repository / "docs" / "performance.md").read_text(encoding="utf-8")
    once = command.page(page, "panel", "| first |\n")
    twice = command.page(once, "panel", "| second |\n")
    assert "| first |" in once
    assert "| first |" not in twice
    assert twice.replace("| second |", "| first |") == once
    assert once.startswith("# Performance\n")
    assert once.endswith(page[page.index(command.marks("panel")[1]) :])
    assert command.marks("run")[0] in once
    with pytest.raises(BenchError, match="no marks"):
        command.page("# Another page\n", "run", "")


def test_comparisons_that_found_something_else_are_not_measured() -> None:
    def found(**columns: int) -> Took:
        document = {"seconds": 1, "sides": [3, 0, 0], "columns": columns}
        return Took(wall_s=1, cpu_s=1, peak_mb=1, text=json.dumps(document))

    same_findings([found(product=1), found(product=1)])
    for others in ([found(product=2)], [found(product=1), found()]):
        with pytest.raises(BenchError, match="do not agree"):
            same_findings([found(product=1), *others])
    with pytest.raises(BenchError, match="do not agree"):
        same_findings([found(), found()])


# What a part's table must speak of. A part that takes half a minute is left to `make sweep`.
SAID = {
    "run": ("`abaco --help`", "`abaco run`, 300 rows", "peak memory", "calculation alone, 300 rows", "pandas"),
    "panel": ("panel, 300 loans", "peak memory of the panel, 300 loans"),
    "shadow": ("loans compared, 300 loans", "bare full join", "a bridge of five causes, 300 loans"),
    "cutover": ("no job is taken during a cutover", "rollback with 2 tapes to run again"),
    "watch": ("`abaco validate`",),
    "soak": ("calculations",),
}
LONG = ("cutover", "watch")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.sweep) if part in LONG else part for part in command.PARTS]
)
def test_the_bench_runs(part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(command.marks(part)), encoding="utf-8")
    asked = ["--rows", "300", "--only", part, "--folder", str(tmp_path), "--write", str(page)]
    assert command.main(asked) == 0
    printed = capsys.readouterr().out
    for what in SAID[part]:
        assert what in printed
    if part == "run":
        assert "under 0.2 s" in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]
