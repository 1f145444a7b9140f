"""PagerDuty, Events API v2: one incident an alert; what the ledger says of it, PagerDuty is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from abaco_loans.outputs.channels.base import Message
from abaco_loans.outputs.channels.http import Poster
from abaco_loans.outputs.channels.words import cause, facts, links, plain, title
from abaco_loans.watch.alert import AlertStatus, NoticeKind

# PagerDuty's own limits, in characters.
_SUMMARY_MAX, _DEDUP_KEY_MAX = 1024, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty:
    """An integration of a service; repeats of an event are one incident."""

    poster: Poster
    routing_key: str = field(repr=False)

    def send(self, message: Message) -> None:
        """Post the event; see `Channel.send`."""
        self.poster.post(json.dumps(pagerduty_event(message, self.routing_key)).encode())


def events_url(host: str) -> str:
    """Where events are posted to; PagerDuty has a host for each of its regions."""
    return f"https://{host}/v2/enqueue"


def pagerduty_event(message: Message, routing_key: str) -> dict[str, Any]:
    """The event: a trigger, or that somebody looks after it, or that it is gone."""
    alert = message.alert
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": _action(message),
        "dedup_key": alert.alert_id[:_DEDUP_KEY_MAX],
        "payload": {
            "summary": title(message, _SUMMARY_MAX),
            "source": plain(message.source, 120),
            "severity": alert.severity.value,
            "timestamp": alert.first_seen.isoformat(timespec="milliseconds"),
            "component": cause(message),
            "group": "production",
            "class": alert.rule,
            "custom_details": {label.lower(): text for label, text in facts(message)},
        },
    }
    linked = [{"href": link.href, "text": link.text} for link in links(message)]
    return {**event, "links": linked} if linked else event


def _action(message: Message) -> str:
    if message.notice.kind is NoticeKind.RESOLVE:
        return "resolve"
    return "acknowledge" if message.alert.status is AlertStatus.ACKNOWLEDGED else "trigger"
