"""Slack, through an incoming webhook: blocks of plain text, which Slack does not read for markup."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from abaco_loans.outputs.channels.base import Message
from abaco_loans.outputs.channels.http import Poster
from abaco_loans.outputs.channels.words import facts, links, plain, title

# Slack's own limits: characters of a header, of a field; fields of a section.
_HEADER_MAX, _FIELD_MAX, _FIELDS_MAX = 150, 2000, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """An incoming webhook. Slack does not recognise a repeat: what is sent twice is seen twice."""

    poster: Poster

    def send(self, message: Message) -> None:
        """Post the message; see `Channel.send`."""
        self.poster.post(json.dumps(slack_payload(message)).encode())


def slack_payload(message: Message) -> dict[str, Any]:
    """The JSON document of an incoming webhook: a fallback text, and blocks."""
    fields = [_text(f"{label}: {text}", _FIELD_MAX) for label, text in facts(message)]
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _text(title(message, _HEADER_MAX), _HEADER_MAX)}]
    blocks += [
        {"type": "section", "fields": fields[first : first + _FIELDS_MAX]}
        for first in range(0, len(fields), _FIELDS_MAX)
    ]
    linked = [f"<{link.href}|{_escaped(link.text).replace('|', ' ')}>" for link in links(message)]
    if linked:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": " · ".join(linked)}]})
    return {
        "text": _escaped(title(message)),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def _text(text: str, longest: int) -> dict[str, Any]:
    """A text object. Entities count as what they stand for would not: so it is cut before it is escaped, and again."""
    escaped = _escaped(text)
    while len(escaped) > longest:
        text = plain(text, len(text) - 1)
        escaped = _escaped(text)
    return {"type": "plain_text", "text": escaped, "emoji": False}


def _escaped(text: str) -> str:
    """Slack's three control characters as entities: no mention, link or channel can be written."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
