"""Work the queue: take a job, run the release that is active on its tape, record the result; then the next one.

Invariants: a job is one worker's while its lease lasts (a thread keeps it); only the latest fencing token and the epoch
at which the job was taken may record a result, so a worker that slept too long records nothing; a job never ends
without a record: done, failed with the reason, or back in the queue.

A tape that cannot be used fails its job for good. What the world did wrong gives it back, until it was taken
`job_attempts_max` times; the worker rests after each, longer every time. Shadows run when the queue is empty, one at a
time, each a process of its own: they never delay a job, and those of a worker that dies are forgotten.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, Protocol

from abaco_loans.errors import AbacoError, ConfigError, InputError, UsageError, WorldError
from abaco_loans.operations.active_release import active_workspace
from abaco_loans.operations.run_program import run_program, unsaid
from abaco_loans.operations.run_tape import RunRequest, run_tape
from abaco_loans.operations.submit_tape import OpenProduction, job_document, spooled_tape
from abaco_loans.operations.take_inbox import InboxLook, take_inbox
from abaco_loans.operations.tools import Tools
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.production import Job, Pointer, ProductionReader, Taken
from abaco_loans.records.runs import RunRecord

POLL_S = 2.0
_NAP_S = 0.1
_FENCED = "REC-131"
REST_S = 1.0
_REST_S_MAX = 60.0

JobEnd = Literal["done", "failed", "returned", "dropped"]


class Dark(Protocol):
    """A shadow run under way, in a process of its own."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        ...


# Runs a tape through a release, and gives the run.
RunActive = Callable[[RunRequest, Tools], RunRecord]
# Starts the standing shadow beside a release on a tape at a date; None where no release has the role.
StartDark = Callable[[Workspace, Path, date], Dark | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """What became of a job that this worker took.

    Attributes:
        end: ``done``; ``failed`` for good; ``returned`` to the queue; ``dropped``: the result came too late, as the
            job was another's by then, or another release had become active.
        run_id: of the result; None where there is none.
        error: why not; None where there is one.
    """

    job: Job
    release: str
    end: JobEnd
    run_id: str | None = None
    error: Mapping[str, Any] | None = None


class Worker:
    """Takes jobs, one after the other. Several may work at once, in threads, processes or on machines.

    Args:
        tools: what a run needs.
        open_production: opens the records for the queue.
        owner: who takes the jobs; no two workers have the same.
        run: runs a tape, as `abaco run` does; the same tape again finds the earlier result.
        start_dark: starts the standing shadow.
        tell: takes a line for people, at every end of a job.
        rest_s: how long to wait after the world failed; each time twice as long.
    """

    def __init__(
        self,
        *,
        tools: Tools,
        open_production: OpenProduction,
        owner: str,
        run: RunActive,
        start_dark: StartDark | None = None,
        tell: Callable[[str], None] = lambda text: None,
        rest_s: float = REST_S,
    ) -> None:
        self.owner = owner
        self._tools = tools
        self._open = open_production
        self._run = run
        self._start_dark = start_dark
        self._tell = tell
        self._rest_s = rest_s
        self._lease_s = tools.workspace.settings.job_lease_s
        self._stopping = False
        self._to_shadow: deque[tuple[Workspace, Path, date]] = deque()
        self._dark: Dark | None = None
        self._failures = 0

    def stop(self) -> None:
        """Take no more jobs; the one at hand is finished. May be called from a signal handler."""
        self._stopping = True

    def work(self, *, until_idle: bool = False, poll_s: float = POLL_S) -> dict[JobEnd, int]:
        """Work until stopped, or until queue, inbox and shadows are done with; how many jobs ended how.

        Raises:
            WorldError: the first look at inbox and queue failed. Later failures are told, and tried again.
        """
        ends: dict[JobEnd, int] = {"done": 0, "failed": 0, "returned": 0, "dropped": 0}
        first = True
        while not self._stopping:
            try:
                look = self.look()
                outcome = self.work_once()
            except WorldError as error:
                if first:
                    raise
                self._tell(f"{error.code}: {error.what}")
                self._rest()
                continue
            first = False
            if outcome is not None:
                ends[outcome.end] += 1
                if outcome.end == "returned":
                    self._rest()
                else:
                    self._failures = 0
                continue
            busy = self._shadow_next()
            if until_idle and not busy and not look.settling and self._is_idle():
                break
            self._wait(min(poll_s, _NAP_S) if busy else poll_s)
        return ends

    def look(self) -> InboxLook:
        """Make jobs of what lies in the inbox.

        Raises:
            WorldError: disk, permissions or database failed.
        """
        look = take_inbox(self._tools.workspace, self._open, clock=self._tools.clock, who=f"abaco worker {self.owner}")
        for item in look.jobs:
            self._tell(f"job {item.job.job_id} {'submitted' if item.is_new else 'known'}: {item.job.tape_name}")
        for name in look.refused:
            self._tell(f"refused: {name} (inbox/refused says why)")
        return look

    def work_once(self) -> JobOutcome | None:
        """Take one job and end it; None when there is none, or production is held.

        Raises:
            WorldError: the database failed before a job was taken.
        """
        with self._open() as records:
            if not records.production_reader.pointer().active:
                records.production_writer.ensure(self._tools.workspace.settings.release)
            taken = records.production_writer.take(self.owner, lease_s=self._lease_s)
        if taken is None:
            return None
        outcome = self._ended(taken)
        said = f" ({outcome.error['code']}: {outcome.error['what']})" if outcome.error else f", run {outcome.run_id}"
        self._tell(f"job {taken.job.job_id} {outcome.end}: {taken.job.tape_name}, release {taken.release}{said}")
        return outcome

    def _ended(self, taken: Taken) -> JobOutcome:
        """Run the job and record what became of it."""
        attempts_max = self._tools.workspace.settings.job_attempts_max
        if taken.job.attempts > attempts_max:
            worn = WorldError(
                f"the job was taken {attempts_max} times and never ended: it may have killed its workers",
                code="JOB-104",
                where=taken.job.tape_name,
                hint="look into the workers' logs and for want of memory, then run the tape by itself: `abaco run`",
            )
            return self._failed(taken, worn, again=False)
        workspace = active_workspace(self._tools.workspace, taken.release)
        try:
            with self._kept(taken):
                tape = spooled_tape(workspace, taken.job)
                request = RunRequest(path=tape, as_of=taken.job.as_of, release=taken.release)
                run = self._run(request, replace(self._tools, workspace=workspace))
        except AbacoError as error:
            return self._failed(taken, error, again=not _tells_of_the_tape(error) and taken.job.attempts < attempts_max)
        except BaseException as error:
            broken = WorldError(
                f"stopped by {type(error).__name__}",
                code="JOB-105",
                where=taken.job.tape_name,
                hint="see the worker's log",
            )
            with suppress(AbacoError):
                self._failed(taken, broken, again=taken.job.attempts < attempts_max)
            raise
        outcome = self._finished(taken, run.run_id)
        if outcome.end == "done":
            self._to_shadow.append((workspace, tape, run.as_of))
        return outcome

    @contextmanager
    def _kept(self, taken: Taken) -> Iterator[None]:
        """Keep the lease for the length of the block."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(self._lease_s / 3):
                try:
                    with self._open() as records:
                        records.production_writer.extend(taken.job.job_id, taken.fence, lease_s=self._lease_s)
                except WorldError as error:  # else tried again: until the lease runs out nobody else has the job
                    if error.code == _FENCED:
                        return

        thread = threading.Thread(target=keep, name=f"lease-{taken.job.job_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _finished(self, taken: Taken, run_id: str) -> JobOutcome:
        try:
            with self._open() as records:
                job = records.production_writer.finish(
                    taken.job.job_id, taken.fence, epoch=taken.epoch, release=taken.release, run_id=run_id
                )
        except WorldError as error:
            if error.code == _FENCED:
                return self._late(taken, error, run_id)
            return self._failed(taken, error, again=True)  # the run is there, and is found when it is run again
        return JobOutcome(job=job, release=taken.release, end="done", run_id=run_id)

    def _failed(self, taken: Taken, error: AbacoError, *, again: bool) -> JobOutcome:
        """Record a failure; where even that fails, the lease runs out and another takes the job."""
        told = unsaid(error)
        said = told.as_dict() if isinstance(told, AbacoError) else {}
        job = taken.job
        end: JobEnd = "returned"
        try:
            with self._open() as records:
                job = records.production_writer.fail(taken.job.job_id, taken.fence, said, again=again)
                end = "failed" if job.status == "failed" else "returned"
        except WorldError as fault:
            if fault.code == _FENCED:
                return self._late(taken, fault, None)
        return JobOutcome(job=job, release=taken.release, end=end, error=said)

    def _late(self, taken: Taken, error: WorldError, run_id: str | None) -> JobOutcome:
        return JobOutcome(job=taken.job, release=taken.release, end="dropped", run_id=run_id, error=error.as_dict())

    def _rest(self) -> None:
        """The world failed: wait, longer every time."""
        self._wait(min(_REST_S_MAX, self._rest_s * 2**self._failures))
        self._failures += 1

    def _wait(self, seconds: float) -> None:
        """Short naps: a lock that a signal handler sets could be held by the very code that the signal interrupts."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(_NAP_S, left))

    def _is_idle(self) -> bool:
        """No job waits, and none is at work: what another worker has may come back."""
        with self._open() as records:
            counts = records.production_reader.counts()
        return not (counts["queued"] or counts["leased"])

    def _shadow_next(self) -> bool:
        """Start the shadow of the tape that waits longest for it; whether one runs or waits."""
        if self._dark is not None and self._dark.poll() is not None:
            self._dark = None
        while self._dark is None and self._to_shadow and self._start_dark is not None:
            self._dark = self._start_dark(*self._to_shadow.popleft())
        return self._dark is not None


def run_release(request: RunRequest, tools: Tools, environment: Mapping[str, str]) -> RunRecord:
    """Run a tape through a release of either kind.

    Args:
        environment: where the values of the variables that a program may see are taken from.

    Raises:
        AbacoError: as `run_tape` and `run_program` do.
    """
    if tools.workspace.release_kind(request.release or tools.workspace.settings.release) == "command":
        return run_program(request, tools, environment).record
    return run_tape(request, tools).record


def _tells_of_the_tape(error: AbacoError) -> bool:
    """Whether another attempt would end the same; what a release does wrong (``REL``) can be mended."""
    if isinstance(error, ConfigError) or error.code.startswith("REL"):
        return False
    return isinstance(error, InputError | UsageError)


def production_document(reader: ProductionReader) -> dict[str, Any]:
    """How production stands, JSON-ready: active release, who holds it, counts, what is at work, what failed."""
    pointer: Pointer = reader.pointer()
    oldest = reader.oldest_queued()
    return {
        "active_release": pointer.active or None,
        "previous_release": pointer.previous or None,
        "epoch": pointer.epoch,
        "held_by": pointer.held_by or None,
        "changed_at": pointer.changed_at.isoformat() if pointer.changed_at else None,
        "counts": dict(reader.counts()),
        "oldest_queued_at": oldest.submitted_at.isoformat() if oldest else None,
        "at_work": [job_document(job) for job in reader.jobs("leased", limit=1000)],
        "failed": [job_document(job) for job in reader.jobs("failed", limit=10)],
    }
