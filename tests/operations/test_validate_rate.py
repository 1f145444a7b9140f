"""The rate of the last runs: their median against the budget, of the release that is validated and of one layout."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from abaco_loans.errors import AbacoError
from abaco_loans.operations.check_performance import _rate
from abaco_loans.operations.run_release import run_release
from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.operations.validation_desk import Desk as ValidationDesk
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.records.runs import RowCounts, RunRecord
from abaco_loans.sample import SampleSpec
from abaco_loans.watch.check import Status, SubCheck
from abaco_loans.wiring import run_tools
from tests.operations.desk import Desk, bucketed_row, worked_example, write_csv
from tests.operations.programs import add_program
from tests.operations.validate_desk import opened

MILLION = RowCounts(rows_in=1_000_000, accepted=1_000_000, quarantined=0, duplicate=0)


@pytest.fixture
def bench(desk: Desk, tmp_path: Path) -> Iterator[ValidationDesk]:
    """What the check is given, after one run."""
    desk.run(write_csv(tmp_path / "tape.csv", worked_example()))
    with opened(desk) as found:
        yield found


def rate(bench: ValidationDesk, *runs: RunRecord) -> SubCheck:
    return _rate(replace(bench, last_runs=runs))


def test_one_slow_run_is_a_busy_machine_and_three_are_the_release(bench: ValidationDesk) -> None:
    last = bench.last
    assert last is not None

    def took(seconds: float, rows: RowCounts | None = last.rows) -> RunRecord:
        return replace(last, timings={"ingestion": seconds / 2, "output": seconds / 2}, rows=rows)

    good = rate(bench, took(50), took(1), took(2), took(3), took(1))
    assert good.status is Status.PASS
    assert (good.metrics["last_runs"], good.metrics["last_runs_budget_percent"]) == (5, 20)
    assert [item["seconds"] for item in good.evidence["runs"]] == ["50.0", "1.0", "2.0", "3.0", "1.0"]
    assert rate(bench, took(1), took(11), took(12), took(13), took(1)).status is Status.WARN
    assert rate(bench, took(90, MILLION), took(80, MILLION), took(1)).status is Status.PASS, "by the rows of each"
    assert rate(bench, took(101, MILLION)).status is Status.WARN
    assert rate(bench, took(1), replace(last, timings={})).status is Status.UNKNOWN
    assert rate(bench, took(1), took(1, None)).status is Status.UNKNOWN
    assert rate(bench).status is Status.NOT_APPLICABLE


def test_only_runs_of_the_release_and_of_the_last_layout_are_looked_at(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=20, months=3), tmp_path / "sample")
    desk.run(tmp_path / "sample" / "snapshot.csv")
    for number in range(2):
        desk.run(write_csv(tmp_path / f"{number}.csv", [*worked_example(), bucketed_row("N", str(number), b0="0")]))
    wanted = [item.run_id for item in desk.runs()[:2]]
    add_program(desk.workspace, "old", 'print(\'{"kpis": {"risk.par_30": 1}}\')\n')
    request = RunRequest(path=tmp_path / "0.csv", release="old")
    run_release(request, run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock), desk.environment)
    with opened(desk) as found:
        assert not isinstance(found.last_runs, AbacoError)
        assert [item.run_id for item in found.last_runs] == wanted
        assert found.last is not None
        assert found.last.release == "old"
    with opened(desk) as found:
        assert _rate(found).status is Status.PASS
    with closing(sqlite3.connect(desk.workspace.root / "records" / "abaco.db")) as raw, raw:
        raw.execute("UPDATE runs SET timings = '{}' WHERE layout = 'snapshot'")
    with opened(desk) as found:
        assert isinstance(found.last_runs, AbacoError), "an altered run may have been any of them"
