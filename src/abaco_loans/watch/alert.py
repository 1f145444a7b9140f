"""An alert: one cause that somebody must hear of, from its first signal until it is gone. Pure.

Invariants: at most one alert is open for a fingerprint. Its severity never falls while it is open. It is resolved only
when its rule was looked at and said nothing: what could not be measured resolves nothing. What was acknowledged and
then got worse is firing again, for nobody has answered to that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import assert_never

from abaco_loans.errors import InvariantError

_FINGERPRINT_DIGITS = 16
_GONE = "it was looked at, and is gone"


class Severity(StrEnum):
    """How bad it is: look at it today, or now."""

    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return _RANK.index(self)


_RANK = (Severity.WARNING, Severity.CRITICAL)


class AlertStatus(StrEnum):
    """Where an alert stands."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


OPEN = frozenset({AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED})
# (from, to): everything else is refused. Only what got worse goes from acknowledged back to firing.
MOVES: frozenset[tuple[AlertStatus, AlertStatus]] = frozenset(
    {
        (AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED),
        (AlertStatus.FIRING, AlertStatus.RESOLVED),
        (AlertStatus.ACKNOWLEDGED, AlertStatus.FIRING),
        (AlertStatus.ACKNOWLEDGED, AlertStatus.RESOLVED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a rule found.

    Attributes:
        rule: its name, one of `rules.RULES`.
        subject: what of the rule's: the id of a KPI, the name of a channel, a cause; '' where there is only one.
        words: for a person. Figures of the portfolio, ids of KPIs and codes; never a loan, a name, a path, a secret.
    """

    rule: str
    subject: str = ""
    severity: Severity
    words: str

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits; the same cause has the same one."""
        return fingerprint(self.rule, self.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as recorded. All times have a zone; what did not happen yet is None.

    Attributes:
        alert_id: of this episode: the same cause gets another one after it was resolved.
        owner: who is asked first, a step of the escalation chain.
        runbook: where it stands what to do.
        seen: how often a look found it, 1 at first.
        event_seq: the ledger event of its latest change.
    """

    alert_id: str
    fingerprint: str
    rule: str
    subject: str
    severity: Severity
    status: AlertStatus
    words: str
    owner: str
    runbook: str
    first_seen: datetime
    last_seen: datetime
    seen: int
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    event_seq: int

    @property
    def is_open(self) -> bool:
        """Whether it is not resolved."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nothing is sent for a fingerprint from ``at`` until ``until``; ``by`` said so, for this reason."""

    fingerprint: str
    until: datetime
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """A cause that nothing is open for: a new alert."""

    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Worsen:
    """It is worse than was known; an acknowledgement of what it was before holds no longer."""

    alert_id: str
    severity: Severity
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class See:
    """It is still so."""

    alert_id: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """It is gone."""

    alert_id: str
    words: str


Change = Raise | Worsen | See | Resolve


class NoticeKind(StrEnum):
    """Why somebody is told."""

    RAISE = "raise"
    ESCALATE = "escalate"
    REMIND = "remind"
    ANSWER = "answer"
    RESOLVE = "resolve"

    @property
    def asks(self) -> bool:
        """Whether it asks somebody to look; the others tell those who were asked what came of it."""
        return self in (NoticeKind.RAISE, NoticeKind.ESCALATE, NoticeKind.REMIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message that has to go out, to one channel.

    Escalation counts from when the first notice was queued, so a delivery has to keep when that was (``queued_at``).

    Attributes:
        step: of the escalation chain, 0 is the first.
        channel: its name in ``alerts.yml``.
        silenced_until: the end of the silence, of a REMIND only.
    """

    alert_id: str
    kind: NoticeKind
    severity: Severity
    step: int
    channel: str
    silenced_until: datetime | None = None

    @property
    def key(self) -> str:
        """The same notice has the same key: what is queued under it once is never queued again."""
        ends = f"|{self.silenced_until.isoformat()}" if self.silenced_until else ""
        return f"{self.alert_id}|{self.kind}|{self.severity}|{self.step}|{self.channel}{ends}"


def fingerprint(rule: str, subject: str) -> str:
    """What names a cause: 16 hexadecimal digits of the SHA-256 of rule and subject."""
    return sha256(f"{rule}\n{subject}".encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def moved(alert: Alert, to: AlertStatus) -> AlertStatus:
    """Where the alert stands after the move.

    Raises:
        InvariantError: the move is not in `MOVES`.
    """
    if (alert.status, to) not in MOVES:
        raise InvariantError(f"alert {alert.alert_id} is {alert.status}: it cannot become {to}")
    return to


def changes(
    open_alerts: Sequence[Alert],
    signals: Iterable[Signal],
    looked_at: Collection[str],
    unmeasured: Collection[str] = (),
    why_gone: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Change, ...]:
    """What a look at production changes: new causes first, then what is open, in its order.

    Args:
        open_alerts: all that are open.
        signals: what was found; of two of one cause the worse one counts.
        looked_at: rules that could be judged. One that was not resolves nothing.
        unmeasured: fingerprints of causes that could not be judged, though others of their rule could.
        why_gone: by fingerprint, what is said of one that is resolved, where that is more than that it is gone.

    Raises:
        InvariantError: an alert is not open, or two are open for one cause.
    """
    opened = {alert.fingerprint: alert for alert in open_alerts}
    if len(opened) != len(open_alerts) or not all(alert.is_open for alert in open_alerts):
        raise InvariantError("two alerts are open for one cause, or one is not open")
    found: dict[str, Signal] = {}
    for signal in signals:
        before = found.get(signal.fingerprint)
        if before is None or signal.severity.rank > before.severity.rank:
            found[signal.fingerprint] = signal
    raised = tuple(Raise(signal=signal) for key, signal in found.items() if key not in opened)
    changed = (
        _change(alert, found[key]) if key in found else Resolve(alert_id=alert.alert_id, words=why_gone.get(key, _GONE))
        for key, alert in opened.items()
        if key in found or (alert.rule in looked_at and key not in unmeasured)
    )
    return (*raised, *changed)


def _change(alert: Alert, signal: Signal) -> Worsen | See:
    if signal.severity.rank > alert.severity.rank:
        return Worsen(alert_id=alert.alert_id, severity=signal.severity, words=signal.words)
    return See(alert_id=alert.alert_id, words=signal.words)


def after(alert: Alert, change: Worsen | See | Resolve, now: datetime) -> Alert:
    """The alert after a change; its ``event_seq`` is for the records to say.

    Raises:
        InvariantError: the alert is another, is not open, or would get less severe.
    """
    if change.alert_id != alert.alert_id or not alert.is_open:
        raise InvariantError(f"alert {alert.alert_id} is {alert.status}: {change} is not for it")
    match change:
        case See():
            return replace(alert, words=change.words, last_seen=now, seen=alert.seen + 1)
        case Worsen():
            if change.severity.rank <= alert.severity.rank:
                raise InvariantError(f"alert {alert.alert_id} is {alert.severity}: {change.severity} is not worse")
            again = AlertStatus.FIRING if alert.status is AlertStatus.FIRING else moved(alert, AlertStatus.FIRING)
            return replace(
                alert,
                severity=change.severity,
                status=again,
                words=change.words,
                last_seen=now,
                seen=alert.seen + 1,
                acknowledged_by=None,
                acknowledged_at=None,
            )
        case Resolve():
            return replace(alert, status=moved(alert, AlertStatus.RESOLVED), resolved_at=now)
        case _:
            assert_never(change)


def acknowledged(alert: Alert, by: str, now: datetime) -> Alert:
    """The alert after somebody answered.

    Raises:
        InvariantError: the move is not in `MOVES`.
    """
    return replace(alert, status=moved(alert, AlertStatus.ACKNOWLEDGED), acknowledged_by=by, acknowledged_at=now)
