"""The worker: every job ends once, under the release that is active, whatever dies, sleeps or fails meanwhile."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from pathlib import Path

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.operations.active_release import active_workspace
from abaco_loans.operations.work_queue import Worker, production_document
from abaco_loans.operations.workspace import Workspace
from tests.operations.desk import bucketed_row, write_csv
from tests.operations.programs import add_program
from tests.operations.queue_desk import QueueDesk


@pytest.fixture
def desk(tmp_path: Path) -> QueueDesk:
    return QueueDesk(tmp_path / "workspace")


def switch(desk: QueueDesk, to: str, cutover: str = "c1") -> None:
    """Make another release the active one, as a cutover does."""
    with desk.records() as records:
        active = records.production_reader.pointer().active
        records.production_writer.hold(cutover)
        records.production_writer.fence_running(cutover)
        records.production_writer.switch(cutover, to, expected=active)
        records.production_writer.unhold(cutover)


def hurt(copy: Path) -> None:
    copy.chmod(0o600)
    copy.write_text("something else", encoding="utf-8")


def test_a_job_is_run_by_the_active_release_and_done(desk: QueueDesk) -> None:
    job = desk.submit(desk.tape()).job
    outcome = desk.worker().work_once()
    assert outcome is not None and (outcome.end, outcome.release, outcome.error) == ("done", "v2", None)
    (run,) = desk.runs()
    assert (run.run_id, run.tape_sha256, run.tape_path) == (outcome.run_id, job.tape_sha256, "tape.csv")
    (served,) = desk.served(job.job_id)
    assert (served.release, served.run_id, served.epoch) == ("v2", run.run_id, desk.pointer().epoch)
    assert list(desk.actions()) == ["job.submitted", "pointer.set", "job.taken", "job.done"]
    assert desk.worker().work_once() is None
    assert not desk.submit(desk.tape()).is_new and desk.worker().work_once() is None


def test_the_date_that_was_asked_for(desk: QueueDesk) -> None:
    rows = [bucketed_row("A", "10") | {"measurement_date": day} for day in ("2025-10-31", "2025-11-30")]
    desk.submit(write_csv(desk.workspace.root.parent / "two.csv", rows), date(2025, 10, 31))
    desk.worker().work_once()
    assert [run.as_of for run in desk.runs()] == [date(2025, 10, 31)]


def test_a_program_runs_as_the_active_release(desk: QueueDesk) -> None:
    add_program(desk.workspace, "v9", 'print(\'{"kpis": {"risk.par_30": 1.5}}\')\n')
    desk.reopen(release="v9")
    desk.submit(desk.tape())
    outcome = desk.worker().work_once()
    assert outcome is not None and (outcome.end, outcome.release) == ("done", "v9"), outcome
    assert [run.release for run in desk.runs()] == ["v9"]


def test_what_a_program_does_wrong_does_not_condemn_the_tape(desk: QueueDesk) -> None:
    add_program(desk.workspace, "v9", "print('nonsense')\n")
    desk.reopen(release="v9")
    desk.submit(desk.tape())
    outcome = desk.worker().work_once()
    assert outcome is not None and outcome.end == "returned" and outcome.error is not None, outcome
    assert outcome.error["code"].startswith("REL")


def test_a_program_s_last_words_are_recorded_nowhere(desk: QueueDesk) -> None:
    add_program(desk.workspace, "v9", "raise SystemExit('cliente Ana Lopez')\n")
    desk.reopen(release="v9")
    desk.submit(desk.tape())
    outcome = desk.worker().work_once()
    assert outcome is not None and outcome.end == "returned"
    with desk.records() as records:
        assert not [item for item in records.events() if "Ana" in str(item)]
    assert "Ana" not in str(desk.jobs()) + str(desk.said)


def test_a_tape_that_cannot_be_used_fails_for_good(desk: QueueDesk) -> None:
    tape = desk.workspace.root.parent / "letter.csv"
    tape.write_text("Dear Sirs\n", encoding="utf-8")
    job = desk.submit(tape).job
    outcome = desk.worker().work_once()
    assert outcome is not None and outcome.end == "failed" and outcome.error is not None
    assert outcome.job.error == outcome.error and outcome.job.attempts == 1
    assert desk.worker().work_once() is None and desk.served(job.job_id) == ()
    with desk.records() as records:
        (failed,) = production_document(records.production_reader)["failed"]
    assert failed["error"]["code"].startswith(("TAPE", "SRC", "RUN"))


def test_what_the_world_did_wrong_is_tried_again_and_then_given_up(desk: QueueDesk) -> None:
    job = desk.submit(desk.tape()).job
    hurt(desk.workspace.root / job.spool)
    ends = desk.worker().work(until_idle=True, poll_s=0.05)
    assert ends == {"done": 0, "failed": 1, "returned": 2, "dropped": 0}
    (failed,) = desk.jobs()
    assert (failed.status, failed.attempts) == ("failed", 3) and failed.error and failed.error["code"] == "JOB-103"
    assert [item for item in desk.actions() if item in ("job.returned", "job.failed")] == [
        "job.returned",
        "job.returned",
        "job.failed",
    ]


def test_the_world_recovers(desk: QueueDesk) -> None:
    job = desk.submit(desk.tape()).job
    hurt(desk.workspace.root / job.spool)
    worker = desk.worker()
    outcome = worker.work_once()
    assert outcome is not None and outcome.end == "returned"
    assert not desk.submit(desk.tape()).is_new  # mends the copy
    assert worker.work(until_idle=True, poll_s=0.05)["done"] == 1


def test_a_job_that_kills_its_workers_is_not_taken_for_ever(desk: QueueDesk) -> None:
    job = desk.submit(desk.tape()).job
    with desk.records() as records:
        records.production_writer.ensure("v2")
        for _ in range(3):
            assert records.production_writer.take("one that dies", lease_s=60) is not None
            desk.clock.move_to(desk.clock.now() + timedelta(seconds=61))
    outcome = desk.worker().work_once()
    assert outcome is not None and outcome.end == "failed" and outcome.job.job_id == job.job_id
    assert outcome.error is not None and outcome.error["code"] == "JOB-104" and desk.runs() == ()


def test_who_slept_longer_than_the_lease_records_nothing(desk: QueueDesk) -> None:
    job = desk.submit(desk.tape()).job
    others = []

    def another() -> None:
        desk.clock.move_to(desk.clock.now() + timedelta(seconds=61))
        others.append(desk.worker("w2").work_once())

    outcome = desk.worker("w1", meanwhile=another).work_once()
    assert outcome is not None and outcome.end == "dropped" and outcome.error is not None
    assert outcome.error["code"] == "REC-131" and any("dropped" in text for text in desk.said)
    (other,) = others
    assert other is not None and other.end == "done" and len(desk.served(job.job_id)) == 1
    assert len(desk.runs()) == 1


def test_a_result_of_a_release_that_is_active_no_longer_is_dropped(desk: QueueDesk) -> None:
    job = desk.submit(desk.tape()).job
    worker = desk.worker(meanwhile=lambda: switch(desk, "v1"))
    outcome = worker.work_once()
    assert outcome is not None and (outcome.end, outcome.release) == ("dropped", "v2")
    again = worker.work_once()
    assert again is not None and (again.end, again.release) == ("done", "v1"), again
    assert [item.release for item in desk.served(job.job_id)] == ["v1"]


def test_a_lease_is_kept_while_the_job_is_at_work(desk: QueueDesk) -> None:
    desk.reopen(job_lease_s=1)
    desk.submit(desk.tape())
    seen = []

    def long() -> None:
        for _ in range(6):  # three leases long, by the clock of the records
            threading.Event().wait(0.45)
            desk.clock.move_to(desk.clock.now() + timedelta(seconds=0.5))
            with desk.records() as records:
                seen.append(records.production_writer.take("w2", lease_s=1))

    outcome = desk.worker(meanwhile=long).work_once()
    assert outcome is not None and outcome.end == "done"
    assert seen == [None] * 6


def test_while_production_is_held_the_worker_waits(desk: QueueDesk) -> None:
    desk.submit(desk.tape())
    with desk.records() as records:
        records.production_writer.ensure("v2")
        records.production_writer.hold("c1")
    worker = desk.worker()
    assert worker.work_once() is None
    thread = threading.Thread(target=lambda: worker.work(until_idle=True, poll_s=0.05))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and desk.runs() == ()
    with desk.records() as records:
        records.production_writer.unhold("c1")
    thread.join(30)
    assert not thread.is_alive() and [job.status for job in desk.jobs()] == ["done"]


def test_a_worker_that_is_told_to_stop_finishes_its_job_and_takes_no_other(desk: QueueDesk) -> None:
    for amount in (1, 2, 3):
        desk.submit(desk.tape(f"{amount}.csv", amount=amount))
    workers: list[Worker] = []
    worker = desk.worker(meanwhile=lambda: workers[0].stop())
    workers.append(worker)
    assert worker.work()["done"] == 1
    assert sorted(job.status for job in desk.jobs()) == ["done", "queued", "queued"]


def test_shadows_run_when_the_queue_is_empty_one_at_a_time(desk: QueueDesk) -> None:
    desk.reopen(shadow="v1")
    started: list[tuple[str, str, date, list[str]]] = []
    alive: list[Slow] = []

    class Slow:
        def __init__(self) -> None:
            self.polls = 0

        def poll(self) -> int | None:
            self.polls += 1
            return 0 if self.polls > 2 else None

    def start(place: Workspace, tape: Path, as_of: date) -> Slow:
        assert all(item.polls > 2 for item in alive)
        started.append((place.settings.release, tape.name, as_of, sorted(job.status for job in desk.jobs())))
        alive.append(Slow())
        return alive[-1]

    for amount in (1, 2):
        desk.submit(desk.tape(f"{amount}.csv", amount=amount))
    desk.worker(start_dark=start).work(until_idle=True, poll_s=0.05)
    assert started == [("v2", f"{amount}.csv", date(2025, 11, 30), ["done", "done"]) for amount in (1, 2)]
    assert all(item.polls > 2 for item in alive)


def test_the_first_look_fails_loudly(desk: QueueDesk) -> None:
    (desk.inbox / "taken").symlink_to("/")
    with pytest.raises(WorldError, match="JOB-102"):
        desk.worker().work()


def test_the_active_release_is_that_of_the_pointer(desk: QueueDesk) -> None:
    assert active_workspace(desk.workspace, "") is desk.workspace
    other = active_workspace(desk.workspace, "v1")
    assert (other.settings.release, other.role("v1"), other.role("v2")) == ("v1", "active", "standby")
