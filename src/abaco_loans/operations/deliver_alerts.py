"""Deliver what is queued: every notice to its channel, at least once, under a key that stays the same.

A delivery is taken with a lease, sent, and recorded as sent. A process that dies before it sends leaves it to the next
one, which sends it once; one that dies between sending and recording has it sent again, with the same key. A channel
that fails again and again is left alone for a while (its breaker opens; then one message is let through as a test);
the other channels are told meanwhile. What could not be delivered for a day is given up, loudly.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from abaco_loans.clock import Clock
from abaco_loans.errors import InvariantError
from abaco_loans.outputs.channels.base import Channel, ChannelError, Link, Message, send_within
from abaco_loans.records.alerts import AlertReader, AlertWriter, Delivery
from abaco_loans.watch.alert import Alert
from abaco_loans.watch.alert_policy import AlertPolicy
from abaco_loans.watch.rules import RULES, group

SEND_TIMEOUT_S = 30
LEASE = timedelta(minutes=2)
OPENS_AFTER = 3
OPEN_FOR = timedelta(minutes=5)
GIVEN_UP_AFTER = timedelta(days=1)
_RETRY_FIRST, _RETRY_LAST = timedelta(seconds=30), timedelta(minutes=30)
_DOUBLINGS_MAX = 10


class AlertRecords(Protocol):
    """What delivering needs of the records."""

    @property
    def alert_reader(self) -> AlertReader:
        """Reads alerts and deliveries."""
        ...

    @property
    def alert_writer(self) -> AlertWriter:
        """Moves deliveries and breakers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverTools:
    """What `wiring` picks for delivering.

    Attributes:
        open_channel: the channel of a name in the policy; raises ChannelError.
        tell: takes a line for people.
        send_timeout_s: how long one message may take.
    """

    clock: Clock
    policy: AlertPolicy
    open_records: Callable[[], AbstractContextManager[AlertRecords]]
    open_channel: Callable[[str], Channel]
    tell: Callable[[str], None] = lambda text: None
    send_timeout_s: int = SEND_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of the deliveries that were due.

    Attributes:
        sent: went out.
        waiting: failed, and are tried again.
        held: are not tried, as the breaker of their channel is open.
        given_up: are never tried again.
    """

    sent: tuple[Delivery, ...]
    waiting: tuple[Delivery, ...]
    held: tuple[Delivery, ...]
    given_up: tuple[Delivery, ...]


def deliver(tools: DeliverTools) -> Delivered:
    """Deliver what is due; safe to repeat, and beside other processes that do.

    Raises:
        WorldError: REC-10x the records failed; what is recorded stays, and the next call goes on from there. A channel
            that fails raises nothing.
    """
    with tools.open_records() as records:
        return _Round(tools, records).work()


def message_of(delivery: Delivery, records: AlertReader, policy: AlertPolicy) -> Message:
    """What a delivery says, of the alert as it stands now."""
    alert = records.get(delivery.alert_id)
    if alert is None:
        raise InvariantError(f"delivery {delivery.delivery_id} speaks of no alert")
    chain, step = policy.chain, delivery.notice.step
    rule = RULES.get(alert.rule)
    runbook = _runbook(policy, alert)
    return Message(
        alert=replace(alert, runbook=runbook or alert.runbook),
        notice=delivery.notice,
        at=delivery.queued_at,
        who=chain[step].who if step < len(chain) else "",
        meaning=rule.text if rule else "",
        others=tuple(item.subject for item in group(alert, records.open()) if item.alert_id != alert.alert_id),
        links=links_of(policy, runbook),
    )


def links_of(policy: AlertPolicy, runbook: str = "") -> tuple[Link, ...]:
    """What a message leads to: the dashboard, where there is one, and this page of the runbook, where it has a URL."""
    found = (("Dashboard", policy.links.dashboard), ("Runbook", runbook))
    return tuple(Link(text=text, href=href) for text, href in found if href)


def _runbook(policy: AlertPolicy, alert: Alert) -> str:
    """The URL of what to do about an alert; '' where the runbook has none."""
    anchor = alert.runbook.partition("#")[2]
    return f"{policy.links.runbook}#{anchor}" if policy.links.runbook and anchor else ""


def retry_at(attempts: int, error: ChannelError, queued_at: datetime, now: datetime) -> datetime | None:
    """When a delivery that failed is tried again; None: never.

    Args:
        attempts: how often it was tried, at least once.
    """
    if not error.temporary or now - queued_at >= GIVEN_UP_AFTER:
        return None
    wait = min(_RETRY_FIRST * (1 << min(attempts - 1, _DOUBLINGS_MAX)), _RETRY_LAST)
    return now + max(wait, timedelta(seconds=error.retry_after_s or 0))


class _Round:
    """One pass over the outbox."""

    def __init__(self, tools: DeliverTools, records: AlertRecords) -> None:
        self._tools = tools
        self._reader, self._writer = records.alert_reader, records.alert_writer
        self._breakers = {item.channel: item for item in self._reader.breakers()}
        self._sent: list[Delivery] = []
        self._waiting: list[Delivery] = []
        self._held: list[Delivery] = []
        self._given_up: list[Delivery] = []

    def work(self) -> Delivered:
        """Try each delivery that is due once; what becomes due by that, too."""
        seen: set[str] = set()
        while due := [item for item in self._reader.waiting(self._now()) if item.delivery_id not in seen]:
            for delivery in sorted(due, key=self._urgency):
                seen.add(delivery.delivery_id)
                self._try(delivery)
        return Delivered(
            sent=tuple(self._sent),
            waiting=tuple(self._waiting),
            held=tuple(self._held),
            given_up=tuple(self._given_up),
        )

    def _urgency(self, delivery: Delivery) -> tuple[int, int]:
        """Channels that work go first, so that one that hangs delays nobody; then what is worse."""
        breaker = self._breakers.get(delivery.notice.channel)
        return (breaker.failures if breaker else 0, -delivery.notice.severity.rank)

    def _try(self, delivery: Delivery) -> None:
        now, channel = self._now(), delivery.notice.channel
        breaker = self._breakers.get(channel)
        held = breaker is not None and breaker.holds_back(now)
        stale = now - delivery.queued_at >= GIVEN_UP_AFTER
        if held and not stale:
            self._held.append(delivery)
            return
        claimed = self._writer.claim(delivery.delivery_id, LEASE)
        if claimed is None:
            return
        if stale and (held or delivery.attempts):
            self._give_up(claimed, breaker.last_code if breaker else delivery.last_code)
            return
        message = message_of(claimed, self._reader, self._tools.policy)
        try:
            send_within(self._tools.open_channel(channel), message, self._tools.send_timeout_s)
        except ChannelError as error:
            self._failed(claimed, error)
        else:
            self._sent.append(self._writer.sent(claimed.delivery_id))
            if breaker is not None and breaker.failures:
                self._breakers[channel] = self._writer.channel_worked(channel)

    def _failed(self, claimed: Delivery, error: ChannelError) -> None:
        channel = claimed.notice.channel
        before = self._breakers.get(channel)
        after = self._writer.channel_failed(channel, error.code, opens_after=OPENS_AFTER, open_for=OPEN_FOR)
        self._breakers[channel] = after
        next_at = retry_at(claimed.attempts, error, claimed.queued_at, self._now())
        if next_at is None:
            self._give_up(claimed, error.code)
        else:
            self._waiting.append(
                self._writer.failed(claimed.delivery_id, error.code, next_at, attempt=claimed.attempts)
            )
            self._tools.tell(f"channel {channel}: {error}")
        if after.opened_at is not None and (before is None or before.opened_at is None):
            minutes = OPEN_FOR // timedelta(minutes=1)
            self._tools.tell(f"channel {channel} failed {after.failures} times: it is left alone for {minutes} min")

    def _give_up(self, claimed: Delivery, code: str) -> None:
        self._given_up.append(self._writer.failed(claimed.delivery_id, code, None, attempt=claimed.attempts))
        self._tools.tell(
            f"GIVEN UP: {claimed.notice.severity} alert {claimed.alert_id} was not delivered through "
            f"{claimed.notice.channel} ({code}); `abaco alert list` shows it"
        )

    def _now(self) -> datetime:
        return self._tools.clock.now()
