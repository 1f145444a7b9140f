"""What is counted for the metrics: runs by how they ended, events by action, the oldest job, the last anchor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.errors import WorldError
from abaco_loans.records.anchors import AnchorSet, read_anchors, read_last_anchor, write_anchor
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.production import NewJob
from abaco_loans.records.runs import PANEL_PREFIX, RunFinish, RunStart
from abaco_loans.records.store import Store


@pytest.fixture
def url(url_of_each: str) -> str:
    """Each database in turn."""
    return url_of_each


def test_every_end_of_a_run_counts_and_panels_do_not(
    store: Store, run_start: Callable[..., RunStart], run_finish: RunFinish
) -> None:
    assert store.reader.ends() == {}
    for run_id in ("r1", "r2", f"{PANEL_PREFIX}3"):
        store.writer.start(run_start(run_id))
    store.writer.fail("r1", {"code": "RUN-109"})
    store.writer.start(run_start("r1"))
    store.writer.finish("r1", run_finish, [])
    store.writer.refuse("r2", {"code": "RUN-103"})
    store.writer.finish(f"{PANEL_PREFIX}3", run_finish, [])
    assert store.reader.ends() == {("v2", "failed"): 1, ("v2", "finished"): 1, ("v2", "refused"): 1}
    assert next(iter(store.reader.ends())) == ("v2", "failed"), "what was first comes first"


def test_events_by_action_and_the_last_of_one(store: Store) -> None:
    assert store.last_event_of("a.b") is None
    store.append([NewEvent(action="a.b", subject="x", payload={"n": n}) for n in range(3)])
    store.append([NewEvent(action="c.d", subject="x", payload={})])
    assert store.counts_of_events() == {"a.b": 3, "c.d": 1}
    last = store.last_event_of("a.b")
    assert last is not None
    assert (last.seq, last.payload) == (3, {"n": 2})


def test_the_job_that_was_submitted_first(store: Store, clock: FixedClock) -> None:
    reader, writer = store.production_reader, store.production_writer
    assert reader.oldest_queued() is None
    writer.ensure("v1")
    made = []
    for number in range(3):
        clock.move_to(clock.now() + timedelta(minutes=1))
        new = NewJob(tape_sha256=f"{number:064x}", tape_name="t.csv", as_of=None, spool=f"spool/{number}")
        made.append(writer.submit(new)[0])
    assert reader.oldest_queued() == made[0]
    taken = writer.take("w1", lease_s=60)
    assert taken is not None
    assert reader.oldest_queued() == made[1]
    writer.fail(taken.job.job_id, taken.fence, {"code": "X-100"}, again=True)
    found = reader.oldest_queued()
    assert found is not None and found.job_id == made[0].job_id, "given back, it waits since it was submitted"


def test_the_last_anchor_alone_is_read(tmp_path: Path, clock: FixedClock) -> None:
    folder, key = tmp_path / "anchors", tmp_path / "ledger.key"
    assert read_last_anchor(folder) == AnchorSet()
    for count in (2, 10, 9):
        write_anchor(folder, key, count=count, head=f"{count:064x}", at=clock.now())
    (folder / "anchor-9.json").write_text("damaged", encoding="utf-8")
    (folder / "anchor-x.json").write_text("none of ours", encoding="utf-8")
    last = read_last_anchor(folder)
    assert [anchor.count for anchor in last.anchors] == [10]
    assert last.anchors[0].signature_holds(last.public_key)
    with pytest.raises(WorldError, match="anchor"):
        read_anchors(folder)
