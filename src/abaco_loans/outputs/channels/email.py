"""E-mail over SMTP: plain text and simple HTML, encrypted on the way unless the configuration says otherwise.

The Message-ID is made of the notice's key, so that a mail that is sent twice is one mail to whoever looks; mails of one
alert are one thread.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from hashlib import sha256
from html import escape

from abaco_loans.outputs.channels.address import AllowedHosts, dial, not_allowed, unreachable
from abaco_loans.outputs.channels.base import ChannelError, Message, late
from abaco_loans.outputs.channels.words import facts, links, title
from abaco_loans.watch.alert import Severity

_TIMEOUT_S = 10
_COLOURS = {Severity.WARNING: "#8a5a00", Severity.CRITICAL: "#a3200d"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """A relay, and who writes to whom.

    Args:
        tls: ``starttls`` (usually port 587), ``tls`` from the first byte (465), or ``none``, without a password only.
        user, password: '' where the relay knows us otherwise.
        trust: what is trusted; None: what the machine trusts.
    """

    channel: str
    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    allowed: AllowedHosts
    tls: str = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)
    trust: ssl.SSLContext | None = field(default=None, repr=False)

    def send(self, message: Message) -> None:
        """Hand the mail to the relay; see `Channel.send`.

        Raises:
            ChannelError: ALR-203 the relay is not allowed; ALR-204, ALR-205, ALR-206 it cannot be reached; ALR-208 it
                is busy; ALR-209 it refuses us; ALR-210 it took the mail for some of those it is for; ALR-212 the
                password would be sent in the clear.
        """
        host = self.host.lower()
        if not self.allowed.allows(host, self.port):
            raise not_allowed(host)
        if self.password and self.tls == "none":
            raise ChannelError(
                "a password is not sent without TLS",
                code="ALR-212",
                where=f"channel {self.channel}",
                hint="set tls to starttls or tls, or leave user and password out",
            )
        mail = mail_of(message, sender=self.sender, to=self.to)
        with _told(host), self._relay(host, dial(host, self.port, self.allowed)) as relay:
            refused = relay.send_message(mail, self.sender, list(self.to))
        if refused:
            raise ChannelError(
                f"{host} refuses {len(refused)} of {len(self.to)} who are written to",
                code="ALR-210",
                where=f"channel {self.channel}",
                hint="the others have the mail, so it is not sent again; look at the addresses in alerts.yml",
                temporary=False,
            )

    @contextmanager
    def _relay(self, host: str, addresses: tuple[str, ...]) -> Iterator[smtplib.SMTP]:
        """A relay that is ready to take a mail."""
        context = self.trust or ssl.create_default_context()
        relay = _Relay(host, self.port, addresses, context if self.tls == "tls" else None)
        try:
            if self.tls == "starttls":
                relay.starttls(context=context)
            if self.user or self.password:
                relay.login(self.user, self.password)
            yield relay
            relay.quit()
        finally:
            relay.close()


class _Relay(smtplib.SMTP):
    """SMTP to an address that was checked; a certificate is checked against the host's name."""

    def __init__(self, host: str, port: int, addresses: tuple[str, ...], tls: ssl.SSLContext | None) -> None:
        self._addresses = addresses
        self._tls = tls
        # Its own name in EHLO would be the machine's.
        super().__init__(host, port, local_hostname="localhost", timeout=_TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        for number, address in enumerate(self._addresses, 1):
            try:
                plain = socket.create_connection((address, port), timeout)
            except OSError:
                if number == len(self._addresses):
                    raise
                continue
            return self._tls.wrap_socket(plain, server_hostname=host) if self._tls else plain
        raise OSError


@contextmanager
def _told(host: str) -> Iterator[None]:
    """What a relay's failure means; what it said stays out of it."""
    try:
        yield
    except TimeoutError:
        raise late(host) from None
    except smtplib.SMTPNotSupportedError:
        raise _refused(host, "it offers no STARTTLS, or no way to log in") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise (_busy if codes and all(400 <= code < 500 for code in codes) else _refused)(host, "recipients") from None
    except smtplib.SMTPResponseException as error:
        raise (_busy if 400 <= error.smtp_code < 500 else _refused)(host, str(error.smtp_code)) from None
    except (smtplib.SMTPException, OSError, ValueError):
        raise unreachable(host, "it does not take a connection, breaks it, or its certificate does not hold") from None


def _busy(host: str, why: str) -> ChannelError:
    return ChannelError(
        f"{host} does not take mail now ({why})",
        code="ALR-208",
        where=host,
        hint="it is tried again; other channels are told meanwhile",
    )


def _refused(host: str, why: str) -> ChannelError:
    return ChannelError(
        f"{host} refuses us ({why})",
        code="ALR-209",
        where=host,
        hint="look at from, to, user, tls and the password in the environment; deliveries wait until then",
    )


def mail_of(message: Message, *, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """The mail, all of it: the same message gives the same mail.

    Args:
        sender: address without a name, as each of ``to``.
    """
    domain = sender.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["Subject"] = title(message)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = _id(message.notice.key, domain)
    mail["References"] = _id(message.alert.alert_id, domain)
    # RFC 3834: nobody's holiday answers to it.
    mail["Auto-Submitted"] = "auto-generated"
    said = (*facts(message), *((link.text, link.href) for link in links(message)))
    mail.set_content("\n".join((title(message), "", *(f"{label}: {text}" for label, text in said))) + "\n", cte=_CTE)
    mail.add_alternative(_html(message, said), subtype="html", cte=_CTE)
    # The boundary is otherwise random.
    mail.set_boundary(f"=_{sha256(message.notice.key.encode()).hexdigest()[:32]}")
    return mail


_CTE = "quoted-printable"


def _id(text: str, domain: str) -> str:
    return f"<{sha256(text.encode()).hexdigest()[:32]}@{domain}>"


def _html(message: Message, said: tuple[tuple[str, str], ...]) -> str:
    colour = _COLOURS[message.notice.severity]
    rows = "".join(
        f'<tr><th align="left" valign="top">{escape(label)}</th><td>{escape(text)}</td></tr>\n' for label, text in said
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Alert</title></head>\n<body>\n'
        f'<h1 style="font-size:1.1em;color:{colour}">{escape(title(message))}</h1>\n'
        f'<table cellpadding="4">\n{rows}</table>\n</body></html>\n'
    )
