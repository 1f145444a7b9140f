"""What a message says, the same in every channel; each channel makes it inert in its own way. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from abaco_loans.outputs.channels.base import Link, Message
from abaco_loans.watch.alert import AlertStatus, NoticeKind

_ROLLBACK_RULE = "rollback_proposed"
_HREF = re.compile(r"https://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+")
_WORDS_MAX = 600


def plain(text: str, longest: int = _WORDS_MAX) -> str:
    """One line without anything that moves a cursor, hides or turns text around; cut where it is too long."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def moment(at: datetime) -> str:
    """A time for people, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def cause(message: Message) -> str:
    """The rule, and what of it."""
    alert = message.alert
    return plain(f"{alert.rule} ({alert.subject})" if alert.subject else alert.rule, 120)


def title(message: Message, longest: int = 250) -> str:
    """One line that says how bad it is and what it is."""
    match message.notice.kind:
        case NoticeKind.RESOLVE:
            mark = "RESOLVED"
        case NoticeKind.ANSWER:
            mark = "ACKNOWLEDGED"
        case NoticeKind.REMIND:
            mark = f"STILL {message.notice.severity.upper()}"
        case NoticeKind.ESCALATE:
            mark = f"{message.notice.severity.upper()}, NOBODY ANSWERED"
        case _:
            mark = message.notice.severity.upper()
    return plain(f"[{mark}] {cause(message)}: {message.alert.words}", longest)


def facts(message: Message) -> tuple[tuple[str, str], ...]:
    """Label and text of everything there is to say, in the order in which it is read."""
    alert = message.alert
    found = [
        ("What", plain(alert.words)),
        ("With it", plain(", ".join(message.others))),
        ("Since", since(message)),
        ("Means", plain(message.meaning)),
    ]
    if message.notice.kind is NoticeKind.RESOLVE:
        found.append(("To do", "nothing: it is gone"))
    else:
        found += [("Asked", plain(message.who, 120)), ("State", state(message)), *commands(message)]
    found.append(("Runbook", plain(alert.runbook, 300)))
    found.append(("Alert", plain(alert.alert_id, 120)))
    return tuple((label, text) for label, text in found if text)


def since(message: Message) -> str:
    """Since when; and until when, of what is gone."""
    alert = message.alert
    ended = f" until {moment(alert.resolved_at)}" if alert.resolved_at else ""
    return f"{moment(alert.first_seen)}{ended}, seen {alert.seen} time{'' if alert.seen == 1 else 's'}"


def state(message: Message) -> str:
    """Who has answered, if anybody has."""
    alert = message.alert
    if alert.status is AlertStatus.ACKNOWLEDGED and alert.acknowledged_at:
        return plain(f"acknowledged by {alert.acknowledged_by} at {moment(alert.acknowledged_at)}", 160)
    if alert.status is AlertStatus.RESOLVED:
        return "gone meanwhile"
    return "nobody has acknowledged it"


def commands(message: Message) -> tuple[tuple[str, str], ...]:
    """What can be copied into a shell of the workspace: label and command."""
    alert = message.alert
    found = []
    if alert.status is AlertStatus.FIRING:
        found.append(("Acknowledge", f'abaco alert ack {_word(alert.alert_id)} --reason "..."'))
    if alert.rule == _ROLLBACK_RULE and alert.is_open:
        found.append(("Roll back", 'abaco rollback --reason "..."'))
    return tuple(found)


def links(message: Message) -> tuple[Link, ...]:
    """The links that are plain https URLs, their texts plain, too; others are left out."""
    return tuple(
        Link(text=plain(link.text, 60), href=link.href) for link in message.links if _HREF.fullmatch(link.href)
    )


def _word(text: str) -> str:
    """The text without anything that a shell would take for more than a word."""
    return re.sub(r"[^A-Za-z0-9._:-]", "?", text) if not text.startswith("-") else "?"
