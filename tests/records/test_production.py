"""The queue and the pointer, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest

from abaco_loans.clock import FixedClock, SystemClock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.production import MOVES, Job, NewJob, Pointer, ProductionReader, ProductionWriter, Taken
from abaco_loans.records.production_rows import JOB_SEALED, POINTER_SEALED, SERVED_SEALED
from abaco_loans.records.run_rows import seal
from abaco_loans.records.store import Store, open_store

Child = Callable[[Callable[[], None]], int]
Outcome = Callable[[int], int]
Sweep = Callable[[Callable[[Store], object], Callable[[Store], object]], None]

LEASE_S = 60
ERROR = {"what": "the program crashed", "code": "RUN-301", "where": "v1", "hint": "look"}
ENDING = ": what is stored is not what was written"


@pytest.fixture
def url(url_of_each: str) -> str:
    return url_of_each


def tape(number: int = 1, *, as_of: date | None = None, name: str = "tape.csv") -> NewJob:
    return NewJob(tape_sha256=f"{number:064x}", tape_name=name, as_of=as_of, spool=f"spool/{number}")


def queue(store: Store, *numbers: int, active: str = "v1") -> list[str]:
    """Make ``active`` the active release and submit tapes; their job ids."""
    store.production_writer.ensure(active)
    return [store.production_writer.submit(tape(number))[0].job_id for number in numbers]


def take(store: Store, owner: str = "w1") -> Taken:
    taken = store.production_writer.take(owner, lease_s=LEASE_S)
    assert taken is not None
    return taken


def finish(store: Store, taken: Taken, run_id: str = "r1") -> Job:
    return store.production_writer.finish(
        taken.job.job_id, taken.fence, epoch=taken.epoch, release=taken.release, run_id=run_id
    )


def switched(store: Store, to: str, cutover_id: str, *, fenced: bool = True) -> Pointer:
    """The pointer after a whole change of the active release."""
    writer = store.production_writer
    before = writer.hold(cutover_id)
    if fenced:
        writer.fence_running(cutover_id)
    writer.switch(cutover_id, to, expected=before.active)
    return writer.unhold(cutover_id)


def actions(store: Store) -> list[str]:
    return [event.action for event in store.events()]


def rows(store: Store, statement: str, **values: object) -> list[dict[str, Any]]:
    with store._database.write() as connection:
        return connection.rows(statement, **values)


def whole(store: Store) -> bool:
    return store.verify().ok and store.faults() == ()


@contextlib.contextmanager
def refused(store: Store, code: str) -> Any:
    """What is inside is refused with this code, and nothing is written."""
    before = store.head()
    with pytest.raises(WorldError, match=code):
        yield
    assert store.head() == before


# --- a job's life ---


def test_a_job_from_its_arrival_to_its_result(store: Store, clock: FixedClock) -> None:
    reader: ProductionReader = store.production_reader
    writer: ProductionWriter = store.production_writer
    began = clock.now()
    assert reader.pointer() == Pointer(active="", previous="", epoch=0, held_by="", changed_at=None, event_seq=0)
    pointer = writer.ensure("v1")
    assert pointer == Pointer(active="v1", previous="", epoch=1, held_by="", changed_at=began, event_seq=1)
    assert writer.ensure("v2") == pointer == reader.pointer()

    new = tape(as_of=date(2026, 3, 31))
    job, is_new = writer.submit(new)
    assert is_new
    assert {name: getattr(job, name) for name in NewJob.__slots__} == dataclasses.asdict(new)
    assert (job.job_id, job.status, job.attempts, job.fence, job.owner) == (new.job_id, "queued", 0, 0, "")
    assert (job.submitted_at, job.lease_until, job.served_by, job.epoch) == (began, None, None, None)
    assert reader.job(job.job_id) == job

    taken = take(store)
    assert (taken.fence, taken.release, taken.epoch) == (1, "v1", 1)
    assert (taken.job.status, taken.job.attempts, taken.job.owner) == ("leased", 1, "w1")
    assert taken.job.lease_until == began + timedelta(seconds=LEASE_S)
    assert writer.take("w2", lease_s=LEASE_S) is None

    clock.move_to(began + timedelta(seconds=30))
    kept = writer.extend(job.job_id, 1, lease_s=LEASE_S)
    assert kept == dataclasses.replace(taken.job, lease_until=began + timedelta(seconds=90)) == reader.job(job.job_id)

    done = finish(store, taken)
    assert done == dataclasses.replace(
        kept, status="done", owner="", lease_until=None, served_by="v1", run_id="r1", epoch=1, event_seq=4
    )
    (result,) = reader.served(job.job_id)
    assert reader.served_since(1) == reader.latest_served() == (result,)
    assert reader.served_since(2) == ()
    assert (result.release, result.run_id, result.epoch, result.fence) == ("v1", "r1", 1, 1)
    assert (result.served_at, result.event_seq) == (clock.now(), 4)
    assert reader.counts() == {"queued": 0, "leased": 0, "done": 1, "failed": 0}
    assert actions(store) == ["pointer.set", "job.submitted", "job.taken", "job.done"]
    assert whole(store)


def test_the_key_of_a_job_is_the_tape_and_the_date() -> None:
    assert tape().job_id == tape(name="other name.csv").job_id
    assert tape(as_of=date(2026, 3, 31)).job_id == "f35ba08446b61e678859dba9"
    assert len({tape().job_id, tape(2).job_id, tape(as_of=date(2026, 3, 31)).job_id}) == 3


def test_every_pair_of_states_of_a_job(store: Store) -> None:
    """Whoever holds the latest fence may do what the table allows, and nothing else."""
    writer = store.production_writer
    writer.ensure("v1")

    def lead(number: int, to: str) -> str:
        job_id = writer.submit(tape(number))[0].job_id
        if to != "queued":
            taken = take(store)
            assert taken.job.job_id == job_id
            if to == "done":
                finish(store, taken)
            if to == "failed":
                writer.fail(job_id, taken.fence, ERROR, again=False)
        return job_id

    moves: dict[str, Callable[[str, int], object]] = {
        "done": lambda job_id, fence: writer.finish(job_id, fence, epoch=1, release="v1", run_id="late"),
        "failed": lambda job_id, fence: writer.fail(job_id, fence, ERROR, again=False),
        "queued": lambda job_id, fence: writer.fail(job_id, fence, ERROR, again=True),
        "leased": lambda job_id, fence: writer.extend(job_id, fence, lease_s=1),
    }
    for number, (old, new) in enumerate(product(("queued", "leased", "done", "failed"), moves)):
        job_id = lead(number, old)
        job = store.production_reader.job(job_id)
        assert job is not None
        if old == "leased" and (old, new) in MOVES:
            moves[new](job_id, job.fence)
            assert store.production_reader.job(job_id).status == new  # type: ignore[union-attr]
        else:
            with refused(store, "REC-131"):
                moves[new](job_id, job.fence)
        while rest := writer.take("rest", lease_s=LEASE_S):
            writer.fail(rest.job.job_id, rest.fence, ERROR, again=False)
    assert whole(store)
    for call in moves.values():
        with pytest.raises(InvariantError, match="there is none"):
            call("0" * 24, 1)


def test_a_job_that_broke_goes_to_the_end_of_the_queue_or_has_failed(store: Store, clock: FixedClock) -> None:
    first, second = queue(store, 1, 2)
    clock.move_to(clock.now() - timedelta(days=900))  # order never comes from the clock
    returned = store.production_writer.fail(first, take(store).fence, ERROR, again=True)
    assert (returned.status, returned.owner, returned.lease_until, returned.error) == ("queued", "", None, ERROR)
    assert [take(store).job.job_id for _ in range(2)] == [second, first]
    failed = store.production_writer.fail(first, 2, ERROR, again=False)
    assert (failed.status, failed.attempts, failed.fence) == ("failed", 2, 2)
    assert store.production_writer.take("w1", lease_s=LEASE_S) is None
    assert store.production_writer.submit(tape(1)) == (failed, False)
    assert [job.job_id for job in store.production_reader.jobs()] == [first, second]
    assert [job.job_id for job in store.production_reader.jobs("leased")] == [second]
    assert len(store.production_reader.jobs(limit=1)) == 1
    assert actions(store)[-3:] == ["job.taken", "job.taken", "job.failed"]
    with pytest.raises(InvariantError):
        store.production_writer.fail(second, 1, {"seconds": 0.5}, again=True)
    assert whole(store)


def test_the_same_result_twice_is_one_result(store: Store) -> None:
    """The server may have answered the first time, and the answer been lost."""
    queue(store, 1)
    taken = take(store)
    done = finish(store, taken)
    assert finish(store, taken) == done
    with refused(store, "REC-131"):
        finish(store, taken, run_id="another")
    assert len(store.production_reader.served(done.job_id)) == 1
    assert actions(store).count("job.done") == 1


def test_a_result_is_of_the_release_that_the_job_was_taken_with(store: Store) -> None:
    """A worker that asks for the epoch when it is done, and not when it began, would pass off an old result."""
    (job_id,) = queue(store, 1)
    taken = take(store)
    switched(store, "v2", "c1", fenced=False)
    for release, epoch in (("v2", 2), ("v2", 1), ("v1", 2)):
        with pytest.raises(InvariantError, match="taken with"):
            store.production_writer.finish(job_id, taken.fence, epoch=epoch, release=release, run_id="r1")
    assert store.production_reader.served(job_id) == ()


# --- leases ---


def test_a_lease_runs_out_by_the_clock(store: Store, clock: FixedClock) -> None:
    queue(store, 1)
    first = take(store)
    until = first.job.lease_until
    assert until is not None
    clock.move_to(until - timedelta(microseconds=1))
    assert store.production_writer.take("w2", lease_s=LEASE_S) is None
    clock.move_to(until)
    second = take(store, "w2")
    assert (second.fence, second.job.owner, second.job.attempts) == (2, "w2", 2)
    with pytest.raises(InvariantError, match="lease"):
        store.production_writer.take("w3", lease_s=0)


def test_a_lease_that_ran_out_is_still_its_owners_while_nobody_took_it(store: Store, clock: FixedClock) -> None:
    queue(store, 1, 2)
    first, second = take(store), take(store)
    clock.move_to(clock.now() + timedelta(days=1))
    assert finish(store, first).status == "done"
    store.production_writer.extend(second.job.job_id, second.fence, lease_s=LEASE_S)
    assert store.production_writer.take("w2", lease_s=LEASE_S) is None


def test_a_clock_that_was_set_back_does_not_lock_a_job_away(store: Store, clock: FixedClock) -> None:
    queue(store, 1)
    first = take(store)
    began = clock.now()
    clock.move_to(began - timedelta(seconds=LEASE_S - 1))  # two machines may differ a little
    assert store.production_writer.take("w2", lease_s=LEASE_S) is None
    clock.move_to(began - timedelta(days=900))
    second = take(store, "w2")
    with refused(store, "REC-131"):
        finish(store, first)
    assert finish(store, second).status == "done"
    assert whole(store)


def test_an_owner_that_extends_keeps_its_job_when_the_clock_is_set_back(store: Store, clock: FixedClock) -> None:
    (job_id,) = queue(store, 1)
    first = take(store)
    clock.move_to(clock.now() - timedelta(days=900))
    store.production_writer.extend(job_id, first.fence, lease_s=LEASE_S)
    assert store.production_writer.take("w2", lease_s=LEASE_S) is None
    assert finish(store, first).status == "done"


# --- the owner that was away ---


def taken_by_another(store: Store, clock: FixedClock) -> None:
    clock.move_to(clock.now() + timedelta(seconds=LEASE_S))
    take(store, "w2")


def finished_by_another(store: Store, clock: FixedClock) -> None:
    clock.move_to(clock.now() + timedelta(seconds=LEASE_S))
    finish(store, take(store, "w2"), run_id="r2")


def given_back_by_another(store: Store, clock: FixedClock) -> None:
    clock.move_to(clock.now() + timedelta(seconds=LEASE_S))
    store.production_writer.fail(take(store, "w2").job.job_id, 2, ERROR, again=True)


def fenced(store: Store, clock: FixedClock) -> None:
    store.production_writer.hold("c1")
    store.production_writer.fence_running("c1")
    store.production_writer.unhold("c1")


def fenced_and_taken_again_by_the_same(store: Store, clock: FixedClock) -> None:
    fenced(store, clock)
    take(store, "w1")


def requeued_by_a_rollback(store: Store, clock: FixedClock) -> None:
    finished_by_another(store, clock)
    store.production_writer.hold("c1")
    store.production_writer.switch("c1", "v0", expected="v1")
    store.production_writer.requeue_since("c1", 1)
    store.production_writer.unhold("c1")


def requeued_and_taken_again(store: Store, clock: FixedClock) -> None:
    requeued_by_a_rollback(store, clock)
    take(store, "w3")


@pytest.mark.parametrize(
    "meanwhile",
    [
        taken_by_another,
        finished_by_another,
        given_back_by_another,
        fenced,
        fenced_and_taken_again_by_the_same,
        requeued_by_a_rollback,
        requeued_and_taken_again,
    ],
)
def test_a_paused_owner_writes_nothing_any_more(
    meanwhile: Callable[[Store, FixedClock], None], store: Store, clock: FixedClock
) -> None:
    (job_id,) = queue(store, 1)
    paused = take(store)
    meanwhile(store, clock)
    before = store.production_reader.job(job_id), store.production_reader.served(job_id)
    with refused(store, "REC-131"):
        finish(store, paused, run_id="late")
    for again in (True, False):
        with refused(store, "REC-131"):
            store.production_writer.fail(job_id, paused.fence, ERROR, again=again)
    with refused(store, "REC-131"):
        store.production_writer.extend(job_id, paused.fence, lease_s=LEASE_S)
    assert (store.production_reader.job(job_id), store.production_reader.served(job_id)) == before
    assert whole(store)


@pytest.mark.parametrize("back", [False, True])
def test_the_pointer_moved_and_nobody_fenced(back: bool, store: Store, clock: FixedClock) -> None:
    """Also when the same release is active again: between the two another one was."""
    (job_id,) = queue(store, 1)
    paused = take(store)
    switched(store, "v2", "c1", fenced=False)
    if back:
        switched(store, "v1", "c2", fenced=False)
    with refused(store, "REC-131"):
        finish(store, paused)
    assert store.production_reader.served(job_id) == ()
    returned = store.production_writer.fail(job_id, paused.fence, ERROR, again=False)
    assert returned.status == "queued", "that it broke under one release says nothing of another"
    again = take(store)
    assert (again.job.job_id, again.release) == (job_id, "v1" if back else "v2")
    assert finish(store, again).served_by == again.release
    assert whole(store)


# --- the pointer ---


def test_hold_switch_release_in_this_order_only(store: Store, clock: FixedClock) -> None:
    writer = store.production_writer
    with pytest.raises(InvariantError, match="no pointer"):
        writer.hold("c1")
    assert writer.take("w1", lease_s=LEASE_S) is None
    began = clock.now()
    queue(store, 1)
    assert writer.unhold("c1").held_by == ""
    for call in (
        lambda: writer.switch("c1", "v2", expected="v1"),
        lambda: writer.fence_running("c1"),
        lambda: writer.requeue_since("c1", 0),
        lambda: writer.switch("", "v2", expected="v1"),
    ):
        with refused(store, "REC-132"):
            call()
    clock.move_to(began + timedelta(minutes=1))
    held = writer.hold("c1")
    assert (held.held_by, held.active, held.epoch, held.changed_at) == ("c1", "v1", 1, clock.now())
    assert writer.hold("c1") == held
    assert writer.take("w1", lease_s=LEASE_S) is None
    for call in (
        lambda: writer.hold("c2"),
        lambda: writer.unhold("c2"),
        lambda: writer.switch("c2", "v2", expected="v1"),
        lambda: writer.fence_running("c2"),
        lambda: writer.requeue_since("c2", 0),
        lambda: writer.switch("c1", "v3", expected="v2"),
    ):
        with refused(store, "REC-132"):
            call()
    clock.move_to(began + timedelta(hours=1))
    moved = writer.switch("c1", "v2", expected="v1")
    assert moved == dataclasses.replace(
        held, active="v2", previous="v1", epoch=2, changed_at=clock.now(), event_seq=held.event_seq + 1
    )
    assert writer.switch("c1", "v2", expected="v1") == moved == store.production_reader.pointer()
    assert writer.take("w1", lease_s=LEASE_S) is None
    free = writer.unhold("c1")
    assert writer.unhold("c1") == free == dataclasses.replace(moved, held_by="", event_seq=moved.event_seq + 1)
    assert take(store).release == "v2"
    assert actions(store) == [
        "pointer.set", "job.submitted", "pointer.held", "pointer.switched", "pointer.released", "job.taken",
    ]  # fmt: skip
    assert [event.payload.get("cutover") for event in store.events()][2:5] == ["c1"] * 3
    with pytest.raises(InvariantError, match="id"):
        writer.hold("")
    assert whole(store)


def test_no_job_is_taken_while_no_release_is_active(store: Store) -> None:
    queue(store, 1, active="")
    assert store.production_reader.pointer().epoch == 0
    assert store.production_writer.take("w1", lease_s=LEASE_S) is None
    store.production_writer.hold("c1")
    assert store.production_writer.ensure("v1").active == "", "the pointer is the cutover's to move"
    store.production_writer.unhold("c1")
    assert (store.production_writer.ensure("v1").epoch, store.production_writer.ensure("").active) == (1, "v1")
    assert take(store).epoch == 1
    assert actions(store).count("pointer.set") == 2
    assert whole(store)


def test_running_jobs_are_fenced(store: Store) -> None:
    first, second, third = queue(store, 1, 2, 3)
    finish(store, take(store))
    running = take(store)
    store.production_writer.hold("c1")
    (back,) = store.production_writer.fence_running("c1")
    assert (back.job_id, back.status, back.fence, back.owner, back.attempts) == (second, "queued", 2, "", 1)
    assert store.production_writer.fence_running("c1") == ()
    store.production_writer.unhold("c1")
    again = [take(store) for _ in range(2)]
    assert [(item.job.job_id, item.fence) for item in again] == [(third, 1), (running.job.job_id, 3)]
    assert store.production_reader.job(first).status == "done"  # type: ignore[union-attr]
    assert actions(store).count("job.fenced") == 1
    assert whole(store)


def test_only_what_counts_is_requeued(store: Store, clock: FixedClock) -> None:
    writer, reader = store.production_writer, store.production_reader
    old, early, late, failed, waiting = queue(store, 1, 2, 3, 4, 5)

    def serve(job_id: str, run_id: str) -> None:
        taken = take(store)
        assert taken.job.job_id == job_id
        finish(store, taken, run_id)

    serve(old, "old v1")
    switched(store, "v2", "c1")
    serve(early, "early v2")
    serve(late, "late v2")
    writer.fail(take(store).job.job_id, 1, ERROR, again=False)
    writer.hold("r1")
    with pytest.raises(InvariantError, match="count"):
        writer.requeue_since("r1", 2)
    back_at = writer.switch("r1", "v1", expected="v2")
    before = {item.job_id: item for item in reader.jobs()}
    requeued = writer.requeue_since("r1", 2)
    assert [job.job_id for job in requeued] == [early, late, failed]
    assert (requeued[2].status, requeued[2].attempts, requeued[2].fence) == ("queued", 0, 2)
    assert requeued[0] == dataclasses.replace(
        before[early], status="queued", fence=2, attempts=0, served_by=None, run_id=None, epoch=None,
        event_seq=requeued[0].event_seq,
    )  # fmt: skip
    assert writer.requeue_since("r1", 2) == ()
    assert all(reader.job(job_id) == before[job_id] for job_id in (old, waiting))
    writer.unhold("r1")
    serve(waiting, "waiting v1")
    serve(early, "early v1")
    serve(late, "late v1")
    serve(failed, "failed v1")
    assert [(item.run_id, item.epoch) for item in reader.served(early)] == [("early v2", 2), ("early v1", 3)]
    assert [item.run_id for item in reader.served_since(2)] == [
        "early v2", "late v2", "waiting v1", "early v1", "late v1", "failed v1",
    ]  # fmt: skip
    assert [item.run_id for item in reader.latest_served(2)] == ["failed v1", "late v1"]
    # Forward again, and back: the results of epoch 3 count no longer, those of epoch 1 do.
    switched(store, "v2", "c2")
    writer.hold("r2")
    writer.switch("r2", "v1", expected="v2")
    assert {job.job_id for job in writer.requeue_since("r2", back_at.epoch)} == {early, late, waiting, failed}
    assert reader.job(old).epoch == 1  # type: ignore[union-attr]
    assert whole(store)


def test_the_database_refuses_a_second_result_under_one_release(store: Store) -> None:
    (job_id,) = queue(store, 1)
    finish(store, take(store))
    with pytest.raises(InvariantError, match="refused a row"):
        rows(store, "INSERT INTO served SELECT id + 1, job_id, release, 'r2', epoch, 9, served_at, seal, 3 FROM served")
    with pytest.raises(InvariantError, match="refused a row"):
        rows(store, f"DELETE FROM jobs WHERE job_id = '{job_id}'")


# --- many at once ---


def work(url: str, owner: str, jobs: int, run: Callable[[Taken], str]) -> None:
    """What a worker does until so many jobs are done."""
    with open_store(url, clock=SystemClock(), actor=owner, timeout_s=60) as mine:
        while True:
            taken = mine.production_writer.take(owner, lease_s=LEASE_S)
            if taken is not None:
                with contextlib.suppress(WorldError):  # fenced
                    finish(mine, taken, run_id=run(taken))
            elif mine.production_reader.counts()["done"] == jobs:
                return
            else:
                time.sleep(0.02)


def no_job_was_held_by_two(store: Store, jobs: int) -> None:
    """From the ledger alone: whoever took a job ended it before another took it, or it was put back."""
    holder: dict[str, str] = {}
    for event in store.events():
        if event.action == "job.taken":
            assert event.subject not in holder, f"{event.subject} was taken twice"
            holder[event.subject] = event.payload["owner"]
        elif event.action in ("job.done", "job.fenced", "job.returned"):
            assert holder.pop(event.subject) == event.payload["owner"]
    assert holder == {}
    reader = store.production_reader
    assert reader.counts() == {"queued": 0, "leased": 0, "done": jobs, "failed": 0}
    counting = {item.job_id: (item.served_by, item.run_id, item.epoch) for item in reader.jobs(limit=jobs)}
    latest = {item.job_id: (item.release, item.run_id, item.epoch) for item in reader.served_since(0)}
    assert counting == latest
    assert whole(store)


@pytest.mark.slow
def test_many_processes_and_a_cutover_among_them(
    url: str, store: Store, clock: FixedClock, in_child: Child, outcome: Outcome
) -> None:
    """4 takers, and three changes of the active release while they work."""
    jobs = 200 if url.startswith("postgresql") else 80  # a file waits for the disk three times a job
    queue(store, *range(jobs // 2))

    def run(taken: Taken) -> str:
        time.sleep(0.01)
        return f"{taken.job.job_id}-{taken.release}"

    children = [in_child(lambda n=n: work(url, f"w{n}", jobs, run)) for n in range(4)]  # type: ignore[misc]
    with open_store(url, clock=SystemClock(), actor="bob", timeout_s=60) as mine:
        for turn, to in enumerate(("v2", "v1", "v2")):
            while mine.production_reader.counts()["done"] < jobs * (turn + 1) // 8:
                time.sleep(0.02)
            switched(mine, to, f"c{turn}")
        queue(mine, *range(jobs))
    assert [outcome(pid) for pid in children] == [0] * 4
    no_job_was_held_by_two(store, jobs)
    active = {1: "v1", 2: "v2", 3: "v1", 4: "v2"}
    results = store.production_reader.served_since(0)
    assert len(results) == jobs
    assert all(item.release == active[item.epoch] for item in results)
    assert all(item.run_id == f"{item.job_id}-{item.release}" for item in results)
    assert {item.epoch for item in results} >= {1, 4}
    assert actions(store).count("job.submitted") == jobs


def test_threads_with_a_store_of_their_own(url: str, store: Store) -> None:
    jobs = 30
    queue(store, *range(jobs))
    held: list[str] = []

    def run(taken: Taken) -> str:
        held.append(taken.job.job_id)
        return "run"

    threads = [threading.Thread(target=work, args=(url, f"t{n}", jobs, run)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(held) == dict.fromkeys(queue(store, *range(jobs)), 1)
    no_job_was_held_by_two(store, jobs)


def test_the_same_tape_at_once_is_one_job(url: str, store: Store, in_child: Child, outcome: Outcome) -> None:
    def arrive() -> None:
        with open_store(url, clock=SystemClock(), actor="x", timeout_s=60) as mine:
            mine.production_writer.ensure("v1")
            new = [mine.production_writer.submit(tape(number))[1] for number in range(5)]
            mine.append([NewEvent(action="counted", subject="new", payload={"new": sum(new)})])

    assert [outcome(pid) for pid in [in_child(arrive) for _ in range(3)]] == [0, 0, 0]
    assert sum(event.payload["new"] for event in store.events() if event.action == "counted") == 5
    assert (actions(store).count("job.submitted"), actions(store).count("pointer.set")) == (5, 1)
    first = store.production_reader.job(tape(0).job_id)
    assert store.production_writer.submit(tape(0, name="a copy.csv")) == (first, False)
    assert whole(store)


@pytest.mark.parametrize("call", ["ensure", "submit", "take", "finish", "fail", "fence", "switch", "requeue", "unhold"])
def test_killed_between_any_two_statements_leaves_both_or_neither(
    call: str, sqlite_url: str, clock: FixedClock, kill_between: Sweep
) -> None:
    taken: list[Taken] = []
    with open_store(sqlite_url, clock=clock, actor="ana") as store:
        writer = store.production_writer
        if call != "ensure":
            queue(store, 1, 2)
            taken = [take(store), take(store)]
        if call == "requeue":
            finish(store, taken[0])
            finish(store, taken[1])
        if call in ("fence", "switch", "requeue", "unhold"):
            writer.hold("c1")
        if call == "requeue":
            writer.switch("c1", "v2", expected="v1")
        if call == "take":
            queue(store, 3)

    calls: dict[str, Callable[[Store], object]] = {
        "ensure": lambda store: store.production_writer.ensure("v1"),
        "submit": lambda store: store.production_writer.submit(tape(4)),
        "take": take,
        "finish": lambda store: finish(store, taken[0]),
        "fail": lambda store: store.production_writer.fail(taken[0].job.job_id, 1, ERROR, again=True),
        "fence": lambda store: store.production_writer.fence_running("c1"),
        "switch": lambda store: store.production_writer.switch("c1", "v2", expected="v1"),
        "requeue": lambda store: store.production_writer.requeue_since("c1", 1),
        "unhold": lambda store: store.production_writer.unhold("c1"),
    }

    def seen(store: Store) -> object:
        reader = store.production_reader
        return reader.pointer(), reader.jobs(), reader.latest_served()

    kill_between(calls[call], seen)


# --- what is altered is found ---


def played(store: Store) -> None:
    """Two results of job 1 (the first superseded), one of job 2, and job 3 leased."""
    writer = store.production_writer
    queue(store, 1)
    switched(store, "v2", "c1")
    finish(store, take(store))
    writer.hold("r1")
    writer.switch("r1", "v1", expected="v2")
    writer.requeue_since("r1", 2)
    writer.unhold("r1")
    finish(store, take(store), "r2")
    queue(store, 2)
    finish(store, take(store), "r3")
    queue(store, 3)
    take(store)


ONE, TWO, THREE = (tape(number).job_id for number in (1, 2, 3))
COPY = (
    "INSERT INTO jobs SELECT 'copy', tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner,"
    f" lease_until, submitted_at, served_by, run_id, epoch, error, seal, event_seq FROM jobs WHERE job_id = '{THREE}'"
)
POINTER = "the pointer of production"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE pointer SET active = 'v2'", POINTER),
        ("UPDATE pointer SET held_by = 'c9'", POINTER),
        ("UPDATE pointer SET epoch = 2", POINTER),
        ("DELETE FROM pointer", POINTER),
        ("INSERT INTO pointer SELECT 2, 'v2', '', 9, '', changed_at, seal, event_seq FROM pointer", POINTER),
        (f"UPDATE jobs SET status = 'queued' WHERE job_id = '{THREE}'", f"job {THREE}"),
        (f"UPDATE jobs SET spool = 'another' WHERE job_id = '{TWO}'", f"job {TWO}"),
        (f"UPDATE jobs SET run_id = 'r1', served_by = 'v2' WHERE job_id = '{ONE}'", f"job {ONE}"),
        (f"UPDATE jobs SET fence = 1 WHERE job_id = '{ONE}'", f"job {ONE}"),
        (f"UPDATE jobs SET event_seq = 1 WHERE job_id = '{ONE}'", f"job {ONE}"),
        (f"DELETE FROM jobs WHERE job_id = '{THREE}'", f"job {THREE}"),
        (COPY, "job copy"),
        (f"UPDATE served SET run_id = 'r9' WHERE job_id = '{TWO}'", f"the results of job {TWO}"),
        (f"DELETE FROM served WHERE job_id = '{TWO}'", f"the results of job {TWO}"),
        ("DELETE FROM served WHERE epoch = 2", f"the results of job {ONE}"),
        (f"UPDATE served SET job_id = '{THREE}' WHERE job_id = '{TWO}'", f"the results of job {TWO}"),
    ],
)
def test_altered_rows_are_never_shown(statement: str, found: str, file_store: Store) -> None:
    store = file_store
    played(store)
    reader = store.production_reader
    assert store.faults() == ()
    rows(store, statement)
    assert found + ENDING in store.faults()
    job_id = found.rpartition(" ")[2]
    reads: Sequence[Callable[[], object]]
    if found == POINTER:
        reads = (
            reader.pointer,
            lambda: store.production_writer.ensure("v1"),
            lambda: store.production_writer.hold("c"),
        )
    elif found.startswith("job "):
        reads = (lambda: reader.job(job_id), lambda: store.production_writer.extend(job_id, 1, lease_s=1))
    else:
        reads = (lambda: reader.served(job_id), lambda: reader.served_since(2))
    for read in reads:
        with pytest.raises(WorldError, match="REC-105"):
            read()


@pytest.mark.parametrize(
    ("table", "sealed", "where", "change"),
    [
        ("pointer", POINTER_SEALED, "id = 1", {"active": "v2"}),
        ("jobs", JOB_SEALED, f"job_id = '{ONE}'", {"run_id": "r1", "served_by": "v2"}),
        ("served", SERVED_SEALED, f"job_id = '{TWO}'", {"run_id": "r9"}),
    ],
)
def test_a_row_with_a_fresh_seal_is_found_by_the_ledger(
    table: str, sealed: list[str], where: str, change: dict[str, str], store: Store
) -> None:
    played(store)
    (row,) = rows(store, f"SELECT * FROM {table} WHERE {where}")
    forged = change | {"seal": seal(row | change, sealed)}
    sets = ", ".join(f"{name} = {value!r}" for name, value in forged.items())
    rows(store, f"UPDATE {table} SET {sets} WHERE {where}")
    assert len(store.faults()) == 1


def test_a_pointer_that_is_put_back_as_it_was_is_found(store: Store) -> None:
    """Its seal is right, and an event says it: but not the last one."""
    store.production_writer.ensure("v1")
    (before,) = rows(store, "SELECT * FROM pointer")
    switched(store, "v2", "c1")
    rows(store, f"UPDATE pointer SET {', '.join(f'{name} = :{name}' for name in before)}", **before)
    assert store.faults() == (POINTER + ENDING,)
    with pytest.raises(WorldError, match="REC-105"):
        store.production_writer.take("w1", lease_s=LEASE_S)


def test_an_altered_job_is_not_taken(store: Store) -> None:
    queue(store, 1)
    rows(store, "UPDATE jobs SET spool = 'another tape'")
    with refused(store, "REC-105"):
        store.production_writer.take("w1", lease_s=LEASE_S)


def test_a_lease_is_the_only_thing_that_no_seal_covers(store: Store) -> None:
    """Whoever alters it has the job run twice; the fence still lets one result through."""
    played(store)
    first = store.production_reader.jobs("leased")[0]
    rows(store, "UPDATE jobs SET lease_until = '2000-01-01' WHERE status = 'leased'")
    second = take(store, "w2")
    with refused(store, "REC-131"):
        store.production_writer.finish(first.job_id, first.fence, epoch=3, release="v1", run_id="late")
    assert finish(store, second).run_id == "r1"
    assert whole(store)
