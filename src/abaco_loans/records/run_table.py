"""Runs, KPI values and quarantine counts in the database: sealed when written, checked when read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

from abaco_loans.clock import Clock
from abaco_loans.errors import ConfigError, InvariantError, WorldError
from abaco_loans.records import run_rows, statements
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.ledger_table import append, moment
from abaco_loans.records.runs import (
    MOVES,
    RETIRED,
    STATE_ACTIONS,
    KpiRow,
    QuarantineCount,
    ReleaseRow,
    RowCounts,
    RunFinish,
    RunRecord,
    RunStart,
    RunStatus,
)

_START_FIELDS = [field.name for field in fields(RunStart)]
# Cleared when a run begins, again or for the first time.
_BLANK = dict.fromkeys([*run_rows.ROWS, "finished_at", "output_folder", "manifest_sha256", "error"]) | {
    "timings": "{}",
    "warnings": "[]",
}


class SqlRunReader:
    """A :class:`~abaco_loans.records.runs.RunReader` over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, run_id: str) -> RunRecord | None:
        """The run, or None."""
        with self._database.read() as connection:
            row = connection.first(statements.RUN, run_id=run_id)
        return self._record(row) if row else None

    def list(self, limit: int = 50) -> tuple[RunRecord, ...]:
        """Runs, the one that changed last first."""
        with self._database.read() as connection:
            rows = connection.rows(statements.RUNS_LATEST_FIRST, limit=limit)
        return tuple(self._record(row) for row in rows)

    def latest_finished(self) -> RunRecord | None:
        """The run that finished last, or None. Panels do not count."""
        with self._database.read() as connection:
            row = connection.first(statements.LAST_FINISHED)
        return self._record(row) if row else None

    def latest_panel(self) -> RunRecord | None:
        """The panel that finished last, or None."""
        with self._database.read() as connection:
            row = connection.first(statements.LAST_PANEL)
        return self._record(row) if row else None

    def ends(self) -> dict[tuple[str, RunStatus], int]:
        """How often runs of a release ended so, by release and status; only counted."""
        with self._database.read() as connection:
            rows = connection.rows(statements.COUNT_ENDS)
        return {(row["release"], row["action"].removeprefix("run.")): row["ends"] for row in rows}

    def kpi_values(self, run_id: str) -> tuple[KpiRow, ...]:
        """All values of a run, in the order in which they were written."""
        with self._database.read() as connection:
            rows = connection.rows(statements.VALUES_OF_RUN, run_id=run_id)
            sealed = _sealed_in_ledger(connection, run_id)
        if sealed.get("values_sha256", run_rows.digest([])) != run_rows.digest([row["seal"] for row in rows]):
            raise self._damaged(f"the KPI values of run {run_id}")
        return tuple(self._value(row) for row in rows)

    def history(
        self, kpi_id: str, *, segment: str = "", segment_value: str = "", as_of: date | None = None
    ) -> tuple[KpiRow, ...]:
        """Everything ever said of a KPI, by as-of date and then in the order it was said."""
        day = as_of and as_of.isoformat()
        with self._database.read() as connection:
            rows = connection.rows(
                statements.HISTORY, kpi_id=kpi_id, segment=segment, segment_value=segment_value, as_of=day
            )
        return tuple(self._value(row) for row in rows)

    def previous_values(self, *, before: date, definition: str, release: str | None = None) -> dict[str, KpiRow]:
        """Overall values, by KPI, of the finished run with the latest as-of date before ``before``."""
        with self._database.read() as connection:
            found = connection.first(
                statements.FINISHED_BEFORE, before=before.isoformat(), definition=definition, release=release
            )
        if found is None:
            return {}
        day = date.fromisoformat(found["as_of"])
        return {row.kpi_id: row for row in self.kpi_values(found["run_id"]) if row.segment == "" and row.as_of == day}

    def quarantine_counts(self, run_id: str) -> tuple[QuarantineCount, ...]:
        """The counts of the run's latest attempt, by file, column and code."""
        with self._database.read() as connection:
            rows = connection.rows(statements.COUNTS_OF_RUN, run_id=run_id)
            sealed = _sealed_in_ledger(connection, run_id)
        if sealed.get("counts_sha256", run_rows.counts_digest([])) != run_rows.counts_digest(rows):
            raise self._damaged(f"the quarantine counts of run {run_id}")
        counts = (run_rows.count(row) for row in rows)
        return tuple(sorted(counts, key=lambda count: (count.file, count.column, count.code)))

    def releases(self) -> tuple[ReleaseRow, ...]:
        """Every release that was recorded (mappings are none), by name."""
        with self._database.read() as connection:
            rows = connection.rows(statements.RELEASES)
        return tuple(run_rows.release(row) for row in rows)

    def faults(self) -> tuple[str, ...]:
        """Every run whose record, values or counts are not what was written; all runs are read."""
        with self._database.read() as connection:
            rows = connection.rows(statements.RUNS_IN_ORDER)
            sealed = {row["run_id"]: _sealed_in_ledger(connection, row["run_id"]) for row in rows}
        found = []
        for row in rows:
            run_id = row["run_id"]
            try:
                if sealed[run_id].get("seal") != row["seal"]:
                    raise self._damaged(f"run {run_id}")
                self._record(row)
                self.kpi_values(run_id)
                self.quarantine_counts(run_id)
            except WorldError as error:
                if error.code != "REC-105":
                    raise
                found.append(error.what)
        return tuple(found)

    def _record(self, row: Row) -> RunRecord:
        if run_rows.seal(row, run_rows.RUN_SEALED) != row["seal"]:
            raise self._damaged(f"run {row['run_id']}")
        return run_rows.record(row)

    def _value(self, row: Row) -> KpiRow:
        if run_rows.seal(row, run_rows.VALUE_SEALED) != row["seal"]:
            raise self._damaged(f"value {row['kpi_id']} of run {row['run_id']}")
        return run_rows.value(row)

    def _damaged(self, what: str) -> WorldError:
        return run_rows.damaged(what, self._database.where)


class SqlRunWriter:
    """A :class:`~abaco_loans.records.runs.RunWriter` over the database."""

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    def start(self, start: RunStart, events: Sequence[NewEvent] = ()) -> RunRecord:
        """Begin a run (``run.started``), or begin it again (``run.restarted``, attempt + 1)."""
        given = {name: getattr(start, name) for name in _START_FIELDS} | {"as_of": start.as_of.isoformat()}
        with self._database.write() as connection:
            old = connection.first(statements.RUN, run_id=start.run_id)
            if old is None:
                row, action = given | _BLANK | {"attempt": 1}, "run.started"
            else:
                _same_run(old, given)
                row, action = given | _BLANK | {"attempt": old["attempt"] + 1}, "run.restarted"
            row["started_at"] = moment(self._clock.now())
            record = self._move(connection, old, row, "running", action, {}, events)
            connection.rows(statements.FIRST_RUN_OF_RELEASE, name=start.release, at=row["started_at"])
        return record

    def finish(
        self,
        run_id: str,
        finish: RunFinish,
        values: Sequence[KpiRow],
        counts: Sequence[QuarantineCount] = (),
        events: Sequence[NewEvent] = (),
        *,
        attempt: int | None = None,
    ) -> RunRecord:
        """Record a run's results (``run.finished``)."""
        value_rows = [run_rows.value_columns(value, run_id) for value in values]
        more = run_rows.row_columns(finish.rows) | {
            "output_folder": finish.output_folder,
            "manifest_sha256": finish.manifest_sha256,
            "timings": run_rows.json_text(dict(finish.timings)),
            "warnings": run_rows.json_text([*finish.warnings]),
        }
        facts = {
            "manifest_sha256": finish.manifest_sha256,
            "values": len(value_rows),
            "values_sha256": run_rows.digest([row["seal"] for row in value_rows]),
        }
        return self._end(run_id, "finished", more, facts, counts, events, attempt, value_rows)

    def refuse(
        self,
        run_id: str,
        error: Mapping[str, Any],
        counts: Sequence[QuarantineCount] = (),
        rows: RowCounts | None = None,
        events: Sequence[NewEvent] = (),
        *,
        attempt: int | None = None,
    ) -> RunRecord:
        """Record that the tape was not good enough (``run.refused``)."""
        more = run_rows.row_columns(rows) | {"error": run_rows.json_text(dict(error))}
        facts = {"code": str(error.get("code", ""))}
        return self._end(run_id, "refused", more, facts, counts, events, attempt)

    def fail(
        self,
        run_id: str,
        error: Mapping[str, Any],
        events: Sequence[NewEvent] = (),
        *,
        attempt: int | None = None,
    ) -> RunRecord:
        """Record that the run broke (``run.failed``)."""
        facts = {"code": str(error.get("code", ""))}
        return self._end(run_id, "failed", {"error": run_rows.json_text(dict(error))}, facts, (), events, attempt)

    def ensure_release(self, name: str, *, kind: str, role: str, meaning_digest: str, policy_digest: str) -> bool:
        """Record a release; True when it is new. See :class:`~abaco_loans.records.runs.RunWriter`."""
        given = {"kind": kind, "role": role, "meaning_digest": meaning_digest, "policy_digest": policy_digest}
        with self._database.read() as connection:
            old = connection.first(statements.RELEASE, name=name)
        if old is not None and all(old[key] == value for key, value in given.items()):
            return False
        with self._database.write() as connection:
            old = connection.first(statements.RELEASE, name=name)
            now = self._clock.now()
            if old is None:
                made = given | {"name": name, "recorded_at": moment(now)}
                append(
                    connection,
                    [NewEvent(action="release.recorded", subject=name, payload=given)],
                    at=now,
                    actor=self._actor,
                )
                connection.rows(statements.ADD_RELEASE, **made)
                return True
            if (old["kind"], old["meaning_digest"]) != (kind, meaning_digest):
                raise _changed_meaning(name, kind)
            if old["role"] == RETIRED != role:
                raise _retired(name)
            append(connection, _release_changes(name, old, given), at=now, actor=self._actor)
            connection.rows(statements.AMEND_RELEASE, name=name, role=role, policy_digest=policy_digest)
        return False

    def _end(
        self,
        run_id: str,
        to: RunStatus,
        more: Mapping[str, Any],
        facts: Mapping[str, Any],
        counts: Sequence[QuarantineCount],
        events: Sequence[NewEvent],
        attempt: int | None,
        values: Sequence[Mapping[str, Any]] = (),
    ) -> RunRecord:
        count_rows = [run_rows.count_columns(count) for count in counts]
        with self._database.write() as connection:
            old = connection.first(statements.RUN, run_id=run_id)
            if old is not None and attempt is not None and old["attempt"] != attempt:
                raise WorldError(
                    f"run {run_id} was taken over: attempt {old['attempt']} began while attempt {attempt} stood still",
                    code="REC-109",
                    where=self._database.where,
                    hint="nothing to do: the later attempt records the result",
                )
            row = dict(old) if old else {}
            row |= {"finished_at": moment(self._clock.now()), **more}
            facts = {**facts, "counts_sha256": run_rows.counts_digest(count_rows)}
            record = self._move(connection, old, row, to, f"run.{to}", facts, events)
            if count_rows:
                key = {"run_id": run_id, "attempt": record.attempt}
                connection.add(statements.ADD_COUNT, [count | key for count in count_rows])
            if values:
                connection.add(statements.ADD_VALUE, values)
        return record

    def _move(
        self,
        connection: Connection,
        old: Row | None,
        row: dict[str, Any],
        to: RunStatus,
        action: str,
        facts: Mapping[str, Any],
        extra: Sequence[NewEvent],
    ) -> RunRecord:
        status = old["status"] if old else ""
        if (status, to) not in MOVES or (old is None and action != "run.started"):
            raise InvariantError(f"run {row.get('run_id', '?')}: no move from {status or 'nothing'!r} to {to!r}")
        if any(event.action in STATE_ACTIONS for event in extra):
            raise InvariantError(f"{action}: the writer makes the events {sorted(STATE_ACTIONS)} itself")
        row["status"] = to
        row["seal"] = run_rows.seal(row, run_rows.RUN_SEALED)
        payload = {"attempt": row["attempt"], "from": status, "seal": row["seal"], **facts}
        own = NewEvent(action=action, subject=row["run_id"], payload=payload)
        made = append(connection, [own, *extra], at=self._clock.now(), actor=self._actor)
        row["event_seq"] = made[0].seq
        connection.rows(statements.ADD_RUN if old is None else statements.MOVE_RUN, **row)
        return run_rows.record(row)


def _retired(name: str) -> ConfigError:
    return ConfigError(
        f"release {name} is retired",
        code="REC-122",
        where=f"releases/{name}",
        hint="its history stays readable; to run what it was, copy it under a new name",
    )


def _changed_meaning(name: str, kind: str) -> ConfigError:
    if kind == "mapping":
        return ConfigError(
            f"the mapping {name} has been used, and has changed since",
            code="REC-121",
            where=f"releases/{name}.yml",
            hint="put it back as it was, make the change in a mapping of another name, in a file of its own, and read"
            f" with that: `abaco run --mapping`, or take {name} away",
        )
    return ConfigError(
        f"release {name} was recorded with another meaning: a formula, contract or definition changed",
        code="REC-121",
        where=name,
        hint=f"copy releases/{name} to a new name, such as releases/{name}b, make the change there and put"
        f" {name} back as it was; then `abaco run --release {name}b`",
    )


def _sealed_in_ledger(connection: Connection, run_id: str) -> dict[str, Any]:
    """What the event of the run's latest change says of it."""
    found = connection.first(statements.SEALED_IN_LEDGER, run_id=run_id)
    text = found["payload"] if found else ""
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        return {"values_sha256": "", "counts_sha256": ""}
    return said if isinstance(said, dict) else {}


def _same_run(old: Mapping[Any, Any], given: Mapping[str, Any]) -> None:
    for name in _START_FIELDS:
        if name != "tape_path" and old[name] != given[name]:
            raise InvariantError(f"run {given['run_id']} began with another {name}")


def _release_changes(name: str, old: Mapping[Any, Any], new: Mapping[str, str]) -> list[NewEvent]:
    watched = {"role": "release.role_changed", "policy_digest": "release.amended"}
    return [
        NewEvent(action=action, subject=name, payload={"from": old[key], "to": new[key]})
        for key, action in watched.items()
        if old[key] != new[key]
    ]
