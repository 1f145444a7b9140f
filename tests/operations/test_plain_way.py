"""The quick way of typing a plain file gives what the careful way gives."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.operations.desk import Desk, bucketed_row, write_csv


def test_both_ways_give_the_same_bytes(desk: Desk, tmp_path: Path) -> None:
    """Quotes around every cell send a file the careful way; nothing else differs."""
    rows = [bucketed_row(f"L{number}", str(1000 + number), b30="10.5") for number in range(50)]
    plain = write_csv(tmp_path / "plain.csv", rows)
    quoted = tmp_path / "quoted.csv"
    with plain.open(newline="") as source, quoted.open("w", newline="") as target:
        csv.writer(target, quoting=csv.QUOTE_ALL).writerows(csv.reader(source))
    first, second = desk.folder(desk.run(plain)), desk.folder(desk.run(quoted))
    assert first != second
    for name in ("kpis.json", "clean.parquet", "quarantine.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
