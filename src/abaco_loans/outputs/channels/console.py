"""The console: one line, for whoever reads the log of `abaco watch tick` or of a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from abaco_loans.outputs.channels.base import Message
from abaco_loans.outputs.channels.words import commands, plain, title
from abaco_loans.watch.alert import NoticeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Where lines for people go."""

    tell: Callable[[str], None]

    def send(self, message: Message) -> None:
        """Tell the line; see `Channel.send`."""
        self.tell(console_line(message))


def console_line(message: Message) -> str:
    """Cause, who is asked, and how to answer, without a control character."""
    if message.notice.kind is NoticeKind.RESOLVE:
        return title(message)
    asked = f"asked: {plain(message.who, 120)}" if message.who else ""
    said = [title(message), asked, *(text for _, text in commands(message)), plain(message.alert.runbook, 300)]
    return " | ".join(text for text in said if text)
