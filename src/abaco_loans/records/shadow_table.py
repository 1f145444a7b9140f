"""Shadow runs and sealed gates in the database: sealed when written, checked against the ledger when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from abaco_loans.clock import Clock
from abaco_loans.errors import ConfigError, InvariantError
from abaco_loans.records import shadow_rows, statements
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.ledger_table import append, moment
from abaco_loans.records.run_rows import damaged, json_text, seal
from abaco_loans.records.shadow_rows import GATES, SHADOW_RUNS, gate_seal, shadow_record
from abaco_loans.records.shadows import (
    MOVES,
    STATE_ACTIONS,
    VERDICTS,
    GateSeal,
    NewSeal,
    ShadowPlan,
    ShadowRecord,
    ShadowStatus,
)
from abaco_loans.records.standing import check, disagreeing, standing


class SqlShadowReader:
    """A :class:`~abaco_loans.records.shadows.ShadowReader` over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, shadow_id: str) -> ShadowRecord | None:
        """The shadow run, or None."""
        with self._database.read() as connection:
            row = _shadow_row(connection, shadow_id, self._database.where)
        return shadow_record(row) if row else None

    def list(self, limit: int = 50, candidate: str | None = None) -> tuple[ShadowRecord, ...]:
        """Shadow runs (of a candidate), the one that changed last first."""
        with self._database.read() as connection:
            rows = connection.rows(statements.SHADOWS_LATEST_FIRST, limit=limit, candidate=candidate)
            for row in rows:
                check(connection, SHADOW_RUNS, row["shadow_id"], [row], self._database.where)
        return tuple(shadow_record(row) for row in rows)

    def history(self, candidate: str, *, candidate_meaning: str, baseline_meaning: str) -> tuple[ShadowRecord, ...]:
        """The finished shadow runs of this candidate beside this baseline, in the order in which they finished.

        All that the ledger says of the candidate must be there: a verdict that was taken out is found.
        """
        with self._database.read() as connection:
            rows = connection.rows(statements.SHADOWS_OF_CANDIDATE, candidate=candidate)
            events = connection.rows(statements.EVENTS_OF_SHADOWS_AND_SEALS)
        wrong = disagreeing(SHADOW_RUNS, rows, standing(SHADOW_RUNS, events, candidate=candidate))
        if wrong:
            raise damaged(wrong[0], self._database.where)
        wanted = ("finished", candidate_meaning, baseline_meaning)
        return tuple(
            shadow_record(row)
            for row in rows
            if (row["status"], row["candidate_meaning"], row["baseline_meaning"]) == wanted
        )

    def seals(self, candidate: str) -> tuple[GateSeal, ...]:
        """All seals of the candidate's gates, oldest first."""
        with self._database.read() as connection:
            rows = _seal_rows(connection, candidate, self._database.where)
        return tuple(gate_seal(row) for row in rows)

    def faults(self) -> tuple[str, ...]:
        """Every shadow run, and the seals of every candidate, that are not what was written; all are read."""
        with self._database.read() as connection:
            events = connection.rows(statements.EVENTS_OF_SHADOWS_AND_SEALS)
            tables = [
                (SHADOW_RUNS, connection.rows(statements.SHADOWS_IN_ORDER)),
                (GATES, connection.rows(statements.SEALS_IN_ORDER)),
            ]
        return tuple(
            damaged(what, self._database.where).what
            for kind, rows in tables
            for what in disagreeing(kind, rows, standing(kind, events))
        )


class SqlShadowWriter:
    """A :class:`~abaco_loans.records.shadows.ShadowWriter` over the database."""

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    def plan(self, plan: ShadowPlan, events: Sequence[NewEvent] = ()) -> ShadowRecord:
        """Record what will be compared, by which gates (``shadow.planned``)."""
        given = {name: getattr(plan, name) for name in shadow_rows.PLAN_FIELDS} | {"as_of": plan.as_of.isoformat()}
        now = self._clock.now()
        blank = dict.fromkeys(["verdict", "dry_run", "report_sha256", "error", "finished_at"])
        more = given | blank | {"planned_at": moment(now)}
        return self._move(plan.shadow_id, "planned", more, given, events, now)

    def finish(
        self,
        shadow_id: str,
        *,
        verdict: str,
        dry_run: bool,
        report_sha256: str,
        facts: Mapping[str, Any] | None = None,
        events: Sequence[NewEvent] = (),
    ) -> ShadowRecord:
        """Record the verdict (``shadow.finished``)."""
        if verdict not in VERDICTS:
            raise InvariantError(f"shadow run {shadow_id}: {verdict!r} is no verdict")
        now = self._clock.now()
        # An enumeration's member is a string to SQLite, and its name to PostgreSQL.
        said = {"verdict": str(verdict), "report_sha256": report_sha256}
        more = said | {"dry_run": int(dry_run), "finished_at": moment(now)}
        payload = said | {"dry_run": dry_run, "facts": {**(facts or {})}}
        return self._move(shadow_id, "finished", more, payload, events, now)

    def fail(self, shadow_id: str, error: Mapping[str, Any], events: Sequence[NewEvent] = ()) -> ShadowRecord:
        """Record that the shadow run broke before there was a verdict (``shadow.failed``)."""
        now = self._clock.now()
        more = {"error": json_text(dict(error)), "finished_at": moment(now)}
        return self._move(shadow_id, "failed", more, {"code": str(error.get("code", ""))}, events, now)

    def seal(self, new: NewSeal) -> GateSeal:
        """Seal a candidate's gates (``gates.sealed``; ``gates.loosened`` when something is looser)."""
        digests = {"gates_digest": new.gates_digest, "expected_digest": new.expected_digest}
        with self._database.write() as connection:
            old = _seal_rows(connection, new.candidate, self._database.where)
            if old and all(old[-1][name] == digest for name, digest in digests.items()):
                return gate_seal(old[-1])
            now = self._clock.now()
            row: dict[str, Any] = {
                "candidate": new.candidate,
                **digests,
                "gates": new.gates,
                "expected": new.expected,
                "loosened": json_text([*new.loosened]),
                "sealed_at": moment(now),
                "sealed_by": self._actor,
                "approved_by": None,
                "approved_at": None,
                "reason": "",
            }
            action = "gates.loosened" if new.loosened else "gates.sealed"
            payload = digests | {"loosened": [*new.loosened]}
            return self._sealed(connection, statements.ADD_SEAL, row, action, payload, now)

    def approve(self, candidate: str, *, gates_digest: str, expected_digest: str, reason: str) -> GateSeal:
        """Approve the candidate's pending seal in the name of whoever opened the records (``gates.approved``)."""
        if not reason.strip() or not reason.isprintable():
            raise ConfigError(
                "looser gates are approved with a reason, in one line",
                code="GATE-107",
                where=candidate,
                hint="say why they may be looser; every report repeats it",
            )
        digests = {"gates_digest": gates_digest, "expected_digest": expected_digest}
        with self._database.write() as connection:
            old = _seal_rows(connection, candidate, self._database.where)
            latest = gate_seal(old[-1]) if old else None
            if latest is None or not latest.pending or any(old[-1][name] != said for name, said in digests.items()):
                raise _not_pending(candidate, latest)
            if _same_person(latest.sealed_by, self._actor):
                raise ConfigError(
                    f"{self._actor} sealed these gates, and cannot approve that they are looser",
                    code="GATE-106",
                    where=candidate,
                    hint="ask a second person to approve them, with an account of their own",
                )
            now = self._clock.now()
            row = old[-1] | {"approved_by": self._actor, "approved_at": moment(now), "reason": reason}
            payload = digests | {"loosened": [*latest.loosened], "sealed_by": latest.sealed_by, "reason": reason}
            return self._sealed(connection, statements.APPROVE_SEAL, row, "gates.approved", payload, now)

    def _move(
        self,
        shadow_id: str,
        to: ShadowStatus,
        more: Mapping[str, Any],
        payload: Mapping[str, Any],
        extra: Sequence[NewEvent],
        now: datetime,
    ) -> ShadowRecord:
        if any(event.action in STATE_ACTIONS for event in extra):
            raise InvariantError(f"shadow run {shadow_id}: the writer makes the events {sorted(STATE_ACTIONS)} itself")
        with self._database.write() as connection:
            old = _shadow_row(connection, shadow_id, self._database.where)
            status = old["status"] if old else ""
            if (status, to) not in MOVES:
                raise InvariantError(f"shadow run {shadow_id}: no move from {status or 'nothing'!r} to {to!r}")
            row: dict[str, Any] = {**(old or {}), **more, "status": to}
            row["seal"] = seal(row, shadow_rows.SHADOW_SEALED)
            own = NewEvent(
                action=f"shadow.{to}",
                subject=shadow_id,
                payload={**payload, "candidate": row["candidate"], "seal": row["seal"]},
            )
            row["event_seq"] = append(connection, [own, *extra], at=now, actor=self._actor)[0].seq
            connection.rows(statements.END_SHADOW if old else statements.ADD_SHADOW, **row)
        return shadow_record(row)

    def _sealed(
        self,
        connection: Connection,
        statement: str,
        row: dict[str, Any],
        action: str,
        payload: Mapping[str, Any],
        now: datetime,
    ) -> GateSeal:
        """Write a row and its event; what is given back is what the database has then."""
        candidate = row["candidate"]
        row["seal"] = seal(row, shadow_rows.GATES_SEALED)
        own = NewEvent(action=action, subject=candidate, payload={**payload, "seal": row["seal"]})
        row["event_seq"] = append(connection, [own], at=now, actor=self._actor)[0].seq
        connection.rows(statement, **row)
        return gate_seal(_seal_rows(connection, candidate, self._database.where)[-1])


def _shadow_row(connection: Connection, shadow_id: str, where: str) -> Row | None:
    """The row of a shadow run, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.SHADOW, shadow_id=shadow_id)
    check(connection, SHADOW_RUNS, shadow_id, rows, where)
    return rows[0] if rows else None


def _seal_rows(connection: Connection, candidate: str, where: str) -> list[Row]:
    """The rows of a candidate's seals, oldest first, checked."""
    rows = connection.rows(statements.SEALS_OF, candidate=candidate)
    check(connection, GATES, candidate, rows, where)
    return rows


def _not_pending(candidate: str, latest: GateSeal | None) -> ConfigError:
    if latest is None:
        why = "none were ever sealed"
    else:
        why = "others were sealed last" if latest.pending else "the ones that were sealed last are in force"
    return ConfigError(
        f"these gates of {candidate} do not wait for an approval: {why}",
        code="GATE-105",
        where=candidate,
        hint="a shadow run seals the gates as they are then; look at what it says of them, and approve that",
    )


def _same_person(one: str, other: str) -> bool:
    """An account that is written in another case, or with a space, is no second person."""
    return one.strip().casefold() == other.strip().casefold()
