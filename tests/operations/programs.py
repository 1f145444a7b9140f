"""Command releases for tests: a few lines of Python each."""

from __future__ import annotations

from pathlib import Path

from abaco_loans.operations.workspace import Workspace

LOANS = """\
  loans:
    format: csv
    columns: {loan_id: no, outstanding: saldo, customer_id: cliente}
"""


def add_program(workspace: Workspace, name: str, code: str, *, loans: str = "", more: str = "") -> Path:
    """A release whose program is ``code``; it is given tape, date and, where ``loans`` describes rows, their place."""
    folder = workspace.root / "releases" / name
    folder.mkdir()
    words = '"{python}", main.py, "{tape}", "{as_of}"' + (', "{loans_out}"' if loans else "")
    text = f"kind: command\ndescription: A test.\ncommand:\n  argv: [{words}]\n"
    (folder / "release.yml").write_text(f"{text}{loans}{more}", encoding="utf-8")
    (folder / "main.py").write_text(code, encoding="utf-8")
    return folder
