"""The hours after a cutover before a tape has come to its end: nothing passes, and nobody is called for that alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.operations.watch_production import TickOutcome, facts_of, standing_of, tick
from abaco_loans.watch.decision import Criterion, point_at
from abaco_loans.watch.schedule import DAY
from tests.operations.alert_watch_desk import AlertWatchDesk
from tests.operations.desk import NOON
from tests.operations.shadow_desk import shadow, worked_tape

RATE, VARIANCE = "error_rate_percent", "kpi_variance_percent"


@pytest.fixture
def desk(tmp_path: Path) -> AlertWatchDesk:
    """Production after a cutover, before its first tape."""
    made = AlertWatchDesk(tmp_path / "workspace")
    made.begin()
    return made


def said(outcome: TickOutcome, name: str) -> tuple[str, bool]:
    """The mark of a figure, and whether it waits for a first tape."""
    assert outcome.done is not None
    found = outcome.done.judged["figures"][name]
    return found["status"], found.get("waits", False)


def test_before_the_first_tape_nothing_passes_and_nobody_is_called(desk: AlertWatchDesk) -> None:
    first = desk.at(1)
    assert said(first, RATE) == said(first, VARIANCE) == ("UNKNOWN", True)
    assert first.done is not None
    assert first.done.judged["status"] == "UNKNOWN"
    assert "no tape has come to its end since the cutover" in first.done.judged["figures"][RATE]["words"]
    desk.walk(1, 4)
    assert desk.open() == {}, "that no tape comes has a rule of its own, and its own time"
    desk.at(24)
    assert set(desk.open()) == {"checkpoint_missed"}
    with desk.records() as records:
        watch = records.watch_reader.current()
        assert watch is not None
        met = {
            item.criterion: item.met
            for item in facts_of(desk.tools(), records, standing_of(records, watch), point_at(DAY))
        }
    assert not met[Criterion.NOTHING_CRITICAL], "what was never measured is not signed off"


def test_a_tape_that_nobody_takes_is_one_alert(desk: AlertWatchDesk) -> None:
    desk.submit(worked_tape(desk))
    desk.at(1)
    assert desk.open() == {"pipeline": "critical"}


def test_after_the_first_tape_what_is_unknown_is_told(desk: AlertWatchDesk) -> None:
    desk.at(1)
    tape = worked_tape(desk)
    desk.submit(tape)
    desk.work()
    desk.after(minutes=10)
    assert desk.open() == {}, "the last checkpoint was before that tape"
    second = desk.at(2)
    assert (said(second, RATE), said(second, VARIANCE)) == (("PASS", False), ("UNKNOWN", False))
    assert desk.open() == {"kpi_variance": "warning"}, "the old release did not run on it"
    shadow(desk, tape, "v2", "v1", repeats=1)
    assert said(desk.at(2.5), VARIANCE) == ("PASS", False)
    assert desk.open() == {}


def test_a_run_of_the_new_release_that_was_not_compared_does_not_wait(desk: AlertWatchDesk) -> None:
    """Queued tapes run before the watch begins, and without the queue no job ends at all."""
    desk.run(worked_tape(desk))
    first = desk.at(1)
    assert (said(first, RATE), said(first, VARIANCE)) == (("UNKNOWN", True), ("UNKNOWN", False))
    assert desk.open() == {"kpi_variance": "warning"}


class Mute:
    """Records that answer everything but what is in the ledger."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def events(self) -> Any:
        """Not now."""
        raise WorldError("the database does not answer", code="REC-101")


def test_a_ledger_that_cannot_be_read_waits_for_nothing(desk: AlertWatchDesk) -> None:
    @contextmanager
    def mute() -> Iterator[Any]:
        with desk.records() as records:
            yield Mute(records)

    desk.clock.move_to(NOON + timedelta(hours=1))
    outcome = tick(replace(desk.tools(), open_records=mute))
    assert said(outcome, RATE) == ("UNKNOWN", False)
    assert desk.open()["error_rate"] == "warning"
