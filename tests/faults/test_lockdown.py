"""The engine reads and writes its folders and nothing else, and cannot be talked out of it (FAULTS 22)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.errors import AbacoError, InvariantError


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDB]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = DuckDB(scratch=scratch, folders=[], memory_mb=200, threads=1)
    yield made
    made.close()


ATTEMPTS = [
    "SELECT * FROM read_csv('{out}/secret.csv')",
    "SELECT * FROM read_text('{out}/secret.csv')",
    "SELECT * FROM read_blob('{out}/secret.csv')",
    "SELECT * FROM '{out}/secret.csv'",
    "SELECT * FROM read_text('{scratch}/../secret.csv')",
    "SELECT * FROM read_text('{scratch}/link.csv')",
    "SELECT * FROM glob('{out}/*')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('https://example.com/x.csv')",
    "COPY (SELECT 1) TO '{out}/new.csv'",
    "COPY (SELECT 1) TO '{scratch}/../new.csv'",
    "COPY (SELECT 1) TO '{out}/secret.csv'",
    "ATTACH '{out}/new.db' AS other",
    "EXPORT DATABASE '{out}/export'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{out}/evil.so'",
    "SET enable_external_access=true",
    "SET lock_configuration=false",
    "SET temp_directory='{out}'",
    "SET memory_limit='64GB'",
    "SET threads=64",
    "SET allowed_directories=['/']",
    "RESET enable_external_access",
    "PRAGMA enable_external_access=true",
    "CREATE SECRET s (TYPE s3)",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_refused(attempt: str, engine: DuckDB, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\nplanted\n")
    (tmp_path / "scratch" / "link.csv").symlink_to(tmp_path / "secret.csv")
    before = sorted(path.name for path in tmp_path.iterdir())
    text = attempt.format(out=tmp_path, scratch=tmp_path / "scratch")
    found: list[tuple[object, ...]] = []
    with pytest.raises((AbacoError, InvariantError)):
        found = engine.rows(exp.Command(this=text.split(" ", 1)[0], expression=" " + text.split(" ", 1)[1]))
    assert "planted" not in str(found)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "secret.csv").read_text() == "a\nplanted\n"


def test_its_own_folder_works(engine: DuckDB, tmp_path: Path) -> None:
    engine.write(exp.select(exp.Literal.number(1).as_("a")), tmp_path / "scratch" / "x.csv", "csv")
    reads = sqlglot.parse_one(f"SELECT * FROM read_csv('{tmp_path / 'scratch' / 'x.csv'}')", dialect="duckdb")
    assert engine.rows(reads) == [(1,)]


def test_its_bounds_are_set(engine: DuckDB, tmp_path: Path) -> None:
    names = ("memory_limit", "threads", "temp_directory", "enable_external_access", "lock_configuration")
    found = [engine.rows(exp.select(exp.func("current_setting", exp.Literal.string(name))))[0][0] for name in names]
    assert found[1:] == [1, str(tmp_path / "scratch" / "spill"), False, True]
    assert str(found[0]).startswith(("190", "200"))
