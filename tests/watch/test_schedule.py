"""Checkpoints: every one exactly once, in order, none early, whenever the ticks come and whatever the clock does."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from abaco_loans.watch.schedule import DAYS, FIRST_DAY, Due, due, due_at, next_hour, schedule, text_of

# The day before 29 February, an hour before clocks change in parts of the world: neither matters.
CUTOVER = datetime(2028, 2, 28, 23, 30, tzinfo=UTC)
MINUTES = st.integers(-120, 40_500)


def hours(*texts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(text) for text in texts)


def at(hour: str) -> datetime:
    return CUTOVER + timedelta(hours=float(hour))


def test_the_hours_are_those_of_the_specification() -> None:
    told = "1 2 2.5 3 3.5 4 5 6 7 8 10 12 14 16 20 24"
    assert [text_of(hour) for hour in FIRST_DAY] == told.split()
    days = [text_of(hour) for hour in schedule()]
    assert days[:16] == told.split()
    assert days[16:] == [str(24 * day) for day in range(2, 29)]


def test_reduced_and_extended() -> None:
    reduced = [text_of(hour) for hour in schedule(reduced=True)[:14]]
    assert " ".join(reduced) == "1 2 2.5 3 3.5 4 5 6 7 8 12 16 20 24"
    extended = [text_of(hour) for hour in schedule(extended_days=2)[15:30]]
    assert " ".join(extended) == "24 28 32 36 40 44 48 52 56 60 64 68 72 96 120"
    assert schedule(extended_days=DAYS + 5)[-1] == schedule()[-1] == 24 * DAYS


@pytest.mark.parametrize(
    ("now", "recorded", "checkpoint", "missed"),
    [
        ("0.99", (), None, ()),
        ("1", (), "1", ()),
        ("1.5", hours("1"), None, ()),
        ("4.2", hours("1", "2"), "4", hours("2.5", "3", "3.5")),
        ("4.2", hours("1", "2", "2.5", "3", "3.5", "4"), None, ()),
        ("2", hours("1", "2", "2.5", "3"), None, ()),  # the clock was set back
        ("5", hours("1", "5"), None, hours("2", "2.5", "3", "3.5", "4")),  # none after a later one
    ],
)
def test_what_is_due(now: str, recorded: Collection[Decimal], checkpoint: str | None, missed: tuple[Decimal]) -> None:
    found = due(CUTOVER, at(now), recorded, schedule())
    assert found == Due(checkpoint=None if checkpoint is None else Decimal(checkpoint), missed=missed)


def test_what_comes_next() -> None:
    assert next_hour((), schedule()) == 1
    assert next_hour(hours("1", "2.5"), schedule()) == 3
    assert next_hour(schedule(), schedule()) is None


@given(minutes=st.lists(MINUTES, max_size=60), reduced=st.booleans(), days=st.integers(0, 4))
@example(minutes=[*range(0, 1500, 30)], reduced=False, days=0)
@example(minutes=[1500, 60, 1500, 90, 3000], reduced=False, days=0)
def test_every_checkpoint_once_whenever_ticks_come(minutes: list[int], reduced: bool, days: int) -> None:
    """Ticks in any order (a clock that jumps), each perhaps twice."""
    plan = schedule(reduced=reduced, extended_days=days)
    done: list[Decimal] = []
    missed: list[Decimal] = []
    for minute in minutes:
        now = CUTOVER + timedelta(minutes=minute)
        for _ in range(2):
            found = due(CUTOVER, now, {*done, *missed}, plan)
            new = [*found.missed, *([] if found.checkpoint is None else [found.checkpoint])]
            assert all(due_at(CUTOVER, hour) <= now for hour in new), "early"
            assert list(found.missed) == sorted(found.missed)
            missed += found.missed
            done += new[len(found.missed) :]
        assert due(CUTOVER, now, {*done, *missed}, plan) == Due(checkpoint=None, missed=())
    assert done == sorted(done), "one was done after a later one"
    both = done + missed
    assert len(both) == len(set(both)), "twice"
    latest = CUTOVER + timedelta(minutes=max(minutes, default=0))
    assert sorted(both) == [hour for hour in plan if due_at(CUTOVER, hour) <= latest], "one is neither done nor missed"


def test_a_tick_every_half_hour_misses_nothing() -> None:
    done: list[Decimal] = []
    for number in range(1, 49):
        found = due(CUTOVER, CUTOVER + timedelta(minutes=30 * number), done, schedule())
        assert found.missed == ()
        done += [] if found.checkpoint is None else [found.checkpoint]
    assert tuple(done) == FIRST_DAY
