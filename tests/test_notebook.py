"""The product in a notebook: the numbers of the command line, handed to pandas and polars."""

from __future__ import annotations

import csv
import gc
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import abaco_loans
from abaco_loans import Panel, Table, Tape, panel, read_tape, views
from abaco_loans.cli import main
from abaco_loans.errors import AbacoError
from abaco_loans.notebook.table import NUMBER, Field
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.portfolio.columns import columns as panel_columns
from abaco_loans.portfolio.views import VIEWS
from abaco_loans.sample import SampleSpec

PLACES = Decimal("1e-10")
KEY = "5a" * 32
BY = {"ageing": "product", "roll_rates": "region", "vintages": "company"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample in two currencies, some rows of it spoiled, and a later one of other loans."""
    place = tmp_path_factory.mktemp("notebook")
    dirty = Decimal("0.02")
    write_sample(SampleSpec(loans=250, months=8, currencies=2, dirty_share=dirty), place / "sample")
    write_sample(SampleSpec(loans=300, months=8, end=date(2025, 10, 31), dirty_share=dirty), place / "october")
    return place


@pytest.fixture(scope="module")
def tape(folder: Path) -> Iterator[Tape]:
    with read_tape(folder / "sample" / "servicing", key=KEY) as opened:
        yield opened


@pytest.fixture(scope="module")
def book(tape: Tape) -> Panel:
    return panel(tape, end="2025-11")


@pytest.fixture(scope="module")
def workspace(folder: Path) -> Path:
    """A workspace with the same panel, made by the command line."""
    place = folder / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABACO_MASKING_KEY", KEY)
        for words in (["init", place], ["panel", folder / "sample" / "servicing", "--workspace", place]):
            with pytest.raises(SystemExit) as left:
                main([str(word) for word in words])
            assert left.value.code in (0, None)
    return place


def rounded(rows: list[tuple[Any, ...]], table: Table) -> list[tuple[Any, ...]]:
    """The rows as Arrow has them: what was computed is rounded to 10 decimals."""
    assert all(len(row) == len(table.columns) for row in rows)
    with localcontext(prec=60, rounding=ROUND_HALF_EVEN):
        return [tuple(v.quantize(PLACES) if isinstance(v, Decimal) else v for v in row) for row in rows]


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_reaches_polars_and_pandas_as_it_is(book: Panel, name: str) -> None:
    table = getattr(views, name)(book, by=BY.get(name))
    assert len(table) == len(table.rows()) > 0
    frame = pl.DataFrame(table)
    assert tuple(frame.columns) == table.columns
    assert frame.rows() == rounded(table.rows(), table)
    kinds = {"text": pl.String, "date": pl.Date, "count": pl.Int64}
    wanted = [kinds.get(unit, pl.Decimal(38, 10)) for _, unit, _ in table.describe()]
    assert frame.dtypes == wanted
    again = pd.DataFrame(table.rows(), columns=pd.Index(table.columns))
    assert again.shape == frame.shape
    assert views.__dir__() == list(VIEWS)


@pytest.mark.parametrize(
    ("name", "options"),
    [("ageing", ["--by", "product"]), ("vintages", []), ("top_customers", []), ("covenants", []), ("cures", [])],
)
def test_a_view_is_that_of_the_command_line(
    book: Panel, workspace: Path, name: str, options: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ABACO_MASKING_KEY", KEY)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["view", name, *options, "--workspace", str(workspace), "--json"])
    said = json.loads(capsys.readouterr().out)
    table = getattr(views, name)(book, by=options[1] if options else None)
    texts = [[v if v is None or isinstance(v, int) else str(v) for v in row] for row in table.rows()]
    assert [list(row.values()) for row in said["rows"]] == texts
    assert [column["name"] for column in said["columns"]] == list(table.columns)
    assert (said["notes"], said["restricted"]) == (list(table.notes), table.restricted)
    assert said["definition"] == book.definition


def test_kpis_are_those_of_the_command_line(book: Panel, workspace: Path) -> None:
    series = next((workspace / "outputs" / "panels").glob("*/series.csv"))
    with series.open(encoding="utf-8", newline="") as stream:
        names, *written = csv.reader(stream)
    table = book.kpis()
    assert names == list(table.columns)
    said = [
        ["" if v is None else format(v, "f") if isinstance(v, Decimal) else str(v) for v in row] for row in table.rows()
    ]
    assert said == written
    assert pl.DataFrame(table).rows() == rounded(table.rows(), table)
    by = pl.DataFrame(book.kpis(by="product"))
    assert set(by["segment"]) == {"", "product"}
    assert "suppressed" in set(by["status"])


def test_the_panel_is_a_table_of_every_loan_at_every_date(book: Panel, tape: Tape) -> None:
    frame = pl.DataFrame(book)
    assert frame.rows() == book.rows()
    assert (book.columns, len(book)) == (tuple(panel_columns()), frame.height)
    assert tuple(frame["as_of"].unique().sort()) == book.dates
    assert frame["outstanding_principal"].dtype == pl.Decimal(18, 4)
    assert frame["customer_id"].str.contains("^m[0-9a-f]{32}$").all()
    assert [check["status"] for check in book.checks()] == ["passed"] * len(book.checks())
    assert repr(book).startswith(f"Panel from {book.dates[0]} to 2025-11-30, USD, definition investor: {len(book):,} ")
    assert tape.rows["in"] == sum(tape.rows[name] for name in ("accepted", "quarantined", "duplicates"))
    assert {warning["code"] for warning in tape.warnings} <= {warning["code"] for warning in book.warnings}


def test_the_quarantine_lists_every_fault(tape: Tape) -> None:
    listed = pl.DataFrame(tape.quarantine)
    assert listed.select(pl.struct("file", "line").n_unique()).item() == tape.rows["quarantined"] > 0
    assert listed.rows() == tape.quarantine.rows()


@pytest.mark.slow
def test_snapshots_join_and_their_quarantines_too(folder: Path) -> None:
    paths = [folder / name / "snapshot.csv" for name in ("october", "sample")]
    alone = []
    for path in paths:
        with read_tape(path) as one:
            alone += one.quarantine.rows()
    with read_tape(*paths) as both:
        assert sorted(both.quarantine.rows(), key=str) == sorted(alone, key=str)
        assert len({row[1] for row in alone}) > 1
        joined = panel(both)
        assert joined.dates == (date(2025, 10, 31), date(2025, 11, 30))
        assert len(views.roll_rates(joined)) > 0
        assert {row[3] for row in joined.kpis().rows()} == set(joined.dates)


@pytest.mark.slow
def test_two_streams_are_alive_at_once_and_outlive_what_made_them(folder: Path) -> None:
    class Held:
        def __init__(self, table: Table) -> None:
            self.stream = table.__arrow_c_stream__()

        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            return self.stream

    tape = read_tape(folder / "sample" / "servicing")
    first, second = panel(tape, end="2025-11"), panel(tape, "iris", at=["2025-10-31", "2025-11"])
    tables = [first, second, views.ageing(first), views.ageing(second)]
    wanted = [pl.DataFrame(table) for table in tables]
    held = [Held(table) for table in tables]
    assert first.kpis().rows()
    second.close()
    assert len(first.rows()) == len(first)
    for stream, frame in reversed(list(zip(held[2:], wanted[2:], strict=True))):
        assert pl.DataFrame(stream).equals(frame)
    assert pl.DataFrame(held[0]).equals(wanted[0])
    ageing = tables[2]
    tape.close()
    tape.close()
    assert pl.DataFrame(ageing).equals(wanted[2])
    assert "closed" in repr(tape)
    assert repr(first).startswith("Panel from ")
    for call in (first.rows, first.kpis, second.checks, lambda: panel(tape), lambda: tape.quarantine):
        with pytest.raises(AbacoError) as told:
            call()
        assert told.value.code == "LIB-101" and told.value.hint


def test_what_nothing_refers_to_is_let_go(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tape = read_tape(folder / "sample" / "snapshot.csv")
    book = panel(tape)
    (private,) = tmp_path.iterdir()
    assert private.stat().st_mode & 0o077 == 0
    assert len(list(private.glob("panel*"))) == 1
    del tape
    gc.collect()
    assert len(views.ageing(book)) > 0
    del book
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AbacoError):
        read_tape(folder / "sample" / "bucketed.csv")
    assert list(tmp_path.iterdir()) == []


def test_texts_of_any_kind_and_nothing_at_all_arrive(tmp_path: Path) -> None:
    fields = [
        Field(name='a "b"', type="VARCHAR", unit="text", text=""),
        Field(name="n", type=NUMBER, unit="ratio", text=""),
        Field(name="d", type="DATE", unit="date", text=""),
    ]
    texts = ["", " ", "it's", "a\nb", "\ue000\ue001", "'); --", "t", "\\", None]
    rows: list[tuple[Any, ...]] = [
        (text, Decimal(index) / 7 - 1, date(1999, 12, index + 1)) for index, text in enumerate(texts)
    ]
    rows += [("x", None, None), ("half", Decimal("0.00000000005"), None), ("big", Decimal(10) ** 27, None)]
    table = Table("T", fields, rows)
    assert pl.DataFrame(table).rows() == rounded(rows, table)
    empty = pl.DataFrame(Table("E", fields, []))
    assert (empty.height, empty.dtypes) == (0, pl.DataFrame(table).dtypes)
    assert repr(Table("E", fields, [])).splitlines() == ["E: 0 rows × 3 columns", '  a "b"  n  d']


def test_dates_are_given_as_people_write_them(tape: Tape) -> None:
    by_month = panel(tape, start="2025-09", end="2025-10").dates
    assert by_month == (date(2025, 9, 30), date(2025, 10, 31))
    assert panel(tape, start=date(2025, 9, 1), end=datetime(2025, 10, 31, 12)).dates == by_month  # noqa: DTZ001
    assert panel(tape, at=date(2025, 9, 15)).dates == (date(2025, 9, 15),)


def test_another_release_and_its_policy_are_used(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "v3"
    for name, text in builtin_texts().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text.replace("  mfrs:", "  house:"), encoding="utf-8")
    (place / "portfolio.yml").unlink()
    with read_tape(folder / "sample" / "snapshot.csv", release=place) as tape:
        assert "house" in tape.definitions
        book = panel(tape, "house")
        assert book.definition["name"] == "house"
        assert len(views.covenants(book)) == 0


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("KEY-101", {"key": "short"}),
        ("CFG-501", {"memory_mb": 1}),
        ("CFG-501", {"threads": 0}),
        ("TAPE-103", {"layout": "snapshots"}),
        ("REL-103", {"release": "nowhere"}),
    ],
)
def test_a_wrong_way_to_read_says_what_to_do(folder: Path, code: str, options: dict[str, Any]) -> None:
    with pytest.raises(AbacoError) as told:
        read_tape(folder / "sample" / "snapshot.csv", **options)
    assert told.value.code == code and told.value.hint


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("PAN-103", {"start": "yesterday"}),
        ("PAN-103", {"every": "quarter"}),
        ("PAN-103", {"start": "2031-01", "end": "2030-01"}),
        ("REL-102", {"definition": "investors"}),
        ("CFG-501", {"currency": "dollars"}),
    ],
)
def test_a_wrong_panel_says_what_to_do(tape: Tape, code: str, options: dict[str, Any]) -> None:
    with pytest.raises(AbacoError) as told:
        panel(tape, **options)
    assert told.value.code == code and told.value.hint


def test_a_wrong_question_says_what_to_do(book: Panel, tape: Tape) -> None:
    wrong: Any = tape
    for code, call in (
        ("CLI-108", lambda: views.agein(book)),
        ("CLI-106", lambda: views.ageing(book, by="colour")),
        ("CLI-106", lambda: book.kpis(by="colour")),
        ("CLI-109", lambda: views.covenants(book, by="product")),
        ("LIB-102", lambda: views.ageing(wrong)),
        ("LIB-103", lambda: views.cures(book, horizon=0)),
        ("SRC-201", lambda: read_tape("no_such_file.csv")),
    ):
        with pytest.raises(AbacoError) as told:
            call()
        assert told.value.code == code and told.value.hint
    assert not hasattr(views, "agein")
    assert "outstanding (amount):" in str(views.ageing.__doc__)
    assert not hasattr(abaco_loans, "pandas")
    assert set(abaco_loans.__all__) <= set(dir(abaco_loans))


SAYS = """
import sys, time
before = set(sys.modules)
began = time.process_time()
import abaco_loans
took = time.process_time() - began
assert {name for name in sys.modules if name.startswith("abaco_loans")} == {"abaco_loans"}
assert took < 0.05, took
table = abaco_loans.read_tape(sys.argv[1]).quarantine
table.__arrow_c_stream__()
found = {"pandas", "polars", "pyarrow", "numpy"} & set(sys.modules)
assert not found, found
"""


def test_nothing_is_imported_that_is_not_needed(folder: Path) -> None:
    words = [sys.executable, "-W", "error", "-c", SAYS, str(folder / "sample" / "snapshot.csv")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_example_of_the_docs_works(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    page = (repository / "docs" / "notebook.md").read_text(encoding="utf-8")
    shell, code = re.findall(r"```(?:python)?\n(.*?)```", page, re.DOTALL)
    words = next(line for line in shell.splitlines() if line.startswith("abaco ")).split()[1:]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(words)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["late"].height == 6 and names["par_30"].height > 6 and names["loans"].height > 300


@pytest.mark.slow
def test_the_real_book_is_read(factoring_dir: Path) -> None:
    with read_tape(factoring_dir) as tape:
        book = panel(tape, every="month", end="2025-12")
        frame = pl.DataFrame(views.roll_forward(book))
        assert frame.rows() == rounded(views.roll_forward(book).rows(), views.roll_forward(book))
        by_date = pl.DataFrame(book).group_by("as_of").agg(pl.col("outstanding_principal_reporting").sum())
        closing = dict(frame.select("as_of", "closing").rows())
        assert {day: amount for day, amount in by_date.rows() if day in closing} == closing
