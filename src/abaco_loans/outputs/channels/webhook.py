"""A webhook that takes what Prometheus Alertmanager sends (its data version 4), with an idempotency key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from abaco_loans.outputs.channels.base import Message
from abaco_loans.outputs.channels.http import Poster
from abaco_loans.outputs.channels.words import facts, links, plain, title
from abaco_loans.watch.alert import NoticeKind

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: how Alertmanager writes that something has not ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver that knows Alertmanager; repeats have the same ``Idempotency-Key``.

    Args:
        token: the receiver knows us by it (``Authorization: Bearer``); '': without.
    """

    poster: Poster
    token: str = field(default="", repr=False)

    def send(self, message: Message) -> None:
        """Post the document; see `Channel.send`."""
        headers = {"Idempotency-Key": idempotency_key(message.notice.key)}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self.poster.post(json.dumps(webhook_payload(message)).encode(), headers)


def idempotency_key(key: str) -> str:
    """A notice's key as 64 hexadecimal digits: a header takes no other text safely."""
    return sha256(key.encode()).hexdigest()


def webhook_payload(message: Message) -> dict[str, Any]:
    """The document: a group of one alert."""
    alert, gone = message.alert, message.notice.kind is NoticeKind.RESOLVE
    status = "resolved" if gone else "firing"
    labels = {
        "alertname": plain(alert.rule),
        "severity": alert.severity.value,
        "subject": plain(alert.subject),
        "owner": plain(alert.owner),
        "source": plain(message.source),
    }
    labels = {name: value for name, value in labels.items() if value}
    annotations = {
        "summary": title(message),
        "description": plain(alert.words),
        "runbook_url": plain(alert.runbook),
        **{label.lower().replace(" ", "_"): text for label, text in facts(message) if label not in _ELSEWHERE},
    }
    linked = next((link.href for link in links(message)), "")
    group = {"alertname": labels["alertname"]}
    return {
        "version": "4",
        "groupKey": f"{{}}:{{alertname={json.dumps(labels['alertname'])}}}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": plain(message.notice.channel),
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": linked,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _time(alert.first_seen),
                "endsAt": _time(alert.resolved_at) if gone and alert.resolved_at else _NEVER,
                "generatorURL": linked,
                "fingerprint": alert.fingerprint,
            }
        ],
    }


_ELSEWHERE = ("What", "Runbook")


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
