"""Releases of both kinds in a workspace: what is read of them, what their digests cover, which role they have."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.errors import ConfigError
from abaco_loans.operations.workspace import Workspace
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.releases.release import Release
from tests.operations.desk import Desk
from tests.operations.programs import add_program


@pytest.fixture
def workspace(desk: Desk) -> Workspace:
    return desk.workspace


def program(workspace: Workspace, name: str = "v1") -> CommandRelease:
    found = workspace.any_release(name)
    assert isinstance(found, CommandRelease)
    return found


def test_a_new_workspace_has_an_active_catalogue_and_a_program_that_stands_by(workspace: Workspace) -> None:
    assert workspace.release_names() == ("v1", "v2")
    assert [workspace.role(name) for name in ("v1", "v2")] == ["standby", "active"]
    assert isinstance(workspace.any_release(), Release)
    v1 = program(workspace)
    assert set(v1.files) == {"legacy.py"}
    assert v1.core_digest == v1.meaning_digest == v1.spec.meaning_digest(v1.files)
    kpis = {kpi.id for kpi in workspace.release("v2").catalogue.kpis}
    gates, expected = workspace.gates("v2", kpis), workspace.expected("v2", kpis)
    assert gates.metrics["risk.par_30"].critical and gates.metrics["risk.par_90"].must_have_data
    assert {item.key.kpi for item in expected} >= {"risk.par_30", "risk.par_90", "risk.collection_rate"}
    assert [bool(text) for text in workspace.gate_texts("v2")] == [True, True]
    # A release without such files is judged by the defaults.
    assert workspace.gates("v1", kpis).metrics == {} and workspace.expected("v1", kpis) == ()
    assert workspace.gate_texts("v1") == ("", "")


def test_what_the_old_report_declares_is_what_the_catalogue_means_by_those_names(workspace: Workspace) -> None:
    v1, v2 = program(workspace), workspace.release("v2")
    for layout in ("bucketed", "snapshot", "servicing"):
        declared = v1.declared(layout)
        assert declared is not None
        assert declared.as_dict() == v2.definition(None, layout).as_dict()


def test_the_shadow_role_is_a_setting(desk: Desk) -> None:
    desk.reopen(shadow="v1")
    assert [desk.workspace.role(name) for name in ("v1", "v2", "v3")] == ["shadow", "active", "standby"]


def test_a_program_is_refused_where_formulas_are_needed(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as error:
        workspace.release("v1")
    assert error.value.code == "REL-105"
    assert "v2" in error.value.hint and "v1" not in error.value.hint


@pytest.mark.parametrize("name", ["v9", "../releases/v2", ".hidden", "v2/contracts"])
def test_a_release_that_is_not_there(workspace: Workspace, name: str) -> None:
    (workspace.root / "releases" / ".hidden").mkdir()
    for call in (workspace.release, workspace.any_release):
        with pytest.raises(ConfigError) as error:
            call(name)
        assert error.value.code == "REL-103"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


PROGRAM_CHANGES: list[tuple[str, Callable[[Path], None], bool, bool]] = [
    ("program", lambda folder: write(folder, "legacy.py", "print(1)"), True, False),
    ("foreign yml", lambda folder: write(folder, "own.yml", "{{ not: yaml"), True, False),
    ("gates", lambda folder: write(folder, "gates.yml", "dry_run: true\n"), False, True),
    ("expected", lambda folder: write(folder, "expected.yml", "expected: []\n"), False, True),
    ("portfolio", lambda folder: write(folder, "portfolio.yml", "# nothing\n"), False, True),
    ("no definitions", lambda folder: (folder / "definitions.yml").unlink(), False, True),
]


def edited(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        write(folder, file, text.replace(old, new, 1))

    return edit


PROGRAM_EDITS = [
    ("argv", edited("release.yml", '"{as_of}", ', '"{as_of}", more, '), True, False),
    ("loan rows", edited("release.yml", "outstanding: outstanding", "outstanding: saldo"), True, False),
    ("time", edited("release.yml", "timeout_s: 300", "timeout_s: 301"), False, True),
    ("memory", edited("release.yml", "memory_mb: 2048", "memory_mb: 2049"), False, True),
    ("text", edited("release.yml", "The old report", "An old report"), False, True),
    ("comment", edited("release.yml", "# Release v1", "# The release v1"), False, False),
    ("boundary", edited("definitions.yml", "boundary: at_least", "boundary: more_than"), False, True),
    ("default", edited("definitions.yml", "[bucketed, snapshot]", "[bucketed]"), False, True),
    ("words", edited("definitions.yml", "Late at or past", "Late from"), False, True),
]


@pytest.mark.parametrize(
    ("change", "meaning", "policy"),
    [pytest.param(*item[1:], id=item[0]) for item in [*PROGRAM_CHANGES, *PROGRAM_EDITS]],
)
def test_what_the_digests_of_a_program_cover(
    workspace: Workspace, change: Callable[[Path], None], meaning: bool, policy: bool
) -> None:
    before = program(workspace)
    change(workspace.root / "releases" / "v1")
    after = program(workspace)
    assert (after.meaning_digest != before.meaning_digest) is meaning
    assert (after.policy_digest != before.policy_digest) is policy


@pytest.mark.parametrize("file", ["gates.yml", "expected.yml", "portfolio.yml", "release.yml"])
def test_files_of_policy_amend_a_catalogue_release(workspace: Workspace, file: str) -> None:
    before = workspace.release()
    assert workspace.release() == before  # restored from the cache: the same digests
    folder = workspace.root / "releases" / "v2"
    text = "kind: catalogue\ndescription: The new pipeline.\n"
    write(folder, file, text if file == "release.yml" else (folder / file).read_text(encoding="utf-8") + "# more\n")
    after = workspace.release()
    assert after.policy_digest != before.policy_digest
    assert replace(after, policy_digest=before.policy_digest) == before
    assert workspace.description("v2") == ("The new pipeline." if file == "release.yml" else "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: something\n", "kind"),
        ("description: none\n", "kind"),
        ("kind: catalogue\ncommand: {argv: [x]}\n", "command"),
        ("- kind\n", "release.yml"),
    ],
)
def test_a_release_file_that_is_neither(workspace: Workspace, text: str, said: str) -> None:
    write(workspace.root / "releases" / "v2", "release.yml", text)
    with pytest.raises(ConfigError) as error:
        workspace.any_release("v2")
    assert error.value.code == "REL-201"
    assert said in error.value.what and re.match(r"releases/v2/release\.yml", error.value.where)


def test_two_declarations_for_one_layout(workspace: Workspace) -> None:
    edited("definitions.yml", "[bucketed, snapshot]", "[bucketed, servicing]")(workspace.root / "releases" / "v1")
    with pytest.raises(ConfigError) as error:
        workspace.any_release("v1")
    assert error.value.code == "REL-106" and "servicing" in error.value.what


def test_a_program_that_declares_nothing(workspace: Workspace) -> None:
    add_program(workspace, "bare", "print()")
    bare = program(workspace, "bare")
    assert bare.declared("servicing") is None and bare.description == "A test."


def test_gates_are_read_with_their_faults(workspace: Workspace) -> None:
    folder = workspace.root / "releases" / "v1"
    write(folder, "gates.yml", "metrics:\n  risk.par_30: {pass_percent: 0.05}\n")
    assert workspace.gates("v1", ["risk.par_30"]).rule("risk.par_30").pass_percent == Decimal("0.05")
    with pytest.raises(ConfigError) as error:
        workspace.gates("v1", ["risk.par_90"])
    assert (error.value.code, error.value.where) == ("GATE-103", "releases/v1/gates.yml:2")


def test_a_link_out_of_a_release_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "gates.yml"
    shutil.move(workspace.root / "releases" / "v2" / "gates.yml", outside)
    (workspace.root / "releases" / "v2" / "gates.yml").symlink_to(outside)
    for call in (lambda: workspace.gate_texts("v2"), lambda: workspace.release("v2")):
        with pytest.raises(ConfigError) as error:
            call()
        assert error.value.code == "REL-104"
