"""Raises an alert, queues its notice and delivers it, in a process of its own that is to be killed on the way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from abaco_loans.operations.deliver_alerts import deliver
from abaco_loans.outputs.channels.base import Channel, Message
from tests.operations.alert_desk import AlertDesk


def die() -> None:
    """End as by a power button."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mortal:
    """A channel that does not live to tell that it delivered."""

    channel: Channel

    def send(self, message: Message) -> None:
        self.channel.send(message)
        die()


def main(arguments: Sequence[str]) -> int:
    """``FOLDER URL raised|taken|delivered|""``: where it dies by its own hand; 0 where it does not."""
    folder, url, point = arguments
    desk = AlertDesk(folder=Path(folder), environment={"HOOK_URL": url})
    alert = desk.raised()
    desk.queue(alert, "hook")
    if point == "raised":
        die()
    tools = desk.tools()

    def opened(name: str) -> Channel:
        if point == "taken":
            die()
        channel = tools.open_channel(name)
        return Mortal(channel=channel) if point == "delivered" else channel

    return 0 if deliver(replace(tools, open_channel=opened, send_timeout_s=30)).sent else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
