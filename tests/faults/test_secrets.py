"""Planted personal data and secrets are found in no artefact (FAULTS 31, 42)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_NEW, Bench, Done

# Masked (customer_id is tagged pii), never mapped, in a row that is too short or too long, in a row refused for
# another cell, and in a row that stands twice with other content.
PERSON, UNMAPPED, RAGGED, REFUSED, CONFLICT = (f"Planted{word}Rosales" for word in ("A", "B", "C", "D", "E"))
PERSONAL = (PERSON, UNMAPPED, RAGGED, REFUSED, CONFLICT)
CELL = "PlantedCellValue"


def planted(path: Path, *, bad: int) -> Path:
    header = "loan_id,measurement_date,customer_id,outstanding_principal,days_past_due,product,guarantor"
    lines = [header]
    lines += [f"L{n:03d},{AS_OF_NEW},{PERSON}{n % 9},{1000 + n}.25,0,factoring,{UNMAPPED}{n}" for n in range(1, 81)]
    lines.append(f"L081,{AS_OF_NEW},{RAGGED},1000.00")
    lines.append(f"L082,{AS_OF_NEW},{RAGGED},1000.00,0,factoring,{RAGGED},{RAGGED}")
    lines += [f"L{200 + number},{AS_OF_NEW},{REFUSED},1000.00,{CELL},factoring,{UNMAPPED}" for number in range(bad)]
    lines += [f"L300,{AS_OF_NEW},{CONFLICT}{number},10{number}.00,0,factoring,x" for number in range(2)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def found(workspace: Path, marker: str, *, but: tuple[str, ...] = ()) -> list[str]:
    """Every file of the workspace that holds the marker, as text in any of three encodings."""
    forms = [marker.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]
    hits = []
    for path in workspace.rglob("*"):
        name = str(path.relative_to(workspace))
        if path.is_file() and not name.startswith(but) and any(form in path.read_bytes() for form in forms):
            hits.append(name)
    return hits


def searched(bench: Bench, workspace: Path, tape: Path, order: str = "") -> Done:
    """A run, and every command that shows something of it: nothing planted comes out."""
    done = bench.server.run("run", tape, "-w", workspace, "--csv", order=order)
    asked = [["runs", "list"], ["runs", "show"], ["quarantine"], ["kpi", "show"], ["audit", "verify"], ["doctor"]]
    said = [done, *(bench.server.run(*words, "-w", workspace) for words in asked)]
    said += [bench.server.run(*words, "-w", workspace, "--json") for words in asked[:3]]
    for marker in PERSONAL:
        assert found(workspace, marker) == []
        assert not [item for item in said if marker in item.out + item.err], marker
    return done


@pytest.mark.parametrize(("bad", "code"), [(0, 3), (12, 3)])
def test_of_a_refused_tape(bad: int, code: int, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    done = searched(bench, workspace, planted(tmp_path / "tape.csv", bad=bad))
    assert done.code == code and "RUN-103" in done.err
    shown = found(workspace, CELL)
    assert [Path(name).name for name in shown] == (["quarantine.csv"] if bad else [])


def test_of_a_tape_that_runs(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    contract = workspace / "releases" / "v2" / "contracts" / "snapshot.yml"
    contract.write_text(contract.read_text().replace("limitUnmeasured, value: 0}", "limitUnmeasured, value: 9}"))
    # Another meaning needs another name.
    (workspace / "releases" / "v2").rename(workspace / "releases" / "v3")
    settings = workspace / "abaco.yml"
    settings.write_text(settings.read_text().replace("release: v2", "release: v3"))
    # Beside it the plain rows, so that what is refused stays under the limit.
    tape = planted(tmp_path / "tape.csv", bad=1)
    lines = tape.read_text().splitlines()
    more = [line.replace("L", "M", 1) for line in lines[1:81]] + [line.replace("L", "N", 1) for line in lines[1:81]]
    tape.write_text("\n".join([*lines, *more]) + "\n")
    done = searched(bench, workspace, tape)
    assert done.code == 0, done.err
    (folder,) = (workspace / "outputs" / AS_OF_NEW).iterdir()
    assert [Path(name).name for name in found(workspace, CELL)] == ["quarantine.csv"]
    assert "m" in (folder / "clean.csv").read_text().splitlines()[1]


@pytest.mark.parametrize(
    "order", ["path=/kpis.json;calls=write", "path=/abaco.db;calls=fdatasync", "path=/clean;calls=pwrite"]
)
def test_of_a_run_that_fails(order: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    lines = planted(tmp_path / "tape.csv", bad=0).read_text().splitlines()[:81]
    (tmp_path / "tape.csv").write_text("\n".join(lines) + "\n")
    done = searched(bench, workspace, tmp_path / "tape.csv", order=f"action=errno;at=1;errno=28;{order}")
    assert done.code == 4


def test_what_a_killed_run_left_is_for_its_owner_only_and_swept_by_the_next(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    lines = planted(tmp_path / "tape.csv", bad=0).read_text().splitlines()[:81]
    (tmp_path / "tape.csv").write_text("\n".join(lines) + "\n")
    order = "action=kill;at=1;calls=rename;path=/outputs/"
    assert bench.server.run("run", tmp_path / "tape.csv", "-w", workspace, order=order).code < 0
    assert found(workspace, PERSON, but=(".scratch",)) == []
    assert found(workspace, PERSON), "the copy of the tape is gone: nothing is tested here"
    assert (workspace / ".scratch").stat().st_mode & 0o077 == 0
    assert bench.server.run("run", bench.new, "-w", workspace).code == 0
    assert found(workspace, PERSON) == []


def test_the_masking_key_is_in_its_folder_only(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    key = (workspace / "keys" / "masking.key").read_text().strip()
    (workspace / "keys" / "masking.key").unlink()
    secret = bytes.fromhex(key)
    pads = ["".join(f"{byte ^ pad:02x}" for byte in secret) for pad in (0x36, 0x5C)]
    for order in (
        "",
        "action=errno;at=1;errno=28;calls=pwrite;path=/clean",
        "action=kill;at=1;calls=rename;path=/outputs/",
    ):
        tape = bench.new if not order else bench.old
        environment = {"ABACO_MASKING_KEY": key}
        done = bench.server.run("run", tape, "-w", workspace, "--json", order=order, environment=environment)
        for marker in (key, *pads):
            assert found(workspace, marker) == [] and found(workspace, marker.upper()) == []
            assert marker not in done.out + done.err
        assert not [path for path in workspace.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_deleted_pages_of_the_database_hold_nothing(bench: Bench, tmp_path: Path) -> None:
    """Free pages and rolled-back journals are searched as bytes, so a deleted row would be found too."""
    workspace = bench.copy(tmp_path)
    searched(bench, workspace, planted(tmp_path / "tape.csv", bad=3))
    with sqlite3.connect(workspace / "records" / "abaco.db") as connection:
        texts = [
            str(row)
            for name in ("runs", "events", "quarantine_counts")
            for row in connection.execute(f"select * from {name}")
        ]
    connection.close()
    assert texts and not [text for text in texts if "Planted" in text]
