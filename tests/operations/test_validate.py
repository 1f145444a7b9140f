"""`abaco validate`: a healthy workspace passes, and each check fails when the thing that it looks at is broken."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.errors import WorldError
from abaco_loans.operations.check_audit import check_audit
from abaco_loans.operations.check_errors import check_errors
from abaco_loans.operations.check_integrity import check_integrity
from abaco_loans.operations.check_kpis import check_kpis
from abaco_loans.operations.check_performance import check_performance
from abaco_loans.operations.repeat_run import NAME as REPEATED
from abaco_loans.operations.repeat_run import Repeated, repeat_last_run
from abaco_loans.operations.run_side import SideRun
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.validate_production import REPORT, validate_production
from abaco_loans.operations.validation_desk import Desk as ValidationDesk
from abaco_loans.operations.validation_desk import known_answers, open_desk
from abaco_loans.operations.workspace import open_workspace
from abaco_loans.records.runs import RowCounts, RunRecord
from abaco_loans.watch.check import Check, Report, Status, SubCheck
from abaco_loans.wiring import open_records
from tests.operations.desk import NOON, Desk, bucketed_row, worked_example, write_csv
from tests.operations.programs import add_program
from tests.operations.validate_desk import opened, part, tools_of

CHECKS = ("kpi_calculations", "data_integrity", "performance", "error_handling", "audit_trail")
# One row is refused, one is there twice, and a column that may be empty is empty.
TAPE = [
    *(row | {"product": product} for row, product in zip(worked_example(), ("a", "", "a"), strict=True)),
    *(bucketed_row(f"D{number}", "100", eligible="90", cash="5", b0="100", product="a") for number in range(37)),
    bucketed_row("D0", "100", eligible="90", cash="5", b0="100", product="a"),
    bucketed_row("E", "1", b90="-1", product="a"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A workspace with one run; tests take a copy. Its recorded time is the same on any machine, however busy."""
    folder = tmp_path_factory.mktemp("made")
    desk = Desk(folder / "workspace")
    ticks = count()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: next(ticks) * 0.01)
        desk.run(write_csv(folder / "book.csv", TAPE))
    return desk


@pytest.fixture
def ran(made: Desk, tmp_path: Path) -> Desk:
    """A workspace with one run."""
    desk = copy.copy(made)
    shutil.copytree(made.workspace.root, tmp_path / "workspace", symlinks=True)
    desk.workspace = open_workspace(tmp_path / "workspace", desk.environment)
    desk.clock = FixedClock(NOON + timedelta(hours=1))
    return desk


def validated(desk: Desk, **changed: Any) -> Report:
    return validate_production(tools_of(desk, **changed))


@pytest.fixture
def bench(ran: Desk) -> Iterator[ValidationDesk]:
    """What one check is given."""
    with opened(ran) as found:
        yield found


def statuses(report: Report) -> dict[str, str]:
    return {check.name: check.status.value for check in report.checks}


def failing(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.status is Status.FAIL]


def last_run(desk: Desk) -> RunRecord:
    return desk.runs()[0]


def published(desk: Desk, name: str) -> Path:
    """A published file of the last run, made writable."""
    path = desk.workspace.outputs / (last_run(desk).output_folder or "") / name
    path.parent.chmod(0o700)
    path.chmod(0o600)
    return path


def database(desk: Desk, statement: str) -> None:
    with closing(sqlite3.connect(desk.workspace.root / "records" / "abaco.db")) as raw, raw:
        assert raw.execute(statement).rowcount > 0


# --- what is well -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_healthy_workspace_passes_and_nothing_of_it_is_changed(ran: Desk) -> None:
    before = sorted(path for path in ran.workspace.outputs.rglob("*"))
    report = validated(ran)
    assert statuses(report) == dict.fromkeys(CHECKS, "PASS")
    assert part(report, "known_answers").metrics == {"known_answers_right": 12, "known_answers_wrong": 0}
    assert "42 rows in = 40 accepted + 1 quarantined + 1 duplicates" in part(report, "rows_add_up").words
    assert part(report, REPEATED).metrics == {"kpi_variance_percent": 0}
    assert part(report, "against_baseline").status is Status.NOT_APPLICABLE

    text = (ran.workspace.root / REPORT).read_text(encoding="utf-8")
    said = json.loads(text)
    assert (said["status"], said["timestamp"], said["release"]) == ("PASS", ran.clock.now().isoformat(), "v2")
    assert said["issues"] == []
    assert said["checks"]["performance"]["metrics"]["kpi_latency_ms"] == 1
    assert 20 < said["checks"]["performance"]["metrics"]["memory_mb"] < 200
    assert (ran.workspace.root / REPORT).stat().st_mode & 0o777 == 0o600

    assert sorted(path for path in ran.workspace.outputs.rglob("*")) == before
    assert [path.name for path in ran.workspace.scratch.iterdir() if path.is_dir()] == []
    with open_records(ran.workspace, ran.clock) as records:
        (event,) = [event for event in records.events() if event.action == "production.validated"]
    assert event.payload["report_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert len(ran.runs()) == 1


def test_an_empty_workspace_passes_and_says_what_does_not_apply(desk: Desk) -> None:
    report = validated(desk)
    assert statuses(report) == dict.fromkeys(CHECKS, "PASS") | {"data_integrity": "NOT_APPLICABLE"}
    assert report.status is Status.PASS
    for name in (REPEATED, "published_files", "last_runs_rate", "last_run_events"):
        assert part(report, name).status is Status.NOT_APPLICABLE
    assert part(report, "memory_peak").status is Status.PASS
    # Its own event, and the anchor over it, are whole the next time.
    with open_records(desk.workspace, desk.clock) as records, scratch_folder(desk.workspace) as folder:
        assert records.verify().ok
        assert check_audit(open_desk(tools_of(desk), folder)).status is Status.PASS


@pytest.mark.slow
def test_the_script_of_the_playbooks_says_the_same(ran: Desk, repository: Path) -> None:
    script = repository / "scripts" / "production_validation.py"
    command = [sys.executable, str(script), "--json", "-w", str(ran.workspace.root)]
    environment = {**os.environ, **ran.environment, "PYTHONPATH": str(repository / "src")}
    good = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert 0 < json.loads(good.stdout)["checks"]["performance"]["metrics"]["kpi_latency_ms"] < 100
    assert json.loads(good.stdout) == json.loads((ran.workspace.root / REPORT).read_text(encoding="utf-8"))
    published(ran, "kpis.csv").unlink()
    bad = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert [item["subcheck"] for item in json.loads(bad.stdout)["issues"] if item["status"] == "FAIL"] == [
        "published_files"
    ]


# --- kpi_calculations ---------------------------------------------------------------------------------------


def test_another_formula_gives_other_answers(ran: Desk) -> None:
    ran.edit("catalogue.yml", lambda text: text.replace("SUM(dpd_60_90_usd)", "SUM(dpd_7_30_usd)"))
    report = validated(ran)
    assert failing(report) == ["kpi_calculations"]
    answers, repeated = part(report, "known_answers"), part(report, REPEATED)
    assert answers.status is repeated.status is Status.FAIL
    assert "is 2.4, and v2 says 1.6" in " ".join(answers.evidence["wrong"])
    assert "no longer what it was when it ran" in repeated.words


def test_a_kpi_that_is_gone_is_a_wrong_answer(desk: Desk, tmp_path: Path) -> None:
    desk.edit("catalogue.yml", lambda text: text.replace("id: risk.par_90\n", "id: risk.par_ninety\n"))
    with scratch_folder(desk.workspace) as folder:
        opened = open_desk(tools_of(desk), folder)
        tapes = tmp_path / "tapes"
        found = check_kpis(opened, known_answers(tapes), tapes, lambda: repeat_last_run(opened))
    assert found.status is Status.FAIL
    assert "no such KPI" in " ".join(part(found, "known_answers").evidence["wrong"])


@pytest.mark.slow
def test_a_calculation_that_gives_another_value_now_is_seen(ran: Desk, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import json, sys\nfrom pathlib import Path\nfrom abaco_loans.cli.side import main\n"
        "code = main(Path(sys.argv[1]))\n"
        "place = Path(json.loads(Path(sys.argv[1]).read_text())['out']) / 'results.json'\n"
        "said = json.loads(place.read_text())\n"
        "for item in said['kpis']:\n"
        "    if item['kpi'] == 'risk.par_30' and not item['segment']:\n"
        "        item['value_exact'] = str(round(float(item['value_exact']) * 1.06, 9))\n"
        "place.write_text(json.dumps(said))\nsys.exit(code)\n",
        encoding="utf-8",
    )
    tools = tools_of(ran)
    worker = replace(tools.worker, argv=(sys.executable, str(wrong)))
    report = validated(ran, worker=worker)
    assert failing(report) == ["kpi_calculations"]
    repeated = part(report, REPEATED)
    assert repeated.evidence["others"] == ["risk.par_30"]
    assert abs(Decimal(repeated.metrics["kpi_variance_percent"] or 0) - 6) < Decimal("0.01")


def answers_of(desk: Desk, folder: Path) -> SubCheck:
    """The known answers alone."""
    with scratch_folder(desk.workspace) as scratch:
        opened = open_desk(tools_of(desk), scratch)
        found = check_kpis(opened, known_answers(folder), folder, lambda: repeat_last_run(opened))
    return part(found, "known_answers")


def test_a_program_is_held_to_the_digits_that_it_prints(desk: Desk, tmp_path: Path) -> None:
    desk.reopen(release="v1")
    found = answers_of(desk, tmp_path / "one")
    assert found.status is Status.PASS, found.words
    assert "to the digits that the program prints" in found.words
    add_program(desk.workspace, "old", 'print(\'{"kpis": {"risk.par_30": 2.5}}\')\n')
    desk.reopen(release="old")
    wrong = answers_of(desk, tmp_path / "two")
    assert wrong.status is Status.FAIL
    assert "is 2.4, and old says 2.5" in wrong.words
    add_program(desk.workspace, "mute", 'print(\'{"kpis": {"own.figure": 1}}\')\n')
    desk.reopen(release="mute")
    assert answers_of(desk, tmp_path / "three").status is Status.UNKNOWN
    add_program(desk.workspace, "dead", "raise SystemExit(7)\n")
    desk.reopen(release="dead")
    dead = answers_of(desk, tmp_path / "four")
    assert (dead.status, "REL-222" in dead.words) == (Status.FAIL, True)


# --- data_integrity -----------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit_manifest(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"in": 42', '"in": 43'), encoding="utf-8")


def test_a_published_file_that_was_changed(ran: Desk) -> None:
    flip(published(ran, "kpis.json"))
    report = validated(ran)
    assert failing(report) == ["data_integrity"]
    found = part(report, "published_files")
    assert (found.status, "kpis.json is no longer what was published" in found.words) == (Status.FAIL, True)
    assert part(report, REPEATED).status is Status.UNKNOWN  # numbers of a changed folder prove nothing


@pytest.mark.parametrize(("name", "harm"), [("clean.parquet", flip), ("manifest.json", edit_manifest)])
def test_a_changed_clean_tape_or_manifest(
    name: str, harm: Callable[[Path], None], bench: ValidationDesk, ran: Desk
) -> None:
    path = published(ran, name)
    before = path.read_bytes()
    harm(path)
    assert path.read_bytes() != before
    found = check_integrity(bench)
    assert (part(found, "published_files").status, name in part(found, "published_files").words) == (Status.FAIL, True)
    assert part(found, "rows_add_up").status is Status.UNKNOWN


def test_lost_outputs_are_unknown_and_unknown_is_no_pass(ran: Desk) -> None:
    folder = published(ran, "kpis.json").parent
    shutil.rmtree(folder)
    report = validated(ran)
    assert report.status is Status.UNKNOWN
    assert failing(report) == []
    assert part(report, "published_files").status is Status.UNKNOWN
    assert part(report, REPEATED).status is Status.UNKNOWN
    said = json.loads((ran.workspace.root / REPORT).read_text(encoding="utf-8"))
    assert {"data_integrity", "kpi_calculations"} <= {item["check"] for item in said["issues"]}


def test_rows_that_went_astray(bench: ValidationDesk) -> None:
    assert bench.last is not None
    rows = RowCounts(rows_in=44, accepted=41, quarantined=2, duplicate=1)
    found = part(check_integrity(replace(bench, last=replace(bench.last, rows=rows))), "rows_add_up")
    assert found.status is Status.FAIL
    assert found.evidence["wrong"][1:] == [
        "41 rows were accepted, and the clean tape has 40",
        "2 rows were quarantined, and the list has 1",
    ]


def test_keys_and_required_values_are_those_of_the_contract(ran: Desk) -> None:
    """The clean tape is held against a contract that it does not keep."""
    ran.edit(
        "contracts/bucketed.yml",
        lambda text: text.replace("        primaryKey: true\n        primaryKeyPosition: 1\n", "").replace(
            "primaryKeyPosition: 2", "primaryKeyPosition: 1"
        ).replace('description: "Product."\n', 'description: "Product."\n        required: true\n'),
    )  # fmt: skip
    with opened(ran) as production:
        found = check_integrity(production)
    assert part(found, "keys_unique").words == "1 keys stand more than once in tape (measurement_date)"
    assert part(found, "required_values").words == "tape.product lacks 1 values"
    assert found.status is Status.FAIL


def test_a_recorded_value_that_is_not_the_published_one(bench: ValidationDesk, ran: Desk) -> None:
    place = published(ran, "kpis.json")
    document = json.loads(place.read_text(encoding="utf-8"))
    document["kpis"]["risk.par_30"]["value_exact"] = "0"
    place.write_text(json.dumps(document), encoding="utf-8")
    manifest = published(ran, "manifest.json")
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    for item in listed["files"]:
        item["sha256"] = hashlib.sha256((place.parent / item["path"]).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(listed), encoding="utf-8")
    assert bench.last is not None
    forged = replace(bench.last, manifest_sha256=hashlib.sha256(manifest.read_bytes()).hexdigest())
    found = part(check_integrity(replace(bench, last=forged)), "values_recorded")
    assert (found.status, found.words) == (
        Status.FAIL,
        "risk.par_30 is recorded as another value than was published",
    )


# --- performance --------------------------------------------------------------------------------------------


def test_a_slow_calculation(bench: ValidationDesk) -> None:
    ticks = count()
    slow = replace(bench, given=replace(bench.given, stopwatch=lambda: next(ticks) * 0.6))
    found = performance(slow)
    assert found.status is Status.FAIL
    assert part(found, "latency_1000_rows").metrics == {"kpi_latency_ms": 600}


def performance(
    bench: ValidationDesk, *, baseline_mb: int = 0, peak_mb: float = 100, run_peak_mb: float = 100, **timings: float
) -> Check:
    """The check with other measurements."""
    repeated = Repeated(
        found=SubCheck(name=REPEATED, status=Status.PASS, words=""),
        side=SideRun(status="ok", peak_memory_mb=run_peak_mb),
    )
    assert bench.last is not None
    folder = bench.folder / f"work{len(list(bench.folder.iterdir()))}"
    folder.mkdir()
    changed = replace(
        bench,
        folder=folder,
        last_runs=(replace(bench.last, timings=timings or bench.last.timings),),
        baseline={"memory_mb": Decimal(baseline_mb)} if baseline_mb else {},
    )
    return check_performance(changed, repeated, SideRun(status="ok", peak_memory_mb=peak_mb))


def test_memory_time_and_baseline_have_limits(bench: ValidationDesk) -> None:
    high = performance(bench, peak_mb=201, run_peak_mb=1001, ingestion=8, output=3, baseline_mb=190)
    for name in ("memory_peak", "last_run_memory", "last_runs_rate", "against_baseline"):
        assert part(high, name).status is Status.WARN, name
    assert part(performance(bench, peak_mb=501), "memory_peak").status is Status.FAIL
    good = performance(bench, peak_mb=94, run_peak_mb=1000, ingestion=8, baseline_mb=90)
    assert [item.status for item in good.subchecks] == [Status.PASS] * 5
    ticks = count()
    slow = replace(bench, given=replace(bench.given, stopwatch=lambda: next(ticks) * 0.3))
    assert part(performance(slow), "latency_1000_rows").status is Status.WARN


# --- error_handling -----------------------------------------------------------------------------------------


def test_a_bad_tape_that_is_accepted(desk: Desk) -> None:
    desk.edit("contracts/bucketed.yml", lambda text: text.replace('value: "0.05"', 'value: "1"'))
    with opened(desk) as production:
        tapes = production.folder / "known"
        check = check_errors(production, known_answers(tapes), tapes)
    assert check.status is Status.FAIL
    found = part(check, "too_much_refused")
    assert (found.status, found.words) == (Status.FAIL, "half of the rows cannot be read, and the tape was accepted")


def test_a_refusal_must_have_its_code(bench: ValidationDesk) -> None:
    tapes = bench.folder / "tapes"
    known = dict(known_answers(tapes))
    known["refused"] = [
        {"tape": "empty.csv", "code": "TAPE-107", "what": "another code"},
        {"tape": "worked_example.csv", "code": "TAPE-107", "what": "nothing is wrong"},
        {"tape": "gone.csv", "code": "SRC-201", "what": "a tape that is not there is no refusal of a tape"},
    ]
    found = check_errors(bench, known, tapes)
    assert [item.status for item in found.subchecks] == [Status.FAIL] * 3
    assert "TAPE-107 was expected, and SRC-101 was said" in found.subchecks[0].words


def test_a_program_refuses_what_it_cannot_be_given(desk: Desk) -> None:
    desk.reopen(release="v1")
    with scratch_folder(desk.workspace) as folder:
        opened = open_desk(tools_of(desk), folder)
        known = known_answers(folder / "tapes")
        found = check_errors(opened, known, folder / "tapes")
    assert [item.status for item in found.subchecks] == [Status.PASS] * len(known["refused"])
    assert {item.evidence["got"] for item in found.subchecks} == {"RUN-111"}


# --- audit_trail --------------------------------------------------------------------------------------------


def test_an_edited_event(ran: Desk) -> None:
    database(ran, "UPDATE events SET actor = 'nobody' WHERE seq = 3")
    with opened(ran) as production:
        found = check_audit(production)
    assert found.status is Status.FAIL
    assert "event 3 was edited" in part(found, "chain_and_anchors").words


def test_an_edited_run_is_found_and_nothing_is_said_of_it(ran: Desk) -> None:
    database(ran, "UPDATE runs SET rows_accepted = 9, rows_quarantined = 32")
    report = validated(ran)
    assert failing(report) == ["audit_trail"]
    assert part(report, REPEATED).status is part(report, "rows_add_up").status is Status.UNKNOWN
    assert part(report, "known_answers").status is Status.PASS


@pytest.mark.slow
def test_a_missing_anchor(ran: Desk) -> None:
    for path in ran.workspace.anchors.glob("anchor-*.json"):
        path.unlink()
    with opened(ran) as production:
        found = check_audit(production)
    assert found.status is Status.FAIL
    assert part(found, "last_run_anchored").status is Status.FAIL


def test_events_of_the_last_run_that_are_not_there(bench: ValidationDesk) -> None:
    assert bench.last is not None
    found = check_audit(replace(bench, last=replace(bench.last, run_id="20251130-0")))
    assert part(found, "last_run_events").status is Status.FAIL


def test_an_event_after_now(ran: Desk) -> None:
    ran.clock.move_to(NOON - timedelta(hours=1))
    with scratch_folder(ran.workspace) as folder:
        found = check_audit(open_desk(tools_of(ran), folder))
    assert part(found, "clock_in_order").status is Status.WARN
    assert found.status is Status.WARN


# --- the report ---------------------------------------------------------------------------------------------


def test_a_pass_that_cannot_be_recorded_is_not_written(ran: Desk) -> None:
    tools = tools_of(ran)

    def broken() -> None:
        raise WorldError("no anchor", code="REC-104")

    with pytest.raises(WorldError, match="no anchor"):
        validate_production(replace(tools, tools=replace(tools.tools, anchor=broken)))
    assert not (ran.workspace.root / REPORT).exists()
