"""Whole cutovers, rollbacks and drills on real records, tapes and releases, and who else may be at it meanwhile."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.operations.cut_over import abort_cutover, dry_run, roll_back, start_cutover
from abaco_loans.releases.plan import StepKind, plan_of
from tests.faults.harness import tree_of
from tests.operations.cutover_desk import PLANNER, CutoverDesk, in_production


@pytest.fixture
def desk(production: CutoverDesk, tmp_path: Path) -> CutoverDesk:
    return production.copy(tmp_path / "workspace")


# --- the whole story ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cutover_its_rollback_and_forward_again(production: CutoverDesk, desk: CutoverDesk, tmp_path: Path) -> None:
    record = desk.approved()
    arrived: list[str] = []

    def tapes_arrive() -> None:
        assert desk.pointer().held_by == record.cutover_id
        arrived.extend(desk.arrive(3, 4))
        assert desk.worker().work_once() is None
        desk.later(seconds=2)

    desk.during[StepKind.DRAIN] = tapes_arrive
    assert start_cutover(record.cutover_id, desk.given()).status == "completed"
    pointer = desk.pointer()
    assert (pointer.active, pointer.previous, pointer.epoch, pointer.held_by) == ("v2", "v1", 2, "")
    assert [[(item.release, item.epoch) for item in desk.served(job)] for job in arrived] == [[("v2", 2)]] * 2
    assert desk.evidence(record.cutover_id, "inactive_s") == ["2.000"]
    folder = desk.workspace.root / "reports" / f"cutover-{record.cutover_id}"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["inactive_seconds"], len(summary["steps"])) == ("2.000", 21)
    assert "No job was taken for 2.000 s" in (folder / "summary.md").read_text()
    (log,) = (desk.workspace.root / "logs").glob("cutover_*.log")
    assert log.read_text().count(" status=done ") == 21
    arrived += desk.arrive(5)
    desk.whole("v2")

    back = roll_back("a figure looks odd", PLANNER, desk.given())
    assert back.status == "completed"
    pointer = desk.pointer()
    assert (pointer.active, pointer.previous, pointer.epoch) == ("v1", "v2", 3)
    for job in arrived:
        assert [(item.release, item.epoch) for item in desk.served(job)] == [("v2", 2), ("v1", 3)]
    (before,), (after,) = (desk.evidence(back.cutover_id, name) for name in ("before", "after"))
    assert before == after and desk.evidence(back.cutover_id, "lost") == [0]
    report = desk.workspace.root / "reports" / f"rollback-{back.cutover_id}" / "incident.json"
    assert json.loads(report.read_text())["reason"] == "a figure looks odd"
    never = production.copy(tmp_path / "never" / "workspace")
    never.arrive(3, 4, 5)
    never.whole("v1")
    wanted = {job.job_id: never.published(job) for job in never.jobs()}
    assert {job.job_id: desk.published(job) for job in desk.jobs()} == wanted
    assert len(wanted) == 5
    desk.whole("v1")

    with pytest.raises(UsageError, match="called back"):
        roll_back("once more", PLANNER, desk.given())
    again = desk.approved()
    assert start_cutover(again.cutover_id, desk.given()).status == "completed"
    assert (desk.pointer().active, desk.pointer().epoch) == ("v2", 4)
    desk.whole("v2")
    assert roll_back("and back", PLANNER, desk.given()).status == "completed"
    desk.whole("v1")


@pytest.mark.slow
def test_the_same_with_records_on_a_server(server_url: str, tmp_path: Path) -> None:
    """Drill and staging work in copies whose records are in SQLite; those on the server are production's alone."""
    desk = in_production(tmp_path / "workspace", records_url=server_url)
    assert not (desk.workspace.root / "records" / "abaco.db").exists()
    pointer, jobs = desk.pointer(), desk.jobs()
    assert (pointer.active, pointer.epoch, pointer.held_by) == ("v1", 1, "")
    assert [[item.epoch for item in desk.served(job.job_id)] for job in jobs] == [[1], [1]]
    record = desk.approved()
    drill = desk.record(plan_of(json.loads(record.plan)).facts.drill_id or "")
    assert (drill.kind, drill.status) == ("drill", "completed")
    desk.during[StepKind.DRAIN] = desk.arrives(3)
    assert start_cutover(record.cutover_id, desk.given()).status == "completed", desk.steps(record.cutover_id)
    pointer = desk.pointer()
    assert (pointer.active, pointer.previous, pointer.epoch, pointer.held_by) == ("v2", "v1", 2, "")
    back = roll_back("a figure looks odd", PLANNER, desk.given())
    assert (back.status, desk.pointer().active, desk.pointer().epoch) == ("completed", "v1", 3)
    assert desk.evidence(back.cutover_id, "lost") == [0]
    (late,) = [job.job_id for job in desk.jobs() if job.job_id not in {job.job_id for job in jobs}]
    assert [(item.release, item.epoch) for item in desk.served(late)] == [("v2", 2), ("v1", 3)]
    desk.whole("v1")


@pytest.mark.slow
def test_real_checks_find_a_broken_file_and_production_goes_back(desk: CutoverDesk) -> None:
    record = desk.approved()
    desk.arrive(3)

    def breaks() -> None:
        (job,) = [item for item in desk.jobs() if item.served_by == "v2"]
        with desk.records() as records:
            run = records.reader.get(job.run_id or "")
        assert run is not None
        path = desk.workspace.outputs / (run.output_folder or "") / "kpis.json"
        path.chmod(0o600)
        path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))

    desk.during[StepKind.VALIDATE_PRODUCTION] = breaks
    ended = start_cutover(record.cutover_id, desk.given(real=True))
    assert ended.status == "rolled_back", desk.steps(record.cutover_id)
    assert desk.failed_phase(record.cutover_id) == 5
    checks = desk.evidence(record.cutover_id, "checks")[-1]
    assert checks["data_integrity"] == "FAIL"
    desk.whole("v1")


def test_a_tape_that_failed_under_the_new_release_is_given_to_the_old_one(desk: CutoverDesk) -> None:
    record = desk.approved()
    start_cutover(record.cutover_id, desk.given())
    (job,) = desk.arrive(3)
    with desk.records() as records:
        taken = records.production_writer.take("w", lease_s=60)
        assert taken is not None
        records.production_writer.fail(job, taken.fence, {"code": "TAPE-1"}, again=False)
    assert roll_back("it refuses tapes", PLANNER, desk.given()).status == "completed"
    assert [(item.release, item.epoch) for item in desk.served(job)] == [("v1", 3)]
    desk.whole("v1")


def test_a_tape_that_the_old_release_cannot_use_is_told_and_keeps_nobody_from_the_end(desk: CutoverDesk) -> None:
    start_cutover(desk.approved().cutover_id, desk.given())
    (job,) = desk.arrive(3)
    desk.work()

    def fails() -> None:
        with desk.records() as records:
            taken = records.production_writer.take("w", lease_s=60)
            assert taken is not None and taken.job.job_id == job
            records.production_writer.fail(job, taken.fence, {"code": "TAPE-1"}, again=False)

    desk.during[StepKind.RUN_AGAIN] = fails
    back = roll_back("", PLANNER, desk.given())
    assert (back.status, desk.pointer().active) == ("completed", "v1")
    assert [desk.evidence(back.cutover_id, name) for name in ("lost", "unfit")] == [[0], [1]]
    assert any("stay aside" in told.words for told in desk.told)


def test_tapes_that_keep_arriving_do_not_keep_a_cutover_or_rollback_from_its_end(desk: CutoverDesk) -> None:
    """What arrived after a step began is not for that step; with somebody else at work on it, neither."""
    record = desk.approved()

    def taken_by_another() -> None:
        desk.arrive(3)
        with desk.records() as records:
            assert records.production_writer.take("slow", lease_s=10_000) is not None

    desk.during[StepKind.VALIDATE_PRODUCTION] = taken_by_another
    assert start_cutover(record.cutover_id, desk.given()).status == "completed"
    desk.during[StepKind.VERIFY_SNAPSHOT] = desk.arrives(4)
    assert roll_back("", PLANNER, desk.given()).status == "completed"
    desk.whole("v1")


def test_a_drill_leaves_production_as_it_is_and_is_evidence(desk: CutoverDesk) -> None:
    root = desk.workspace.root
    kept = ("outputs", "queue", "releases", "keys")
    before = [tree_of(root / name) for name in kept], desk.pointer(), desk.jobs()
    said = desk.drill()
    assert (said["passed"], said["from"], said["to"], said["jobs"]) == (True, "v2", "v1", 2)
    assert ([tree_of(root / name) for name in kept], desk.pointer(), desk.jobs()) == before
    assert not any(path.name.startswith("drill") for path in (root / ".scratch").rglob("*"))
    record = desk.approved()
    assert plan_of(json.loads(record.plan)).facts.drill_id == said["drill_id"]
    assert start_cutover(record.cutover_id, desk.given()).status == "completed"


def test_a_drill_of_another_meaning_or_too_long_ago_is_no_evidence(desk: CutoverDesk) -> None:
    record = desk.plan()
    assert plan_of(json.loads(record.plan)).facts.drill_id
    desk.later(days=31)
    assert not plan_of(json.loads(desk.plan().plan)).facts.drill_id
    desk.later(days=-31)
    desk.edit_release("v2/definitions.yml")
    assert not plan_of(json.loads(desk.plan().plan)).facts.drill_id


# --- who else is there --------------------------------------------------------------------------------------


def test_another_process_is_told_who_is_at_it(desk: CutoverDesk) -> None:
    record, other = desk.approved(), desk.approved()
    refused: list[WorldError] = []

    def another() -> None:
        for act in (start_cutover, abort_cutover):
            with pytest.raises(WorldError) as said:
                act(other.cutover_id, desk.given())
            refused.append(said.value)

    desk.during[StepKind.HOLD_QUEUE] = another
    assert start_cutover(record.cutover_id, desk.given()).status == "completed"
    assert len(refused) == 2 and all("abaco cutover by" in str(item) for item in refused)
    assert desk.record(other.cutover_id).status == "planned"
    assert start_cutover(other.cutover_id, desk.given()).status == "stopped"  # it was overtaken
    desk.whole("v2")


class _InterruptedError(BaseException):
    """Somebody pressed Ctrl-C."""


@pytest.mark.parametrize("number", range(1, 22))
def test_abort_at_every_step(number: int, desk: CutoverDesk) -> None:
    record = desk.approved()
    step = plan_of(json.loads(record.plan)).step(number)

    def interrupted() -> None:
        raise _InterruptedError

    desk.during[StepKind.HOLD_QUEUE] = desk.arrives(4)
    desk.during[step.kind] = interrupted
    with pytest.raises(_InterruptedError):
        start_cutover(record.cutover_id, desk.given())
    aborted = abort_cutover(None, desk.given())
    assert aborted.status == ("stopped" if step.phase < 3 else "rolled_back")
    assert [item.number for item in desk.steps(record.cutover_id) if item.status == "failed"] == [number]
    desk.whole("v1")
    with pytest.raises(UsageError):
        abort_cutover(record.cutover_id, desk.given())


def test_a_plan_can_be_aborted_before_it_was_started_and_walked_through_dry(desk: CutoverDesk) -> None:
    record = desk.plan()
    events = len(desk.actions())
    said = {name: passed for name, passed, _ in dry_run(record.cutover_id, desk.given())}
    assert said["four people have approved this plan"] is False
    assert sum(1 for passed in said.values() if passed) == len(said) - 1
    assert desk.steps(record.cutover_id) == ()
    assert len(desk.actions()) == events
    assert abort_cutover(record.cutover_id, desk.given()).status == "stopped"
    desk.approve(record.cutover_id)
    with pytest.raises(UsageError, match="stopped"):
        start_cutover(record.cutover_id, desk.given())


def test_a_tape_that_arrives_in_a_clock_that_jumps_is_served(desk: CutoverDesk) -> None:
    record = desk.approved()
    desk.during[StepKind.DRAIN] = lambda: desk.clock.move_to(desk.clock.now() + timedelta(hours=1))
    desk.during[StepKind.SWITCH] = lambda: desk.clock.move_to(desk.clock.now() - timedelta(hours=3))
    desk.arrive(3)
    assert start_cutover(record.cutover_id, desk.given()).status in {"completed", "rolled_back"}
    desk.whole(desk.pointer().active)
