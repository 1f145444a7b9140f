"""Raise, resolve and send alerts: what a tick does after it has looked at production.

Safe to repeat, with a watch under way and without one. Facts become signals, signals become changes of what is open,
and what is open becomes notices; each is recorded before anything is sent, and recorded once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from abaco_loans.clock import Clock
from abaco_loans.errors import ConfigError
from abaco_loans.operations.deliver_alerts import Delivered, DeliverTools, deliver
from abaco_loans.operations.production_facts import FactRecords, gather
from abaco_loans.operations.watch_production import TickOutcome
from abaco_loans.operations.workspace import ALERTS_FILE, Workspace
from abaco_loans.outputs.channels.base import Channel
from abaco_loans.records.alerts import AlertReader, AlertWriter, Delivery
from abaco_loans.watch.alert import Alert, Notice, See, Silence, changes
from abaco_loans.watch.alert_policy import AlertPolicy
from abaco_loans.watch.escalation import notices, silence_of, silenced
from abaco_loans.watch.rules import RULES, group, inhibited, signals

_RECENT = 1_000
# That an alert is over may still have to be told, after a silence or quiet hours; after so long it is old news.
_TOLD_WITHIN = timedelta(days=7)


class AlertRecords(FactRecords, Protocol):
    """What alerts need of the records."""

    @property
    def alert_writer(self) -> AlertWriter:
        """Moves alerts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTools:
    """What `wiring` picks for alerts.

    Attributes:
        open_channel: the channel of a name in the policy; raises ChannelError.
        anchor: signs how far the ledger has come.
        tell: takes a line for people.
    """

    clock: Clock
    policy: AlertPolicy
    open_records: Callable[[], AbstractContextManager[AlertRecords]]
    open_channel: Callable[[str], Channel]
    anchor: Callable[[], None]
    tell: Callable[[str], None] = lambda text: None

    @property
    def delivering(self) -> DeliverTools:
        """The same, for delivering."""
        return DeliverTools(
            clock=self.clock,
            policy=self.policy,
            open_records=self.open_records,
            open_channel=self.open_channel,
            tell=self.tell,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """What a look changed: alerts that were raised, got worse or were resolved, and notices that are new."""

    changed: tuple[Alert, ...]
    queued: tuple[Delivery, ...]


def alert_production(tools: AlertTools, outcome: TickOutcome | None = None) -> tuple[Raised, Delivered]:
    """Raise and resolve alerts, and send what is due; see `raise_alerts` and `deliver`."""
    raised = raise_alerts(tools, outcome)
    delivered = deliver(tools.delivering)
    if delivered.sent or delivered.given_up:
        tools.anchor()
    return raised, delivered


def raise_alerts(tools: AlertTools, outcome: TickOutcome | None = None) -> Raised:
    """Record what changed, and queue what has to be told; nothing is sent.

    Args:
        outcome: of the tick that has just looked; None: only what is recorded counts.

    Raises:
        WorldError: REC-10x the records failed; what was recorded stays, and the next call goes on from there.
    """
    now = tools.clock.now()
    with tools.open_records() as records:
        found = signals(gather(records, tools.policy, outcome, now))
        made = changes(records.alert_reader.open(), found.signals, found.looked_at, found.unmeasured, found.why_gone)
        owners = {rule: tools.policy.owner(rule) for rule in RULES}
        runbooks = {name: rule.runbook for name, rule in RULES.items()}
        after = records.alert_writer.apply(made, owners=owners, runbooks=runbooks, now=now)
        queued = records.alert_writer.queue(due_notices(records.alert_reader, tools.policy, now))
    changed = tuple(alert for alert, change in zip(after, made, strict=True) if not isinstance(change, See))
    if changed or queued:
        tools.anchor()
    return Raised(changed=changed, queued=queued)


def policy_of(workspace: Workspace) -> AlertPolicy:
    """What ``alerts.yml`` says; the default where there is no such file.

    Raises:
        ConfigError: ``ALR-1xx`` what is wrong in it, with its line; ``ALR-106`` it cannot be read.
    """
    path = workspace.root / ALERTS_FILE
    if not path.is_file():
        return AlertPolicy()
    from abaco_loans.strict_yaml import parse
    from abaco_loans.watch.alerts_file import read_alerts

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{ALERTS_FILE} cannot be read", code="ALR-106", where=str(path), hint="it must be UTF-8 text"
        ) from error
    return read_alerts(parse(text, name=ALERTS_FILE))


def due_notices(reader: AlertReader, policy: AlertPolicy, now: datetime) -> list[Notice]:
    """Every notice that has to be queued now."""
    open_alerts, silences = reader.open(), reader.silences()
    heard = [item for item in open_alerts if not silenced(silence_of(item.fingerprint, silences), now)]
    found: list[Notice] = []
    for alert in (*open_alerts, *(item for item in reader.list(_RECENT) if not item.is_open)):
        silence = silence_of(alert.fingerprint, silences)
        if alert.resolved_at is None or now - _may_tell_from(alert.resolved_at, silence) < _TOLD_WITHIN:
            found += notices(
                alert,
                policy=policy,
                silence=silence,
                inhibited=inhibited(alert, open_alerts) or group(alert, heard)[0].alert_id != alert.alert_id,
                queued={item.notice: item.queued_at for item in reader.deliveries(alert.alert_id)},
                now=now,
            )
    return found


def _may_tell_from(resolved_at: datetime, silence: Silence | None) -> datetime:
    return resolved_at if silence is None else max(resolved_at, silence.until)
