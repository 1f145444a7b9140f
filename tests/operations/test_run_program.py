"""A program as the release that runs: what is published and recorded of it, and what it cannot break."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import AbacoError, ConfigError, InputError, UsageError, WorldError
from abaco_loans.operations.run_program import ProgramOutcome, run_program
from abaco_loans.operations.run_report import changes, record_document, run_document
from abaco_loans.operations.run_tape import RunRequest
from abaco_loans.wiring import open_records, run_tools
from tests.operations.desk import Desk, worked_example, write_csv
from tests.operations.programs import LOANS, add_program

SAYS = 'print(\'{"kpis": {"risk.par_30": 9.20, "own.figure": -1e-7, "risk.par_90": null}}\')\n'


def run(
    desk: Desk, tape: Path, release: str, environment: Mapping[str, str] | None = None, **asked: Any
) -> ProgramOutcome:
    tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
    return run_program(RunRequest(path=tape, release=release, **asked), tools, environment or {})


def document(desk: Desk, outcome: ProgramOutcome) -> dict[str, Any]:
    return record_document(outcome.record, desk.workspace, earlier=outcome.earlier)


def events(desk: Desk) -> list[str]:
    with open_records(desk.workspace, desk.clock) as records:
        return [event.action for event in records.events()]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "tape.csv", worked_example())


def test_what_was_printed_is_published_digit_by_digit(desk: Desk, tape: Path) -> None:
    add_program(desk.workspace, "old", SAYS)
    outcome = run(desk, tape, "old")
    found = document(desk, outcome)
    par_30 = found["kpis"]["risk.par_30"]
    assert (par_30["value"], par_30["value_exact"]) == ("9.20", "9.20")
    # Unit, name and thresholds are the catalogue's: 9.20 is beyond its 8 %.
    assert (par_30["unit"], par_30["name"], par_30["status"]) == ("%", "PAR 30", "critical")
    assert found["kpis"]["own.figure"]["value"] == "-0.0000001"
    assert (found["kpis"]["own.figure"]["unit"], found["kpis"]["own.figure"]["status"]) == ("", "ok")
    assert found["kpis"]["risk.par_90"]["value"] is None
    assert found["kpis"]["risk.par_90"]["status"] == "not_computable"
    assert (found["release"], found["definition"], found["as_of"]) == ("old", "program", "2025-11-30")
    assert found["rows"] == {"in": 3, "accepted": 3, "quarantined": 0, "duplicates": 0}
    with open_records(desk.workspace, desk.clock) as records:
        values = {row.kpi_id: row for row in records.reader.kpi_values(outcome.record.run_id)}
        (recorded,) = records.reader.releases()
    assert values["risk.par_30"].value == values["risk.par_30"].value_exact == Decimal("9.20")
    assert str(values["risk.par_30"].value) == "9.20"
    assert (recorded.name, recorded.kind, recorded.role) == ("old", "command", "standby")
    assert recorded.first_run_at is not None
    assert [name for name in events(desk) if not name.startswith(("release.", "records."))] == [
        "run.started",
        "tape.fingerprinted",
        "run.finished",
        "program.finished",
        "calculation.finished",
        "outputs.published",
    ]


def test_the_same_tape_finds_the_earlier_run_and_another_program_does_not(desk: Desk, tape: Path) -> None:
    add_program(desk.workspace, "old", SAYS)
    add_program(desk.workspace, "older", SAYS + "# other\n")
    first = run(desk, tape, "old")
    again = run(desk, tape, "old", as_of=first.record.as_of)
    assert again.earlier and again.record == first.record
    other = run(desk, tape, "older")
    assert not other.earlier and other.record.run_id != first.record.run_id
    # A catalogue release sees the same tape.
    assert desk.run(tape).record.tape_sha256 == first.record.tape_sha256


def test_loan_rows_are_published_restricted_masked_and_safe(desk: Desk, tape: Path) -> None:
    code = SAYS + (
        "import sys\nopen(sys.argv[3], 'w').write('no,saldo,cliente,secret\\n=1+1,12.50,Ana,x\\nB,,,y\\n')\n"
    )
    add_program(desk.workspace, "old", code, loans=LOANS)
    outcome = run(desk, tape, "old")
    (folder,) = [desk.workspace.outputs / (outcome.record.output_folder or "")]
    key = desk.workspace.masking_key(desk.environment)
    with (folder / "loans.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["loan_id", "outstanding", "customer_id"],
            ["'=1+1", "12.50", key.mask("Ana")],
            ["B", "", ""],
        ]
    restricted = {item["path"].split("/")[-1]: item["restricted"] for item in document(desk, outcome)["outputs"]}
    assert restricted == {"kpis.json": False, "kpis.csv": False, "kpis.parquet": False, "loans.csv": True}


@pytest.mark.parametrize("rows", ["saldo,cliente\\n1,2\\n", "", "no,saldo,cliente\\nA,1,x,too many\\n"])
def test_loan_rows_that_are_not_as_described(desk: Desk, tape: Path, rows: str) -> None:
    add_program(desk.workspace, "old", SAYS + f"import sys\nopen(sys.argv[3], 'w').write('{rows}')\n", loans=LOANS)
    with pytest.raises(InputError) as error:
        run(desk, tape, "old")
    assert error.value.code == "REL-215"
    assert not list(desk.workspace.outputs.glob("2*/*"))


def test_segments_are_published_as_printed(desk: Desk, tape: Path) -> None:
    said = {"kpis": {"risk.par_30": 1}, "segments": {"company": {"=North": {"risk.par_30": 1.5, "risk.par_90": None}}}}
    add_program(desk.workspace, "old", f"print('''{json.dumps(said)}''')")
    outcome = run(desk, tape, "old")
    cell = document(desk, outcome)["segments"]["company"]["=North"]
    assert cell["risk.par_30"]["value_exact"] == "1.5" and cell["risk.par_30"]["status"] == "ok"
    assert cell["risk.par_90"]["reason"] == "the program printed null"
    with open_records(desk.workspace, desk.clock) as records:
        rows = records.reader.kpi_values(outcome.record.run_id)
    assert [(row.segment, row.segment_value) for row in rows] == [
        ("", ""),
        ("company", "=North"),
        ("company", "=North"),
    ]
    folder = desk.workspace.outputs / (outcome.record.output_folder or "")
    assert "'=North" in (folder / "kpis.csv").read_text(encoding="utf-8")


FAILURES: list[tuple[str, str, type[AbacoError]]] = [
    ("import sys; sys.exit('Ana Lopez owes')", "REL-222", WorldError),
    ("print('{')", "REL-211", InputError),
    ('print(\'{"kpis": {"risk.par_30": NaN}}\')', "REL-213", InputError),
    ('print(\'{"kpis": {"risk.par_30": 1e30}}\')', "REL-213", InputError),
]


@pytest.mark.parametrize(("code", "wanted", "kind"), FAILURES)
def test_a_program_that_fails_publishes_nothing(
    desk: Desk, tape: Path, code: str, wanted: str, kind: type[AbacoError]
) -> None:
    add_program(desk.workspace, "old", code)
    with pytest.raises(kind) as error:
        run(desk, tape, "old")
    assert error.value.code == wanted
    with open_records(desk.workspace, desk.clock) as records:
        (record,) = records.reader.list()
        told = json.dumps([dict(event.payload) for event in records.events()], default=str)
    assert record.status == "failed" and (record.error or {})["code"] == wanted
    # Its last words are told to whoever ran it, and kept nowhere.
    assert "Ana" not in json.dumps(dict(record.error or {})) and "Ana" not in told
    assert not list(desk.workspace.outputs.glob("2*/*"))
    # The next attempt takes over.
    (desk.workspace.root / "releases" / "old" / "main.py").write_text(SAYS, encoding="utf-8")
    with pytest.raises(ConfigError) as frozen:  # unless it is another program: what has run is frozen
        run(desk, tape, "old")
    assert frozen.value.code == "REC-121"


def test_a_run_that_broke_is_taken_over(desk: Desk, tape: Path, tmp_path: Path) -> None:
    flag = tmp_path / "there"
    add_program(desk.workspace, "old", f"import os, sys\nos.path.exists({str(flag)!r}) or sys.exit(1)\n{SAYS}")
    with pytest.raises(WorldError):
        run(desk, tape, "old")
    flag.touch()
    outcome = run(desk, tape, "old")
    assert (outcome.record.status, outcome.record.attempt) == ("finished", 2)


def test_outputs_that_were_lost_are_made_again_as_they_were(desk: Desk, tape: Path) -> None:
    add_program(desk.workspace, "old", SAYS)
    first = run(desk, tape, "old")
    folder = desk.workspace.outputs / (first.record.output_folder or "")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    again = run(desk, tape, "old")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert again.record == first.record and events(desk)[-1] == "outputs.repaired"
    (folder / "kpis.json").chmod(0o600)
    (folder / "kpis.json").write_text("{}", encoding="utf-8")
    with pytest.raises(WorldError) as error:
        run(desk, tape, "old")
    assert error.value.code == "RUN-102"


def test_a_tape_that_only_the_program_can_read(desk: Desk, tmp_path: Path) -> None:
    strange = tmp_path / "strange.csv"
    strange.write_text("colour;size\nred;1\n", encoding="utf-8")
    add_program(desk.workspace, "old", SAYS)
    with pytest.raises(InputError) as error:
        run(desk, strange, "old")
    assert error.value.code == "RUN-111" and "--as-of" in error.value.hint
    assert events(desk)[-1] == "tape.rejected"
    outcome = run(desk, strange, "old", as_of=desk.clock.now().date())
    found = document(desk, outcome)
    assert (found["tape"]["layout"], found["rows"]["in"]) == ("unknown", 0)


def test_everything_in_a_folder_is_part_of_what_was_run(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "extract"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("x\n1\n", encoding="utf-8")
    add_program(
        desk.workspace, "old", "import os, sys\nassert sorted(os.listdir(sys.argv[1])) == ['a.csv', 'b.csv']\n" + SAYS
    )
    day = desk.clock.now().date()
    first = run(desk, folder, "old", as_of=day)
    assert run(desk, folder, "old", as_of=day).earlier
    (folder / "b.csv").write_text("x\n2\n", encoding="utf-8")
    assert run(desk, folder, "old", as_of=day).record.run_id != first.record.run_id


@pytest.mark.parametrize("asked", [{"strict": True}, {"definition": "original"}, {"csv_too": True}])
def test_what_a_program_does_not_know(desk: Desk, tape: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        run(desk, tape, "v1", **asked)
    assert error.value.code == "RUN-112"


def test_a_program_gets_the_variables_that_its_release_names_and_no_others(desk: Desk, tape: Path) -> None:
    code = "import os\nassert os.environ['RATE'] == '2' and 'OTHER' not in os.environ\n" + SAYS
    add_program(desk.workspace, "old", code, more="  environment: [RATE]\n")
    assert run(desk, tape, "old", environment={"RATE": "2", "OTHER": "3"}).record.status == "finished"


def test_a_program_cannot_change_the_releases_unseen(desk: Desk, tape: Path) -> None:
    target = desk.workspace.root / "releases" / "v2" / "gates.yml"
    before = target.read_bytes()
    add_program(desk.workspace, "old", f"open({str(target)!r}, 'a').write('x')\n" + SAYS)
    with pytest.raises(WorldError) as error:  # prevented, and so it crashed; or found afterwards
        run(desk, tape, "old")
    assert error.value.code == "REL-226" or target.read_bytes() == before


def test_rows_that_the_catalogue_refuses_are_counted_for_the_reader(desk: Desk, tmp_path: Path) -> None:
    rows = [*worked_example(), *worked_example()[:1]]
    add_program(desk.workspace, "old", SAYS)
    found = document(desk, run(desk, write_csv(tmp_path / "twice.csv", rows), "old"))
    assert [(item["code"], item["count"]) for item in found["warnings"]] == [("WARN-106", 1)]
    assert found["rows"]["accepted"] == 4


def test_the_role_that_a_release_has_is_recorded(desk: Desk, tape: Path) -> None:
    desk.run(tape)
    desk.reopen(release="v1", shadow="v2")
    desk.run(tape, release="v2", as_of=None, definition="iris")
    with open_records(desk.workspace, desk.clock) as records:
        assert {item.name: item.role for item in records.reader.releases()} == {"v2": "shadow"}
        assert "release.role_changed" in [event.action for event in records.events()]


def test_a_change_is_seen_from_the_same_release_where_it_has_said_anything(
    desk: Desk, tape: Path, tmp_path: Path
) -> None:
    later = write_csv(tmp_path / "later.csv", [{**row, "measurement_date": "2025-12-31"} for row in worked_example()])
    add_program(desk.workspace, "old", SAYS).joinpath("definitions.yml").write_text(
        'definitions:\n  original: {version: "1", default_for: [bucketed]}\n', encoding="utf-8"
    )
    desk.run(tape)
    run(desk, tape, "old")  # said last of that date, and says 9.20 where v2 says 2.40
    outcome = desk.run(later)
    with open_records(desk.workspace, desk.clock) as records:
        found = changes(outcome.record, records.reader, run_document(outcome, desk.workspace))
    assert found["risk.par_30"] == 0
