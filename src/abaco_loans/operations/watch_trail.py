"""What the ledger says of production since a cutover: jobs that ended or crashed, who took them, what was lost.

The ledger is read once, in order. Which events belong to which checkpoint is told by their numbers, not by a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from abaco_loans.records.ledger import Event
from abaco_loans.releases.trigger import ErrorRate

_DIGITS = Decimal("0.001")
_LOOK_BACK = 11
_DIED = ("JOB-104", "JOB-105")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job that ended: the number of the event, when, and whether it failed."""

    seq: int
    at: datetime
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What is in the ledger.

    Attributes:
        bounds: the numbers of the events with which the watch began and its checkpoints were done, in order.
        ended: jobs that ended since the watch began.
        crashes: when a worker died over a job, or a run was stopped, since the watch began.
        submitted: jobs that were ever acknowledged.
        owners: who ever took a job since the watch began.
        last_taken_at: when a job was taken last.
    """

    bounds: tuple[int, ...]
    ended: tuple[Ended, ...]
    crashes: tuple[datetime, ...]
    submitted: int
    owners: frozenset[str]
    last_taken_at: datetime | None

    def error_rate(self, at: datetime) -> Decimal | None:
        """Jobs that failed in percent of those that ended, up to a moment, since the last checkpoint.

        Where none ended since, the rate of the stretch before stands: no news is not good news. None where no job has
        ended since the watch began.
        """
        known = [item for item in self.ended if item.at <= at]
        for bound in reversed(self.bounds):
            recent = [item for item in known if item.seq > bound]
            if recent:
                failed = sum(item.failed for item in recent)
                return (Decimal(100 * failed) / len(recent)).quantize(_DIGITS)
        return None

    def error_rates(self, now: datetime) -> tuple[ErrorRate, ...]:
        """The rate at every minute of the last ten."""
        moments = [now - timedelta(minutes=minutes) for minutes in range(_LOOK_BACK)]
        return tuple(ErrorRate(at=at, percent=self.error_rate(at)) for at in moments)


def read_trail(events: Iterable[Event], watch_id: str) -> Trail:
    """Read the ledger for a watch."""
    bounds: list[int] = []
    ended: list[Ended] = []
    crashes: list[datetime] = []
    owners: set[str] = set()
    submitted, taken_at = 0, None
    for event in events:
        at = datetime.fromisoformat(event.recorded_at)
        if event.subject == watch_id and event.action in ("watch.watching", "checkpoint.done"):
            bounds.append(event.seq)
        submitted += event.action == "job.submitted"
        if event.action == "job.taken":
            taken_at = at
        if not bounds:
            continue
        if event.action in ("job.done", "job.failed"):
            ended.append(Ended(seq=event.seq, at=at, failed=event.action == "job.failed"))
        if event.action == "job.taken":
            owners.add(str(event.payload.get("owner", "")))
        if _crashed(event):
            crashes.append(at)
    return Trail(
        bounds=tuple(bounds),
        ended=tuple(ended),
        crashes=tuple(crashes),
        submitted=submitted,
        owners=frozenset(owners),
        last_taken_at=taken_at,
    )


def _crashed(event: Event) -> bool:
    """Whether a job's lease ran out in dead hands, or what ran it was stopped."""
    if event.action == "job.taken":
        return event.payload.get("from") == "leased"
    return event.action in ("job.returned", "job.failed") and event.payload.get("code") in _DIED
