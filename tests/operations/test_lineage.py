"""OpenLineage: what is told of runs, in the published form, naming nobody; and failures that cost a run nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

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
from tests.operations.lineage_form import FACETS, SCHEMA, NotInForm, check_event
from tests.operations.programs import add_program

Event = dict[str, Any]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "workspace")
    desk.reopen(lineage="file")
    return desk


def told(desk: Desk) -> list[Event]:
    """All events of the file, each of the published form."""
    text = (desk.workspace.root / LINEAGE_FILE).read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        check_event(event)
    return found


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


def test_of_a_servicing_extract_kpis_say_what_they_are_made_of(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=40, months=6), tmp_path / "sample")
    desk.run(tmp_path / "sample" / "servicing", definition="mfrs")
    fields = named(told(desk)[-1], "kpis.json")["facets"]["columnLineage"]["fields"]

    def said(kpi: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for item in fields[kpi]["inputFields"]:
            (step,) = item["transformations"]
            kind = f"{step['type']} {step['subtype']}{' masked' if step['masking'] else ''}"
            found.setdefault(kind, set()).add(f"{item['name'].rpartition('/')[2]}.{item['field']}")
        return found

    par, top = said("risk.par_30"), said("concentration.top_10_customers")
    assert {"schedules.due_date", "schedules.principal", "transactions.principal"} <= par["DIRECT AGGREGATION"]
    assert not {"schedules.interest", "transactions.interest"} & par["DIRECT AGGREGATION"], "mfrs covers principal"
    assert "schedules.valid_from" not in par["DIRECT AGGREGATION"] and par["INDIRECT FILTER"]
    assert top["INDIRECT GROUP_BY masked"] == {"loans.customer_id"}
    assert fields["risk.collection_rate"]["inputFields"] == [], "it has no value here"
    assert fields["risk.portfolio_health"]["inputFields"] == [], "nor has what is made of it"


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


# --- the published form ---


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Event]:
    """An event of each kind: a run that begins, one that ends well with rows refused, one that fails, a program."""
    folder = tmp_path_factory.mktemp("events")
    desk = Desk(folder / "workspace")
    desk.reopen(lineage="file")
    rows = [*worked_example(), *(bucketed_row(f"G{number}", "1", b0="1") for number in range(200))]
    path = write_csv(folder / "t.csv", [*rows, bucketed_row("D", "not a number")])
    desk.run(path)
    with pytest.raises(InputError):
        desk.run(write_csv(folder / "strict.csv", [*rows[:9], bucketed_row("D", "not a number")]), strict=True)
    add_program(desk.workspace, "old", 'print(\'{"kpis": {"risk.par_30": 1}}\')\n')
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    run_release(RunRequest(path=path, release="old"), tools, desk.environment)
    start, good, _, bad, _, program = told(desk)
    return {"START": start, "COMPLETE": good, "FAIL": bad, "program": program}


def test_every_kind_of_event_is_of_the_published_form_and_says_which(events: dict[str, Event]) -> None:
    assert {name: event["eventType"] for name, event in events.items()} == {
        "START": "START", "COMPLETE": "COMPLETE", "FAIL": "FAIL", "program": "COMPLETE",
    }  # fmt: skip
    assert {event["schemaURL"] for event in events.values()} == {SCHEMA}
    seen = set()
    for event in events.values():
        made = check_event(event)
        assert (str(made.run.runId), made.job.name) == (event["run"]["runId"], event["job"]["name"])
        seen |= {("run", name) for name in event["run"]["facets"]} | {("job", name) for name in event["job"]["facets"]}
        for kind in ("input", "output"):
            for item in event[f"{kind}s"]:
                seen |= {("dataset", name) for name in item["facets"]}
                seen |= {(kind, name) for name in item[f"{kind}Facets"]}
    assert seen == set(FACETS), "every facet that is known is told in some event, and was looked at"


BROKEN: dict[str, Callable[[Event], Any]] = {
    "no run": lambda event: event["run"].pop("runId"),
    "no UUID": lambda event: event["run"].update(runId="run-1"),
    "no time": lambda event: event.update(eventTime="2025-11-30"),
    "no zone": lambda event: event.update(eventTime="2025-11-30T10:00:00"),
    "no state": lambda event: event.update(eventType="DONE"),
    "no URI": lambda event: event.update(producer="abaco loans"),
    "another schema": lambda event: event.update(schemaURL="https://openlineage.io/spec/1-0-0/OpenLineage.json"),
    "a key of ours": lambda event: event.update(abaco=1),
    "a job without a name": lambda event: event["job"].pop("name"),
    "rows as text": lambda event: event["inputs"][0]["inputFacets"]["inputStatistics"].update(rowCount="3"),
    "success as text": lambda event: event["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"][0].update(
        success="no"
    ),
    "a facet without a producer": lambda event: event["job"]["facets"]["jobType"].pop("_producer"),
    "a facet without its schema": lambda event: event["inputs"][0]["facets"]["version"].pop("_schemaURL"),
    "a facet at another place": lambda event: event["run"]["facets"].update(schema={}),
    "a facet of ours": lambda event: event["outputs"][0]["facets"].update(abaco={}),
    "a column of no input": lambda event: named(event, "kpis.json")["facets"]["columnLineage"]["fields"].update(x={}),
    "a field without a name": lambda event: event["inputs"][0]["facets"]["schema"]["fields"][0].pop("name"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_an_event_of_another_form_is_seen(events: dict[str, Event], fault: str) -> None:
    event = json.loads(json.dumps(events["COMPLETE"]))
    check_event(event)
    BROKEN[fault](event)
    with pytest.raises(NotInForm):
        check_event(event)


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
        check_event(event)
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
