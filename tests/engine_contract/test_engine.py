"""What every engine promises (`engines.base.Engine`). Another engine joins by one more entry in ``ENGINES``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.engines.base import Engine, NotPlain
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.errors import AbacoError, InputError, InvariantError, WorldError
from abaco_loans.tape.staged import LINE_COLUMN, StagedFile, TextFormat

MakeEngine = Callable[[Path, list[Path]], Engine]


def _duckdb(scratch: Path, folders: list[Path]) -> Engine:
    return DuckDB(scratch=scratch, folders=folders, memory_mb=400, threads=2)


ENGINES: dict[str, MakeEngine] = {"duckdb": _duckdb}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An engine and the only folder that it may touch."""

    engine: Engine
    folder: Path
    outside: Path


@pytest.fixture(params=ENGINES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    folder, outside = tmp_path / "inside", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    engine = ENGINES[request.param](folder, [])
    yield Bench(engine=engine, folder=folder, outside=outside)
    engine.close()


def staged(path: Path, header: Sequence[str], **more: object) -> StagedFile:
    values = {"name": path.name, "path": str(path), "format": TextFormat.CSV, "sha256": "", "size_bytes": 0}
    return StagedFile(**{**values, "header": tuple(header), **more})  # type: ignore[arg-type]


def text_file(bench: Bench, text: str, name: str = "tape.csv") -> Path:
    path = bench.folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def everything(*names: str) -> exp.Select:
    return exp.select(*(exp.column(name, quoted=True) for name in names)).from_("source")


def rows(bench: Bench, table: str, *names: str) -> list[tuple[object, ...]]:
    chosen = exp.select(*(exp.column(name, quoted=True) for name in names)).from_(table)
    return bench.engine.rows(chosen.order_by(exp.column("rowid")))


def test_load_keeps_text_order_and_count(bench: Bench) -> None:
    count = 150_000
    path = bench.folder / "tape.csv"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("b,a\n")
        stream.writelines(f"{count - index},0{index}.10\n" for index in range(count))
    assert bench.engine.load("tape", staged(path, ("b", "a")), everything("a", "b")) == count
    wrong = (
        exp.select(exp.Count(this=exp.Star()))
        .from_("tape")
        .where(exp.cast(exp.column("b"), "BIGINT").neq(exp.Literal.number(count) - exp.column("rowid")))
    )
    assert bench.engine.rows(wrong) == [(0,)]
    first = exp.select("rowid", "a", "b").from_("tape").order_by("rowid").limit(2)
    assert bench.engine.rows(first) == [(0, "00.10", "150000"), (1, "01.10", "149999")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a,b\n1,2\n", [("1", "2")]),
        ("a,b\r\n1,2\r\n", [("1", "2")]),
        ("a,b\n1,2", [("1", "2")]),
        ('a,b\n"x,""y""",2\n', [('x,"y"', "2")]),
        ("a,b\n 1 , 2 \n", [(" 1 ", " 2 ")]),
        ("a,b\n1e5,NaN\n", [("1e5", "NaN")]),
        ("a,b\né, ñ\n", [("é", " ñ")]),
        ("a,b\n=1+1,-5\n", [("=1+1", "-5")]),
    ],
)
def test_load_reads_text_as_it_is_written(bench: Bench, text: str, wanted: list[tuple[str, str]]) -> None:
    bench.engine.load("tape", staged(text_file(bench, text), ("a", "b")), everything("a", "b"))
    assert rows(bench, "tape", "a", "b") == wanted


def test_an_empty_cell_is_empty_or_missing_and_never_text(bench: Bench) -> None:
    bench.engine.load("tape", staged(text_file(bench, 'a,b\n,1\n"",2\nNULL,3\n'), ("a", "b")), everything("a", "b"))
    found = rows(bench, "tape", "a")
    assert [value or None for (value,) in found] == [None, None, "NULL"]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1\n",
        "a,b\n1,2,3\n",
        'a,b\n1,"2\n',
        'a,b\n"1"x,2\n',
        "a,b\n1,2\n3\n4,5\n",
    ],
)
def test_a_structural_fault_is_not_plain(bench: Bench, text: str) -> None:
    with pytest.raises(NotPlain) as caught:
        bench.engine.load("tape", staged(text_file(bench, text), ("a", "b")), everything("a", "b"))
    assert caught.value.code == "ENG-101"
    assert caught.value.where == "tape.csv"
    # Nothing is left of it: the same name can be loaded again.
    assert bench.engine.load("tape", staged(text_file(bench, "a,b\n1,2\n", "x.csv"), ("a", "b")), everything("a")) == 1


def test_another_number_of_rows_than_promised_is_not_plain(bench: Bench) -> None:
    path = text_file(bench, "a,b\n1,2\n\n3,4\n")
    with pytest.raises(NotPlain):
        bench.engine.load("tape", staged(path, ("a", "b"), rows_expected=3), everything("a"))
    plain = staged(text_file(bench, "a,b\n1,2\n3,4\n", "x.csv"), ("a", "b"), rows_expected=2)
    assert bench.engine.load("tape", plain, everything("a")) == 2


def test_a_rewritten_file_has_its_lines(bench: Bench) -> None:
    path = text_file(bench, f"{LINE_COLUMN};a\n2;x\n7;y\n")
    source = staged(path, ("a",), delimiter=";", has_line_column=True)
    bench.engine.load("tape", source, everything(LINE_COLUMN, "a"))
    assert rows(bench, "tape", LINE_COLUMN, "a") == [("2", "x"), ("7", "y")]


def test_names_of_columns_are_never_code(bench: Bench) -> None:
    names = ('a"b', "x; DROP TABLE tape", "select", "it's")
    path = bench.folder / "tape.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([names, ("1", "2", "3", "4")])
    bench.engine.load("tape", staged(path, names), everything(*names))
    assert rows(bench, "tape", *names) == [("1", "2", "3", "4")]


def _numbers(bench: Bench, values: Sequence[Decimal], table: str = "numbers") -> None:
    given = exp.values([(exp.convert(str(value)),) for value in values], alias="given", columns=["v"])
    query = exp.select(exp.alias_(exp.cast(exp.column("v"), "DECIMAL(18,4)"), "v")).from_(given)
    bench.engine.execute(exp.Create(this=exp.to_table(table), kind="TABLE", expression=query, replace=True))


@given(values=st.lists(st.decimals(min_value=-(10**13), max_value=10**13, places=4), min_size=1, max_size=50))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_are_exact(bench: Bench, values: list[Decimal]) -> None:
    _numbers(bench, values)
    ((found,),) = bench.engine.rows(exp.select(exp.Sum(this=exp.column("v"))).from_("numbers"))
    assert isinstance(found, Decimal)
    assert found == sum(values, Decimal(0))


@pytest.mark.parametrize("expected", [1, 1_000_000])
def test_a_prepared_query_gives_the_rows_as_they_are_now(bench: Bench, expected: int) -> None:
    _numbers(bench, [Decimal(1)])
    again = bench.engine.prepare(exp.select(exp.Sum(this=exp.column("v"))).from_("numbers"), rows=expected)
    count = bench.engine.prepare(exp.select(exp.Count(this=exp.Star())).from_("numbers"), rows=expected)
    assert (again(), again(), count()) == ([(1,)], [(1,)], [(1,)])
    _numbers(bench, [Decimal(1), Decimal("2.5")])
    assert (again(), count()) == ([(Decimal("3.5"),)], [(2,)])
    bench.engine.execute(exp.Insert(this=exp.to_table("numbers"), expression=exp.select(exp.Literal.number(4))))
    assert (again(), again(), count()) == ([(Decimal("7.5"),)], [(Decimal("7.5"),)], [(3,)])
    highest = 10**14 - 1
    _numbers(bench, [Decimal(highest)] * 50)
    assert again() == [(highest * 50,)], "beyond 64 bits"


@pytest.mark.parametrize(("expected", "optimised"), [(1, False), (1_000_000, True)])
def test_only_a_prepared_query_over_few_rows_is_planned_as_written(
    bench: Bench, expected: int, optimised: bool
) -> None:
    setting = exp.Anonymous(this="current_setting", expressions=[exp.Literal.string("enable_optimizer")])
    query = exp.select(exp.alias_(setting, "is_on"))
    assert bench.engine.prepare(query, rows=expected)() == [(optimised,)]
    assert bench.engine.rows(query) == [(True,)]


def test_write_and_read_parquet_back(bench: Bench) -> None:
    query = exp.select(
        exp.alias_(exp.cast(exp.Literal.string("12.3400"), "DECIMAL(18,4)"), "amount"),
        exp.alias_(exp.cast(exp.Literal.string("2025-11-30"), "DATE"), "day"),
        exp.alias_(exp.cast(exp.null(), "VARCHAR"), "name"),
    )
    path = bench.folder / "out.parquet"
    bench.engine.write(query, path, "parquet")
    source = staged(path, (), format=TextFormat.PARQUET)
    assert bench.engine.columns(source) == ("amount", "day", "name")
    again = staged(path, ("amount", "day", "name"), format=TextFormat.PARQUET)
    assert bench.engine.load("tape", again, everything("amount", "day", "name")) == 1
    assert rows(bench, "tape", "amount", "day", "name") == [("12.3400", "2025-11-30", None)]


def test_a_double_of_parquet_is_read_through_its_shortest_text(bench: Bench) -> None:
    path = bench.folder / "out.parquet"
    double = exp.cast(exp.Literal.string("203.43"), "DOUBLE")
    bench.engine.write(exp.select(exp.alias_(double, "amount")), path, "parquet")
    bench.engine.load("tape", staged(path, ("amount",), format=TextFormat.PARQUET), everything("amount"))
    assert rows(bench, "tape", "amount") == [("203.43",)]


def test_write_csv_keeps_the_order_of_the_query(bench: Bench) -> None:
    _numbers(bench, [Decimal(3), Decimal("1.5"), Decimal(2)])
    path = bench.folder / "out.csv"
    bench.engine.write(exp.select("v").from_("numbers").order_by(exp.column("v").desc()), path, "csv")
    assert path.read_text(encoding="utf-8").split() == ["v", "3.0000", "2.0000", "1.5000"]


def test_a_format_that_is_not_written_is_our_own_fault(bench: Bench) -> None:
    with pytest.raises(InvariantError):
        bench.engine.write(exp.select("1"), bench.folder / "out.xml", "xml")


def test_a_damaged_parquet_file_is_said(bench: Bench) -> None:
    path = bench.folder / "bad.parquet"
    path.write_bytes(b"PAR1 this is not PAR1")
    with pytest.raises(InputError, match=r"ENG-102.*\[bad.parquet\]"):
        bench.engine.columns(staged(path, (), format=TextFormat.PARQUET))


def test_tables_live_as_long_as_the_engine(bench: Bench) -> None:
    _numbers(bench, [Decimal(1)])
    other = next(iter(ENGINES.values()))(bench.folder, [])
    with pytest.raises((InvariantError, AbacoError)):
        other.rows(exp.select("v").from_("numbers"))
    other.close()


def test_dates_and_texts_come_back_as_they_are(bench: Bench) -> None:
    day = exp.cast(exp.Literal.string("2024-02-29"), "DATE")
    assert bench.engine.rows(exp.select(day, exp.Literal.string("it's"), exp.null())) == [
        (date(2024, 2, 29), "it's", None)
    ]


# --- locked down --------------------------------------------------------------------------------------------


def test_files_elsewhere_can_be_neither_read_nor_written(bench: Bench) -> None:
    secret = bench.outside / "secret.csv"
    secret.write_text("a\n1\n", encoding="utf-8")
    with pytest.raises((InvariantError, WorldError)):
        bench.engine.load("tape", staged(secret, ("a",)), everything("a"))
    with pytest.raises((InvariantError, WorldError)):
        bench.engine.write(exp.select("1"), bench.outside / "out.csv", "csv")
    assert [path.name for path in bench.outside.iterdir()] == ["secret.csv"]
    sneaky = bench.folder / ".." / "outside" / "secret.csv"
    with pytest.raises((InvariantError, WorldError)):
        bench.engine.load("tape", staged(sneaky, ("a",)), everything("a"))


@pytest.mark.parametrize(
    "statement",
    [
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SET allowed_directories = ['/']",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '/tmp/elsewhere.db' AS elsewhere",
    ],
)
def test_no_setting_can_be_changed_and_nothing_installed(bench: Bench, statement: str) -> None:
    """DuckDB's own words: what a statement could say if one ever got through as text."""
    if not isinstance(bench.engine, DuckDB):
        pytest.skip("words of another engine")
    with pytest.raises((InvariantError, WorldError), match=r"(?i)locked|disabled|permission"):
        bench.engine.execute(exp.Command(this=statement, expression=""))
