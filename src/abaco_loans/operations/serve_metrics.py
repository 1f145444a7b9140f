"""Serve `/metrics` and `/health` over HTTP: to read only, by one look at a time, until told to stop.

Invariants: only GET and HEAD are answered; only a request that names this host is (a page in somebody's browser cannot
read it under another name); an answer holds figures of production and no words of an error; what is asked is not
logged. Whoever can reach the port can read it: it is bound to this machine unless another address is given.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from abaco_loans.errors import WorldError
from abaco_loans.operations.production_metrics import MetricsTools, production_health, production_metrics
from abaco_loans.outputs.metrics_page import metrics_page, need_prometheus

_CONNECTIONS_MAX = 16
_REQUEST_S = 5.0
_NAP_S = 0.2
_LAST_LOOK_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer."""

    status: int
    kind: str
    body: bytes


# Given the Accept header.
Answer = Callable[[str], Page]


def answers(tools: MetricsTools) -> dict[str, Answer]:
    """What is answered at which path.

    Raises:
        WorldError: ``OUT-111`` the package that writes the metrics is missing.
    """
    need_prometheus()

    def metrics(accept: str) -> Page:
        body, kind = metrics_page(production_metrics(tools), accept)
        return Page(status=200, kind=kind, body=body)

    def health(accept: str) -> Page:
        found = production_health(tools)
        body = json.dumps(found.as_dict()).encode() + b"\n"
        return Page(status=503 if found.reasons else 200, kind="application/json", body=body)

    return {"/metrics": metrics, "/health": health}


class MetricsServer:
    """Serves until it is stopped.

    Args:
        host: name or address of this machine to listen at; the name under which it may be asked, beside localhost.
        port: 0 for any that is free.

    Raises:
        WorldError: ``WAT-120`` it cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: dict[str, Answer]) -> None:
        self._stopping = False
        self._look = threading.Lock()
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Server(family, (host, port), names_of(host), self._alone(pages))
        except OSError as error:
            raise WorldError(
                f"cannot listen at {host}, port {port}: {error.strerror or error}",
                code="WAT-120",
                where="watch serve",
                hint="choose another --port, or a --host of this machine",
            ) from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}"

    def serve(self) -> None:
        """Answer until stopped; the look at hand is ended first."""
        while not self._stopping:
            self._server.handle_request()
        if self._look.acquire(timeout=_LAST_LOOK_S):
            self._look.release()
        self._server.server_close()

    def stop(self) -> None:
        """Answer no more. May be called from a signal handler."""
        self._stopping = True

    def _alone(self, pages: dict[str, Answer]) -> dict[str, Answer]:
        """The same, but one look at production at a time."""

        def alone(answer: Answer) -> Answer:
            def one(accept: str) -> Page:
                with self._look:
                    return answer(accept)

            return one

        return {path: alone(answer) for path, answer in pages.items()}


def names_of(host: str) -> frozenset[str]:
    """The names under which a server at this host may be asked."""
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower()})


def host_allowed(header: str | None, names: frozenset[str]) -> bool:
    """Whether a Host header names one of them, with any port or none."""
    if header is None:
        return False
    name, _, port = header.rpartition(":") if not header.endswith("]") and ":" in header else (header, "", "0")
    if name.startswith("[") and name.endswith("]"):
        try:
            name = str(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return False
    return port.isascii() and port.isdecimal() and name.lower() in names


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    timeout = _NAP_S

    def __init__(
        self, family: socket.AddressFamily, address: tuple[str, int], names: frozenset[str], pages: dict[str, Answer]
    ) -> None:
        self.address_family = family
        self.names, self.pages = names, pages
        self._places = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking what this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a connection, while there are places; nobody waits for one."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is no news; anything else is a fault of ours, and is told on stderr."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_S
    server_version, sys_version = "abaco", ""
    error_message_format = "%(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """Answer."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not host_allowed(hosts[0], self.server.names):
            return self._say(_words(403, "this host is not served here"))
        answer = self.server.pages.get(self.path.partition("?")[0])
        if answer is None:
            return self._say(_words(404, "there are /metrics and /health"))
        return self._say(answer(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Refuse."""
        self._say(_words(405, "to be read only"), Allow="GET, HEAD")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: who scrapes comes every few seconds."""

    def _say(self, page: Page, **headers: str) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)


def _words(status: int, text: str) -> Page:
    return Page(status=status, kind="text/plain; charset=utf-8", body=text.encode() + b"\n")
