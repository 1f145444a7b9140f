"""Names that would become paths outside of the workspace (FAULTS 18)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.harness import AS_OF_NEW, Bench, explained, tree_of, write_tape

MAPPING = """\
name: other
layout: servicing
tables:
  loans: {{file: {file}, columns: {{loan_id: a, disbursement_date: b, disbursed_principal: c}}}}
  schedules: {{columns: {{loan_id: a, due_date: b, principal: c}}}}
  transactions: {{columns: {{loan_id: a, type: b, date: c}}}}
"""


def outside(workspace: Path) -> dict[str, str]:
    """Everything beside the workspace."""
    return {name: sha for name, sha in tree_of(workspace.parent).items() if not name.startswith(workspace.name)}


@pytest.mark.parametrize("name", ["..", "../workspace", "v2/../v2", "/etc", ".", "", "v2/"])
def test_a_release_s_name(name: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    done = bench.server.run("run", bench.new, "-w", workspace, "--release", name)
    if done.code == 0:
        assert name in ("", "v2/"), name
    else:
        explained(done, 2, "REL-103")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd"])
@pytest.mark.parametrize("option", ["--definition", "--mapping", "--layout"])
def test_other_names(option: str, name: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    done = bench.server.run("run", bench.new, "-w", workspace, option, name)
    assert done.code in (2, 3) and "Traceback" not in done.err, done
    bench.old_is_whole(workspace)


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "a/b.csv", '"a\\0b.csv"', '"..\\\\secret.csv"'])
def test_the_file_of_a_mapping(name: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    (workspace / "releases" / "v2" / "mappings" / "other.yml").write_text(MAPPING.format(file=name))
    done = bench.server.run("run", bench.new, "-w", workspace)
    explained(done, 2, "other.yml")


def test_a_link_that_leads_out_of_a_release(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    secret = tmp_path / "secret.yml"
    secret.write_text("password: hunter2\n")
    for link in ("mappings/evil.yml", "evil.yml"):
        (workspace / "releases" / "v2" / link).symlink_to(secret)
        done = bench.server.run("run", bench.new, "-w", workspace)
        explained(done, 2, "REL-104", "link")
        assert "hunter2" not in done.err
        (workspace / "releases" / "v2" / link).unlink()


def test_a_folder_link_that_leads_out_of_a_release(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    mappings = workspace / "releases" / "v2" / "mappings"
    shutil.move(mappings, tmp_path / "elsewhere")
    mappings.symlink_to(tmp_path / "elsewhere")
    done = bench.server.run("run", bench.new, "-w", workspace)
    assert done.code in (0, 2) and "Traceback" not in done.err


@pytest.mark.parametrize(
    "name", ["..%2f..%2fx.csv", "-w", "a b;rm -rf x.csv", "'; drop table runs; --.csv", "x'||(select 1).csv", "*.csv"]
)
def test_the_name_of_a_tape_is_only_a_name(name: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    shutil.copy(bench.new, tmp_path / name)
    before = outside(workspace)
    done = bench.server.run("run", "-w", workspace, "--", name, cwd=tmp_path)
    assert done.code == 0, done.err
    assert outside(workspace) == before
    assert len(list((workspace / "outputs" / AS_OF_NEW).iterdir())) == 1


def test_a_tape_by_a_link_and_by_a_roundabout_path(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    (tmp_path / "link.csv").symlink_to(bench.new)
    (tmp_path / "sub").mkdir()
    for tape in (tmp_path / "link.csv", tmp_path / "sub" / ".." / "link.csv"):
        assert bench.server.run("run", tape, "-w", workspace).code == 0
    assert len(list((workspace / "outputs" / AS_OF_NEW).iterdir())) == 1
    assert bench.new.exists() and (tmp_path / "link.csv").is_symlink()


@pytest.mark.parametrize("run_id", ["../../etc", "/etc/passwd", "..", "%"])
def test_the_name_of_a_run(run_id: str, bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    for words in (["runs", "show", run_id], ["quarantine", run_id]):
        explained(bench.server.run(*words, "-w", workspace), 2, "RUN-104", where=False)


def test_the_sweep_of_orphans_touches_what_is_ours_only(bench: Bench, tmp_path: Path) -> None:
    workspace = bench.copy(tmp_path)
    outputs = workspace / "outputs"
    elsewhere = tmp_path / "elsewhere" / "20251130-0123456789abcdef0123"
    elsewhere.mkdir(parents=True)
    write_tape(elsewhere / "mine.csv")
    day = outputs / AS_OF_NEW
    orphan = day / "20251130-00000000000000000000"
    orphan.mkdir(parents=True)
    (orphan / "kpis.json").write_text("{}")
    (orphan / "kpis.json").chmod(0o444)
    (day / "notes").mkdir()
    (day / "notes" / "mine.txt").write_text("mine")
    (day / "20251130-0123456789abcdef0124").symlink_to(elsewhere)
    (outputs / "2025-12-31").symlink_to(elsewhere.parent)
    (outputs / "2025.txt").write_text("mine")
    assert bench.server.run("run", bench.new, "-w", workspace).code == 0
    assert not orphan.exists()
    assert (
        (elsewhere / "mine.csv").exists() and (day / "notes" / "mine.txt").exists() and (outputs / "2025.txt").exists()
    )
