"""A desk with an outbox: real records, real receivers, and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from abaco_loans.clock import FixedClock
from abaco_loans.operations.deliver_alerts import Delivered, DeliverTools, deliver
from abaco_loans.outputs.channels.choose import open_channel
from abaco_loans.records.alerts import Breaker, Delivery
from abaco_loans.records.store import Store, open_store
from abaco_loans.watch.alert import Alert, Notice, NoticeKind, Raise, Resolve, Severity, Signal
from abaco_loans.watch.alert_policy import AlertPolicy, SlackTarget, WebhookTarget
from abaco_loans.watch.rules import RULES
from tests.outputs.receivers import HOST, NOON, Receiver

OWNERS = {name: rule.owner for name, rule in RULES.items()}
RUNBOOKS = {name: rule.runbook for name, rule in RULES.items()}
POLICY = AlertPolicy(
    channels={
        **AlertPolicy().channels,
        "team": SlackTarget(url_env="TEAM_URL"),
        "hook": WebhookTarget(url_env="HOOK_URL"),
    },
    allowed_hosts=frozenset({f"http://{HOST}"}),
)


@dataclass(kw_only=True)
class AlertDesk:
    """Raises alerts, queues notices and delivers them."""

    folder: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOON))
    environment: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def records(self) -> AbstractContextManager[Store]:
        """The records, as ana opens them."""
        return open_store(f"sqlite:///{self.folder / 'abaco.db'}", clock=self.clock, actor="ana")

    def receive(self, receivers: Mapping[str, Receiver]) -> None:
        """Say in the environment where channels post to."""
        self.environment |= {f"{name.upper()}_URL": made.url(f"/{name}") for name, made in receivers.items()}

    def raised(self, rule: str = "error_rate", severity: Severity = Severity.CRITICAL, subject: str = "") -> Alert:
        """A new alert."""
        signal = Signal(rule=rule, subject=subject, severity=severity, words="error rate 6 %, above 5 %")
        with self.records() as records:
            (made,) = records.alert_writer.apply(
                (Raise(signal=signal),), owners=OWNERS, runbooks=RUNBOOKS, now=self.clock.now()
            )
        return made

    def resolve(self, alert: Alert) -> None:
        """Let an alert be over."""
        with self.records() as records:
            gone = Resolve(alert_id=alert.alert_id, words="it is gone")
            records.alert_writer.apply((gone,), owners=OWNERS, runbooks=RUNBOOKS, now=self.clock.now())

    def queue(self, alert: Alert, *channels: str, kind: NoticeKind = NoticeKind.RAISE, step: int = 0) -> None:
        """Queue a notice for each channel."""
        notices = [
            Notice(alert_id=alert.alert_id, kind=kind, severity=alert.severity, step=step, channel=name)
            for name in channels
        ]
        with self.records() as records:
            assert len(records.alert_writer.queue(notices)) == len(channels)

    def tools(self) -> DeliverTools:
        """Real tools."""
        return DeliverTools(
            clock=self.clock,
            policy=POLICY,
            open_records=self.records,
            open_channel=lambda name: open_channel(name, POLICY, self.environment, self.said.append),
            tell=self.said.append,
            send_timeout_s=5,
        )

    def deliver(self) -> Delivered:
        """Deliver what is due; ledger and rows hold afterwards."""
        found = deliver(self.tools())
        with self.records() as records:
            assert records.verify().ok and records.faults() == ()
        return found

    def later(self, **time: float) -> None:
        """Move the clock."""
        self.clock.move_to(self.clock.now() + timedelta(**time))

    def deliveries(self) -> dict[str, Delivery]:
        """By channel, the delivery that changed last."""
        with self.records() as records:
            return {item.notice.channel: item for item in reversed(records.alert_reader.deliveries())}

    def breaker(self, channel: str) -> Breaker:
        """How a channel fares."""
        with self.records() as records:
            return next(item for item in records.alert_reader.breakers() if item.channel == channel)

    def actions(self) -> list[str]:
        """What the ledger says of deliveries, in order."""
        with self.records() as records:
            return [event.action for event in records.events() if event.action.startswith("delivery.")]
