"""`abaco watch serve`: asked over HTTP, by those who may and those who may not, and told to stop."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from abaco_loans.operations.serve_metrics import MetricsServer, Page, answers, host_allowed, names_of
from abaco_loans.operations.workspace import open_workspace
from abaco_loans.watch.exposed import EXPOSED, Kind
from abaco_loans.wiring import metrics_tools
from tests.cli.conftest import Abaco


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


class Running:
    """A server in a thread."""

    def __init__(self, server: MetricsServer) -> None:
        self.server = server
        self.port = int(server.url.rpartition(":")[2])
        self._thread = threading.Thread(target=server.serve)
        self._thread.start()

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answered:
        """Ask as a client does; a header with None is not sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            said = connection.getresponse()
            return Answered(status=said.status, headers=dict(said.getheaders()), text=said.read().decode())
        finally:
            connection.close()

    def send(self, text: str) -> str:
        """Send bytes as they are; all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw:
            raw.sendall(text.encode())
            raw.shutdown(socket.SHUT_WR)
            return raw.makefile("rb").read().decode()

    def stop(self) -> None:
        """Stop; it does within a second or so."""
        self.server.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def running(demo_folder: Path) -> Iterator[Running]:
    pages = answers(metrics_tools(open_workspace(demo_folder, {})))
    made = Running(MetricsServer("127.0.0.1", 0, pages))
    yield made
    made.stop()


def test_prometheus_reads_it(running: Running) -> None:
    said = running.ask("/metrics")
    assert said.status == 200
    assert said.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {item.name: item for item in text_families(said.text)}
    for item in EXPOSED.values():
        name = item.name.removesuffix("_total") if item.kind is Kind.COUNTER else item.name
        if name in families:
            assert families[name].documentation == item.text
            assert families[name].type == ("counter" if item.kind is Kind.COUNTER else "gauge")
    assert {sample.value for sample in families["abaco_collector_success"].samples} == {1.0}
    assert families["abaco_runs"].samples[0].labels == {"release": "v2", "outcome": "finished"}
    assert families["abaco_runs"].samples[0].value == 3


def test_openmetrics_where_it_is_asked_for(running: Running) -> None:
    asked = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.3"
    said = running.ask("/metrics", Accept=asked)
    assert said.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert said.text.endswith("# EOF\n")
    families = openmetrics_families(said.text)  # type: ignore[no-untyped-call]
    names = {sample.name for family in families for sample in family.samples}
    assert {"abaco_runs_total", "abaco_build_info", "abaco_kpi_value"} <= names <= set(EXPOSED)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=x", "text/plain;version=;;=,", "*/*"])
def test_an_accept_header_that_is_not_understood(running: Running, accept: str) -> None:
    said = running.ask("/metrics", Accept=accept)
    assert said.status == 200
    assert "abaco_build_info" in said.text


def test_promtool_finds_nothing_to_say(running: Running, promtool: str) -> None:
    page = running.ask("/metrics").text
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_health_says_yes_or_why_not(running: Running, demo_folder: Path, tmp_path: Path) -> None:
    said = running.ask("/health")
    assert (said.status, said.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(said.text) == {"status": "ok", "reasons": [], "held": False}
    shutil.copytree(demo_folder, tmp_path / "book")
    workspace = open_workspace(tmp_path / "book", {})
    (tmp_path / "book" / "records" / "abaco.db").write_bytes(b"not a database" * 99)
    broken = Running(MetricsServer("localhost", 0, answers(metrics_tools(workspace))))
    try:
        bad = broken.ask("/health")
        figures = broken.ask("/metrics")
    finally:
        broken.stop()
    assert bad.status == 503
    assert json.loads(bad.text) == {"status": "unavailable", "reasons": ["database"], "held": False}
    assert figures.status == 200
    assert 'abaco_collector_success{collector="runs"} 0.0' in figures.text
    assert "abaco_runs_total" not in figures.text
    for text in (bad.text, figures.text):
        assert str(tmp_path) not in text and "sqlite" not in text.lower()


def test_head_gives_the_headers_alone(running: Running) -> None:
    said = running.ask("/health", "HEAD")
    assert (said.status, said.text) == (200, "")
    assert said.headers["Content-Length"] == str(len(running.ask("/health").text))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_it_is_to_be_read_only(running: Running, method: str) -> None:
    said = running.ask("/metrics", method)
    assert (said.status, said.headers["Allow"]) == (405, "GET, HEAD")
    assert "abaco_" not in said.text


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../abaco.yml", "/health%2f", "/%2e%2e/keys"])
def test_there_is_nothing_else(running: Running, path: str) -> None:
    said = running.ask(path)
    assert said.status == 404
    assert "abaco_" not in said.text


def test_a_query_changes_nothing(running: Running) -> None:
    assert running.ask("/health?x=1&y=../..").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "", ":9464", "[::2]", "localhost:x"]
)
def test_under_another_name_it_says_nothing(running: Running, host: str) -> None:
    said = running.ask("/metrics", Host=host)
    assert said.status == 403
    assert "abaco_" not in said.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9464", "[::1]:9464", "[0:0:0:0:0:0:0:1]"])
def test_the_names_of_this_machine(running: Running, host: str) -> None:
    assert running.ask("/health", Host=host).status == 200


def test_the_name_that_it_was_given() -> None:
    names = names_of("Abaco-1.example")
    assert host_allowed("abaco-1.example:9464", names)
    assert not host_allowed("abaco-2.example", names)
    assert not host_allowed(None, names)


def test_what_is_no_request(running: Running) -> None:
    without = running.send("GET /metrics HTTP/1.1\r\n\r\n")
    twice = running.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert " 403 " in without.splitlines()[0] and " 403 " in twice.splitlines()[0]
    for junk in ("BREW /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "\x00\x01\r\n\r\n", "GET " + "a" * 70_000):
        said = running.send(junk)
        assert "abaco_" not in said and "<" not in said and "Python" not in said
    assert running.ask("/health").status == 200


def test_connections_that_say_nothing_take_no_more_than_their_places(running: Running) -> None:
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(30)]
    time.sleep(0.5)
    refused = sum(raw.recv(1) == b"" for raw in idle[16:])
    assert refused == 14, "those beyond the places are closed at once"
    for raw in idle:
        raw.close()
    time.sleep(0.3)
    assert running.ask("/health").status == 200


def test_one_look_at_a_time() -> None:
    looking: list[int] = []
    most = 0

    def slow(accept: str) -> Page:
        nonlocal most
        looking.append(1)
        most = max(most, len(looking))
        time.sleep(0.05)
        looking.pop()
        return Page(status=200, kind="text/plain", body=b"")

    made = Running(MetricsServer("127.0.0.1", 0, {"/metrics": slow, "/health": slow}))
    try:
        threads = [threading.Thread(target=made.ask, args=(path,)) for path in ("/metrics", "/health") * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        made.stop()
    assert most == 1


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop(demo_folder: Path) -> None:
    words = [sys.executable, "-m", "abaco_loans", "watch", "serve", "-w", str(demo_folder), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.fullmatch(r"serving http://127\.0\.0\.1:(\d+)/metrics and .*/health\n", process.stdout.readline())
        assert found
        port = int(found[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/metrics")
        assert b"abaco_runs_total" in connection.getresponse().read()
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    with pytest.raises(OSError):  # noqa: PT011
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_an_address_that_cannot_be_had(demo_folder: Path, abaco: Abaco) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = abaco("watch", "serve", "-w", demo_folder, "--port", taken.getsockname()[1])
    assert (said.code, "WAT-120" in said.err) == (4, True)
    other = abaco("watch", "serve", "-w", demo_folder, "--host", "198.51.100.7", "--port", 0)
    assert (other.code, "WAT-120" in other.err) == (4, True)
