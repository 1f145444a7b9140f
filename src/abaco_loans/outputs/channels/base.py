"""What every channel takes, and how it says that it could not deliver."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from threading import Thread
from typing import Protocol

from abaco_loans.errors import WorldError
from abaco_loans.watch.alert import Alert, Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A place to look at; ``href`` is a whole https URL."""

    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What somebody is told: portfolio-level words, ids and commands; never a loan, a person, a path, a secret.

    Attributes:
        alert: as it stands when the message is sent.
        notice: why it is sent, and to which channel.
        at: when the notice was queued, timezone-aware.
        who: who is asked, a step of the escalation chain.
        meaning: what the rule means, one sentence.
        source: what is watched, by a name that is not a machine's.
        links: where to look; the first is where the alert comes from, if anybody knows.
        others: subjects of the same rule that are told with it.
    """

    alert: Alert
    notice: Notice
    at: datetime
    who: str
    meaning: str = ""
    source: str = "abaco-loans"
    links: tuple[Link, ...] = ()
    others: tuple[str, ...] = ()


class ChannelError(WorldError):
    """A message was not delivered, as far as is known.

    What it says names a host at most: never a URL, a key, or what the receiver answered.

    Attributes:
        temporary: another try may work, because the world or the configuration may be mended; False: this very message
            will never be taken.
        retry_after_s: seconds that the receiver asked to be left alone, or None.
    """

    def __init__(
        self,
        what: str,
        *,
        code: str,
        where: str = "",
        hint: str = "",
        temporary: bool = True,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(what, code=code, where=where, hint=hint)
        self.temporary = temporary
        self.retry_after_s = retry_after_s


class Channel(Protocol):
    """One target of alerts."""

    def send(self, message: Message) -> None:
        """Deliver a message; returns when the receiver has taken it.

        Raises:
            ChannelError: it did not, or nobody knows whether it did.
        """
        ...


def send_within(channel: Channel, message: Message, timeout_s: int) -> None:
    """Send, and wait no longer than this, whatever the network does: a name that does not resolve, an answer that
    drips. What is late may still arrive, and is sent again.

    Raises:
        ChannelError: ALR-206 too late; ALR-211 a bug of ours; as `Channel.send`.
    """
    ended: list[ChannelError | None] = []

    def work() -> None:
        try:
            channel.send(message)
        except ChannelError as error:
            ended.append(error)
        else:
            ended.append(None)

    # A daemon: a receiver that holds the line does not keep the process from ending.
    thread = Thread(target=work, name=f"send to {message.notice.channel}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not ended and thread.is_alive():
        raise late(message.notice.channel)
    # A bug of ours in one channel must not keep the others from being told; Python has shown its traceback.
    failure = ended[0] if ended else _fault(message.notice.channel)
    if failure is not None:
        raise failure


def _fault(channel: str) -> ChannelError:
    return ChannelError(
        "sending failed by a fault of the product",
        code="ALR-211",
        where=f"channel {channel}",
        hint="its traceback is in the log; it is tried again, and other channels are told meanwhile",
    )


def late(where: str) -> ChannelError:
    """The receiver did not answer, or not in time; it may have taken the message."""
    return ChannelError(
        "the receiver did not answer in time, or broke the connection",
        code="ALR-206",
        where=where,
        hint="it is tried again under the same key; look at the receiver if it stays so",
    )
