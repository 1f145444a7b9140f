"""OpenLineage: what is told of runs, in the published form, naming nobody; and failures that cost a run nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from abaco_loans.errors import InputError
from abaco_loans.operations.copy_workspace import copied_workspace
from abaco_loans.operations.follow_lineage import LINEAGE_FILE
from abaco_loans.operations.run_release import run_release
from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.operations.validation_desk import open_desk
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.outputs.lineage import lineage_id
from abaco_loans.sample import SampleSpec
from abaco_loans.wiring import open_records, run_tools, validate_tools
from tests.operations.desk import Desk, bucketed_row, worked_example, write_csv
from tests.operations.programs import add_program

Event = dict[str, Any]

# What the schema of each facet requires (openlineage.io/spec/facets).
REQUIRED = {
    "schema": {"fields"},
    "version": {"datasetVersion"},
    "columnLineage": {"fields"},
    "dataQualityAssertions": {"assertions"},
    "inputStatistics": set(),
    "outputStatistics": set(),
    "processing_engine": {"version"},
    "nominalTime": {"nominalStartTime"},
    "errorMessage": {"message", "programmingLanguage"},
    "jobType": {"processingType", "integration"},
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "workspace")
    desk.reopen(lineage="file")
    return desk


def told(desk: Desk) -> list[Event]:
    """All events of the file, each valid."""
    text = (desk.workspace.root / LINEAGE_FILE).read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        check(event)
    return found


def check(event: Event) -> None:
    """As OpenLineage.json 2-0-2 and the schemas of the facets say."""
    assert set(event) == {"eventType", "eventTime", "run", "job", "inputs", "outputs", "producer", "schemaURL"}
    assert event["eventType"] in {"START", "COMPLETE", "FAIL"}
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert urlparse(event["producer"]).scheme
    assert event["schemaURL"].endswith("/OpenLineage.json#/$defs/RunEvent")
    uuid.UUID(event["run"]["runId"])
    facets(event["run"]["facets"])
    for named in (event["job"], *event["inputs"], *event["outputs"]):
        assert named["namespace"] and named["name"]
        facets(named.get("facets", {}))
    for dataset in event["inputs"]:
        assert set(dataset) <= {"namespace", "name", "facets", "inputFacets"}
        facets(dataset["inputFacets"])
    for dataset in event["outputs"]:
        assert set(dataset) <= {"namespace", "name", "facets", "outputFacets"}
        facets(dataset["outputFacets"])


def facets(found: Mapping[str, Any]) -> None:
    for name, facet in found.items():
        assert set(facet) >= {"_producer", "_schemaURL"} | REQUIRED[name], name
        assert urlparse(facet["_schemaURL"]).scheme == "https"
        if name == "schema":
            assert all(field["name"] and field["type"] for field in facet["fields"])
        if name == "dataQualityAssertions":
            assert all(item["assertion"] and isinstance(item["success"], bool) for item in facet["assertions"])
        if name == "columnLineage":
            for column in facet["fields"].values():
                for source in column["inputFields"]:
                    assert source["namespace"] and source["name"] and source["field"]
                    assert all(step["type"] in {"DIRECT", "INDIRECT"} for step in source["transformations"])


def named(event: Event, end: str) -> Event:
    found: Event
    (found,) = [item for item in event["outputs"] if item["name"].endswith(end)]
    return found


def test_a_run_is_told_at_its_start_and_at_its_end(desk: Desk, tmp_path: Path) -> None:
    outcome = desk.run(write_csv(tmp_path / "Juana Perez.csv", worked_example()))
    start, end = told(desk)
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    run_id = outcome.record.run_id
    assert start["run"]["runId"] == end["run"]["runId"] == lineage_id(run_id, 1)
    assert start["job"]["name"] == "run.v2"
    assert [item["name"] for item in start["inputs"]] == [f"tapes/{outcome.record.tape_sha256}"]
    (tape,) = end["inputs"]
    assert tape["facets"]["version"]["datasetVersion"] == outcome.record.tape_sha256
    assert tape["inputFacets"]["inputStatistics"]["rowCount"] == 3
    first = tape["facets"]["schema"]["fields"][0]
    assert (first["name"], first["type"], first["ordinal_position"]) == ("loan_id", "text", 1)
    published = {path.name for path in desk.folder(outcome).iterdir()} - {"manifest.json"}
    assert {item["name"].rpartition("/")[2] for item in end["outputs"]} == published
    again = desk.run(tmp_path / "Juana Perez.csv")
    assert again.earlier
    assert len(told(desk)) == 2, "what was found was not run"
    assert (desk.workspace.root / LINEAGE_FILE).stat().st_mode & 0o077 == 0


def test_masked_columns_say_so_and_kpis_say_what_they_are_made_of(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=40, months=6), tmp_path / "sample")
    outcome = desk.run(tmp_path / "sample" / "snapshot.csv")
    end = told(desk)[-1]
    clean = named(end, "clean.parquet")["facets"]
    fields = clean["columnLineage"]["fields"]
    assert {field["name"] for field in clean["schema"]["fields"]} == set(fields)
    assert fields["customer_id"]["transformationType"] == "MASKED"
    assert fields["customer_id"]["inputFields"][0]["transformations"][0]["masking"] is True
    assert fields["loan_id"]["transformationType"] == "IDENTITY"
    assert fields["loan_id"]["inputFields"][0]["transformations"][0]["masking"] is False
    masked = {name for name, said in fields.items() if said["transformationType"] == "MASKED"}
    contract = desk.workspace.release().contracts["snapshot"]
    assert masked == {name for name in contract.masked_columns(contract.table("tape")) if name in fields}
    kpis = named(end, "kpis.json")["facets"]["columnLineage"]["fields"]
    made_of = {item["field"] for said in kpis.values() for item in said["inputFields"]}
    assert made_of and made_of <= {field["name"] for field in end["inputs"][0]["facets"]["schema"]["fields"]}
    sources = {item["name"] for said in kpis.values() for item in said["inputFields"]}
    assert sources == {f"tapes/{outcome.record.tape_sha256}"}


def test_what_was_refused_is_an_assertion_that_failed(desk: Desk, tmp_path: Path) -> None:
    rows = [*worked_example(), *(bucketed_row(f"G{number}", "1", b0="1") for number in range(200))]
    rows.append(bucketed_row("D", "not a number"))
    outcome = desk.run(write_csv(tmp_path / "t.csv", rows))
    assert outcome.record.rows is not None and outcome.record.rows.quarantined == 1
    (tape,) = told(desk)[-1]["inputs"]
    assertions = tape["inputFacets"]["dataQualityAssertions"]["assertions"]
    failed = [item for item in assertions if not item["success"]]
    assert [(item["column"], item["actual"], item["severity"]) for item in failed] == [
        ("total_receivable_usd", "1", "error")
    ]
    assert len(assertions) > 3, "and the rules that held are told, too"


def test_a_tape_that_is_refused_and_tried_again(desk: Desk, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [*worked_example(), bucketed_row("D", "Juana Perez")])
    for _ in range(2):
        with pytest.raises(InputError):
            desk.run(path, strict=True)
    events = told(desk)
    assert [event["eventType"] for event in events] == ["START", "FAIL", "START", "FAIL"]
    run_id = desk.runs()[0].run_id
    assert [event["run"]["runId"] for event in events] == [lineage_id(run_id, attempt) for attempt in (1, 1, 2, 2)], (
        "an attempt is a run of its own to OpenLineage"
    )
    assert events[1]["run"]["facets"]["errorMessage"]["message"] == "RUN-103"
    failed = events[1]["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [item["success"] for item in failed].count(False) == 1
    assert "Juana" not in (desk.workspace.root / LINEAGE_FILE).read_text(encoding="utf-8")


def test_nothing_names_a_loan_a_person_a_file_or_this_machine(desk: Desk, tmp_path: Path) -> None:
    rows = [row | {"loan_id": f"LOAN-{number}-X", "customer_id": "Juana Perez", "region": "Xochimilco"}
            for number, row in enumerate(worked_example())]  # fmt: skip
    desk.run(write_csv(tmp_path / "juana.csv", rows))
    text = (desk.workspace.root / LINEAGE_FILE).read_text(encoding="utf-8")
    for word in ("LOAN-", "Juana", "Xochimilco", "juana.csv", str(tmp_path), str(desk.workspace.root)):
        assert word not in text


# --- over HTTP ---


class Receiver:
    """Takes events as a lineage server does."""

    def __init__(self, status: int = 201) -> None:
        self.events: list[Event] = []
        self.asked = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if status < 300:
                    receiver.events.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def by_http(desk: Desk, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Send as the variables of OpenLineage say."""
    desk.reopen(lineage="http")
    monkeypatch.setenv("OPENLINEAGE_URL", url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "s3cret-token")
    monkeypatch.chdir(desk.workspace.root)
    desk.environment |= {"OPENLINEAGE_URL": url}


def test_events_are_sent_where_the_variables_say(
    desk: Desk, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_http(desk, monkeypatch, receiver.url)
    desk.run(write_csv(tmp_path / "t.csv", worked_example()))
    for event in receiver.events:
        check(event)
    assert [event["eventType"] for event in receiver.events] == ["START", "COMPLETE"]
    assert not (desk.workspace.root / LINEAGE_FILE).exists()


def test_a_receiver_that_fails_costs_a_run_nothing(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Receiver(status=400)
    by_http(desk, monkeypatch, made.url)
    with caplog.at_level(logging.WARNING, logger="abaco_loans"):
        outcome = desk.run(write_csv(tmp_path / "t.csv", worked_example()))
    made.close()
    assert outcome.record.status == "finished"
    said = [item.getMessage() for item in caplog.records if item.name.startswith("abaco_loans")]
    assert len(said) == 1 and "lineage of run" in said[0]
    assert "s3cret" not in said[0] and made.url not in said[0]
    assert made.asked == 1, "after a failure nothing more is tried"


def test_http_without_an_address_and_a_file_that_cannot_be_written(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk.reopen(lineage="http")
    assert desk.run(write_csv(tmp_path / "a.csv", worked_example())).record.status == "finished"
    assert "OUT-112" in caplog.text
    desk.reopen(lineage="file")
    (desk.workspace.root / "logs").write_text("a file where the folder should be", encoding="utf-8")
    other = [*worked_example(), bucketed_row("Z", "1", b0="1")]
    assert desk.run(write_csv(tmp_path / "b.csv", other)).record.status == "finished"
    assert "OUT-105" in caplog.text


def test_a_program_tells_its_files_and_no_columns(desk: Desk, tmp_path: Path) -> None:
    add_program(desk.workspace, "old", 'print(\'{"kpis": {"risk.par_30": 1}}\')\n')
    request = RunRequest(path=write_csv(tmp_path / "t.csv", worked_example()), release="old")
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    record = run_release(request, tools, desk.environment)
    start, end = told(desk)
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert end["run"]["runId"] == lineage_id(record.run_id, 1)
    assert end["job"]["name"] == "run.old"
    assert "columnLineage" not in named(end, "kpis.json")["facets"]


# --- where nothing is told ---


@pytest.mark.slow
def test_off_is_the_default_and_imports_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "workspace")
    path = write_csv(tmp_path / "t.csv", worked_example())
    code = (
        "import sys\nfrom abaco_loans.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as left:\n    assert not left.code\n"
        "found = [name for name in sys.modules if name.split('.')[0] in ('openlineage', 'opentelemetry', "
        "'prometheus_client', 'requests', 'attr')]\nassert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(path), "-w", str(desk.workspace.root), "--json"],
        env={**desk.environment, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (desk.workspace.root / "logs").exists()


def test_trials_of_a_validation_tell_nothing(desk: Desk) -> None:
    given = validate_tools(desk.workspace, desk.environment, lambda text: None, desk.clock)
    folder = desk.workspace.root / "scratch-of-a-test"
    folder.mkdir()
    trial = open_desk(given, folder, None)
    assert trial.trial.settings.lineage == "off"
    with open_records(desk.workspace, desk.clock) as records:
        copy = copied_workspace(desk.workspace, desk.workspace.root.parent / "copy", records)
    assert copy.settings.lineage == "off", "and neither do drills and rehearsals"
