"""Alerts, whom they were sent to, silences and breakers, and who may read and write them.

An alert moves as :data:`abaco_loans.watch.alert.MOVES` says, and at most one is open for a fingerprint. What has to be
sent is queued first (an outbox), once for each key, and taken by one process at a time with a lease: one that dies is
taken up again when its lease has run out. Every change appends one event of its own to the ledger
(:data:`STATE_ACTIONS`), in the same transaction; only that an alert was seen again, that a delivery was taken or has
to be tried again, and a breaker's state are kept without one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from abaco_loans.watch.alert import Alert, Change, Notice, Silence

DeliveryStatus = Literal["queued", "sending", "sent", "given_up"]

# Beyond these no lease and no next try reaches: a clock that was wrong must not hold a message back for ever.
LEASE_MAX = timedelta(hours=1)
RETRY_MAX = timedelta(days=1)

# Events that the writer makes itself.
ALERT_ACTIONS = frozenset(
    {"alert.raised", "alert.worsened", "alert.acknowledged", "alert.resolved", "alert.silenced"},
)
DELIVERY_ACTIONS = frozenset({"delivery.queued", "delivery.sent", "delivery.given_up"})
STATE_ACTIONS = ALERT_ACTIONS | DELIVERY_ACTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice on its way to one channel. All times have a zone.

    Args:
        delivery_id: the same for the same key.
        status: ``sending`` from when it is taken until it is sent or failed, also when who took it is dead.
        attempts: how often it was taken; names the one who has it.
        next_at: not before it is it tried; when it was queued, at first.
        lease_until: whose it is until then, of one that is ``sending``.
        last_code: why the last try failed; '' while none did.
        event_seq: the ledger event of its latest change.
    """

    delivery_id: str
    notice: Notice
    key: str
    status: DeliveryStatus
    queued_at: datetime
    attempts: int
    next_at: datetime
    lease_until: datetime | None
    last_code: str
    sent_at: datetime | None
    event_seq: int

    @property
    def alert_id(self) -> str:
        """The alert that it speaks of."""
        return self.notice.alert_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """How a channel fares. It is open from ``opened_at`` until a message goes through; None: it is closed.

    Args:
        failures: how many there were, one after the other.
        retry_at: when the next try is let through, of an open one.
        last_code: of the last failure.
    """

    channel: str
    failures: int
    opened_at: datetime | None
    retry_at: datetime | None
    last_code: str

    def holds_back(self, now: datetime) -> bool:
        """Whether nothing is to be sent through the channel at this moment."""
        return self.retry_at is not None and now < self.retry_at <= now + RETRY_MAX


class AlertReader(Protocol):
    """Reads alerts and deliveries. Everything but breakers is checked against its seal and the ledger first.

    Raises (each method):
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed.
    """

    def get(self, alert_id: str) -> Alert | None:
        """The alert, or None."""
        ...

    def open(self) -> tuple[Alert, ...]:
        """All alerts that are not resolved, the oldest first. One that was hidden is found (REC-105)."""
        ...

    def list(self, limit: int = 50) -> tuple[Alert, ...]:
        """Alerts, the one that changed last first."""
        ...

    def silences(self) -> tuple[Silence, ...]:
        """The latest silence of each fingerprint, ended ones too."""
        ...

    def deliveries(self, alert_id: str | None = None, limit: int = 500) -> tuple[Delivery, ...]:
        """Deliveries (of an alert), the one that changed last first."""
        ...

    def waiting(self, now: datetime) -> tuple[Delivery, ...]:
        """Deliveries that may be taken now, in the order in which they were queued.

        Of one alert and channel only the first that is neither sent nor given up: nobody hears that something is over
        before hearing of it.
        """
        ...

    def breakers(self) -> tuple[Breaker, ...]:
        """The breakers of all channels that ever failed, by name."""
        ...


class AlertWriter(Protocol):
    """Moves alerts and deliveries; each call is one transaction with its events.

    Raises (each method):
        InvariantError: an unknown alert or delivery, a lease or next try that is not in the future or beyond
            :data:`LEASE_MAX` and :data:`RETRY_MAX`.
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed, nothing was kept.
    """

    def apply(
        self, changes: Iterable[Change], *, owners: Mapping[str, str], runbooks: Mapping[str, str], now: datetime
    ) -> tuple[Alert, ...]:
        """Record what a look changed (``alert.raised``, ``alert.worsened``, ``alert.resolved``); the alerts after it.

        What another process recorded meanwhile counts: a cause that is open is seen again instead of raised twice, and
        an alert that is resolved stays so. An alert keeps the words of when it was raised or got worse.

        Args:
            owners: who is asked first, by rule; every rule of the changes.
            runbooks: where it stands what to do, by rule.
        """
        ...

    def queue(self, notices: Collection[Notice]) -> tuple[Delivery, ...]:
        """Queue what is not queued yet under its key (``delivery.queued``); the deliveries that are new."""
        ...

    def acknowledge(self, alert_id: str, reason: str) -> Alert:
        """Say that whoever opened the records looks after it (``alert.acknowledged``).

        Only one that fires changes; any other is given back as it stands.
        """
        ...

    def silence(self, fingerprint: str, until: datetime, reason: str) -> Silence:
        """Send nothing for this cause until then (``alert.silenced``); instead of what was said before."""
        ...

    def claim(self, delivery_id: str, lease: timedelta) -> Delivery | None:
        """Take a delivery for so long; None when it is not to be had: see :meth:`AlertReader.waiting`."""
        ...

    def sent(self, delivery_id: str) -> Delivery:
        """It went out (``delivery.sent``), also when somebody else took it meanwhile. Again: nothing happens."""
        ...

    def failed(self, delivery_id: str, code: str, next_at: datetime | None, *, attempt: int) -> Delivery:
        """It did not go out: try again at ``next_at``; None: never (``delivery.given_up``).

        Args:
            code: of the failure, such as ``ALR-201``; never its words, which may hold an address.
            attempt: :attr:`Delivery.attempts` as claimed. When somebody else has it, or it is done, nothing happens.
        """
        ...

    def channel_failed(self, channel: str, code: str, *, opens_after: int, open_for: timedelta) -> Breaker:
        """Count a failure of a channel; from the ``opens_after``th in a row on the breaker is open, for so long."""
        ...

    def channel_worked(self, channel: str) -> Breaker:
        """Close the breaker of a channel."""
        ...
