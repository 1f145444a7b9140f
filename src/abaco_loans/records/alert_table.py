"""Alerts, deliveries and silences in the database: sealed when written, checked against the ledger when read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from abaco_loans.clock import Clock
from abaco_loans.errors import InvariantError
from abaco_loans.records import alert_rows, statements
from abaco_loans.records.alert_rows import ALERTS, DELIVERIES, SILENCES
from abaco_loans.records.alerts import LEASE_MAX, RETRY_MAX, Breaker, Delivery
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.ledger_table import append, moment, read_head
from abaco_loans.records.run_rows import damaged, seal
from abaco_loans.records.standing import Kind, check, disagreeing, standing
from abaco_loans.watch.alert import (
    Alert,
    AlertStatus,
    Change,
    Notice,
    Raise,
    Resolve,
    See,
    Signal,
    Silence,
    Worsen,
    acknowledged,
    after,
)


class SqlAlertReader:
    """An :class:`~abaco_loans.records.alerts.AlertReader` over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, alert_id: str) -> Alert | None:
        """The alert, or None."""
        with self._database.read() as connection:
            row = _alert_row(connection, alert_id, self._database.where)
        return alert_rows.alert(row) if row else None

    def open(self) -> tuple[Alert, ...]:
        """All alerts that are not resolved, the oldest first. One that was hidden is found (REC-105)."""
        found = sorted(self._all(), key=lambda item: (item.first_seen, item.alert_id))
        return tuple(item for item in found if item.is_open)

    def list(self, limit: int = 50) -> tuple[Alert, ...]:
        """Alerts, the one that changed last first."""
        return tuple(self._all()[: -limit - 1 : -1])

    def silences(self) -> tuple[Silence, ...]:
        """The latest silence of each fingerprint, ended ones too."""
        with self._database.read() as connection:
            rows = connection.rows(statements.SILENCES_IN_ORDER)
            events = connection.rows(statements.EVENTS_OF_ALERTS)
        _hold(SILENCES, rows, events, self._database.where)
        return tuple(alert_rows.silence(row) for row in rows)

    def deliveries(self, alert_id: str | None = None, limit: int = 500) -> tuple[Delivery, ...]:
        """Deliveries (of an alert), the one that changed last first."""
        with self._database.read() as connection:
            rows = connection.rows(statements.DELIVERIES_LATEST_FIRST, alert_id=alert_id, limit=limit)
            for row in rows:
                check(connection, DELIVERIES, row["delivery_id"], [row], self._database.where)
        return tuple(alert_rows.delivery(row) for row in rows)

    def waiting(self, now: datetime) -> tuple[Delivery, ...]:
        """Deliveries that may be taken now, in the order in which they were queued."""
        with self._database.read() as connection:
            rows = _to_take(connection, now)
            for row in rows:
                check(connection, DELIVERIES, row["delivery_id"], [row], self._database.where)
        return tuple(alert_rows.delivery(row) for row in rows)

    def breakers(self) -> tuple[Breaker, ...]:
        """The breakers of all channels that ever failed, by name."""
        with self._database.read() as connection:
            return tuple(alert_rows.breaker(row) for row in connection.rows(statements.BREAKERS))

    def faults(self) -> tuple[str, ...]:
        """Every alert, delivery and silence that is not what was written; all are read."""
        with self._database.read() as connection:
            events = connection.rows(statements.EVENTS_OF_ALERTS)
            tables = [
                (ALERTS, connection.rows(statements.ALERTS_IN_ORDER), events),
                (SILENCES, connection.rows(statements.SILENCES_IN_ORDER), events),
                (
                    DELIVERIES,
                    connection.rows(statements.DELIVERIES_IN_ORDER),
                    connection.rows(statements.EVENTS_OF_DELIVERIES),
                ),
            ]
        return tuple(
            damaged(what, self._database.where).what
            for kind, rows, events in tables
            for what in disagreeing(kind, rows, standing(kind, events))
        )

    def _all(self) -> Sequence[Alert]:
        """All alerts, the one that changed last at the end."""
        with self._database.read() as connection:
            return [alert_rows.alert(row) for row in _alert_rows(connection, self._database.where)]


class SqlAlertWriter:
    """An :class:`~abaco_loans.records.alerts.AlertWriter` over the database."""

    def __init__(self, database: Database, *, clock: Clock, actor: str) -> None:
        self._database = database
        self._clock = clock
        self._actor = actor

    # --- alerts ---

    def apply(
        self, changes: Iterable[Change], *, owners: Mapping[str, str], runbooks: Mapping[str, str], now: datetime
    ) -> tuple[Alert, ...]:
        """Record what a look changed (``alert.raised``, ``alert.worsened``, ``alert.resolved``)."""
        with self._database.write() as connection:
            known = {row["alert_id"]: alert_rows.alert(row) for row in _alert_rows(connection, self._database.where)}
            made = []
            for change in changes:
                if isinstance(change, Raise):
                    signal = change.signal
                    named = (item for item in known.values() if item.is_open and item.fingerprint == signal.fingerprint)
                    old = next(named, None)
                    if old is None:
                        owner, runbook = owners[signal.rule], runbooks[signal.rule]
                        alert = self._raise(connection, signal, owner=owner, runbook=runbook, now=now)
                    else:
                        worse = Worsen(alert_id=old.alert_id, severity=signal.severity, words=signal.words)
                        alert = self._change(connection, old, worse, now)
                elif change.alert_id in known:
                    alert = self._change(connection, known[change.alert_id], change, now)
                else:
                    raise InvariantError(f"alert {change.alert_id}: there is none")
                known[alert.alert_id] = alert
                made.append(alert)
        return tuple(made)

    def acknowledge(self, alert_id: str, reason: str) -> Alert:
        """Say that whoever opened the records looks after it (``alert.acknowledged``)."""
        with self._database.write() as connection:
            row = _alert_row(connection, alert_id, self._database.where)
            if row is None:
                raise InvariantError(f"alert {alert_id}: there is none")
            old = alert_rows.alert(row)
            if old.status is not AlertStatus.FIRING:
                return old
            made = acknowledged(old, self._actor, self._clock.now())
            return self._write_alert(connection, statements.MOVE_ALERT, made, "alert.acknowledged", {"reason": reason})

    def silence(self, fingerprint: str, until: datetime, reason: str) -> Silence:
        """Send nothing for this cause until then (``alert.silenced``); instead of what was said before."""
        made = Silence(fingerprint=fingerprint, until=until, by=self._actor, reason=reason, at=self._clock.now())
        with self._database.write() as connection:
            before = connection.rows(statements.SILENCE, fingerprint=fingerprint)
            check(connection, SILENCES, fingerprint, before, self._database.where)
            statement = statements.MOVE_SILENCE if before else statements.ADD_SILENCE
            row = alert_rows.silence_columns(made)
            said = {"until": row["silenced_until"], "reason": reason}
            self._write(connection, statement, row, SILENCES, "alert.silenced", said)
        return made

    def _raise(self, connection: Connection, signal: Signal, *, owner: str, runbook: str, now: datetime) -> Alert:
        made = Alert(
            alert_id=alert_rows.alert_id_of(signal.fingerprint, read_head(connection)[1]),
            fingerprint=signal.fingerprint,
            rule=signal.rule,
            subject=signal.subject,
            severity=signal.severity,
            status=AlertStatus.FIRING,
            words=signal.words,
            owner=owner,
            runbook=runbook,
            first_seen=now,
            last_seen=now,
            seen=1,
            acknowledged_by=None,
            acknowledged_at=None,
            resolved_at=None,
            event_seq=0,
        )
        said = {
            "rule": made.rule,
            "subject": made.subject,
            "fingerprint": made.fingerprint,
            "severity": made.severity.value,
            "words": made.words,
        }
        return self._write_alert(connection, statements.ADD_ALERT, made, "alert.raised", said)

    def _change(self, connection: Connection, old: Alert, change: Worsen | See | Resolve, now: datetime) -> Alert:
        """What a change makes of an alert as it stands; one that is resolved stays so."""
        if not old.is_open:
            return old
        if isinstance(change, Worsen) and change.severity.rank <= old.severity.rank:
            change = See(alert_id=old.alert_id, words=change.words)
        made = after(old, change, now)
        match change:
            case See():
                made = replace(made, words=old.words)  # they are sealed
                values = {"last_seen": moment(made.last_seen), "seen": made.seen}
                connection.rows(statements.SEE_ALERT, alert_id=made.alert_id, **values)
                return made
            case Worsen():
                said = {"severity": made.severity.value, "words": made.words}
                return self._write_alert(connection, statements.MOVE_ALERT, made, "alert.worsened", said)
            case Resolve():
                said = {"words": change.words}
                return self._write_alert(connection, statements.MOVE_ALERT, made, "alert.resolved", said)
            case _:
                assert_never(change)

    def _write_alert(
        self, connection: Connection, statement: str, made: Alert, action: str, said: Mapping[str, Any]
    ) -> Alert:
        row = alert_rows.alert_columns(made)
        self._write(connection, statement, row, ALERTS, action, said)
        return alert_rows.alert(row)

    # --- deliveries ---

    def queue(self, notices: Collection[Notice]) -> tuple[Delivery, ...]:
        """Queue what is not queued yet under its key (``delivery.queued``); the deliveries that are new."""
        made = []
        with self._database.write() as connection:
            for notice in notices:
                row = alert_rows.delivery_columns(notice, self._clock.now())
                if _alert_row(connection, notice.alert_id, self._database.where) is None:
                    raise InvariantError(f"alert {notice.alert_id}: there is none")
                if _delivery_row(connection, row["delivery_id"], self._database.where) is None:
                    names = ("alert_id", "kind", "severity", "step", "channel")
                    said = {name: row[name] for name in names}
                    self._write(connection, statements.ADD_DELIVERY, row, DELIVERIES, "delivery.queued", said)
                    made.append(alert_rows.delivery(row))
        return tuple(made)

    def claim(self, delivery_id: str, lease: timedelta) -> Delivery | None:
        """Take a delivery for so long; None when it is not to be had."""
        if not timedelta() < lease <= LEASE_MAX:
            raise InvariantError(f"a lease of {lease}")
        with self._database.write() as connection:
            now = self._clock.now()
            old = self._known(connection, delivery_id)
            if all(row["delivery_id"] != delivery_id for row in _to_take(connection, now)):
                return None
            row = old | {"attempts": old["attempts"] + 1, "lease_until": moment(now + lease)}
            connection.rows(statements.MOVE_DELIVERY, **row)
        return alert_rows.delivery(row)

    def sent(self, delivery_id: str) -> Delivery:
        """It went out (``delivery.sent``), also when somebody else took it meanwhile. Again: nothing happens."""
        with self._database.write() as connection:
            row = self._known(connection, delivery_id)
            if row["status"] != "sent":
                row |= {"status": "sent", "sent_at": moment(self._clock.now()), "lease_until": None, "last_code": ""}
                said = {"attempts": row["attempts"]}
                self._write(connection, statements.MOVE_DELIVERY, row, DELIVERIES, "delivery.sent", said)
        return alert_rows.delivery(row)

    def failed(self, delivery_id: str, code: str, next_at: datetime | None, *, attempt: int) -> Delivery:
        """It did not go out: try again at ``next_at``; None: never (``delivery.given_up``)."""
        with self._database.write() as connection:
            now = self._clock.now()
            if next_at is not None and not now < next_at <= now + RETRY_MAX:
                raise InvariantError(f"delivery {delivery_id}: the next try is at {next_at}, and it is {now}")
            row = self._known(connection, delivery_id)
            if row["status"] != "queued" or not row["lease_until"] or row["attempts"] != attempt:
                return alert_rows.delivery(row)
            row |= {"lease_until": None, "last_code": code}
            if next_at is None:
                row["status"] = "given_up"
                said = {"attempts": attempt, "code": code}
                self._write(connection, statements.MOVE_DELIVERY, row, DELIVERIES, "delivery.given_up", said)
            else:
                row["next_at"] = moment(next_at)
                connection.rows(statements.MOVE_DELIVERY, **row)
        return alert_rows.delivery(row)

    # --- channels ---

    def channel_failed(self, channel: str, code: str, *, opens_after: int, open_for: timedelta) -> Breaker:
        """Count a failure of a channel; from the ``opens_after``th in a row on the breaker is open, for so long."""
        if opens_after < 1 or not timedelta() < open_for <= RETRY_MAX:
            raise InvariantError(f"a breaker that opens after {opens_after} failures for {open_for}")
        with self._database.write() as connection:
            now = self._clock.now()
            rows = (row for row in connection.rows(statements.BREAKERS) if row["channel"] == channel)
            old = next((alert_rows.breaker(row) for row in rows), _closed(channel))
            failures = old.failures + 1
            is_open = failures >= opens_after
            made = Breaker(
                channel=channel,
                failures=failures,
                opened_at=(old.opened_at or now) if is_open else None,
                retry_at=now + open_for if is_open else None,
                last_code=code,
            )
            _keep_breaker(connection, made)
        return made

    def channel_worked(self, channel: str) -> Breaker:
        """Close the breaker of a channel."""
        with self._database.write() as connection:
            _keep_breaker(connection, _closed(channel))
        return _closed(channel)

    # --- what they share ---

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
        event = NewEvent(action=action, subject=row[kind.subject], payload={**said, "seal": row["seal"]})
        row["event_seq"] = append(connection, [event], at=self._clock.now(), actor=self._actor)[0].seq
        connection.rows(statement, **row)

    def _known(self, connection: Connection, delivery_id: str) -> Row:
        row = _delivery_row(connection, delivery_id, self._database.where)
        if row is None:
            raise InvariantError(f"delivery {delivery_id}: there is none")
        return row


def _closed(channel: str) -> Breaker:
    return Breaker(channel=channel, failures=0, opened_at=None, retry_at=None, last_code="")


def _keep_breaker(connection: Connection, made: Breaker) -> None:
    connection.rows(statements.DROP_BREAKER, channel=made.channel)
    connection.rows(statements.ADD_BREAKER, **alert_rows.breaker_columns(made))


def _alert_row(connection: Connection, alert_id: str, where: str) -> Row | None:
    """The row of an alert, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.ALERT, alert_id=alert_id)
    check(connection, ALERTS, alert_id, rows, where)
    return rows[0] if rows else None


def _alert_rows(connection: Connection, where: str) -> list[Row]:
    """The rows of all alerts, the one that changed last at the end. One that was hidden must be found."""
    rows = connection.rows(statements.ALERTS_IN_ORDER)
    _hold(ALERTS, rows, connection.rows(statements.EVENTS_OF_ALERTS), where)
    return rows


def _delivery_row(connection: Connection, delivery_id: str, where: str) -> Row | None:
    """The row of a delivery, checked; None when neither the table nor the ledger knows it."""
    rows = connection.rows(statements.DELIVERY, delivery_id=delivery_id)
    check(connection, DELIVERIES, delivery_id, rows, where)
    return rows[0] if rows else None


def _hold(kind: Kind, rows: Iterable[Row], events: Iterable[Mapping[str, Any]], where: str) -> None:
    """Hold a whole table against the ledger."""
    for what in disagreeing(kind, rows, standing(kind, events)):
        raise damaged(what, where)


def _to_take(connection: Connection, now: datetime) -> list[Row]:
    """The rows of deliveries that may be taken, unchecked: of one alert and channel the first that is not done."""
    first: dict[tuple[str, str], Row] = {}
    for row in connection.rows(statements.DELIVERIES_TO_SEND):
        first.setdefault((row["alert_id"], row["channel"]), row)
    return [row for row in first.values() if _is_due(row, now)]


def _is_due(row: Row, now: datetime) -> bool:
    """Whether no lease and no next try is ahead, or they are so far ahead that a clock must have been wrong."""
    if row["lease_until"]:
        return not moment(now) < row["lease_until"] <= moment(now + LEASE_MAX)
    return not moment(now) < row["next_at"] <= moment(now + RETRY_MAX)
