"""A run begins to copy its tape before it imports what takes long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from abaco_loans.errors import UsageError
from abaco_loans.operations.begin_run import begin_run
from abaco_loans.operations.workspace import Workspace, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "book", {})


def test_nothing_heavy_is_imported_before_the_copying() -> None:
    code = (
        "import sys, abaco_loans.operations.begin_run, abaco_loans.operations.workspace\n"
        "assert not {'sqlglot', 'duckdb', 'sqlalchemy', 'cryptography'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tape_is_copied_into_a_folder_that_does_not_outlive_the_run(workspace: Workspace, tmp_path: Path) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text("a,b\n1,2\n")
    with begin_run(workspace, tape) as begun:
        assert begun.staging is not None
        raw = begun.staging.result()
        assert raw.path.parent == begun.scratch
        assert raw.path.read_bytes() == tape.read_bytes()
    assert not begun.scratch.exists()


def test_a_folder_is_copied_file_by_file_later(workspace: Workspace, tmp_path: Path) -> None:
    with begin_run(workspace, tmp_path) as begun:
        assert begun.staging is None


def test_a_tape_that_is_not_there_is_told_when_it_is_asked_for(workspace: Workspace, tmp_path: Path) -> None:
    with begin_run(workspace, tmp_path / "none.csv") as begun:
        assert begun.staging is not None
        with pytest.raises(UsageError, match="SRC-201"):
            begun.staging.result()
    assert not begun.scratch.exists()
