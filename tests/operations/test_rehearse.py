"""A rehearsal: the whole migration in a copy, and failures that the machine itself finds."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.clock import ShiftedClock
from abaco_loans.errors import AbacoError, ConfigError, NoAnswer, UsageError
from abaco_loans.operations.plan_cutover import plan_cutover
from abaco_loans.operations.rehearse import rehearse
from abaco_loans.operations.rehearse_acts import Asked, PhaseTold, RehearseTools
from abaco_loans.operations.rehearse_failure import FAILURES
from abaco_loans.operations.retire_release import retire_release
from abaco_loans.operations.run_release import run_release
from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.operations.watch_resources import Usage
from abaco_loans.operations.workspace import Workspace, make_workspace
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.sample import SampleSpec
from abaco_loans.wiring import open_records, queue_worker, rehearse_tools, run_tools

ENVIRONMENT = dict(os.environ)
BEFORE_CUTOVER = ["staging", "shadow", "stress", "drill", "plan", "approvals"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace whose queue has served nothing yet."""
    made = make_workspace(tmp_path / "book", ENVIRONMENT)
    with open_records(made):
        pass
    return made


# This process has run other tests, so its memory says nothing of a rehearsal.
CALM = Usage(memory_mb=Decimal(100), cpu_percent=Decimal(10))


def tools() -> RehearseTools:
    """What the command uses, but for the measure of this very process."""
    made = rehearse_tools(ENVIRONMENT)
    return replace(made, watch=lambda place: replace(made.watch(place), usage=lambda owners: CALM))


def played(workspace: Workspace, **more: Any) -> dict[str, Any]:
    asked = Asked(to="v2", baseline="v1", tapes=1, calculations=20, short=True, **more)
    return rehearse(workspace, asked, tools())


def tree(workspace: Workspace) -> dict[str, tuple[int, bytes]]:
    """Every file of production with its rights and bytes; not where the copy was."""
    return {
        str(path.relative_to(workspace.root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(workspace.root.rglob("*"))
        if path.relative_to(workspace.root).parts[0] not in (".scratch", ".cache")
        and not path.name.endswith(("-wal", "-shm"))
    }


def serve(workspace: Workspace, folder: Path) -> None:
    """A tape through the queue of production."""
    from abaco_loans.operations.submit_tape import submit_tape

    write_sample(SampleSpec(loans=150, months=6), folder)
    clock = ShiftedClock()
    with open_records(workspace) as records:
        submit_tape(workspace, folder / "bucketed.csv", records, as_of=None, clock=clock, who="a test")
    worker = queue_worker(workspace, ENVIRONMENT, lambda text: None)
    assert worker.work_once() is not None


@pytest.mark.slow
def test_a_short_rehearsal_plays_it_all_and_leaves_production_as_it_is(workspace: Workspace, tmp_path: Path) -> None:
    serve(workspace, tmp_path / "tapes")
    before = tree(workspace)
    found = played(workspace, keep=tmp_path / "kept")
    assert (found["verdict"], found["failed_phase"], found["active_release"]) == ("passed", None, "v2"), found["phases"]
    names = [item["name"] for item in found["phases"]]
    assert names[:6] == BEFORE_CUTOVER
    assert [name[:2] for name in names[6:12]] == ["0:", "1:", "2:", "3:", "4:", "5:"]
    assert names[12:] == ["cutover", "watch", "sign-off", "retirement"]
    assert {item["status"] for item in found["phases"]} == {"done"}
    hours = [item["hour"] for item in found["checkpoints"]]
    assert hours == ["1", "2", "2.5", "3", "3.5", "4", "5", "6", "7", "8", "10", "12", "14", "16", "20", "24"]
    assert [item["checked"] for item in found["checkpoints"]] == [True] + [False] * 15
    assert found["tapes"] == ["bucketed.csv"]
    assert tree(workspace) == before

    copy = replace(workspace, root=tmp_path / "kept")
    given = run_tools(copy, ENVIRONMENT, lambda text: None)
    with given.open_records() as records:
        roles = {item.name: item.role for item in records.reader.releases()}
        assert roles["v1"] == "retired"
        request = RunRequest(path=tmp_path / "tapes" / "snapshot.csv", release="v1")
        with pytest.raises(ConfigError, match="retired"):
            run_release(request, given, ENVIRONMENT)
        with pytest.raises(UsageError, match="retired"):
            plan_cutover("v1", "ana", given, records)
        assert records.reader.latest_finished() is not None


@pytest.mark.sweep
@pytest.mark.parametrize("fail", [pytest.param("1", marks=pytest.mark.sweep), "4"])
def test_a_phase_that_fails_leaves_the_old_release_active(workspace: Workspace, fail: str) -> None:
    told: list[PhaseTold] = []
    asked = Asked(to="v2", baseline="v1", tapes=1, calculations=20, short=True, fail=fail)
    found = rehearse(workspace, asked, tools(), told.append)
    assert (found["verdict"], found["failed_phase"], found["active_release"]) == ("failed", "cutover", "v1")
    bad = [item.name for item in told if item.status == "failed"]
    assert bad[0].startswith(f"{fail}: ")
    assert "retirement" not in [item.name for item in told]


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        pytest.param("shadow", "of 99 passes", marks=pytest.mark.sweep),
        pytest.param("drill", "died", marks=pytest.mark.sweep),
        pytest.param("approvals", "missing: ", marks=pytest.mark.sweep),
    ],
)
def test_what_comes_before_the_cutover_can_fail_too(workspace: Workspace, fail: str, words: str) -> None:
    found = played(workspace, fail=fail)
    assert (found["verdict"], found["failed_phase"], found["active_release"]) == ("failed", fail, "v1")
    assert words in found["phases"][-1]["words"]


def test_the_command_offers_every_failure() -> None:
    from abaco_loans.cli.rehearse import rehearse as command

    option = next(item for item in command.params if item.name == "fail")
    assert tuple(option.type.choices) == FAILURES  # type: ignore[attr-defined]


def test_a_rehearsal_needs_two_releases(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="cannot follow"):
        rehearse(workspace, Asked(to="v2", baseline="v2"), tools())
    with pytest.raises(ConfigError):
        rehearse(workspace, Asked(to="v9", baseline="v1"), tools())


def test_a_release_is_retired_only_when_nothing_needs_it(workspace: Workspace) -> None:
    clock = ShiftedClock()
    given = run_tools(workspace, ENVIRONMENT, lambda text: None, clock)

    def refused(name: str, kind: type[AbacoError]) -> str:
        with given.open_records() as records, pytest.raises(kind) as error:
            retire_release(name, "over", given, records)
        return error.value.what

    assert "active" in refused("v2", NoAnswer)
    with given.open_records() as records:
        writer = records.production_writer
        writer.ensure("v1")
        writer.hold("c1")
        writer.switch("c1", "v2", expected="v1")
    assert "c1 is changing" in refused("v1", NoAnswer)
    with given.open_records() as records:
        records.production_writer.unhold("c1")
    assert "28 days (0 are over)" in refused("v1", NoAnswer)
    clock.move_to(clock.now() + timedelta(days=28, seconds=-60))
    assert "28 days (27 are over)" in refused("v1", NoAnswer)
    clock.move_to(clock.now() + timedelta(seconds=120))
    shadowed = replace(given, workspace=replace(workspace, settings=replace(workspace.settings, shadow="v1")))
    with given.open_records() as records:
        with pytest.raises(NoAnswer, match="shadow"):
            retire_release("v1", "over", shadowed, records)
        retire_release("v1", "over", given, records)
    assert "retired" in refused("v1", UsageError)
