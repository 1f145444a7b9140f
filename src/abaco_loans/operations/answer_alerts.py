"""What people do with alerts: look at them, say that they look after one, silence a cause, try the channels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from abaco_loans.errors import AbacoError, UsageError
from abaco_loans.operations.alert_production import AlertTools
from abaco_loans.operations.deliver_alerts import links_of
from abaco_loans.outputs.channels.base import ChannelError, Message, send_within
from abaco_loans.records.alerts import AlertReader, Delivery
from abaco_loans.watch.alert import Alert, AlertStatus, Notice, NoticeKind, Severity, Silence, fingerprint
from abaco_loans.watch.alert_policy import PagerDutyTarget, WebhookTarget
from abaco_loans.watch.escalation import silence_of, silenced
from abaco_loans.watch.rules import RULES, inhibited

_ALL = 10_000
_DELIVERIES = 10_000
_SILENCE_MAX = timedelta(days=31)
_TEST_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A channel that was tried; ``error`` is None when it took the message."""

    channel: str
    error: AbacoError | None


def alerts_document(tools: AlertTools, *, whole: bool, limit: int = 50) -> list[dict[str, Any]]:
    """The open alerts, the worst and then the oldest first; the ``whole``: all, the one that changed last first."""
    now = tools.clock.now()
    with tools.open_records() as records:
        reader = records.alert_reader
        open_alerts, said = reader.open(), reader.silences()
        found = reader.list(limit) if whole else sorted(open_alerts, key=lambda item: -item.severity.rank)
        return [_alert(item, open_alerts, said, now) for item in found]


def alert_document(tools: AlertTools, alert_id: str) -> dict[str, Any]:
    """One alert, with its rule and whom it was told to.

    Raises:
        UsageError: ``ALR-111`` there is none.
    """
    now = tools.clock.now()
    with tools.open_records() as records:
        reader = records.alert_reader
        found = _named(reader, alert_id)
        deliveries = reader.deliveries(found.alert_id, limit=_DELIVERIES)
        rule = RULES.get(found.rule)
        return {
            **_alert(found, reader.open(), reader.silences(), now),
            "meaning": rule.text if rule else "",
            "deliveries": [_delivery(item) for item in reversed(deliveries)],
        }


def acknowledge(tools: AlertTools, alert_id: str, reason: str) -> Alert:
    """Say that whoever opened the records looks after it: nobody else is asked.

    Raises:
        UsageError: ``ALR-111`` there is none; ``ALR-112`` no reason; ``ALR-113`` it does not fire any more.
    """
    _check_reason(reason)
    with tools.open_records() as records:
        found = _named(records.alert_reader, alert_id)
        if found.status is not AlertStatus.FIRING:
            by = f" by {found.acknowledged_by}" if found.status is AlertStatus.ACKNOWLEDGED else ""
            raise UsageError(
                f"alert {found.alert_id} is {found.status}{by} already",
                code="ALR-113",
                where="alert ack",
                hint="`abaco alert list` shows the alerts that wait for an answer",
            )
        made = records.alert_writer.acknowledge(found.alert_id, reason.strip())
    tools.anchor()
    return made


def silence(tools: AlertTools, name: str, until: datetime, reason: str) -> Silence:
    """Send nothing for a cause until then; what is open stays open, and is reminded of at the end.

    Args:
        name: of an alert, or its fingerprint.
        until: timezone-aware; a time that has passed is refused, so is one in more than 31 days.

    Raises:
        UsageError: ``ALR-111`` there is no such alert; ``ALR-112`` no reason; ``ALR-114`` no such end.
    """
    _check_reason(reason)
    now = tools.clock.now()
    if not now < until <= now + _SILENCE_MAX:
        raise UsageError(
            f"a silence cannot end at {until:%Y-%m-%d %H:%M %Z}",
            code="ALR-114",
            where="alert silence",
            hint=f"give an end in the next {_SILENCE_MAX.days} days; it can be silenced again",
        )
    with tools.open_records() as records:
        known = records.alert_reader.list(_ALL)
        mark = (
            name if any(item.fingerprint == name for item in known) else _named(records.alert_reader, name).fingerprint
        )
        made = records.alert_writer.silence(mark, until, reason.strip())
    tools.anchor()
    return made


def try_channels(tools: AlertTools, only: Collection[str] = ()) -> tuple[Tried, ...]:
    """Send a message that says that it is a test through every channel, or the named ones. Nothing is recorded.

    Where a message opens something that would stay open (an incident), it is closed again.

    Raises:
        UsageError: ``ALR-115`` there is no channel of this name.
    """
    channels = tools.policy.channels
    unknown = [name for name in only if name not in channels]
    if unknown:
        raise UsageError(
            f"there is no channel {unknown[0]!r}",
            code="ALR-115",
            where="--channel",
            hint=f"channels are {', '.join(channels)}; they stand in alerts.yml",
        )
    return tuple(_tried(tools, name) for name in channels if not only or name in only)


def _tried(tools: AlertTools, name: str) -> Tried:
    opens = isinstance(tools.policy.channels[name], PagerDutyTarget | WebhookTarget)
    kinds = (NoticeKind.RAISE, NoticeKind.RESOLVE) if opens else (NoticeKind.RAISE,)
    try:
        for kind in kinds:
            message = replace(_test_message(name, kind, tools.clock.now()), links=links_of(tools.policy))
            send_within(tools.open_channel(name), message, _TEST_TIMEOUT_S)
    except ChannelError as error:
        return Tried(channel=name, error=error)
    return Tried(channel=name, error=None)


def _test_message(channel: str, kind: NoticeKind, now: datetime) -> Message:
    over = kind is NoticeKind.RESOLVE
    alert_id = f"test-{now:%Y%m%d%H%M%S}"
    return Message(
        alert=Alert(
            alert_id=alert_id,
            fingerprint=fingerprint("test", channel),
            rule="test",
            subject=channel,
            severity=Severity.WARNING,
            status=AlertStatus.RESOLVED if over else AlertStatus.FIRING,
            words="THIS IS A TEST, nothing is wrong: somebody tries whether messages arrive",
            owner="",
            runbook="docs/alerts.md",
            first_seen=now,
            last_seen=now,
            seen=1,
            acknowledged_by=None,
            acknowledged_at=None,
            resolved_at=now if over else None,
            event_seq=0,
        ),
        notice=Notice(alert_id=alert_id, kind=kind, severity=Severity.WARNING, step=0, channel=channel),
        at=now,
        who="nobody: this is a test",
        meaning="the channel works",
    )


def _named(reader: AlertReader, alert_id: str) -> Alert:
    found = reader.get(alert_id)
    if found is None:
        raise UsageError(
            f"there is no alert {alert_id!r}",
            code="ALR-111",
            where="abaco alert",
            hint="`abaco alert list --all` shows the names of all",
        )
    return found


def _check_reason(reason: str) -> None:
    if not reason.strip() or not reason.isprintable():
        raise UsageError(
            "an answer needs a reason, in one line",
            code="ALR-112",
            where="--reason",
            hint="say what you do about it: it stands in the audit ledger",
        )


def _alert(alert: Alert, open_alerts: Sequence[Alert], said: Sequence[Silence], now: datetime) -> dict[str, Any]:
    quiet = silence_of(alert.fingerprint, said)
    held = quiet if quiet is not None and silenced(quiet, now) else None
    return {
        "id": alert.alert_id,
        "fingerprint": alert.fingerprint,
        "rule": alert.rule,
        "subject": alert.subject,
        "severity": alert.severity.value,
        "status": alert.status.value,
        "words": alert.words,
        "owner": alert.owner,
        "runbook": alert.runbook,
        "first_seen": alert.first_seen.isoformat(),
        "last_seen": alert.last_seen.isoformat(),
        "seen": alert.seen,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_at": _moment(alert.acknowledged_at),
        "resolved_at": _moment(alert.resolved_at),
        "follows_from_another": alert.is_open and inhibited(alert, open_alerts),
        "silenced": None if held is None else {"until": held.until.isoformat(), "by": held.by, "reason": held.reason},
    }


def _delivery(item: Delivery) -> dict[str, Any]:
    return {
        "kind": item.notice.kind.value,
        "severity": item.notice.severity.value,
        "step": item.notice.step,
        "channel": item.notice.channel,
        "status": item.status,
        "queued_at": item.queued_at.isoformat(),
        "sent_at": _moment(item.sent_at),
        "attempts": item.attempts,
        "last_code": item.last_code,
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
