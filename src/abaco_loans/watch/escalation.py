"""Whom an alert has to be told now. Pure: the same facts give the same notices, and none of them twice.

Rules, in this order: what is silenced sends nothing; quiet hours hold back warnings, and nothing critical; what is
resolved, or acknowledged, is told once to every channel that had heard of it, and asks nobody else; what follows from
another alert, or is told with others of its rule, waits for that one's end. Minutes without an answer count from when
the first notice was queued: nobody is passed over for the time in which they were not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from abaco_loans.watch.alert import Alert, AlertStatus, Notice, NoticeKind, Severity, Silence
from abaco_loans.watch.alert_policy import AlertPolicy, Step


def notices(
    alert: Alert,
    *,
    policy: AlertPolicy,
    silence: Silence | None,
    inhibited: bool,
    queued: Mapping[Notice, datetime],
    now: datetime,
) -> tuple[Notice, ...]:
    """What has to be queued now.

    Args:
        silence: the one that holds for the alert's fingerprint, or was the last to; see `silence_of`.
        inhibited: whether it follows from another alert that is open.
        queued: notices of this alert that are queued already, sent or not, and when each was.
    """
    if silenced(silence, now) or (alert.severity is Severity.WARNING and _quiet(policy, now)):
        return ()
    if alert.status is AlertStatus.RESOLVED:
        found = _told_again(NoticeKind.RESOLVE, alert, policy, queued)
    elif alert.status is AlertStatus.ACKNOWLEDGED:
        found = _told_again(NoticeKind.ANSWER, alert, policy, queued)
    elif inhibited:
        return ()
    else:
        found = _firing(alert, policy, silence, queued, now)
    return tuple(notice for notice in dict.fromkeys(found) if notice not in queued)


def silenced(silence: Silence | None, now: datetime) -> bool:
    """Whether the silence holds now."""
    return silence is not None and silence.at <= now < silence.until


def silence_of(fingerprint: str, every: Iterable[Silence]) -> Silence | None:
    """The silence that counts for a fingerprint: the one that was said last."""
    own = [item for item in every if item.fingerprint == fingerprint]
    return max(own, key=lambda item: (item.at, item.until), default=None)


def _quiet(policy: AlertPolicy, now: datetime) -> bool:
    return policy.quiet_hours is not None and policy.quiet_hours.hold(now)


def _told_again(kind: NoticeKind, alert: Alert, policy: AlertPolicy, queued: Mapping[Notice, datetime]) -> list[Notice]:
    """What came of it, once to every channel that was asked, at the lowest step at which it was."""
    told = sorted((item for item in queued if item.kind.asks), key=lambda item: item.step)
    done = {item.channel for item in queued if item.kind is kind and item.severity is alert.severity}
    steps: dict[str, int] = {}
    for item in told:
        steps.setdefault(item.channel, item.step)
    return [
        Notice(alert_id=alert.alert_id, kind=kind, severity=alert.severity, step=step, channel=channel)
        for channel, step in steps.items()
        if channel in policy.channels and channel not in done
    ]


def _firing(
    alert: Alert, policy: AlertPolicy, silence: Silence | None, queued: Mapping[Notice, datetime], now: datetime
) -> list[Notice]:
    opening = _opening(alert, silence, queued)
    asked = [at for notice, at in queued.items() if replace(notice, step=0, channel="") == opening]
    waited = max(timedelta(0), now - min(asked, default=now))
    found: list[Notice] = []
    for place, (step, item, minutes) in enumerate(_steps(alert, policy)):
        if minutes <= waited:
            like = replace(opening, kind=NoticeKind.ESCALATE, silenced_until=None) if place else opening
            found += [replace(like, step=step, channel=channel) for channel in item.channels]
    return found


def _opening(alert: Alert, silence: Silence | None, queued: Mapping[Notice, datetime]) -> Notice:
    """What asks the first step: the reminder that a silence is over, or that the alert is there.

    An alert that got worse after its reminder is told as a new one.
    """
    until = silence.until if silence else None
    over = until is not None and until > alert.first_seen
    reminded = {item.severity for item in queued if item.kind is NoticeKind.REMIND and item.silenced_until == until}
    kind = NoticeKind.REMIND if over and reminded <= {alert.severity} else NoticeKind.RAISE
    return Notice(
        alert_id=alert.alert_id,
        kind=kind,
        severity=alert.severity,
        step=0,
        channel="",
        silenced_until=until if kind is NoticeKind.REMIND else None,
    )


def _steps(alert: Alert, policy: AlertPolicy) -> list[tuple[int, Step, timedelta]]:
    """The steps that hear of the alert, with their place in the chain, and when.

    That a channel is down is not told through it; who could only be told so is left out, and the next one is asked
    first.
    """
    down = alert.subject if alert.rule == "channel_down" else None
    steps = [
        (place, replace(step, channels=tuple(name for name in step.channels if name != down)), minutes)
        for place, step in enumerate(policy.chain)
        if (minutes := step.after(alert.severity)) is not None
    ]
    left = [item for item in steps if item[1].channels]
    sooner = left[0][2] if left else timedelta(0)
    return [(place, step, minutes - sooner) for place, step, minutes in left]
