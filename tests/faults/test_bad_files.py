"""Files that are no good tape, as a person meets them: what, where, what next; the last good outputs stay."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_NEW, HEADER, Bench, explained, tree_of, write_tape

Make = Callable[[Path], Path]


def file_of(content: bytes | str, name: str = "tape.csv") -> Make:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def without(column: str) -> Make:
    def make(folder: Path) -> Path:
        lines = [line.split(",") for line in write_tape(folder / "tape.csv").read_text().splitlines()]
        place = HEADER.index(column)
        kept = [",".join([*cells[:place], *cells[place + 1 :]]) for cells in lines]
        (folder / "tape.csv").write_text("\n".join(kept) + "\n")
        return folder / "tape.csv"

    return make


def with_rows(rows: int, bad: int) -> Make:
    return lambda folder: write_tape(folder / "tape.csv", rows=rows, bad=bad)


def misnamed(folder: Path) -> Path:
    tape = write_tape(folder / "tape.csv", bad=0)
    tape.write_text(tape.read_text().replace("outstanding_principal", "outstanding_principle"))
    return tape


def folder_without_loans(folder: Path) -> Path:
    (folder / "extract").mkdir()
    (folder / "extract" / "schedules.csv").write_text("loan_id,due_date,principal\nL1,2025-01-01,5\n")
    return folder / "extract"


def empty_folder(folder: Path) -> Path:
    (folder / "extract").mkdir()
    return folder / "extract"


OTHER_LENDER = "Kreditnummer;Stichtag;Restschuld;Verzugstage\n4711;30.11.2025;1.000,00;12\n"

CORPUS: list[tuple[str, Make, int, tuple[str, ...]]] = [
    ("empty", file_of(b""), 3, ("SRC-101", "tape.csv", "empty")),
    ("blank", file_of(b"\n\n  \n"), 3, ("SRC-101", "empty")),
    ("header alone", file_of(",".join(HEADER) + "\n"), 3, ("TAPE-107", "no rows")),
    ("PDF", file_of(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"), 3, ("SRC-102", "PDF")),
    ("picture", file_of(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), 3, ("SRC-102", "picture")),
    ("binary", file_of(bytes(range(256)) * 4), 3, ("SRC-102", "binary")),
    ("web page", file_of("<!DOCTYPE html><html><body>504</body></html>"), 3, ("SRC-102", "web page")),
    ("column missing", without("outstanding_principal"), 3, ("outstanding_principal",)),
    ("key missing", without("loan_id"), 3, ("loan_id",)),
    ("column misnamed", misnamed, 3, ("outstanding_principal", "outstanding_principle")),
    ("column twice", file_of("loan_id,loan_id\n1,2\n"), 3, ("SRC-107", "twice")),
    ("all rows bad", with_rows(20, 20), 3, ("RUN-103", "20 of 20", "quarantine", "days_past_due")),
    ("10 % bad", with_rows(40, 4), 3, ("RUN-103", "4 of 40", "10.0 %", "quarantine")),
    ("another lender", file_of(OTHER_LENDER), 3, ("mapping",)),
    ("unclosed quote", file_of(",".join(HEADER) + '\nL1,"2025-11-30\n' + "x,y\n" * 3000), 3, ("quote",)),
    ("gzip cut off", file_of(gzip.compress(b"a,b\n" * 1000)[:-20], "tape.csv.gz"), 3, ("SRC-106", "tape.csv.gz")),
    ("zip damaged", file_of(b"PK\x03\x04" + b"\x00" * 50, "tape.zip"), 3, ("SRC-106",)),
    ("Parquet damaged", file_of(b"PAR1" + b"\x00" * 50 + b"PAR1", "tape.parquet"), 3, ("tape.parquet", "damaged")),
    ("Excel damaged", file_of(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "t.xls"), 3, ("t.xls",)),
    ("one line", file_of("hello"), 3, ()),
    ("a novel", file_of("It was a dark and stormy night.\n" * 50), 3, ()),
    ("missing file", lambda folder: folder / "absent.csv", 2, ("SRC-201", "no such file", "absent.csv")),
    ("folder without loans", folder_without_loans, 3, ("TAPE-105", "loans", "loans.csv")),
    ("empty folder", empty_folder, 3, ("TAPE-105", "loans.csv")),
]


@pytest.mark.parametrize(("make", "code", "words"), [item[1:] for item in CORPUS], ids=[item[0] for item in CORPUS])
def test_bad(make: Make, code: int, words: tuple[str, ...], bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    before = tree_of(workspace / "outputs")
    tape = make(tmp_path)
    done = bench.server.run("run", tape, "-w", workspace, "--json")
    explained(done, code, *words)
    document = done.document()
    assert set(document["error"]) == {"code", "what", "where", "hint"} and all(document["error"].values())
    assert document["error"]["code"] in done.err
    bench.old_is_whole(workspace)
    after = tree_of(workspace / "outputs")
    assert {name: sha for name, sha in after.items() if not name.startswith("refused/")} == before


def test_without_json_stdout_stays_empty(bench: Bench, tmp_path: Path) -> None:
    done = bench.server.run("run", file_of(b"")(tmp_path), "-w", bench.copy(tmp_path))
    explained(done, 3, "SRC-101")
    assert done.out == ""


def test_what_was_refused_is_listed_line_by_line(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    tape = write_tape(tmp_path / "tape.csv", rows=40, bad=4)
    told = bench.server.run("run", tape, "-w", workspace, "--json").document()
    assert told["rows"] == {"in": 40, "accepted": 36, "quarantined": 4, "duplicates": 0}
    listed = bench.server.run("quarantine", "-w", workspace, "--json").document()
    assert [row["line"] for row in listed["rows"]] == ["2", "3", "4", "5"]
    assert {row["value"] for row in listed["rows"]} == {"very"}


def test_a_good_run_prints_one_document_too(bench: Bench, tmp_path: Path) -> None:
    done = bench.server.run("run", bench.new, "-w", bench.copy(tmp_path), "--json")
    assert done.code == 0 and done.err == ""
    assert json.loads(done.out)["as_of"] == AS_OF_NEW
