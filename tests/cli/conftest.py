"""A workspace with three runs, and a way to call the command in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout as the one JSON document that it must be."""
        return json.loads(self.out)


Abaco = Callable[..., Said]


@pytest.fixture
def abaco(capsys: pytest.CaptureFixture[str]) -> Abaco:
    """Call ``abaco`` with the given words."""

    def call(*words: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return Said(code=left.value.code if isinstance(left.value.code, int) else 0, out=said.out, err=said.err)

    return call


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that `abaco demo` makes; tests only read it."""
    folder = tmp_path_factory.mktemp("demo") / "book"
    with pytest.raises(SystemExit) as left:
        main(["demo", str(folder), "--no-rehearsal", "--json"])
    assert left.value.code == 0
    return folder
