"""Cutovers, their steps and approvals in the database: sealed when written, checked against the ledger when read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abaco_loans.clock import Clock
from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records import cutover_rows, statements
from abaco_loans.records.cutover_rows import (
    APPROVAL_SEALED,
    APPROVALS,
    CUTOVER_SEALED,
    CUTOVERS,
    NEW_FIELDS,
    STEP_SEALED,
    STEPS,
)
from abaco_loans.records.cutovers import (
    ENDED,
    MOVES,
    STEP_MOVES,
    UNDER_WAY,
    Approval,
    CutoverRecord,
    CutoverStatus,
    NewApproval,
    NewCutover,
    StepRecord,
    StepStatus,
)
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent, canonical
from abaco_loans.records.ledger_table import append, moment
from abaco_loans.records.run_rows import damaged, seal
from abaco_loans.records.standing import check, disagreeing, standing


class SqlCutoverReader:
    """A :class:`~abaco_loans.records.cutovers.CutoverReader` over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, cutover_id: str) -> CutoverRecord | None:
        """The cutover, or None."""
        with self._database.read() as connection:
            row = _cutover_row(connection, cutover_id, self._database.where)
        return cutover_rows.cutover(row) if row else None

    def list(self, limit: int = 50) -> tuple[CutoverRecord, ...]:
        """Cutovers, rollbacks and drills, the one that changed last first."""
        with self._database.read() as connection:
            rows = connection.rows(statements.CUTOVERS_LATEST_FIRST, limit=limit)
            for row in rows:
                check(connection, CUTOVERS, row["cutover_id"], [row], self._database.where)
        return tuple(cutover_rows.cutover(row) for row in rows)

    def running(self) -> CutoverRecord | None:
        """The cutover or rollback that is running or held, or None; never a drill."""
        with self._database.read() as connection:
            row = _under_way(connection, self._database.where)
        return cutover_rows.cutover(row) if row else None

    def approvals(self, cutover_id: str) -> tuple[Approval, ...]:
        """All approvals ever given, oldest first; of other plans and expired ones too."""
        with self._database.read() as connection:
            rows = connection.rows(statements.APPROVALS_OF, cutover_id=cutover_id)
            check(connection, APPROVALS, cutover_id, rows, self._database.where)
        return tuple(cutover_rows.approval(row) for row in rows)

    def steps(self, cutover_id: str) -> tuple[StepRecord, ...]:
        """The steps that were ever begun, by number."""
        with self._database.read() as connection:
            rows = _step_rows(connection, cutover_id, self._database.where)
        return tuple(cutover_rows.step(row) for row in rows)

    def faults(self) -> tuple[str, ...]:
        """Every cutover, its steps and its approvals, where they are not what was written; all are read."""
        with self._database.read() as connection:
            events = connection.rows(statements.EVENTS_OF_CUTOVERS)
            tables = [
                (CUTOVERS, connection.rows(statements.CUTOVERS_IN_ORDER)),
                (STEPS, connection.rows(statements.STEPS_IN_ORDER)),
                (APPROVALS, connection.rows(statements.APPROVALS_IN_ORDER)),
            ]
        return tuple(
            damaged(what, self._database.where).what
            for kind, rows in tables
            for what in disagreeing(kind, rows, standing(kind, events))
        )


class SqlCutoverWriter:
    """A :class:`~abaco_loans.records.cutovers.CutoverWriter` over the database."""

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    def add(self, new: NewCutover) -> CutoverRecord:
        """Record a plan (``cutover.planned``) in the name of whoever opened the records."""
        given = {name: getattr(new, name) for name in NEW_FIELDS}
        with self._database.write() as connection:
            old = _cutover_row(connection, new.cutover_id, self._database.where)
            blank = dict.fromkeys(["started_at", "finished_at", "outcome"])
            row = given | blank | {"created_by": self._actor, "created_at": moment(self._clock.now())}
            return self._move(connection, old, row, "planned", {})

    def move(
        self, cutover_id: str, to_status: CutoverStatus, outcome: Mapping[str, Any] | None = None
    ) -> CutoverRecord:
        """Move a cutover (``cutover.<to_status>``); ``outcome`` replaces what was said before, when it is given."""
        said = {} if outcome is None else {"outcome": dict(outcome)}
        with self._database.write() as connection:
            old = self._known(connection, cutover_id)
            row, now = dict(old), moment(self._clock.now())
            if to_status == "running" and row["started_at"] is None:
                row["started_at"] = now
            if to_status in ENDED:
                row["finished_at"] = now
            if outcome is not None:
                row["outcome"] = canonical(said["outcome"]).decode()
            return self._move(connection, old, row, to_status, said)

    def approve(self, new: NewApproval) -> Approval:
        """Record an approval (``cutover.approved``)."""
        with self._database.write() as connection:
            cutover = self._known(connection, new.cutover_id)
            if new.plan_hash != cutover["plan_hash"]:
                raise InvariantError(f"cutover {new.cutover_id}: approved another plan, {new.plan_hash}")
            before = connection.rows(statements.APPROVALS_OF, cutover_id=new.cutover_id)
            check(connection, APPROVALS, new.cutover_id, before, self._database.where)
            row = cutover_rows.approval_columns(new, self._clock.now())
            said = {name: row[name] for name in ("plan_hash", "role", "person", "how", "expires_at")}
            said |= {"verified": new.verified}
            self._write(connection, statements.ADD_APPROVAL, row, APPROVAL_SEALED, "cutover.approved", said)
            return cutover_rows.approval(connection.rows(statements.APPROVALS_OF, cutover_id=new.cutover_id)[-1])

    def begin_step(self, cutover_id: str, number: int, phase: int, name: str) -> StepRecord:
        """Journal that a step begins (``step.started``); once more, it is the next attempt."""
        with self._database.write() as connection:
            old = self._step(connection, cutover_id, number)
            given = {"cutover_id": cutover_id, "number": number, "phase": phase, "name": name}
            if old is not None and any(old[key] != value for key, value in given.items()):
                raise InvariantError(
                    f"cutover {cutover_id}: step {number} is {old['name']} of phase {old['phase']},"
                    f" not {name} of phase {phase}"
                )
            # Tried again before it ended: its time runs from the first attempt, or it would never be over.
            since = old["started_at"] if old and old["status"] == "started" else moment(self._clock.now())
            row = given | {
                "attempt": old["attempt"] + 1 if old else 1,
                "evidence": "{}",
                "started_at": since,
                "finished_at": None,
            }
            return self._move_step(connection, old, row, "started")

    def end_step(
        self, cutover_id: str, number: int, status: StepStatus, evidence: Mapping[str, Any] | None = None
    ) -> StepRecord:
        """Journal how a step ended (``step.<status>``: done, failed, undone), and what shows it."""
        if status == "started":
            raise InvariantError(f"cutover {cutover_id}: step {number} does not end by being started")
        with self._database.write() as connection:
            old = self._step(connection, cutover_id, number)
            more = {
                "evidence": canonical(dict(evidence or {})).decode(),
                "finished_at": moment(self._clock.now()),
            }
            return self._move_step(connection, old, {"number": number, **(old or {}), **more}, status)

    def _move(
        self,
        connection: Connection,
        old: Row | None,
        row: dict[str, Any],
        to: CutoverStatus,
        said: Mapping[str, Any],
    ) -> CutoverRecord:
        status = old["status"] if old else ""
        if (status, to) not in MOVES:
            raise InvariantError(f"cutover {row['cutover_id']}: no move from {status or 'nothing'!r} to {to!r}")
        counts = to in UNDER_WAY and row["kind"] != "drill"
        other = _under_way(connection, self._database.where)
        if counts and other is not None and other["cutover_id"] != row["cutover_id"]:
            raise WorldError(
                f"{other['kind']} {other['cutover_id']} is {other['status']}: there is one at a time",
                code="REC-114",
                where=self._database.where,
                hint="see `abaco cutover status`; resume or abort it first",
            )
        row |= {"status": to, "under_way": 1 if counts else None}
        payload = {name: row[name] for name in ("kind", "from_release", "to_release", "plan_hash")}
        statement = statements.MOVE_CUTOVER if old else statements.ADD_CUTOVER
        self._write(connection, statement, row, CUTOVER_SEALED, f"cutover.{to}", {**payload, **said, "from": status})
        return cutover_rows.cutover(row)

    def _move_step(self, connection: Connection, old: Row | None, row: dict[str, Any], to: StepStatus) -> StepRecord:
        status = old["status"] if old else ""
        if (status, to) not in STEP_MOVES:
            raise InvariantError(f"step {row['number']}: no move from {status or 'nothing'!r} to {to!r}")
        row["status"] = to
        said = {name: row[name] for name in ("number", "phase", "name", "attempt")} | {"from": status}
        statement = statements.MOVE_STEP if old else statements.ADD_STEP
        self._write(connection, statement, row, STEP_SEALED, f"step.{to}", said)
        return cutover_rows.step(row)

    def _write(
        self,
        connection: Connection,
        statement: str,
        row: dict[str, Any],
        sealed: list[str],
        action: str,
        said: Mapping[str, Any],
    ) -> None:
        """Write a row and its event; the row gets its seal and the event's number."""
        row["seal"] = seal(row, sealed)
        event = NewEvent(action=action, subject=row["cutover_id"], payload={**said, "seal": row["seal"]})
        row["event_seq"] = append(connection, [event], at=self._clock.now(), actor=self._actor)[0].seq
        connection.rows(statement, **row)

    def _known(self, connection: Connection, cutover_id: str) -> Row:
        row = _cutover_row(connection, cutover_id, self._database.where)
        if row is None:
            raise InvariantError(f"cutover {cutover_id}: there is none")
        return row

    def _step(self, connection: Connection, cutover_id: str, number: int) -> Row | None:
        """The row of a step of a cutover that has not ended, or None."""
        status = self._known(connection, cutover_id)["status"]
        if status in ENDED:
            raise InvariantError(f"cutover {cutover_id} is {status}: its journal is closed")
        rows = _step_rows(connection, cutover_id, self._database.where)
        return next((row for row in rows if row["number"] == number), None)


def _cutover_row(connection: Connection, cutover_id: str, where: str) -> Row | None:
    """The row of a cutover, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.CUTOVER, cutover_id=cutover_id)
    check(connection, CUTOVERS, cutover_id, rows, where)
    return rows[0] if rows else None


def _step_rows(connection: Connection, cutover_id: str, where: str) -> list[Row]:
    """The rows of a cutover's steps, by number, checked."""
    rows = connection.rows(statements.STEPS_OF, cutover_id=cutover_id)
    check(connection, STEPS, cutover_id, rows, where)
    return rows


def _under_way(connection: Connection, where: str) -> Row | None:
    """The row of the cutover or rollback under way. All are checked: one that was hidden must be found."""
    rows = connection.rows(statements.CUTOVERS_IN_ORDER)
    events = connection.rows(statements.EVENTS_OF_CUTOVERS)
    for what in disagreeing(CUTOVERS, rows, standing(CUTOVERS, events)):
        raise damaged(what, where)
    return next((row for row in rows if row["under_way"]), None)
