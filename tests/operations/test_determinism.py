"""The same tape gives the same bytes: in any order, with any number of threads, from any file format."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest

from tests.operations.desk import Desk, Row, bucketed_row, with_threads, write_csv

ROWS_OF_A_GROUP = 122_880
Writer = Callable[[Path, Sequence[Row]], Path]


def tape(count: int, seed: int = 7) -> list[dict[str, object]]:
    """A bucketed tape with two dimensions; amounts with up to four decimals, products of very unequal size."""
    dice = random.Random(seed)
    rows: list[dict[str, object]] = []
    for index in range(count):
        buckets = [f"{dice.randrange(10**7) / 10 ** dice.randrange(5):.4f}" for _ in range(5)]
        row = bucketed_row(
            f"L{index:07}",
            "60000000.1234",
            eligible=f"{dice.randrange(10**6)}.{dice.randrange(100):02}",
            cash=f"{dice.randrange(10**4)}.5",
            **dict(zip(("b0", "b7", "b30", "b60", "b90"), buckets, strict=True)),
        )
        rows.append(row | {"product": "abcdefg"[min(6, dice.randrange(40))], "region": dice.choice(["n", "s", ""])})
    return rows


def published(desk: Desk, path: Path, **request: Any) -> str:
    outcome = desk.run(path, **request)
    assert not outcome.earlier
    return (desk.folder(outcome) / "kpis.json").read_text(encoding="utf-8")


def csv_text(rows: Sequence[Row], folder: Path) -> bytes:
    return write_csv(folder / "plain.csv", rows).read_bytes()


def as_gzip(path: Path, rows: Sequence[Row]) -> Path:
    target = path / "tape.csv.gz"
    target.write_bytes(gzip.compress(csv_text(rows, path)))
    return target


def as_semicolons(path: Path, rows: Sequence[Row]) -> Path:
    target = path / "tape.csv"
    target.write_bytes(csv_text(rows, path).replace(b",", b";").replace(b"\n", b"\r\n"))
    return target


def as_json_lines(path: Path, rows: Sequence[Row]) -> Path:
    names = ", ".join(f'"{name}"' for name in rows[0])
    source = write_csv(path / "plain.csv", rows)
    target = path / "tape.ndjson"
    duckdb.sql(f"COPY (SELECT {names} FROM read_csv('{source}', all_varchar=true)) TO '{target}' (FORMAT json)")
    return target


def as_parquet(kind: str) -> Writer:
    def write(path: Path, rows: Sequence[Row]) -> Path:
        source = write_csv(path / "plain.csv", rows)
        target = path / f"{kind.lower()}.parquet"
        typed = ", ".join(
            f'CAST("{name}" AS {kind}) AS "{name}"' if name.endswith("_usd") else f'"{name}"' for name in rows[0]
        )
        duckdb.sql(f"COPY (SELECT {typed} FROM read_csv('{source}', all_varchar=true)) TO '{target}' (FORMAT parquet)")
        return target

    return write


def as_excel(path: Path, rows: Sequence[Row]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append([float(str(value)) if name.endswith("_usd") else value or None for name, value in row.items()])
    target = path / "tape.xlsx"
    book.save(target)
    return target


FORMATS: dict[str, Writer] = {
    "gzip": as_gzip,
    "semicolons": as_semicolons,
    "json lines": as_json_lines,
    "parquet text": as_parquet("VARCHAR"),
    "parquet decimal": as_parquet("DECIMAL(18,4)"),
    "parquet double": as_parquet("DOUBLE"),
    "xlsx": as_excel,
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return tape(400)


@pytest.fixture(scope="module")
def wanted(rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wanted")
    return published(Desk(folder / "workspace"), write_csv(folder / "tape.csv", rows))


@pytest.mark.parametrize("name", FORMATS)
def test_any_file_format(desk: Desk, tmp_path: Path, rows: list[dict[str, object]], wanted: str, name: str) -> None:
    assert published(desk, FORMATS[name](tmp_path, rows)) == wanted


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_any_order_and_number_of_threads(
    desk: Desk, tmp_path: Path, rows: list[dict[str, object]], wanted: str, threads: int
) -> None:
    shuffled = random.Random(threads).sample(rows, len(rows))
    columns = random.Random(threads).sample(list(rows[0]), len(rows[0]))
    with_threads(desk, threads)
    assert published(desk, write_csv(tmp_path / "tape.csv", shuffled, columns)) == wanted


def test_a_dirty_tape_is_the_same_in_any_order(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    """Duplicates, conflicts and refused rows: what is counted, and the bounds, do not depend on the order."""
    dirty = [
        *rows,
        rows[0],
        rows[1],
        rows[2] | {"dpd_90_plus_usd": "1"},
        rows[3] | {"loan_id": "X", "dpd_0_7_usd": "?"},
    ]
    found = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        order = random.Random(number).sample(dirty, len(dirty))
        found.add(published(Desk(folder / "workspace"), write_csv(folder / "tape.csv", order)))
    assert len(found) == 1
    assert '"bound_reason": ""' in found.pop()


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }


def test_two_workspaces_with_one_key_publish_the_same_bytes(tmp_path: Path) -> None:
    """More rows than one row group of Parquet holds, customers masked, both text formats written."""
    count = ROWS_OF_A_GROUP + 27_000
    target = tmp_path / "tape.parquet"
    duckdb.sql(
        f"""COPY (SELECT 'L' || i AS loan_id, DATE '2025-11-30' AS measurement_date, 'C' || (i * 7919 % 5003)
        AS customer_id, CAST((i * 104729 % 1000003) / 7.0 AS DECIMAL(18, 2)) AS outstanding_principal,
        i * 31 % 211 AS days_past_due, 'p' || (i % 5) AS product FROM range({count}) t(i))
        TO '{target}' (FORMAT parquet)"""
    )
    found = []
    for number, threads in enumerate((1, 8)):
        desk = Desk(tmp_path / f"workspace{number}")
        with_threads(desk, threads)
        outcome = desk.run(target, csv_too=True)
        assert outcome.record.rows is not None
        assert outcome.record.rows.accepted == count
        found.append(hashes(desk.folder(outcome)))
        groups = duckdb.execute(
            f"SELECT COUNT(DISTINCT row_group_id) FROM parquet_metadata('{desk.folder(outcome)}/clean.parquet')"
        ).fetchall()
        assert groups == [(2,)]
    assert found[0] == found[1]
    assert {"kpis.json", "kpis.csv", "kpis.parquet", "clean.parquet", "clean.csv", "loans.parquet"} < set(found[0])


def test_another_key_changes_the_masked_files_only(tmp_path: Path) -> None:
    """What differs between two masking keys: the files that show a customer's masked id, and the key's version."""
    row = {"measurement_date": "2025-11-30", "outstanding_principal": "10", "days_past_due": "3"}
    rows = [row | {"loan_id": f"L{index}", "customer_id": f"C{index}"} for index in range(5)]
    path = write_csv(tmp_path / "tape.csv", rows)
    first, second = Desk(tmp_path / "first"), Desk(tmp_path / "second", key="77" * 32)
    one, two = (hashes(desk.folder(desk.run(path))) for desk in (first, second))
    assert {name for name in one if one[name] != two[name]} == {"clean.parquet", "loans.parquet", "lineage.json"}
