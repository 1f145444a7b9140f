"""Rows of the tables of alerts to dataclasses and back, and which events say them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from hashlib import sha256
from typing import Any

from abaco_loans.records.alerts import Breaker, Delivery
from abaco_loans.records.ledger_table import moment
from abaco_loans.records.standing import Kind
from abaco_loans.watch.alert import Alert, AlertStatus, Notice, NoticeKind, Severity, Silence

# The columns that a seal covers, in the order in which it does; a test holds them against the schema.
ALERT_SEALED = [
    "alert_id", "fingerprint", "rule", "subject", "severity", "status", "open_as", "words", "owner", "runbook",
    "first_seen", "acknowledged_by", "acknowledged_at", "resolved_at",
]  # fmt: skip
DELIVERY_SEALED = [
    "delivery_id", "alert_id", "kind", "severity", "step", "channel", "silenced_until", "notice_key", "queued_at",
    "status", "sent_at",
]  # fmt: skip
SILENCE_SEALED = ["fingerprint", "silenced_until", "silenced_by", "reason", "silenced_at"]

ALERTS = Kind(
    words="alert",
    subject="alert_id",
    sealed=ALERT_SEALED,
    makes=frozenset({"alert.raised"}),
    changes=frozenset({"alert.worsened", "alert.acknowledged", "alert.resolved"}),
)
DELIVERIES = Kind(
    words="delivery",
    subject="delivery_id",
    sealed=DELIVERY_SEALED,
    makes=frozenset({"delivery.queued"}),
    changes=frozenset({"delivery.sent", "delivery.given_up"}),
)
SILENCES = Kind(
    words="the silence of",
    subject="fingerprint",
    sealed=SILENCE_SEALED,
    makes=frozenset(),  # there is one row for a cause, and whatever is said is said of it
    changes=frozenset({"alert.silenced"}),
)

_ALERT_TIMES = ("first_seen", "last_seen", "acknowledged_at", "resolved_at")
_ID_DIGITS = 16
_DELIVERY_DIGITS = 24


def alert_id_of(fingerprint: str, head: str) -> str:
    """The name of an alert that is raised when the ledger ends in ``head``: no other ledger gives the same one."""
    return sha256(f"{head}\n{fingerprint}".encode()).hexdigest()[:_ID_DIGITS]


def delivery_id_of(key: str) -> str:
    """The name of the delivery of the notice with this key."""
    return sha256(key.encode()).hexdigest()[:_DELIVERY_DIGITS]


def alert_columns(made: Alert) -> dict[str, Any]:
    """An alert as columns; the seal is not among them."""
    given = {field.name: getattr(made, field.name) for field in fields(Alert)}
    times = {name: _text(given[name]) for name in _ALERT_TIMES}
    enums = {"severity": made.severity.value, "status": made.status.value}
    return given | times | enums | {"open_as": made.fingerprint if made.is_open else None}


def alert(row: Mapping[str, Any]) -> Alert:
    """A row of `alerts` as an alert."""
    typed = {name: _moment(row[name]) for name in _ALERT_TIMES}
    enums = {"severity": Severity(row["severity"]), "status": AlertStatus(row["status"])}
    return Alert(**{field.name: row[field.name] for field in fields(Alert)} | typed | enums)


def delivery_columns(notice: Notice, now: datetime) -> dict[str, Any]:
    """A delivery that is queued now as columns; the seal is not among them."""
    return {
        "delivery_id": delivery_id_of(notice.key),
        "alert_id": notice.alert_id,
        "kind": notice.kind.value,
        "severity": notice.severity.value,
        "step": notice.step,
        "channel": notice.channel,
        "silenced_until": _text(notice.silenced_until),
        "notice_key": notice.key,
        "queued_at": moment(now),
        "status": "queued",
        "sent_at": None,
        "attempts": 0,
        "next_at": moment(now),
        "lease_until": None,
        "last_code": "",
    }


def delivery(row: Mapping[str, Any]) -> Delivery:
    """A row of `deliveries` as a delivery: one that is queued and leased is being sent."""
    notice = Notice(
        alert_id=row["alert_id"],
        kind=NoticeKind(row["kind"]),
        severity=Severity(row["severity"]),
        step=row["step"],
        channel=row["channel"],
        silenced_until=_moment(row["silenced_until"]),
    )
    return Delivery(
        delivery_id=row["delivery_id"],
        notice=notice,
        key=row["notice_key"],
        status="sending" if row["status"] == "queued" and row["lease_until"] else row["status"],
        queued_at=datetime.fromisoformat(row["queued_at"]),
        attempts=row["attempts"],
        next_at=datetime.fromisoformat(row["next_at"]),
        lease_until=_moment(row["lease_until"]),
        last_code=row["last_code"],
        sent_at=_moment(row["sent_at"]),
        event_seq=row["event_seq"],
    )


def silence_columns(made: Silence) -> dict[str, Any]:
    """A silence as columns; the seal is not among them."""
    return {
        "fingerprint": made.fingerprint,
        "silenced_until": moment(made.until),
        "silenced_by": made.by,
        "reason": made.reason,
        "silenced_at": moment(made.at),
    }


def silence(row: Mapping[str, Any]) -> Silence:
    """A row of `silences` as a silence."""
    return Silence(
        fingerprint=row["fingerprint"],
        until=datetime.fromisoformat(row["silenced_until"]),
        by=row["silenced_by"],
        reason=row["reason"],
        at=datetime.fromisoformat(row["silenced_at"]),
    )


def breaker_columns(made: Breaker) -> dict[str, Any]:
    """A breaker as columns."""
    given = {field.name: getattr(made, field.name) for field in fields(Breaker)}
    return given | {"opened_at": _text(made.opened_at), "retry_at": _text(made.retry_at)}


def breaker(row: Mapping[str, Any]) -> Breaker:
    """A row of `breakers` as a breaker."""
    typed = {"opened_at": _moment(row["opened_at"]), "retry_at": _moment(row["retry_at"])}
    return Breaker(**{field.name: row[field.name] for field in fields(Breaker)} | typed)


def _text(at: datetime | None) -> str | None:
    return moment(at) if at else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
