"""Production: a queue of jobs (tapes) and a pointer (which release is active), and who may read and change them.

Invariants:

1. At most one owner's result of a job counts. Whoever takes a job gets a fencing token (``fence``), which grows by one
   whenever the job is taken or goes back without its owner; only the latest token may end the job.
2. A result counts only when it was made under the release that is active when it is recorded: the pointer's ``epoch``
   grows with every change of the active release, and a result of another epoch is refused.
3. While a cutover holds the pointer, no job is taken; only that cutover changes the active release.
4. What was submitted stays: a job is never deleted, and neither is a result (:class:`Served`).

A job's status moves as :data:`MOVES` allows. Every change appends its own event to the ledger
(:data:`STATE_ACTIONS`), in the same transaction; only a lease is made longer without one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

JobStatus = Literal["queued", "leased", "done", "failed"]

# (from, to); "" is a job that is not there yet. Everything else is refused.
MOVES: frozenset[tuple[str, JobStatus]] = frozenset(
    {
        ("", "queued"),
        ("queued", "leased"),
        ("leased", "leased"),  # the lease ran out: another owner
        ("leased", "done"),
        ("leased", "failed"),
        ("leased", "queued"),  # given back by its owner, or fenced
        ("done", "queued"),  # its result no longer counts: a rollback
        ("failed", "queued"),  # the release under which it failed is no longer active: a rollback
    }
)

# Events that the writer makes itself; callers add others.
STATE_ACTIONS = frozenset(
    {
        "pointer.set",
        "pointer.held",
        "pointer.released",
        "pointer.switched",
        "job.submitted",
        "job.taken",
        "job.done",
        "job.failed",
        "job.returned",
        "job.fenced",
        "job.requeued",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which release is active. ``active`` and ``previous`` are '' while there is none.

    Args:
        epoch: grows by one with every change of ``active``; 0 before the first.
        held_by: the cutover that holds it, or ''. While it is held no job is taken.
        changed_at: when it was set, held, released or switched last; None, and ``event_seq`` 0, before it was made.
    """

    active: str
    previous: str
    epoch: int
    held_by: str
    changed_at: datetime | None
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A tape that arrived.

    Args:
        as_of: the date to calculate; None for the tape's latest.
        spool: where the private copy lies, relative to the workspace.
    """

    tape_sha256: str
    tape_name: str
    as_of: date | None
    spool: str

    @property
    def job_id(self) -> str:
        """The idempotency key: the same tape and date are the same job, whatever the file is called."""
        return hashlib.sha256(f"{self.tape_sha256} {self.as_of or ''}".encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as recorded. ``event_seq`` is the ledger event of its latest change, and orders jobs.

    Args:
        attempts: how often it was taken since it was submitted, or requeued by a rollback.
        fence: the latest fencing token; 0 before it was taken.
        owner: who has it while it is leased, else ''; ``lease_until`` is None then.
        served_by: the release whose result counts, with its ``run_id`` and ``epoch``; None while none does.
        error: why it failed, or was given back last; None else.
    """

    job_id: str
    tape_sha256: str
    tape_name: str
    as_of: date | None
    spool: str
    status: JobStatus
    attempts: int
    fence: int
    owner: str
    lease_until: datetime | None
    submitted_at: datetime
    served_by: str | None
    run_id: str | None
    epoch: int | None
    error: Mapping[str, Any] | None
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A job in the hands of an owner, and what the result must be made with: ``release``, at ``epoch``."""

    job: Job
    fence: int
    release: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A result that a job got. It is kept when it counts no longer (see :class:`Job`)."""

    id: int
    job_id: str
    release: str
    run_id: str
    epoch: int
    fence: int
    served_at: datetime
    event_seq: int


class ProductionReader(Protocol):
    """Reads the pointer, jobs and results. Everything is checked against its seal and the ledger first.

    Raises (each method):
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed.
    """

    def pointer(self) -> Pointer:
        """Which release is active; none, at epoch 0, before the pointer was made."""
        ...

    def job(self, job_id: str) -> Job | None:
        """The job, or None."""
        ...

    def jobs(self, status: JobStatus | None = None, limit: int = 50) -> tuple[Job, ...]:
        """Jobs (of a status), the one that changed last first."""
        ...

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs there are of each status, zeros too. Only counted: nothing is checked."""
        ...

    def oldest_queued(self) -> Job | None:
        """The job in the queue that was submitted first, or None."""
        ...

    def served(self, job_id: str) -> tuple[Served, ...]:
        """All results that the job ever got, oldest first."""
        ...

    def served_since(self, epoch: int) -> tuple[Served, ...]:
        """All results made at ``epoch`` or later, oldest first. One that was taken out is found (REC-105)."""
        ...

    def latest_served(self, limit: int = 50) -> tuple[Served, ...]:
        """Results, the latest first."""
        ...


class ProductionWriter(Protocol):
    """Moves jobs and the pointer; each call is one transaction with its events.

    Raises (each method):
        InvariantError: an unknown job, a call before :meth:`ensure`, an error that is not JSON.
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed, nothing was kept.
    """

    def ensure(self, active: str) -> Pointer:
        """The pointer; made (``pointer.set``) when there is none, or while no release is active and nobody holds it.

        Args:
            active: the release of the workspace's setting, or ''. Only used as long as none is active.
        """
        ...

    def submit(self, new: NewJob) -> tuple[Job, bool]:
        """The job of this tape and date, and whether it is new (``job.submitted``); else nothing is recorded."""
        ...

    def take(self, owner: str, *, lease_s: float) -> Taken | None:
        """Take the job that waits longest, or one whose lease ran out (``job.taken``).

        None when there is none, while a cutover holds the pointer, and while no release is active.

        Args:
            lease_s: how long the job is the owner's unless it is extended; all workers use the same. A lease that
                ends more than twice as far ahead was given before the clock was set back, and has run out too.
        """
        ...

    def extend(self, job_id: str, fence: int, *, lease_s: float) -> Job:
        """Keep the job for ``lease_s`` from now on; no event.

        Raises:
            WorldError: REC-131 the job is no longer the caller's.
        """
        ...

    def finish(self, job_id: str, fence: int, *, epoch: int, release: str, run_id: str) -> Job:
        """Record the result that counts from now on (``job.done``). The same call again records nothing more.

        Args:
            epoch: that of :class:`Taken`, as ``fence`` and ``release`` are.

        Raises:
            WorldError: REC-131 the job is no longer the caller's, or another release became active meanwhile.
            InvariantError: not the release and epoch that the job was taken with.
        """
        ...

    def fail(self, job_id: str, fence: int, error: Mapping[str, Any], *, again: bool) -> Job:
        """Record that the job broke: it goes back (``again``, ``job.returned``), or has failed (``job.failed``).

        It goes back in any case when another release became active meanwhile, of which the failure says nothing.

        Raises:
            WorldError: REC-131 the job is no longer the caller's.
        """
        ...

    def hold(self, cutover_id: str) -> Pointer:
        """Stop the taking of jobs (``pointer.held``); nothing is recorded when the cutover holds it already.

        Raises:
            WorldError: REC-132 another cutover holds it.
        """
        ...

    def unhold(self, cutover_id: str) -> Pointer:
        """Let jobs be taken again (``pointer.released``); nothing is recorded when nobody holds it.

        Raises:
            WorldError: REC-132 another cutover holds it.
        """
        ...

    def fence_running(self, cutover_id: str) -> tuple[Job, ...]:
        """Put leased jobs back with a new fence (``job.fenced``): their owners can record nothing any more.

        Raises:
            WorldError: REC-132 the pointer is not held by this cutover.
        """
        ...

    def switch(self, cutover_id: str, to: str, *, expected: str) -> Pointer:
        """Make another release the active one (``pointer.switched``); nothing is recorded when it is already.

        Raises:
            WorldError: REC-132 the pointer is not held by this cutover, or the active release is neither.
        """
        ...

    def requeue_since(self, cutover_id: str, epoch: int, only: Collection[str] | None = None) -> tuple[Job, ...]:
        """Put every job back that was served, or failed, at ``epoch`` or later (``job.requeued``), oldest first.

        To be called after the switch: results of the epoch that the pointer stands at are those that count. ``only``
        leaves out every job that is not named; None leaves out none.

        Raises:
            WorldError: REC-132 the pointer is not held by this cutover.
            InvariantError: ``epoch`` is not before the pointer's.
        """
        ...
