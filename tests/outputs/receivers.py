"""Real receivers on this machine: HTTP and HTTPS that answer as told, mail relays, and the messages they are sent."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from abaco_loans.outputs.channels.base import Message
from abaco_loans.watch.alert import Alert, AlertStatus, Notice, NoticeKind, Severity, fingerprint

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
HOST = "127.0.0.1"


# --- messages ---


def an_alert(**more: Any) -> Alert:
    made = Alert(
        alert_id="a-4f2c90aa",
        fingerprint=fingerprint("error_rate", ""),
        rule="error_rate",
        subject="",
        severity=Severity.CRITICAL,
        status=AlertStatus.FIRING,
        words="error rate 6 %, above 5 %",
        owner="engineering_lead",
        runbook="docs/operations.md#error-rate",
        first_seen=NOON,
        last_seen=NOON + timedelta(minutes=4),
        seen=2,
        acknowledged_by=None,
        acknowledged_at=None,
        resolved_at=None,
        event_seq=7,
    )
    return replace(made, **more)


def a_message(kind: NoticeKind = NoticeKind.RAISE, *, channel: str = "team", step: int = 0, **more: Any) -> Message:
    alert = an_alert(**more)
    notice = Notice(alert_id=alert.alert_id, kind=kind, severity=alert.severity, step=step, channel=channel)
    return Message(alert=alert, notice=notice, at=NOON, who="engineering_lead", meaning="tapes fail")


def resolved() -> Message:
    return a_message(NoticeKind.RESOLVE, status=AlertStatus.RESOLVED, resolved_at=NOON + timedelta(hours=1))


# --- trust ---


@cache
def _identity() -> tuple[bytes, bytes]:
    """A key and a certificate for this machine, made by nobody but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver of a test")])
    names = [x509.DNSName("localhost"), x509.DNSName("hooks.example"), x509.IPAddress(ip_address(HOST))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return (
        key.private_bytes(serialization.Encoding.PEM, *form),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def server_side() -> ssl.SSLContext:
    """What a receiver shows."""
    key, certificate = _identity()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as name:
        path = Path(name) / "identity.pem"
        path.write_bytes(key + certificate)
        context.load_cert_chain(path)
    return context


def trusting() -> ssl.SSLContext:
    """What a sender trusts: the receivers of these tests only."""
    return ssl.create_default_context(cadata=_identity()[1].decode())


# --- HTTP ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server. It answers with ``answers`` in turn, the last one for ever; before ``go`` is set, not at all."""

    port: int = 0
    answers: list[tuple[int, Mapping[str, str], bytes]] = field(default_factory=lambda: [(200, {}, b"ok")])
    received: list[Received] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    scheme: str = "http"

    def url(self, path: str = "/hook", host: str = HOST) -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.answers[:] = [(status, headers or {}, body)]


@contextmanager
def receiver(*, tls: bool = False, slow: bool = False) -> Iterator[Receiver]:
    """A receiver at a port of its own; a slow one answers when ``go`` is set."""
    made = Receiver(scheme="https" if tls else "http")
    if not slow:
        made.go.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.received.append(Received(path=self.path, headers=dict(self.headers), body=body))
            made.came.set()
            made.go.wait(30)
            status, headers, answer = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                pass  # the sender is dead, as it was meant to be

        def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 # the name is the base class's
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    if tls:
        server.socket = server_side().wrap_socket(server.socket, server_side=True)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


# --- mail ---


@dataclass
class Relay:
    """A mail relay: ``mails`` it took, over TLS or not, and what it answers to a recipient."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    recipients: dict[str, str] = field(default_factory=dict)

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, _: Any) -> str:
        said = self.recipients.get(address, "250 OK")
        if said.startswith("250"):
            envelope.rcpt_tos.append(address)
        return said

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def log_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right-password", handled=False)


class _AnyPort(Controller):
    """Takes a free port, and knows which it got."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def relay(*, starttls: bool = True, tls: bool = False, login: bool = False) -> Iterator[Relay]:
    """A relay at a port of its own."""
    made = Relay()
    how: dict[str, Any] = {}
    if starttls:
        how = {"tls_context": server_side(), "require_starttls": True}
    if login:
        how |= {"authenticator": made.log_in, "auth_required": True}
    if tls:
        how |= {"ssl_context": server_side(), "auth_require_tls": False}
    controller = _AnyPort(made, hostname=HOST, port=0, server_hostname="relay", ident="relay", **how)
    controller.start()
    made.port = controller.port
    try:
        yield made
    finally:
        controller.stop()
