"""The old report that ships as release v1 says what the engine says, as far as it prints."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.builtin_releases.v1 import legacy
from abaco_loans.operations.run_command import CommandJob, CommandStatus, read_program, run_command
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.releases.command import OWN_FILES, Printed, parse_output
from abaco_loans.releases.command_file import read_command
from abaco_loans.sample import SampleSpec
from abaco_loans.strict_yaml import parse
from tests.operations.desk import Desk
from tests.operations.plain_book import PRESETS, read_book, states_at

FOLDER = Path(legacy.__file__).parent
REQUIRED = {"risk.par_30", "risk.par_90", "risk.collection_rate", "risk.portfolio_health"}
AMOUNTS = {"finance.outstanding", "risk.written_off_balance"}
OF_LOANS = AMOUNTS | {"finance.weighted_apr", "growth.active_clients", "risk.par_180"}
NOISE = Decimal("1e-7")
END = date(2025, 11, 30)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(SampleSpec(loans=400, months=20, seed=5, currencies=2, end=END), folder)
    return folder


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "workspace")


def agree(printed: Mapping[str, Printed | None], desk: Desk, tape: Path, day: date) -> set[str]:
    """Hold every KPI of the old report against the engine's; the ids of those that have a value."""
    found = desk.kpis(desk.run(tape, as_of=day))["kpis"]
    for kpi_id, old in printed.items():
        exact = found[kpi_id]["value_exact"]
        assert (old is None) == (exact is None), f"{kpi_id}: {old}, {found[kpi_id]}"
        if old is not None:
            # Where rounding leaves a last zero, floating point does not print it.
            half_unit = Decimal("0.005") if kpi_id in AMOUNTS else Decimal("0.05")
            assert old.decimals <= (2 if kpi_id in AMOUNTS else 1)
            assert abs(old.value - Decimal(exact)) <= half_unit + NOISE, kpi_id
    assert set(printed) >= REQUIRED
    return {kpi_id for kpi_id, old in printed.items() if old is not None}


def report(
    tape: Path, day: date | None, capsys: pytest.CaptureFixture[str], loans_out: str = ""
) -> Mapping[str, Printed | None]:
    legacy.main(tape, day.isoformat() if day else "", loans_out)
    return parse_output(capsys.readouterr().out).kpis


@pytest.mark.parametrize(
    ("name", "known", "unknown"),
    [
        ("bucketed.csv", REQUIRED, {"risk.par_180", "risk.par_15"}),
        ("snapshot.csv", REQUIRED | OF_LOANS, set()),
        ("servicing", OF_LOANS | {"finance.scheduled_collection_rate"}, {"risk.collection_rate"}),
    ],
)
def test_each_layout(
    desk: Desk, sample: Path, name: str, known: set[str], unknown: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = report(sample / name, END, capsys)
    assert report(sample / name, None, capsys) == printed, "the last date is found"
    valued = agree(printed, desk, sample / name, END)
    assert valued >= known and not valued & unknown


@pytest.mark.parametrize("day", [date(2025, 2, 28), date(2024, 9, 10)])
def test_servicing_at_other_dates(desk: Desk, sample: Path, day: date, capsys: pytest.CaptureFixture[str]) -> None:
    assert agree(report(sample / "servicing", day, capsys), desk, sample / "servicing", day) >= OF_LOANS


@pytest.mark.slow
def test_the_real_book_as_a_release(desk: Desk, factoring_dir: Path, tmp_path: Path) -> None:
    """As a workspace runs it: apart, under its limits, from its own file."""
    files = {name: data for name, data in read_program(FOLDER).items() if name != "__init__.py"}
    assert set(files) == {"legacy.py"} and "release.yml" in OWN_FILES
    text = (FOLDER / "release.yml").read_text(encoding="utf-8")
    spec = read_command(parse(text, name="releases/v1/release.yml"))
    books = read_book(factoring_dir)
    for day in (date(2025, 4, 30), END):
        folder = tmp_path / day.isoformat()
        folder.mkdir()
        job = CommandJob(spec=spec, files=files, tape=factoring_dir, as_of=day, folder=folder, environment={})
        found = run_command(job)
        assert found.status is CommandStatus.OK and found.output is not None, found
        assert found.seconds < 20 and found.peak_memory_mb < 400
        if day == END:
            agree(found.output.kpis, desk, factoring_dir, day)
        assert found.loans is not None and spec.loans is not None
        with found.loans.open(encoding="utf-8", newline="") as stream:
            rows = {row["loan_id"]: row for row in csv.DictReader(stream)}
        states = states_at(books, day, PRESETS["investor"])
        assert rows.keys() == states.keys() and set(spec.loans.columns.values()) == set(rows[next(iter(rows))])
        for loan_id, state in states.items():
            row = rows[loan_id]
            assert abs(Decimal(row["outstanding"]) - state.outstanding) <= Decimal("0.005") + NOISE, loan_id
            assert abs(Decimal(row["written_off_balance"]) - state.written_off) <= Decimal("0.005") + NOISE, loan_id
            assert row["written_off"] == str(bool(state.written_off)).lower()
            assert int(row["days_past_due"]) == state.days, loan_id


def test_a_tape_that_it_cannot_read_is_a_crash(desk: Desk, tmp_path: Path) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text("loan_id,measurement_date,total_receivable_usd,dpd_90_plus_usd\nA,2025-11-30,1_x,0\n", "utf-8")
    with pytest.raises(ValueError, match="1_x"):
        legacy.main(tape)


def test_a_day_without_rows_has_no_figures(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = report(sample / "bucketed.csv", date(2025, 1, 1), capsys)
    assert set(printed) >= REQUIRED and set(printed.values()) == {None}


def test_loan_rows_of_a_bucketed_tape(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "loans.csv"
    report(sample / "bucketed.csv", END, capsys, str(out))
    with out.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows and all(row["loan_id"] and Decimal(row["outstanding"]) >= 0 for row in rows)
    assert {(row["days_past_due"], row["written_off"], row["written_off_balance"]) for row in rows} == {("", "", "")}
