"""`abaco rehearse`, `abaco release retire` and the script of playbooks, as people call them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from abaco_loans.cli.rehearse import _print_end as print_end
from tests.cli.conftest import Abaco

FAKE = """#!/bin/sh
for word in "$@"; do printf '[%s]' "$word"; done
"""


@pytest.mark.slow
def test_a_rehearsal_that_fails_says_where_and_leaves_with_1(abaco: Abaco, tmp_path: Path) -> None:
    place = tmp_path / "book"
    assert abaco("init", place).code == 0
    asked = ("rehearse", "--short", "--tapes", 1, "--calculations", 20, "--fail", "approvals", "-w", place)
    said = abaco(*asked, "--json")
    assert (said.code, said.err) == (1, "")
    document = said.document
    assert {"active_release", "phases", "checkpoints", "verdict"} <= document.keys()
    assert (document["verdict"], document["failed_phase"]) == ("failed", "approvals")
    assert (document["active_release"], document["from"], document["checkpoints"]) == ("v1", "v1", [])
    active = abaco("worker", "status", "-w", place, "--json").document["active_release"]
    assert active in (None, "v2")


def test_of_a_kept_copy_it_is_said_that_its_records_are_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else commands in the copy would write into the records that the environment names: production's."""
    document = {"checkpoints": [], "verdict": "passed", "active_release": "v2", "kept": "there"}
    monkeypatch.delenv("ABACO_RECORDS_URL", raising=False)
    print_end(document)
    assert "ABACO_RECORDS_URL" not in capsys.readouterr().out
    monkeypatch.setenv("ABACO_RECORDS_URL", "postgresql://server/records")
    print_end(document)
    assert "unset ABACO_RECORDS_URL" in capsys.readouterr().out


def test_the_active_release_is_not_retired(abaco: Abaco, tmp_path: Path) -> None:
    place = tmp_path / "book"
    assert abaco("init", place).code == 0
    refused = abaco("release", "retire", "v2", "-w", place)
    assert refused.code == 1
    assert "active" in refused.err
    assert abaco("release", "retire", "v1", "--reason", "over", "-w", place, "--json").document["role"] == "retired"
    listed = abaco("release", "list", "-w", place, "--json").document["releases"]
    assert {item["name"]: item["role"] for item in listed} == {"v1": "retired", "v2": "active"}


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("plan v2 --json", "[cutover][plan][--to][v2][--json]"),
        ("approve P1 ops", "[cutover][approve][P1][--as][ops]"),
        ("start P1 --dry-run", "[cutover][start][P1][--dry-run]"),
        ("status", "[cutover][status]"),
        ("status --workspace X", "[cutover][status][--workspace][X]"),
        ("resume P1", "[cutover][resume][P1]"),
        ("abort", "[cutover][abort]"),
        ("rollback wrong", "[rollback][--reason][wrong]"),
        ("rollback", "[rollback]"),
        ("drill", "[rollback][--drill]"),
        ("", None),
        ("plan", None),
        ("plan --json", None),
        ("approve P1", None),
        ("start", None),
        ("drill now", None),
        ("launch", None),
    ],
)
def test_the_script_of_playbooks_calls_abaco(repository: Path, tmp_path: Path, given: str, called: str | None) -> None:
    fake = tmp_path / "abaco"
    fake.write_text(FAKE, encoding="utf-8")
    fake.chmod(0o700)
    script = repository / "scripts" / "production_cutover.sh"
    done = subprocess.run(
        [str(script), *given.split()],
        env={**os.environ, "ABACO": str(fake)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == ((2, "") if called is None else (0, called)), done.stderr
    if called is None:
        assert "plan v2" in done.stderr
