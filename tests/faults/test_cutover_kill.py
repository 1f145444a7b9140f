"""A cutover and a rollback that are killed anywhere (FAULTS 1, 2, 12, 38): mended, nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from abaco_loans.operations.cut_over import abort_cutover, resume_cutover, start_cutover
from abaco_loans.records.cutovers import CutoverRecord
from tests.faults.harness import Done, Server, lines_of
from tests.operations.cutover_desk import CutoverDesk, in_production

SEED = 20261122
POINTS_IN_CI = 12
MOMENTS = 50
# Commits of the database, every fsync, and what becomes visible by renaming.
CALLS = "calls=fsync,fdatasync,rename,unlink,ftruncate"
VERBS = ("start", "rollback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Production just before a cutover, and just before a rollback, and processes to kill in it."""

    server: Server
    before: dict[str, CutoverDesk]
    plan: str

    def copy(self, verb: str, folder: Path) -> CutoverDesk:
        """Production of one's own."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        desk = self.before[verb].copy(folder / "workspace")
        desk.instant = True
        return desk

    def run(self, verb: str, desk: CutoverDesk, order: str) -> Done:
        """Carry it out in a process of its own."""
        root = desk.workspace.root
        return self.server.wait(
            self.server.start(
                verb, root, root.parent / "acknowledged", self.plan, order=order, entry="tests.faults.cutover_child"
            )
        )


@pytest.fixture(scope="module")
def stage(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    desk = in_production(folder / "workspace")
    desk.instant = True
    plan = desk.approved().cutover_id
    (folder / "over").mkdir()
    over = desk.copy(folder / "over" / "workspace")
    over.instant = True
    assert start_cutover(plan, over.given()).status == "completed"
    over.arrive(3, 4)
    over.work()
    server = Server(shim, folder, ["cutover", "status", "-w", str(folder / "workspace")])
    try:
        yield Stage(server=server, before={"start": desk, "rollback": over}, plan=plan)
    finally:
        server.close()


def latest(desk: CutoverDesk, verb: str) -> CutoverRecord | None:
    """The plan that was carried out; None where the process died before it was there."""
    kind = {"start": "cutover", "rollback": "rollback"}[verb]
    with desk.records() as records:
        return next((item for item in records.cutover_reader.list() if item.kind == kind), None)


def mended(desk: CutoverDesk, verb: str, *, abort: bool) -> tuple[str, str]:
    """Resume what was killed, or abort it; its status then, and the release that must be active."""
    record = latest(desk, verb)
    old, new = ("v1", "v2") if verb == "start" else ("v2", "v1")
    if record is None or record.status in {"planned", "completed"}:
        return "", new if record and record.status == "completed" else old
    ended = (abort_cutover if abort else resume_cutover)(record.cutover_id, desk.given())
    return ended.status, new if ended.status == "completed" else old


def nothing_lost(desk: CutoverDesk, active: str, known: set[str], where: object) -> None:
    """One release is active; every tape is served once under the release that counts; nothing was done twice."""
    pointer = desk.pointer()
    assert (pointer.active, pointer.held_by) == (active, ""), where
    desk.later(seconds=61)  # the leases of the dead run out
    desk.work()
    jobs = {job.job_id: job for job in desk.jobs()}
    acknowledged = desk.workspace.root.parent / "acknowledged"
    known |= set(acknowledged.read_text().split()) if acknowledged.exists() else set()
    assert known <= jobs.keys(), where
    switches: list[int] = []
    with desk.records() as records:
        assert records.verify().ok and records.faults() == (), where
        done = Counter()  # type: ignore[var-annotated]
        for event in records.events():
            if event.action == "pointer.switched":
                switches.append(int(event.payload["epoch"]))
            if event.action == "step.done":
                done[event.subject, event.payload["number"]] += 1
    assert switches == list(range(2, pointer.epoch + 1)), where
    assert set(done.values()) <= {1}, where
    for job in jobs.values():
        assert job.status == "done", where
        epochs = [item.epoch for item in desk.served(job.job_id)]
        assert len(set(epochs)) == len(epochs) and job.epoch == max(epochs), where
        # What the release that is left has served since it became active counts no longer.
        assert job.served_by == active or job.epoch == 1, where


def points(stage: Stage, verb: str, folder: Path) -> list[int]:
    """Every point at which the process can be killed."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    desk = stage.copy(verb, folder / "count")
    done = stage.run(verb, desk, f"action=count;{CALLS};log={log}")
    assert done.code == 0, (done.out, done.err)
    found = [number for number, _, _ in lines_of(log)]
    assert len(found) > 60
    nothing_lost(desk, {"start": "v2", "rollback": "v1"}[verb], set(), "undisturbed")
    return found


def killed_at(stage: Stage, verb: str, order: str, folder: Path, *, abort: bool) -> str:
    """Kill, mend, check; how it ended."""
    desk = stage.copy(verb, folder)
    known = {job.job_id for job in desk.jobs()}
    died = stage.run(verb, desk, order)
    where = (verb, order, "abort" if abort else "resume")
    assert died.code in {0, -signal.SIGKILL}, (where, died.err)
    ended, active = mended(desk, verb, abort=abort)
    if not abort and ended:
        assert ended == "completed", where
    nothing_lost(desk, active, known, where)
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_some_points(verb: str, stage: Stage, tmp_path: Path) -> None:
    luck = random.Random(SEED)
    chosen = sorted(luck.sample(points(stage, verb, tmp_path), POINTS_IN_CI))
    print(f"{verb}: killed at {chosen}")  # noqa: T201 # whoever reads a failure wants to know which
    ends = {
        killed_at(stage, verb, f"action=kill;at={at};{CALLS}", tmp_path / "one", abort=number % 2 == 1)
        for number, at in enumerate(chosen)
    }
    assert "completed" in ends


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("abort", [False, True])
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_every_point(verb: str, abort: bool, part: int, stage: Stage, tmp_path: Path) -> None:
    for at in points(stage, verb, tmp_path)[part::8]:
        killed_at(stage, verb, f"action=kill;at={at};{CALLS}", tmp_path / "one", abort=abort)


@pytest.mark.sweep
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_random_moments(verb: str, stage: Stage, tmp_path: Path) -> None:
    luck = random.Random(SEED)
    began = time.monotonic()
    points(stage, verb, tmp_path)
    lasts = time.monotonic() - began
    for number in range(MOMENTS // len(VERBS)):
        desk = stage.copy(verb, tmp_path / "one")
        known = {job.job_id for job in desk.jobs()}
        root, after = desk.workspace.root, luck.uniform(0, lasts)
        going = stage.server.start(
            verb, root, root.parent / "acknowledged", stage.plan, entry="tests.faults.cutover_child"
        )
        time.sleep(after)
        os.kill(going.pid, signal.SIGKILL)
        stage.server.wait(going)
        _, active = mended(desk, verb, abort=number % 2 == 1)
        nothing_lost(desk, active, known, (verb, after))
