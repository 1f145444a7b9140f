"""When production is looked at after a cutover (SPEC, "Watching production"): hours as data, and which are due.

Hours are counted as elapsed time from the cutover, in UTC: no calendar is asked. Invariants: a checkpoint is done or
missed, once, and never before it is due; none is done after a later one. A tick that comes late does the latest
checkpoint that is due, and those before it are missed. What was recorded stays, whatever the clock says afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

FIRST_DAY = tuple(
    Decimal(text) for text in ("1", "2", "2.5", "3", "3.5", "4", "5", "6", "7", "8", "10", "12", "14", "16", "20", "24")
)
# What the decision to reduce the frequency leaves out: from hour 8 on there is a checkpoint every four hours.
LEFT_OUT_WHEN_REDUCED = frozenset({Decimal(10), Decimal(14)})
DAY = Decimal(24)
DAYS = 28
EXTENDED_EVERY = Decimal(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a tick has to record: the checkpoint to do (None: none), and those that were missed, earliest first."""

    checkpoint: Decimal | None
    missed: tuple[Decimal, ...]


def schedule(*, reduced: bool = False, extended_days: int = 0) -> tuple[Decimal, ...]:
    """The hours of all checkpoints, in order: the first day, days that it was extended by, then daily to day 28.

    Args:
        reduced: whether the frequency was reduced at hour 8.
        extended_days: 0 or more; each has a checkpoint every four hours.
    """
    first = [hour for hour in FIRST_DAY if not (reduced and hour in LEFT_OUT_WHEN_REDUCED)]
    days = range(1, DAYS)
    extended = [day * DAY + n * EXTENDED_EVERY for day in days if day <= extended_days for n in range(1, 7)]
    daily = [(day + 1) * DAY for day in days if day > extended_days]
    return (*first, *extended, *daily)


def due_at(cutover_at: datetime, hour: Decimal) -> datetime:
    """When the checkpoint of an hour is due."""
    return cutover_at + timedelta(seconds=int(hour * 3600))


def due(cutover_at: datetime, now: datetime, recorded: Collection[Decimal], hours: Sequence[Decimal]) -> Due:
    """What is due, given the hours that are ``recorded`` as done or missed, and all ``hours`` in order."""
    latest = max(recorded, default=Decimal(0))
    reached = [hour for hour in hours if due_at(cutover_at, hour) <= now and hour not in recorded]
    checkpoint = reached[-1] if reached and reached[-1] > latest else None
    return Due(checkpoint=checkpoint, missed=tuple(hour for hour in reached if hour != checkpoint))


def next_hour(recorded: Collection[Decimal], hours: Sequence[Decimal]) -> Decimal | None:
    """The hour of the checkpoint that comes next, due or not; None when there is none left."""
    latest = max(recorded, default=Decimal(0))
    return next((hour for hour in hours if hour > latest), None)


def text_of(hour: Decimal) -> str:
    """An hour as text: ``2.5``, ``24``."""
    return f"{hour.normalize():f}"
