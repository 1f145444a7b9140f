"""A bit that flips on the disk: found by its hash, set aside, never shown as good (FAULTS 6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_OLD, Bench, Done, explained

FILES = ("clean.parquet", "kpis.csv", "kpis.json", "kpis.parquet", "lineage.json", "loans.parquet", "manifest.json")


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x04
    path.chmod(0o644)
    path.write_bytes(data)


def folder_of(workspace: Path) -> Path:
    (folder,) = (workspace / "outputs" / AS_OF_OLD).iterdir()
    return folder


def set_aside(done: Done, workspace: Path, name: str) -> None:
    explained(done, 4, "RUN-102", name, ".damaged")
    assert not (workspace / "outputs" / AS_OF_OLD / name).exists()
    assert list((workspace / "outputs" / AS_OF_OLD).iterdir()) == []
    assert list((workspace / "outputs" / ".damaged" / AS_OF_OLD).iterdir())


@pytest.mark.parametrize("name", [*FILES, "quarantine.csv"])
def test_a_published_file(name: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    good = {file.name: file.read_bytes() for file in folder_of(workspace).iterdir()}
    path = folder_of(workspace) / name
    flip(path, path.stat().st_size // 2)
    set_aside(bench.server.run("run", bench.old, "-w", workspace), workspace, name)
    assert bench.server.run("run", bench.old, "-w", workspace).code == 0, "made anew, as it was"
    assert {file.name: file.read_bytes() for file in folder_of(workspace).iterdir()} == good
    bench.old_is_whole(workspace)


@pytest.mark.parametrize("name", FILES[:3])
def test_a_published_file_that_is_gone_or_cut(name: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    path = folder_of(workspace) / name
    path.unlink()
    set_aside(bench.server.run("run", bench.old, "-w", workspace), workspace, name)
    workspace = bench.copy(tmp_path)
    path = folder_of(workspace) / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    set_aside(bench.server.run("run", bench.old, "-w", workspace), workspace, name)


def test_other_commands_do_not_show_it_either(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    flip(folder_of(workspace) / "kpis.json", 200)
    explained(bench.server.run("runs", "show", "-w", workspace), 4, "RUN-102")
    explained(bench.server.run("kpi", "show", "risk.par_30", "-w", workspace), 4, "RUN-102")


def test_a_damaged_result_keeps_no_other_tape_from_running(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    flip(folder_of(workspace) / "kpis.json", 200)
    assert bench.server.run("run", bench.new, "-w", workspace).code == 0
    set_aside(bench.server.run("run", bench.old, "-w", workspace), workspace, "kpis.json")


def test_the_database(bench: Bench, tmp_path: Path) -> None:
    """A flip in a sealed row, an event and a page's structure: each is found; nothing ends in a traceback."""
    template = bench.template / "records" / "abaco.db"
    data = template.read_bytes()
    events = data.index(b'"outputs.published"') if b'"outputs.published"' in data else data.index(b"outputs.published")
    for place in (
        2,
        data.rindex(b"old.csv"),
        events + 3,
        data.index(b"risk.par_30") + 12,
        data.rindex(b'{"folder"') + 3,
    ):
        workspace = bench.copy(tmp_path)
        flip(workspace / "records" / "abaco.db", place)
        verified = bench.server.run("audit", "verify", "-w", workspace)
        assert verified.code in (1, 4), (place, verified)
        assert "Traceback" not in verified.err
        run = bench.server.run("run", bench.new, "-w", workspace)
        assert run.code in (0, 4) and "Traceback" not in run.err, (place, run.err)
        if run.code:
            explained(run, 4, "REC-1")


def test_pages_of_the_database_overwritten(bench: Bench, tmp_path: Path) -> None:
    size = (bench.template / "records" / "abaco.db").stat().st_size
    for page in range(0, size // 4096, max(1, size // 4096 // 6)):
        workspace = bench.copy(tmp_path)
        path = workspace / "records" / "abaco.db"
        with path.open("r+b") as stream:
            stream.seek(page * 4096)
            stream.write(b"\xa5" * 4096)
        verified = bench.server.run("audit", "verify", "-w", workspace)
        assert verified.code in (1, 4) and "Traceback" not in verified.err, (page, verified)
        again = bench.server.run("run", bench.old, "-w", workspace)
        assert again.code in (0, 4) and "Traceback" not in again.err, (page, again.err)
