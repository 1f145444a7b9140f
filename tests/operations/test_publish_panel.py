"""The panel as it is published: found again, hashed, equal to runs date by date, whole after every accident."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import exp

from abaco_loans.kpi.formula import as_decimal
from abaco_loans.operations.build_panel import Span
from abaco_loans.operations.kpi_history import kpi_history
from abaco_loans.operations.publish_panel import PanelOutcome
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.outputs.cells import safe_text
from abaco_loans.portfolio.columns import columns
from abaco_loans.portfolio.dates import Every
from abaco_loans.portfolio.roll_forward import LINES, ROLL_FORWARD
from abaco_loans.records.runs import KpiRow
from abaco_loans.sample.spec import SampleSpec
from abaco_loans.wiring import open_records
from tests.operations.desk import Desk, read_csv
from tests.operations.panel_desk import (
    FEBRUARY,
    JANUARY,
    build,
    bytes_of,
    folder_of,
    opened,
    shots,
    values_of,
    verifies,
)
from tests.operations.plain_book import PRESETS, kpis, past, read_book, states_at

END = date(2025, 11, 30)
RUN_FACTS = {"compliance.audit_flags", "technology.data_quality_score"}
BY = ("product", "region", "currency")

# --- the books ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A desk, the tape on it, and its panel by month."""

    desk: Desk
    tape: Path
    outcome: PanelOutcome


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Two currencies, some dirty rows, five months."""
    place = tmp_path_factory.mktemp("sample")
    spec = SampleSpec(loans=120, months=5, currencies=2, dirty_share=Decimal("0.01"), end=END)
    assert write_sample(spec, place / "tapes").dirty
    desk, tape = Desk(place / "workspace"), place / "tapes" / "servicing"
    return Book(desk=desk, tape=tape, outcome=build(desk, tape, by=BY))


@pytest.fixture(scope="module")
def factoring(tmp_path_factory: pytest.TempPathFactory, factoring_dir: Path) -> Book:
    desk = Desk(tmp_path_factory.mktemp("factoring") / "workspace")
    span = Span(start=date(2023, 1, 1), end=END)
    outcome = build(desk, factoring_dir, span=span, definition="investor", by=("company",))
    return Book(desk=desk, tape=factoring_dir, outcome=outcome)


# --- one question, one panel ----------------------------------------------------------------------------------


def test_the_same_question_finds_the_panel_and_another_makes_another(desk: Desk, tmp_path: Path) -> None:
    tape = shots(tmp_path / "tape.csv")
    first = build(desk, tape, by=("product", "currency"))
    assert (first.earlier, first.record.status, first.record.attempt) == (False, "finished", 1)
    again = build(desk, tape, by=("currency", "product", "product"))
    assert (again.earlier, again.record, again.document) == (True, first.record, first.document)
    others = [
        build(desk, tape, by=("product",)),
        build(desk, tape, span=Span(at=(FEBRUARY,))),
        build(desk, tape, definition="mfrs"),
    ]
    assert not any(item.earlier for item in others)
    assert len({item.record.run_id for item in (first, *others)}) == 4
    assert len(desk.runs()) == 4
    verifies(desk)


def test_files_are_what_the_manifest_says(sample: Book) -> None:
    folder = folder_of(sample.desk, sample.outcome)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    listed = {item["path"]: item for item in manifest["files"]}
    assert set(listed) | {"manifest.json"} == set(bytes_of(folder))
    for name, item in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == item["sha256"]
        assert (folder / name).stat().st_mode & 0o777 == 0o444
    assert {name for name, item in listed.items() if not item["restricted"]} == {"panel.json", "series.csv"}
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert digest == sample.outcome.record.manifest_sha256
    assert manifest["run_id"] == sample.outcome.record.run_id == folder.name
    assert json.loads((folder / "panel.json").read_text(encoding="utf-8")) == sample.outcome.document


# --- a series is many runs -------------------------------------------------------------------------------------


def said(rows: tuple[KpiRow, ...], day: date, segments: tuple[str, ...] = ()) -> dict[tuple[str, str, str], Any]:
    """What was said of a day by KPI and cell: everything but bounds (a panel prices no quarantine) and reasons."""
    return {
        (row.kpi_id, row.segment, row.segment_value): (row.value_exact, row.value, row.unit, row.status, row.components)
        for row in rows
        if row.as_of == day and (not row.segment or row.segment in segments)
    }


def agrees(book: Book, day: date, segments: tuple[str, ...], definition: str | None = None) -> int:
    """The series of a panel at a day is the run at that day; gives how many values were compared."""
    run = book.desk.run(book.tape, as_of=day, definition=definition)
    alone = said(values_of(book.desk, run.record.run_id), day, segments)
    series = said(values_of(book.desk, book.outcome.record.run_id), day, segments)
    if day != book.outcome.record.as_of:
        alone = {key: value for key, value in alone.items() if key[0] not in RUN_FACTS}
        series = {key: value for key, value in series.items() if key[0] not in RUN_FACTS}
    assert series == alone
    return sum(value[0] is not None for value in series.values())


@pytest.mark.parametrize("day", [date(2025, 7, 31), END])
def test_the_series_of_the_sample_is_its_runs_by_segment_too(sample: Book, day: date) -> None:
    assert agrees(sample, day, BY) > 60


@pytest.mark.slow
def test_the_series_of_the_real_book_is_its_runs_and_a_plain_program(factoring: Book) -> None:
    day = date(2024, 6, 30)
    assert agrees(factoring, day, ("company",), "investor") > 20
    rows = values_of(factoring.desk, factoring.outcome.record.run_id)
    found = {row.kpi_id: row.value_exact for row in rows if row.as_of == day and not row.segment}
    for kpi_id, value in kpis(read_book(factoring.tape), day, PRESETS["investor"]).items():
        assert found[kpi_id] == as_decimal((value.numerator, value.denominator)), kpi_id


def test_a_date_that_the_statement_for_all_dates_finds_no_row_of_has_its_own_answer(desk: Desk, tmp_path: Path) -> None:
    """In January nobody knows the customers: nothing is grouped by them there, and much in February."""
    tapes = [shots(tmp_path / "january.csv", 6, JANUARY, customer_id=""), shots(tmp_path / "february.csv", 6, FEBRUARY)]
    found = values_of(desk, build(desk, *tapes).record.run_id)
    for tape, day in zip(tapes, (JANUARY, FEBRUARY), strict=True):
        alone = said(values_of(desk, desk.run(tape, as_of=day).record.run_id), day)
        together = said(found, day)
        compared = [key for key in together if key[0] not in RUN_FACTS]
        assert {key: together[key] for key in compared} == {key: alone[key] for key in compared}
        assert (together["concentration.hhi_customers", "", ""][0] is None) == (day == JANUARY)


def test_before_the_first_loan_nothing_can_be_computed_and_nothing_fails(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=20, months=4), tmp_path / "tapes")
    before = date(2020, 1, 31)
    panel = build(desk, tmp_path / "tapes" / "servicing", span=Span(at=(before, END)))
    found = {(row.kpi_id, row.as_of): row.value_exact for row in values_of(desk, panel.record.run_id)}
    assert found["risk.par_30", before] is None
    assert found["risk.par_30", END] is not None
    assert {kpi for kpi, day in found if day == before} == {kpi for kpi, day in found if day == END}


def test_series_csv_is_what_was_recorded(sample: Book) -> None:
    written = read_csv(folder_of(sample.desk, sample.outcome) / "series.csv")
    recorded = values_of(sample.desk, sample.outcome.record.run_id)
    assert [(row["kpi_id"], row["segment"], row["segment_value"], row["as_of"], row["status"]) for row in written] == [
        (row.kpi_id, row.segment, row.segment_value, str(row.as_of), row.status) for row in recorded
    ]
    exact = [Decimal(row["value_exact"]) if row["value_exact"] else None for row in written]
    assert exact == [row.value_exact for row in recorded]
    assert {row["as_of"] for row in written} == set(sample.outcome.document["dates"])


@pytest.mark.slow
def test_weeks_and_days_have_the_values_of_the_months(tmp_path: Path, desk: Desk) -> None:
    write_sample(SampleSpec(loans=80, months=3, end=END), tmp_path)
    tape = tmp_path / "servicing"
    months = values_of(desk, build(desk, tape, by=("product",)).record.run_id)
    for every, start, dates in ((Every.WEEK, None, 15), (Every.DAY, date(2025, 10, 31), 31)):
        made = build(desk, tape, span=Span(start=start, end=END, every=every), by=("product",))
        assert len(made.document["dates"]) == dates
        rows = values_of(desk, made.record.run_id)
        for day in [date(2025, 9, 30)] * (start is None) + [date(2025, 10, 31), END]:
            assert said(rows, day, ("product",)) == said(months, day, ("product",)), (every, day)


@pytest.mark.slow
def test_weeks_differ_from_months_by_the_rounding_of_exchanged_flows_alone(sample: Book) -> None:
    """Each flow of a loan and period is rounded to 4 decimals in reporting currency; a month has five such periods."""
    weeks = build(sample.desk, sample.tape, span=Span(end=END, every=Every.WEEK), by=BY)
    dense = values_of(sample.desk, weeks.record.run_id)
    coarse = values_of(sample.desk, sample.outcome.record.run_id)
    for day in map(date.fromisoformat, sample.outcome.document["dates"]):
        finer, wanted = said(dense, day, BY), said(coarse, day, BY)
        assert finer.keys() == wanted.keys()
        for key, (exact, _, unit, status, _) in wanted.items():
            assert finer[key][2:4] == (unit, status), key
            assert (finer[key][0] is None) == (exact is None)
            assert exact is None or abs(finer[key][0] - exact) < Decimal("0.01"), key


def test_values_are_recorded_by_date_and_by_time_of_saying(sample: Book) -> None:
    desk, outcome = sample.desk, sample.outcome
    with open_records(desk.workspace, desk.clock) as store:
        history = kpi_history(store.reader, "risk.par_30", as_of=END)
        days = [str(point.row.as_of) for point in history.series]
        assert set(days) >= set(outcome.document["dates"])
        assert days == sorted(days)
        cell = kpi_history(store.reader, "risk.par_30", segment="currency", segment_value="USD")
        assert cell.series[-1].row.value is not None
    own = [item for item in history.said if item.row.run_id == outcome.record.run_id]
    assert [item.row.recorded_at for item in own] == [desk.clock.now()]
    assert {item.row.value_exact for item in history.said} == {own[0].row.value_exact}, "all of them agree"


# --- the roll-forward of the real book --------------------------------------------------------------------------


def test_the_real_book_rolls_forward_month_by_month_to_the_cent(factoring: Book) -> None:
    with opened(factoring.desk, factoring.outcome.record.run_id) as panel:
        table = ROLL_FORWARD.table(panel.asked())
    names = [column.name for column in table.columns]
    rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in table.rows]
    assert len(rows) == 35
    for row in rows:
        moved = sum((sign * row[name] for name, (_, sign) in LINES.items()), Decimal(0))
        assert row["opening"] + moved + row["currency"] == row["closing"], row["as_of"]
        assert row["difference"] == row["currency"] == 0
    assert [row["opening"] for row in rows[1:]] == [row["closing"] for row in rows[:-1]]
    loans, rules = read_book(factoring.tape), PRESETS["investor"]
    series = {
        (row.as_of, row.kpi_id): row.value_exact
        for row in values_of(factoring.desk, factoring.outcome.record.run_id)
        if not row.segment
    }
    for number in (5, 16, 34):
        day, before = rows[number]["as_of"], rows[number - 1]["as_of"]
        now, then = states_at(loans, day, rules), states_at(loans, before, rules)
        assert rows[number]["opening"] == sum((item.outstanding for item in then.values()), Decimal(0))
        assert rows[number]["closing"] == sum((item.outstanding for item in now.values()), Decimal(0))
        lent = [m for loan in loans for m in loan.movements if m.kind == "DISBURSEMENT" and before < m.day <= day]
        assert rows[number]["disbursed"] == sum((item.principal for item in lent), Decimal(0))
        for days in (30, 90):
            assert series[day, f"risk.par_{days}"] == _decimal(past(now, days, rules))
    checks = {item["code"]: item["status"] for item in factoring.outcome.document["checks"]}
    assert set(checks) == {"ROLL-101", "ROLL-102", "MOVE-101", "MOVE-102", "MOVE-103", "MOVE-104"}
    assert set(checks.values()) == {"passed"}
    verifies(factoring.desk)


def _decimal(value: Fraction) -> Decimal:
    return as_decimal((value.numerator, value.denominator))


# --- rows that are refused ------------------------------------------------------------------------------------------


def test_refused_rows_are_counted_listed_and_left_out(sample: Book) -> None:
    rows = sample.outcome.document["rows"]
    assert rows["in"] == rows["accepted"] + rows["quarantined"] + rows["duplicates"]
    assert rows["quarantined"] > 0
    listed = read_csv(folder_of(sample.desk, sample.outcome) / "quarantine.csv")
    assert len({(row["file"], row["line"]) for row in listed}) == rows["quarantined"]
    counts = sample.desk.quarantine_counts(sample.outcome.record.run_id)
    assert sum(item.rows for item in counts) >= rows["quarantined"]
    assert sample.outcome.record.rows is not None
    assert sample.outcome.record.rows.as_tuple()[2] == rows["quarantined"]


# --- files of a person's choice, and secrets -------------------------------------------------------------------------


def duck(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


def test_out_is_the_panel_in_every_column_and_row(sample: Book, tmp_path: Path) -> None:
    span = Span(start=date(2025, 7, 1), end=END)
    for name in ("panel.parquet", "panel.csv"):
        found = build(sample.desk, sample.tape, span=span, by=BY, out=tmp_path / name)
        assert found.earlier, "the file is written for a panel that was built before, too"
    names = list(columns())
    with opened(sample.desk, sample.outcome.record.run_id) as panel:
        query = exp.select(*(exp.column(name, quoted=True) for name in names)).from_("panel")
        wanted = panel.engine.rows(query.order_by("loan_id", "as_of"))
    assert [row[:2] for row in duck(f"DESCRIBE SELECT * FROM '{tmp_path}/panel.parquet'")] == [
        (name, kind) for name, (kind, _) in columns().items()
    ]
    assert duck(f"SELECT * FROM '{tmp_path}/panel.parquet'") == wanted
    with (tmp_path / "panel.csv").open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header == names
    words = {"True": "true", "False": "false", "None": ""}
    assert lines == [[words.get(str(cell), safe_text(str(cell))) for cell in row] for row in wanted]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["panel.csv", "panel.parquet"]


PERSON, GUARANTOR = "PlantedRosales", "PlantedSandoval"


def test_names_of_people_are_in_no_file(desk: Desk, tmp_path: Path) -> None:
    more = {"guarantor": GUARANTOR, "customer_id": PERSON, "product": "=cmd|' /C calc'!A1"}
    tape = shots(tmp_path / "tape.csv", 8, **more)
    outcome = build(desk, tape, by=("product",), out=tmp_path / "panel.csv")
    build(desk, tape, by=("product",), out=tmp_path / "panel.parquet")
    files = [path for path in (*desk.workspace.root.rglob("*"), *tmp_path.glob("*.*")) if path.is_file()]
    texts = {path: path.read_bytes() for path in files if path != tape}
    for path in [path for path in texts if path.suffix == ".parquet"]:
        texts[path] += repr(duck(f"SELECT * FROM '{path}'")).encode()
    for marker in (PERSON, GUARANTOR):
        forms = [marker.encode(encoding) for encoding in ("utf-8", "utf-16-le")]
        assert not [path for path, text in texts.items() if any(form in text for form in forms)]
        assert marker not in " ".join(desk.said) + json.dumps(outcome.document)
    (masked,) = {row["customer_id"] for row in read_csv(tmp_path / "panel.csv")}
    assert masked and masked.encode() in texts[tmp_path / "panel.parquet"]
    for row in read_csv(tmp_path / "panel.csv"):
        assert row["product"].startswith("'="), "a spreadsheet must not run it"
    assert "\n=" not in (folder_of(desk, outcome) / "series.csv").read_text(encoding="utf-8").replace(",=", "\n=")
