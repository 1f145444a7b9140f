"""Traces: received by a real collector over HTTP; off without the standard variables; never in the way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.operations.desk import Desk, bucketed_row, worked_example, write_csv

# Each starts processes.
pytestmark = pytest.mark.slow


class Collector:
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resource: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                said = ExportTraceServiceRequest()
                said.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                for part in said.resource_spans:
                    collector.resource |= {item.key: item.value.string_value for item in part.resource.attributes}
                    collector.spans += [span for scope in part.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def one(self, name: str) -> Any:
        """The only span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def abaco(desk: Desk, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "abaco_loans", *map(str, words), "-w", str(desk.workspace.root)],
        env={**desk.environment, "PYTHONPATH": ":".join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def attributes(span: Any) -> Mapping[str, object]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def test_a_run_and_its_phases(desk: Desk, collector: Collector, tmp_path: Path) -> None:
    tape = write_csv(tmp_path / "Juana Perez.csv", worked_example())
    done = abaco(desk, "run", tape, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert done.returncode == 0, done.stderr
    run = collector.one("abaco.run")
    assert not run.parent_span_id
    assert attributes(run) == {"release": "v2", "layout": "bucketed", "definition": "original", "rows": 3}
    phases = [span for span in collector.spans if span.name.startswith("abaco.run.")]
    (record,) = desk.runs()
    assert {span.name.removeprefix("abaco.run.") for span in phases} >= set(record.timings)
    assert {span.parent_span_id for span in phases} == {run.span_id}
    assert all(run.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano for span in phases)
    assert len(collector.spans) == len(phases) + 1
    assert collector.resource["service.name"] == "abaco"
    text = str(collector.spans) + str(collector.resource)
    assert "Juana" not in text and str(tmp_path) not in text


def test_a_failure_is_told_by_its_code_alone(desk: Desk, collector: Collector, tmp_path: Path) -> None:
    tape = write_csv(tmp_path / "Juana Perez.csv", [*worked_example(), bucketed_row("D", "Juana")])
    where = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces", "OTEL_SERVICE_NAME": "mine"}
    done = abaco(desk, "run", tape, "--strict", **where)
    assert done.returncode == 3
    run = collector.one("abaco.run")
    assert run.status.code == 2
    assert attributes(run)["error.type"] == "RUN-103"
    assert collector.resource["service.name"] == "mine"
    assert not run.events
    assert "Juana" not in str(collector.spans)


def test_a_tick_is_traced(desk: Desk, collector: Collector, tmp_path: Path) -> None:
    desk.run(write_csv(tmp_path / "t.csv", worked_example()))
    done = abaco(desk, "watch", "tick", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert done.returncode == 0, done.stderr
    assert collector.one("abaco.tick").status.code == 0


def test_switched_off() -> None:
    code = """if True:
        import os, sys
        from abaco_loans.operations.tracing import _tracer
        here = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
        exporters = [{"OTEL_TRACES_EXPORTER": name} for name in ("none", "zipkin")]
        for more in ({"OTEL_SDK_DISABLED": "True"}, *exporters):
            os.environ.update(here | more)
            _tracer.cache_clear()
            assert _tracer() is None, more
            for name in here | more:
                del os.environ[name]
        _tracer.cache_clear()
        assert _tracer() is None
        assert not [name for name in sys.modules if name.startswith("opentelemetry")]
        """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nothing is traced") == 1, "an exporter that is none of ours is told"


def test_a_collector_that_is_not_there_costs_little(desk: Desk, tmp_path: Path) -> None:
    tape = write_csv(tmp_path / "t.csv", worked_example())
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = abaco(desk, "run", tape, "--json", **where)
    assert done.returncode == 0
    assert desk.runs()[0].status == "finished"
