"""Each phase of a cutover made to fail, or not to know: the old release is active at the end, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from abaco_loans.errors import InvariantError, UsageError, WorldError
from abaco_loans.operations.cut_over import abort_cutover, resume_cutover, roll_back, start_cutover
from abaco_loans.operations.plan_cutover import approve_plan
from abaco_loans.records.cutovers import NewApproval
from abaco_loans.releases.approval import Role
from abaco_loans.releases.plan import StepKind, cutover_plan, plan_of
from abaco_loans.watch.check import Status
from tests.operations.cutover_desk import FOUR, PLANNER, CutoverDesk


@pytest.fixture
def desk(production: CutoverDesk, tmp_path: Path) -> CutoverDesk:
    return production.copy(tmp_path / "workspace")


# --- what fails, phase by phase -----------------------------------------------------------------------------


def flip(desk: CutoverDesk) -> None:
    """A bit of the snapshot turns."""
    path = next((desk.workspace.root / ".rollback").glob("*/ledger.jsonl"))
    path.chmod(0o600)
    path.write_bytes(b"x" + path.read_bytes()[1:])


def of_another_plan(desk: CutoverDesk, cutover_id: str) -> None:
    """Approvals of another plan, and the records do not take them for this one."""
    desk.later(seconds=1)
    other = desk.approved()
    with desk.records() as records:
        (first, *_) = records.cutover_reader.approvals(other.cutover_id)
        new = NewApproval(
            cutover_id=cutover_id, plan_hash=first.plan_hash, role=first.role, person=first.person, how=first.how,
            verified=True, reason="", expires_at=first.expires_at,
        )  # fmt: skip
        with pytest.raises(InvariantError):
            records.cutover_writer.approve(new)


def raises() -> None:
    raise RuntimeError("a defect")


def loosen(desk: CutoverDesk) -> None:
    """The gates let more through."""
    path = desk.workspace.root / "releases" / "v2" / "gates.yml"
    text = path.read_text()
    after = re.sub(r"(?m)^  halt_percent: 1$", "  halt_percent: 9", text)
    assert after != text
    path.write_text(after)


def approved_then(change: Callable[[CutoverDesk], None]) -> Callable[[CutoverDesk, str], None]:
    """All is approved; then something changes."""

    def both(desk: CutoverDesk, number: str) -> None:
        desk.approve(number)
        change(desk)

    return both


BEFORE: dict[str, Callable[[CutoverDesk, str], None]] = {
    "nobody approved": lambda desk, number: None,
    "three approved": lambda desk, number: desk.approve(number, {role: FOUR[role] for role in list(Role)[:3]}),
    "the planner approved": lambda desk, number: desk.approve(number, FOUR | {Role.OPS: "PAT  lee"}),
    "one approved twice": lambda desk, number: desk.approve(number, FOUR | {Role.OPS: "Ben"}),
    "approvals of another plan": of_another_plan,
    "expired": approved_then(lambda desk: desk.later(days=3)),
    "the candidate was edited": approved_then(lambda desk: desk.edit_release("v2/definitions.yml")),
    "the baseline was edited": approved_then(lambda desk: desk.edit_release("v1/legacy.py")),
    "the gates were changed": approved_then(lambda desk: loosen(desk)),
    "the clock was set back": approved_then(lambda desk: desk.later(hours=-1)),
}


@pytest.mark.parametrize("what", BEFORE)
def test_phase_0_stops_before_anything_changes(what: str, desk: CutoverDesk) -> None:
    record = desk.plan()
    BEFORE[what](desk, record.cutover_id)
    before = desk.pointer(), desk.jobs()
    assert start_cutover(record.cutover_id, desk.given()).status == "stopped"
    assert desk.failed_phase(record.cutover_id) == 0
    assert (desk.pointer(), desk.jobs()) == before
    assert not (desk.workspace.root / ".rollback").exists()
    with pytest.raises(UsageError, match="stopped"):
        start_cutover(record.cutover_id, desk.given())


def test_approvals_of_a_rehearsal_do_not_count_for_a_plan_that_is_none(desk: CutoverDesk) -> None:
    record = desk.plan(rehearsal=False)
    with desk.records() as records:
        for role, person in FOUR.items():
            said, _ = approve_plan(record.cutover_id, role, person, desk.tools(), records, rehearsed_by=person)
            assert not said.verified
    assert start_cutover(record.cutover_id, desk.given()).status == "stopped"
    assert cutover_plan(plan_of(json.loads(record.plan)).facts).hash() == record.plan_hash


def breaks_in_drain(desk: CutoverDesk) -> None:
    """A worker is at work, and the machine cannot wait for it."""
    desk.arrive(3)
    with desk.records() as records:
        assert records.production_writer.take("w", lease_s=10_000) is not None
    desk.sleep = lambda seconds: raises()


def let_go(desk: CutoverDesk) -> None:
    """Somebody lets go of the queue in the very moment."""

    def now() -> None:
        with desk.records() as records:
            records.production_writer.unhold(desk.pointer().held_by)

    desk.during[StepKind.SWITCH] = now


def light(name: str, value: object) -> Callable[[CutoverDesk], None]:
    return lambda desk: setattr(desk.light, name, value)


def at_step(kind: StepKind, name: str, value: object) -> Callable[[CutoverDesk], None]:
    return lambda desk: desk.during.update({kind: lambda: setattr(desk.light, name, value)})


LATER: dict[str, tuple[StepKind, int, Callable[[CutoverDesk], None]]] = {
    "the snapshot is damaged": (
        StepKind.VERIFY_SNAPSHOT, 1, lambda desk: desk.during.update({StepKind.VERIFY_SNAPSHOT: lambda: flip(desk)})
    ),
    "the suite fails": (StepKind.CHECK_SUITE, 2, light("status", Status.FAIL)),
    "the suite raises": (StepKind.CHECK_SUITE, 2, light("before_validate", lambda place: raises())),
    "a staged run breaks": (StepKind.STAGE_RUN, 2, at_step(StepKind.STAGE_RUN, "before_run", raises)),
    "the drain breaks": (StepKind.DRAIN, 3, breaks_in_drain),
    "the queue was let go of": (StepKind.SWITCH, 4, let_go),
    "the checks fail": (
        StepKind.VALIDATE_PRODUCTION, 5, at_step(StepKind.VALIDATE_PRODUCTION, "status", Status.FAIL)
    ),
    "the checks raise": (
        StepKind.VALIDATE_PRODUCTION,
        5,
        at_step(StepKind.VALIDATE_PRODUCTION, "before_validate", lambda place: raises()),
    ),
    "the comparison fails": (StepKind.COMPARE_BASELINE, 5, light("verdict", "fail")),
    "the comparison raises": (StepKind.COMPARE_BASELINE, 5, light("before_compare", raises)),
}  # fmt: skip


@pytest.mark.parametrize("what", LATER)
def test_what_fails_later_ends_in_the_old_release_with_nothing_lost(what: str, desk: CutoverDesk) -> None:
    kind, phase, arrange = LATER[what]
    record = desk.approved()
    arrange(desk)
    desk.during[StepKind.HOLD_QUEUE] = desk.arrives(4)
    defect = what.endswith(("raise", "raises", "breaks"))
    with pytest.raises(RuntimeError) if defect else nullcontext():
        start_cutover(record.cutover_id, desk.given())
    ended = desk.record(record.cutover_id)
    desk.sleep = lambda seconds: desk.later(seconds=seconds)
    assert (ended.status, desk.failed_phase(record.cutover_id)) == ("stopped" if phase < 3 else "rolled_back", phase)
    (failed,) = [step for step in desk.steps(record.cutover_id) if step.status == "failed"]
    assert plan_of(json.loads(record.plan)).step(failed.number).kind is kind
    desk.whole("v1")
    if phase >= 3:
        assert (desk.workspace.root / "reports" / f"rollback-{record.cutover_id}" / "incident.md").exists()


# --- what is unknown ----------------------------------------------------------------------------------------


def test_a_missing_metric_is_held_while_production_goes_on_and_goes_back_at_its_deadline(desk: CutoverDesk) -> None:
    record = desk.approved()
    desk.during[StepKind.VALIDATE_PRODUCTION] = lambda: setattr(desk.light, "status", None)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        assert (desk.pointer().active, desk.pointer().held_by) == ("v2", "")
        waits.append(seconds)
        desk.later(seconds=seconds)

    desk.light.before_validate = lambda place: None
    assert start_cutover(record.cutover_id, desk.given(wait=wait)).status == "rolled_back"
    assert sum(waits) == 300
    assert desk.failed_phase(record.cutover_id) == 5
    desk.whole("v1")


@pytest.mark.parametrize("seconds", [301, -301])
def test_whoever_resumes_after_the_deadline_goes_back_though_the_metric_is_there(
    seconds: int, desk: CutoverDesk
) -> None:
    record = desk.approved()
    desk.during[StepKind.VALIDATE_PRODUCTION] = lambda: setattr(desk.light, "status", None)
    assert start_cutover(record.cutover_id, desk.given()).status == "held"
    assert (desk.pointer().active, desk.pointer().held_by) == ("v2", "")
    with pytest.raises(WorldError) as refused:
        start_cutover(desk.approved_for("v1").cutover_id, desk.given())
    assert refused.value.code == "REC-114" and record.cutover_id in refused.value.what
    with pytest.raises(WorldError, match=record.cutover_id):
        roll_back("impatient", PLANNER, desk.given())
    desk.light.status = Status.PASS
    desk.later(seconds=seconds)
    assert resume_cutover(None, desk.given()).status == "rolled_back"
    desk.whole("v1")


def test_a_metric_that_comes_in_time_lets_it_go_on(desk: CutoverDesk) -> None:
    record = desk.approved()
    desk.during[StepKind.VALIDATE_PRODUCTION] = lambda: setattr(desk.light, "status", None)
    assert start_cutover(record.cutover_id, desk.given()).status == "held"
    assert resume_cutover(None, desk.given()).status == "held"
    desk.light.status = Status.PASS
    desk.later(seconds=200)
    assert resume_cutover(record.cutover_id, desk.given()).status == "completed"
    desk.whole("v2")


def test_a_way_back_that_fails_is_loud_and_left_to_a_person_while_the_old_release_serves(desk: CutoverDesk) -> None:
    start_cutover(desk.approved().cutover_id, desk.given())
    desk.arrive(3)
    desk.work()
    flip(desk)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        desk.later(seconds=seconds)

    back = roll_back("", PLANNER, desk.given(wait=wait))
    assert (back.status, sum(waits)) == ("held", 30)
    desk.whole("v1")
    flip_back = next((desk.workspace.root / ".rollback").glob("*/ledger.jsonl"))
    flip_back.write_bytes(b"{" + flip_back.read_bytes()[1:])
    assert abort_cutover(None, desk.given()).status == "completed"
    desk.whole("v1")


def test_a_log_that_cannot_be_written_stops_nothing_half_way(desk: CutoverDesk) -> None:
    record = desk.approved()
    (desk.workspace.root / "logs").write_text("no folder")
    assert start_cutover(record.cutover_id, desk.given()).status == "completed"
    desk.whole("v2")
