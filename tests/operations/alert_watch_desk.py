"""A desk whose production is watched, and whose ticks raise and send alerts: a channel for each of the chain."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from abaco_loans.operations.alert_production import AlertTools, Raised, alert_production
from abaco_loans.operations.watch_checkpoint import WatchTools
from abaco_loans.operations.watch_production import TickOutcome, tick
from abaco_loans.outputs.channels.base import Channel
from abaco_loans.outputs.channels.console import Console
from abaco_loans.watch.alert import Alert
from abaco_loans.watch.alert_policy import AlertPolicy, ConsoleTarget
from tests.operations.desk import NOON
from tests.operations.watch_desk import WatchDesk


class AlertWatchDesk(WatchDesk):
    """One workspace, its watch and its alerts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        chain = AlertPolicy().chain
        self.policy = AlertPolicy(
            channels={step.who: ConsoleTarget() for step in chain},
            chain=tuple(replace(step, channels=(step.who,)) for step in chain),
        )
        self.sent: list[str] = []

    def tools(self) -> WatchTools:
        """As a watch desk has them; what a tick finds becomes alerts."""

        def alert(outcome: TickOutcome) -> None:
            self.alerted(outcome)

        return replace(super().tools(), follow=alert)

    def alert_tools(self) -> AlertTools:
        """Real tools; what goes through a channel stands in ``sent``, with the channel's name."""

        def open_channel(name: str) -> Channel:
            return Console(tell=lambda text: self.sent.append(f"{name}: {text}"))

        return AlertTools(
            clock=self.clock,
            policy=self.policy,
            open_records=self.records,
            open_channel=open_channel,
            anchor=lambda: None,
            tell=self.said.append,
        )

    def alerted(self, outcome: TickOutcome | None = None) -> Raised:
        """Raise alerts and send them."""
        return alert_production(self.alert_tools(), outcome)[0]

    def at_quietly(self, hours: float) -> TickOutcome:
        """Tick so many hours after the cutover, without any alert."""
        self.clock.move_to(NOON + timedelta(hours=hours))
        return tick(replace(super().tools(), follow=lambda outcome: None))

    def after(self, **time: float) -> TickOutcome:
        """Tick so much later."""
        self.clock.move_to(self.clock.now() + timedelta(**time))
        return self.at_now()

    def at_now(self) -> TickOutcome:
        """Tick."""
        return tick(self.tools())

    def open(self) -> dict[str, str]:
        """What is open: the cause → severity. Ledger and every row are verified."""
        return {_cause(item): item.severity.value for item in self.alerts() if item.is_open}

    def alerts(self) -> tuple[Alert, ...]:
        """All alerts, the oldest first."""
        with self.records() as records:
            assert records.verify().ok
            assert records.faults() == ()
            found = records.alert_reader.list(1_000)
        return tuple(sorted(found, key=lambda item: (item.first_seen, item.alert_id)))

    def told(self, cause: str = "") -> list[str]:
        """Kind and channel of every notice (of a cause) that was sent, in the order in which they were queued."""
        with self.records() as records:
            found = records.alert_reader.deliveries(limit=1_000)
            of = {item.alert_id: _cause(item) for item in records.alert_reader.list(1_000)}
        wanted = [
            item for item in reversed(found) if item.status == "sent" and (not cause or of[item.alert_id] == cause)
        ]
        order = sorted(wanted, key=lambda item: (item.queued_at, item.notice.step))
        return [f"{item.notice.kind} {item.notice.channel}" for item in order]


def _cause(item: Alert) -> str:
    return f"{item.rule}[{item.subject}]" if item.subject else item.rule
