"""Releases to compare: programs that print what they are told, and copies of the catalogue with something changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from abaco_loans.operations.run_shadow import ShadowRequest, run_shadow
from abaco_loans.operations.run_side import SideJob, SideRun, run_side
from abaco_loans.releases.command_release import AnyRelease
from abaco_loans.wiring import run_tools, side_worker
from tests.operations.desk import Desk, worked_example, write_csv

RunSide = Callable[[AnyRelease, SideJob, Path], SideRun]
HEAD = """\
kind: command
command:
  argv: ["{python}", program.py, "{tape}", "{as_of}", "{loans_out}"]
  timeout_s: 20
  memory_mb: 2048
  file_mb_max: 64
  loans:
    format: csv
    columns: {loan_id: loan_id, outstanding: outstanding, days_past_due: days}
"""


def program(desk: Desk, name: str, code: str, files: Mapping[str, str] | None = None, head: str = HEAD) -> None:
    """Add a command release that runs ``code``."""
    folder = desk.workspace.root / "releases" / name
    folder.mkdir()
    (folder / "release.yml").write_text(head, encoding="utf-8")
    (folder / "program.py").write_text(code, encoding="utf-8")
    for path, text in (files or {}).items():
        (folder / path).write_text(text, encoding="utf-8")


def printing(desk: Desk, name: str, text: str) -> None:
    """Add a command release that prints ``text`` whatever the tape."""
    program(desk, name, f"print({text!r})")


def copied_release(desk: Desk, name: str, edits: Mapping[str, Callable[[str], str]]) -> Path:
    """Add a copy of v2 with some of its files changed."""
    folder = desk.workspace.root / "releases" / name
    shutil.copytree(desk.release, folder)
    for path, change in edits.items():
        before = (folder / path).read_text(encoding="utf-8")
        after = change(before)
        assert after != before, "the edit changed nothing"
        (folder / path).write_text(after, encoding="utf-8")
    return folder


def gates(desk: Desk, name: str, text: str, expected: str = "") -> None:
    """Give a release gates, and predictions or none."""
    folder = desk.workspace.root / "releases" / name
    (folder / "gates.yml").write_text(text, encoding="utf-8")
    (folder / "expected.yml").write_text(expected, encoding="utf-8")


def shadow(
    desk: Desk, tape: Path, baseline: str = "v1", candidate: str = "v2", *, run: RunSide = run_side, **request: Any
) -> dict[str, Any]:
    """Compare two releases on a tape; the report as `abaco shadow --json` prints it. ``run`` runs a side."""
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    asked = ShadowRequest(path=tape, baseline=baseline, candidate=candidate, **request)
    document = run_shadow(asked, tools, replace(side_worker({}), run=run))
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def worked_tape(desk: Desk) -> Path:
    """The worked example as a tape."""
    return write_csv(desk.workspace.root.parent / "worked.csv", worked_example())
