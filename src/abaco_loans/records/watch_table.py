"""Watches, checkpoints and decisions in the database: sealed when written, checked against the ledger when read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from abaco_loans.clock import Clock
from abaco_loans.errors import InvariantError
from abaco_loans.records import statements, watch_rows
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.ledger_table import append, moment
from abaco_loans.records.run_rows import damaged, seal
from abaco_loans.records.standing import Kind, check, disagreeing, standing
from abaco_loans.records.watch_rows import CHECKPOINTS, DECISIONS, WATCHES
from abaco_loans.records.watches import (
    MOVES,
    CheckpointRecord,
    DecisionRecord,
    NewCheckpoint,
    NewWatch,
    WatchRecord,
    WatchStatus,
)


class SqlWatchReader:
    """A :class:`~abaco_loans.records.watches.WatchReader` over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, watch_id: str) -> WatchRecord | None:
        """The watch, or None."""
        with self._database.read() as connection:
            row = _watch_row(connection, watch_id, self._database.where)
        return watch_rows.watch(row) if row else None

    def list(self, limit: int = 50) -> tuple[WatchRecord, ...]:
        """Watches, the one that changed last first."""
        with self._database.read() as connection:
            rows = _watch_rows(connection, self._database.where)
        return tuple(watch_rows.watch(row) for row in rows[: -limit - 1 : -1])

    def current(self) -> WatchRecord | None:
        """The watch that is under way, or None."""
        return next((item for item in self.list() if item.status != "ended"), None)

    def checkpoints(self, watch_id: str) -> tuple[CheckpointRecord, ...]:
        """The checkpoints that were recorded, in the order in which they were."""
        with self._database.read() as connection:
            rows = _checkpoint_rows(connection, watch_id, self._database.where)
        return tuple(watch_rows.checkpoint(row) for row in rows)

    def decisions(self, watch_id: str) -> tuple[DecisionRecord, ...]:
        """The decisions that were asked for, by hour."""
        with self._database.read() as connection:
            rows = _decision_rows(connection, watch_id, self._database.where)
        return tuple(watch_rows.decision(row) for row in rows)

    def faults(self) -> tuple[str, ...]:
        """Every watch, its checkpoints and decisions, where they are not what was written; all are read."""
        with self._database.read() as connection:
            events = connection.rows(statements.EVENTS_OF_WATCHES)
            tables = [
                (WATCHES, connection.rows(statements.WATCHES_IN_ORDER)),
                (CHECKPOINTS, connection.rows(statements.CHECKPOINTS_IN_ORDER)),
                (DECISIONS, sorted(connection.rows(statements.DECISIONS_IN_ORDER), key=_by_hour)),
            ]
        return tuple(
            damaged(what, self._database.where).what
            for kind, rows in tables
            for what in disagreeing(kind, rows, standing(kind, events))
        )


class SqlWatchWriter:
    """A :class:`~abaco_loans.records.watches.WatchWriter` over the database."""

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    def start(self, new: NewWatch) -> tuple[WatchRecord, bool]:
        """The watch, and whether it is new (``watch.watching``; then others under way end, ``watch.ended``)."""
        with self._database.write() as connection:
            old = _watch_row(connection, new.watch_id, self._database.where)
            if old is not None:
                return watch_rows.watch(old), False
            for other in _watch_rows(connection, self._database.where):
                if other["status"] != "ended":
                    self._move(connection, other, dict(other), "ended", f"cutover {new.watch_id} is watched instead")
            return self._move(connection, None, watch_rows.watch_columns(new), "watching", ""), True

    def move(self, watch_id: str, to: WatchStatus, reason: str) -> WatchRecord:
        """Move a watch (``watch.<to>``)."""
        with self._database.write() as connection:
            old = self._known(connection, watch_id)
            return self._move(connection, old, dict(old), to, reason)

    def checkpoint(self, new: NewCheckpoint) -> tuple[CheckpointRecord, bool]:
        """The checkpoint of this hour, and whether it is new (``checkpoint.done``, ``checkpoint.missed``)."""
        with self._database.write() as connection:
            self._under_way(connection, new.watch_id)
            before = _checkpoint_rows(connection, new.watch_id, self._database.where)
            for row in before:
                if row["hour"] == new.hour:
                    return watch_rows.checkpoint(row), False
            row = watch_rows.checkpoint_columns(new)
            said = {"hour": new.hour, "judged": dict(new.judged), "metrics": dict(new.metrics)}
            self._write(connection, statements.ADD_CHECKPOINT, row, CHECKPOINTS, f"checkpoint.{row['status']}", said)
            return watch_rows.checkpoint(row), True

    def ask(self, watch_id: str, point: str, deadline: datetime) -> tuple[DecisionRecord, bool]:
        """The decision at this point, and whether it is new (``decision.asked``)."""
        with self._database.write() as connection:
            self._under_way(connection, watch_id)
            for row in _decision_rows(connection, watch_id, self._database.where):
                if row["point"] == point:
                    return watch_rows.decision(row), False
            blank = {"decided_by": None, "decision": None, "by_default": 0, "reason": ""}
            times = {"asked_at": moment(self._clock.now()), "deadline": moment(deadline)}
            row = {"watch_id": watch_id, "point": point, **times, **blank}
            said = {"point": int(point), "deadline": times["deadline"]}
            self._write(connection, statements.ADD_DECISION, row, DECISIONS, "decision.asked", said)
            return watch_rows.decision(row), True

    def decide(
        self, watch_id: str, point: str, decision: str, reason: str, *, by_default: bool, then: WatchStatus | None
    ) -> DecisionRecord:
        """Record what was decided (``decision.made``, ``decision.defaulted``), and move the watch with it."""
        with self._database.write() as connection:
            watch = self._under_way(connection, watch_id)
            rows = _decision_rows(connection, watch_id, self._database.where)
            old = next((row for row in rows if row["point"] == point), None)
            if old is None or old["decision"] is not None:
                raise InvariantError(f"watch {watch_id}: no decision is open at hour {point}")
            who = None if by_default else self._actor
            row = old | {"decided_by": who, "decision": decision, "by_default": int(by_default), "reason": reason}
            said = {"point": int(point), "decision": decision, "reason": reason}
            action = "decision.defaulted" if by_default else "decision.made"
            self._write(connection, statements.MAKE_DECISION, row, DECISIONS, action, said)
            if then is not None and then != watch["status"]:
                self._move(connection, watch, dict(watch), then, reason)
        return watch_rows.decision(row)

    def _move(
        self, connection: Connection, old: Row | None, row: dict[str, Any], to: WatchStatus, reason: str
    ) -> WatchRecord:
        status = old["status"] if old else ""
        if (status, to) not in MOVES:
            raise InvariantError(f"watch {row['watch_id']}: no move from {status or 'nothing'!r} to {to!r}")
        row |= {"status": to, "ends_at": moment(self._clock.now()) if to == "ended" else None}
        said = {name: row[name] for name in ("release", "baseline_release", "started_at", "baseline")}
        statement = statements.MOVE_WATCH if old else statements.ADD_WATCH
        self._write(connection, statement, row, WATCHES, f"watch.{to}", {**said, "from": status, "reason": reason})
        return watch_rows.watch(row)

    def _write(
        self,
        connection: Connection,
        statement: str,
        row: dict[str, Any],
        kind: Kind,
        action: str,
        said: Mapping[str, Any],
    ) -> None:
        """Write a row and its event; the row gets its seal and the event's number."""
        row["seal"] = seal(row, kind.sealed)
        event = NewEvent(action=action, subject=row["watch_id"], payload={**said, "seal": row["seal"]})
        row["event_seq"] = append(connection, [event], at=self._clock.now(), actor=self._actor)[0].seq
        connection.rows(statement, **row)

    def _known(self, connection: Connection, watch_id: str) -> Row:
        row = _watch_row(connection, watch_id, self._database.where)
        if row is None:
            raise InvariantError(f"watch {watch_id}: there is none")
        return row

    def _under_way(self, connection: Connection, watch_id: str) -> Row:
        row = self._known(connection, watch_id)
        if row["status"] == "ended":
            raise InvariantError(f"watch {watch_id} has ended")
        return row


def _watch_row(connection: Connection, watch_id: str, where: str) -> Row | None:
    """The row of a watch, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.WATCH, watch_id=watch_id)
    check(connection, WATCHES, watch_id, rows, where)
    return rows[0] if rows else None


def _watch_rows(connection: Connection, where: str) -> list[Row]:
    """The rows of all watches, the one that changed last at the end. One that was hidden must be found."""
    rows = connection.rows(statements.WATCHES_IN_ORDER)
    for what in disagreeing(WATCHES, rows, standing(WATCHES, connection.rows(statements.EVENTS_OF_WATCHES))):
        raise damaged(what, where)
    return rows


def _checkpoint_rows(connection: Connection, watch_id: str, where: str) -> list[Row]:
    """The rows of a watch's checkpoints in the order in which they were recorded, checked."""
    rows = connection.rows(statements.CHECKPOINTS_OF, watch_id=watch_id)
    check(connection, CHECKPOINTS, watch_id, rows, where)
    return rows


def _decision_rows(connection: Connection, watch_id: str, where: str) -> list[Row]:
    """The rows of a watch's decisions by hour, checked."""
    rows = sorted(connection.rows(statements.DECISIONS_OF, watch_id=watch_id), key=_by_hour)
    check(connection, DECISIONS, watch_id, rows, where)
    return rows


def _by_hour(row: Mapping[str, Any]) -> int:
    """Hours are text: 8 comes before 24."""
    return int(row["point"])
