"""The pointer, jobs and results in the database: sealed when written, checked against the ledger when read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, get_args

from abaco_loans.clock import Clock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records import production_rows, statements
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent, canonical
from abaco_loans.records.ledger_table import append, moment
from abaco_loans.records.production import MOVES, Job, JobStatus, NewJob, Pointer, Served, Taken
from abaco_loans.records.production_rows import JOB_SEALED, JOBS, POINTER_SEALED, POINTERS, SERVED, SERVED_SEALED
from abaco_loans.records.run_rows import damaged, seal
from abaco_loans.records.standing import check, disagreeing, said_by, standing

_ALL = 2**31 - 1
_SUBJECT = "production"  # of the pointer's events
_NO_POINTER = Pointer(active="", previous="", epoch=0, held_by="", changed_at=None, event_seq=0)
_NOT_LEASED = {"owner": "", "lease_until": None}
_NOT_SERVED = {"served_by": None, "run_id": None, "epoch": None}


class SqlProductionReader:
    """A :class:`~abaco_loans.records.production.ProductionReader` over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pointer(self) -> Pointer:
        """Which release is active; none, at epoch 0, before the pointer was made."""
        with self._database.read() as connection:
            row = _pointer_row(connection, self._database.where)
        return production_rows.pointer(row) if row else _NO_POINTER

    def job(self, job_id: str) -> Job | None:
        """The job, or None."""
        with self._database.read() as connection:
            row = _job_row(connection, job_id, self._database.where)
        return production_rows.job(row) if row else None

    def jobs(self, status: JobStatus | None = None, limit: int = 50) -> tuple[Job, ...]:
        """Jobs (of a status), the one that changed last first."""
        with self._database.read() as connection:
            rows = connection.rows(statements.JOBS_LATEST_FIRST, status=status, limit=limit)
            for row in rows:
                check(connection, JOBS, row["job_id"], [row], self._database.where)
        return tuple(production_rows.job(row) for row in rows)

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs there are of each status, zeros too. Only counted: nothing is checked."""
        with self._database.read() as connection:
            found = {row["status"]: row["jobs"] for row in connection.rows(statements.COUNT_JOBS)}
        return {status: found.get(status, 0) for status in get_args(JobStatus)}

    def oldest_queued(self) -> Job | None:
        """The job in the queue that was submitted first, or None."""
        with self._database.read() as connection:
            row = connection.first(statements.OLDEST_QUEUED)
            if row is not None:
                check(connection, JOBS, row["job_id"], [row], self._database.where)
        return production_rows.job(row) if row else None

    def served(self, job_id: str) -> tuple[Served, ...]:
        """All results that the job ever got, oldest first."""
        with self._database.read() as connection:
            rows = self._results_of(connection, job_id)
        return tuple(production_rows.served(row) for row in rows)

    def served_since(self, epoch: int) -> tuple[Served, ...]:
        """All results made at ``epoch`` or later, oldest first. One that was taken out is found (REC-105)."""
        with self._database.read() as connection:
            rows = connection.rows(statements.SERVED_IN_ORDER)
            events = connection.rows(statements.EVENTS_OF_RESULTS)
        for what in disagreeing(SERVED, rows, standing(SERVED, events)):
            raise damaged(what, self._database.where)
        return tuple(production_rows.served(row) for row in rows if row["epoch"] >= epoch)

    def latest_served(self, limit: int = 50) -> tuple[Served, ...]:
        """Results, the latest first."""
        with self._database.read() as connection:
            rows = connection.rows(statements.SERVED_LATEST_FIRST, limit=limit)
            for job_id in {row["job_id"] for row in rows}:
                self._results_of(connection, job_id)
        return tuple(production_rows.served(row) for row in rows)

    def faults(self) -> tuple[str, ...]:
        """The pointer, every job, and the results of every job, where they are not what was written; all are read."""
        with self._database.read() as connection:
            events = connection.rows(statements.EVENTS_OF_PRODUCTION)
            tables = [
                (POINTERS, connection.rows(statements.POINTER)),
                (JOBS, connection.rows(statements.JOBS_IN_ORDER)),
                (SERVED, connection.rows(statements.SERVED_IN_ORDER)),
            ]
        return tuple(
            damaged(what, self._database.where).what
            for kind, rows in tables
            for what in disagreeing(kind, rows, standing(kind, events))
        )

    def _results_of(self, connection: Connection, job_id: str) -> list[Row]:
        rows = connection.rows(statements.SERVED_OF, job_id=job_id)
        check(connection, SERVED, job_id, rows, self._database.where)
        return rows


class SqlProductionWriter:
    """A :class:`~abaco_loans.records.production.ProductionWriter` over the database."""

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    # --- the queue ---

    def submit(self, new: NewJob) -> tuple[Job, bool]:
        """The job of this tape and date, and whether it is new (``job.submitted``); else nothing is recorded."""
        with self._database.write() as connection:
            old = _job_row(connection, new.job_id, self._database.where)
            if old is not None:
                return production_rows.job(old), False
            now = self._clock.now()
            given = production_rows.new_columns(new)
            row = given | _NOT_LEASED | _NOT_SERVED
            row |= {"attempts": 0, "fence": 0, "submitted_at": moment(now), "error": None}
            return production_rows.job(self._move(connection, row, "queued", "job.submitted", given, now)), True

    def take(self, owner: str, *, lease_s: float) -> Taken | None:
        """Take the job that waits longest, or one whose lease ran out (``job.taken``)."""
        with self._database.write() as connection:
            now = self._clock.now()
            until = _lease(now, lease_s)
            pointer = _pointer_row(connection, self._database.where)
            if pointer is None or pointer["held_by"] or not pointer["active"]:
                return None
            old = connection.first(
                statements.NEXT_JOB[connection.backend], now=moment(now), too_far=_lease(now, 2 * lease_s)
            )
            if old is None:
                return None
            check(connection, JOBS, old["job_id"], [old], self._database.where)
            counted = {"attempts": old["attempts"] + 1, "fence": old["fence"] + 1}
            row = old | counted | {"owner": owner, "lease_until": until}
            said = counted | {"owner": owner, "release": pointer["active"], "epoch": pointer["epoch"]}
            job = production_rows.job(self._move(connection, row, "leased", "job.taken", said, now, old=old))
        return Taken(job=job, fence=job.fence, release=pointer["active"], epoch=pointer["epoch"])

    def extend(self, job_id: str, fence: int, *, lease_s: float) -> Job:
        """Keep the job for ``lease_s`` from now on; no event."""
        with self._database.write() as connection:
            old = self._mine(connection, job_id, fence)
            row = old | {"lease_until": _lease(self._clock.now(), lease_s)}
            connection.rows(statements.EXTEND_JOB, **row)
        return production_rows.job(row)

    def finish(self, job_id: str, fence: int, *, epoch: int, release: str, run_id: str) -> Job:
        """Record the result that counts from now on (``job.done``). The same call again records nothing more."""
        result = {"served_by": release, "run_id": run_id, "epoch": epoch}
        with self._database.write() as connection:
            old = self._known(connection, job_id)
            if (old["status"], old["fence"]) == ("done", fence) and all(old[name] == result[name] for name in result):
                return production_rows.job(old)
            self._mine(connection, job_id, fence)
            taken = _taken_with(connection, old)
            if taken != (release, epoch):
                raise InvariantError(f"job {job_id}: taken with {taken}, finished with {(release, epoch)}")
            if self._pointer(connection)["epoch"] != epoch:
                raise self._lost(old, "another release became active meanwhile")
            now = self._clock.now()
            made: dict[str, Any] = {
                "job_id": job_id,
                "release": release,
                "run_id": run_id,
                "epoch": epoch,
                "fence": fence,
                "served_at": moment(now),
            }
            made["seal"] = seal(made, SERVED_SEALED)
            said = {name: made[name] for name in ("release", "run_id", "epoch", "fence")}
            said |= {"owner": old["owner"], SERVED.repeats: made["seal"]}
            row = old | _NOT_LEASED | result | {"error": None}
            row = self._move(connection, row, "done", "job.done", said, now, old=old)
            connection.rows(statements.ADD_SERVED, **made, event_seq=row["event_seq"])
        return production_rows.job(row)

    def fail(self, job_id: str, fence: int, error: Mapping[str, Any], *, again: bool) -> Job:
        """Record that the job broke: it goes back (``again``, ``job.returned``), or has failed (``job.failed``)."""
        text = canonical(dict(error)).decode()
        with self._database.write() as connection:
            old = self._mine(connection, job_id, fence)
            release, epoch = _taken_with(connection, old)
            goes_back = again or self._pointer(connection)["epoch"] != epoch
            said = {"owner": old["owner"], "fence": fence, "release": release, "epoch": epoch}
            said |= {"code": str(error.get("code", ""))}
            row = old | _NOT_LEASED | {"error": text}
            to: JobStatus = "queued" if goes_back else "failed"
            action = "job.returned" if goes_back else "job.failed"
            return production_rows.job(self._move(connection, row, to, action, said, self._clock.now(), old=old))

    def fence_running(self, cutover_id: str) -> tuple[Job, ...]:
        """Put leased jobs back with a new fence (``job.fenced``): their owners can record nothing any more."""
        with self._database.write() as connection:
            self._held(connection, cutover_id)
            rows = connection.rows(statements.JOBS_LEASED)
            return self._put_back(connection, rows, "job.fenced", {"cutover": cutover_id}, {})

    def requeue_since(self, cutover_id: str, epoch: int, only: Collection[str] | None = None) -> tuple[Job, ...]:
        """Put every job back that was served, or failed, at ``epoch`` or later (``job.requeued``), oldest first."""
        with self._database.write() as connection:
            pointer = self._held(connection, cutover_id)
            if epoch >= pointer["epoch"]:
                raise InvariantError(f"results of epoch {epoch} count: the pointer stands at {pointer['epoch']}")
            failed = connection.rows(statements.JOBS_LATEST_FIRST, status="failed", limit=_ALL)
            found = [
                *connection.rows(statements.JOBS_SERVED_SINCE, epoch=epoch),
                *(row for row in failed if (_taken_with(connection, row)[1] or 0) >= epoch),
            ]
            found.sort(key=lambda row: row["event_seq"])
            rows = [row for row in found if only is None or row["job_id"] in only]
            said = {"cutover": cutover_id, "since_epoch": epoch}
            return self._put_back(connection, rows, "job.requeued", said, {"attempts": 0} | _NOT_SERVED)

    # --- the pointer ---

    def ensure(self, active: str) -> Pointer:
        """The pointer; made (``pointer.set``) when there is none, or while no release is active and nobody holds it."""
        with self._database.read() as connection:
            old = _pointer_row(connection, self._database.where)
        if old is not None and (old["active"] or not active or old["held_by"]):
            return production_rows.pointer(old)
        with self._database.write() as connection:
            old = _pointer_row(connection, self._database.where)
            if old is not None and (old["active"] or old["held_by"]):
                return production_rows.pointer(old)
            blank: Row = {"id": 1, "subject": _SUBJECT, "previous": "", "epoch": 0, "held_by": ""}
            row = (old or blank) | {"active": active}
            row["epoch"] += bool(active)
            return self._point(connection, row, "pointer.set", {}, new=old is None)

    def hold(self, cutover_id: str) -> Pointer:
        """Stop the taking of jobs (``pointer.held``); nothing is recorded when the cutover holds it already."""
        if not cutover_id:
            raise InvariantError("a cutover without an id cannot hold production")
        with self._database.write() as connection:
            old = self._pointer(connection)
            if old["held_by"] == cutover_id:
                return production_rows.pointer(old)
            if old["held_by"]:
                raise self._not_held(old, cutover_id)
            return self._point(connection, old | {"held_by": cutover_id}, "pointer.held", {"cutover": cutover_id})

    def unhold(self, cutover_id: str) -> Pointer:
        """Let jobs be taken again (``pointer.released``); nothing is recorded when nobody holds it."""
        with self._database.write() as connection:
            old = self._pointer(connection)
            if not old["held_by"]:
                return production_rows.pointer(old)
            if old["held_by"] != cutover_id:
                raise self._not_held(old, cutover_id)
            return self._point(connection, old | {"held_by": ""}, "pointer.released", {"cutover": cutover_id})

    def switch(self, cutover_id: str, to: str, *, expected: str) -> Pointer:
        """Make another release the active one (``pointer.switched``); nothing is recorded when it is already."""
        with self._database.write() as connection:
            old = self._held(connection, cutover_id)
            if old["active"] == to:
                return production_rows.pointer(old)
            if old["active"] != expected:
                raise WorldError(
                    f"the active release is {old['active'] or 'none'}, not {expected or 'none'} as was planned",
                    code="REC-132",
                    where=self._database.where,
                    hint="another change came between: abort this cutover and plan it again",
                )
            row = old | {"active": to, "previous": expected, "epoch": old["epoch"] + 1}
            said = {"cutover": cutover_id, "from": expected}
            return self._point(connection, row, "pointer.switched", said)

    # --- what they share ---

    def _move(
        self,
        connection: Connection,
        row: dict[str, Any],
        to: JobStatus,
        action: str,
        said: Mapping[str, Any],
        now: datetime,
        *,
        old: Row | None = None,
    ) -> Row:
        """Write a job's row and its event."""
        status = old["status"] if old else ""
        if (status, to) not in MOVES:
            raise InvariantError(f"job {row['job_id']}: no move from {status or 'nothing'!r} to {to!r}")
        row = row | {"status": to}
        row["seal"] = seal(row, JOB_SEALED)
        event = NewEvent(action=action, subject=row["job_id"], payload={**said, "from": status, "seal": row["seal"]})
        row["event_seq"] = append(connection, [event], at=now, actor=self._actor)[0].seq
        connection.rows(statements.MOVE_JOB if old else statements.ADD_JOB, **row)
        return row

    def _put_back(
        self,
        connection: Connection,
        rows: Iterable[Row],
        action: str,
        said: dict[str, Any],
        more: dict[str, Any],
    ) -> tuple[Job, ...]:
        """Put jobs back whatever their owners do: with a new fence."""
        now = self._clock.now()
        made = []
        for old in rows:
            check(connection, JOBS, old["job_id"], [old], self._database.where)
            row = old | _NOT_LEASED | more | {"fence": old["fence"] + 1}
            made.append(self._move(connection, row, "queued", action, said | {"owner": old["owner"]}, now, old=old))
        return tuple(production_rows.job(row) for row in made)

    def _point(
        self,
        connection: Connection,
        row: dict[str, Any],
        action: str,
        said: Mapping[str, Any],
        *,
        new: bool = False,
    ) -> Pointer:
        """Write the pointer's row and its event."""
        now = self._clock.now()
        row["changed_at"] = moment(now)
        row["seal"] = seal(row, POINTER_SEALED)
        payload = {**said, "active": row["active"], "epoch": row["epoch"], "seal": row["seal"]}
        event = NewEvent(action=action, subject=_SUBJECT, payload=payload)
        row["event_seq"] = append(connection, [event], at=now, actor=self._actor)[0].seq
        connection.rows(statements.ADD_POINTER if new else statements.MOVE_POINTER, **row)
        return production_rows.pointer(row)

    def _known(self, connection: Connection, job_id: str) -> Row:
        row = _job_row(connection, job_id, self._database.where)
        if row is None:
            raise InvariantError(f"job {job_id}: there is none")
        return row

    def _mine(self, connection: Connection, job_id: str, fence: int) -> Row:
        """The row of a job that is leased under this very fence."""
        row = self._known(connection, job_id)
        if (row["status"], row["fence"]) != ("leased", fence):
            raise self._lost(row, f"taken by {row['owner']}" if row["owner"] else f"it is {row['status']}")
        return row

    def _pointer(self, connection: Connection) -> Row:
        row = _pointer_row(connection, self._database.where)
        if row is None:
            raise InvariantError("there is no pointer: ensure() makes it")
        return row

    def _held(self, connection: Connection, cutover_id: str) -> Row:
        """The pointer's row, held by this cutover."""
        row = self._pointer(connection)
        if not cutover_id or row["held_by"] != cutover_id:
            raise self._not_held(row, cutover_id)
        return row

    def _lost(self, row: Row, why: str) -> WorldError:
        return WorldError(
            f"job {row['job_id']} is no longer this worker's: {why}",
            code="REC-131",
            where=self._database.where,
            hint="nothing to do: what this worker made is not used, and the job is run by whoever has it",
        )

    def _not_held(self, row: Row, cutover_id: str) -> WorldError:
        holder = row["held_by"]
        return WorldError(
            f"production is held by {'cutover ' + holder if holder else 'nobody'}, not by {cutover_id}",
            code="REC-132",
            where=self._database.where,
            hint="see `abaco cutover status`: end the cutover that holds it, or resume your own",
        )


def _lease(now: datetime, lease_s: float) -> str:
    """When a lease that is given now runs out."""
    if lease_s <= 0:
        raise InvariantError(f"a lease of {lease_s} s")
    return moment(now + timedelta(seconds=lease_s))


def _taken_with(connection: Connection, row: Row) -> tuple[Any, Any]:
    """The release and epoch that a job was taken with which is leased, or has failed: its latest event says it."""
    (event,) = connection.rows(statements.EVENT_PAYLOAD, seq=row["event_seq"])
    said = said_by(event["payload"])
    return said.get("release"), said.get("epoch")


def _pointer_row(connection: Connection, where: str) -> Row | None:
    """The pointer's row, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.POINTER)
    check(connection, POINTERS, _SUBJECT, rows, where)
    return rows[0] if rows else None


def _job_row(connection: Connection, job_id: str, where: str) -> Row | None:
    """The row of a job, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.JOB, job_id=job_id)
    check(connection, JOBS, job_id, rows, where)
    return rows[0] if rows else None
