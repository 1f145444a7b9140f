"""``abaco submit`` and ``abaco worker`` from the outside, and ``abaco run`` with the release that is active."""

from __future__ import annotations

from pathlib import Path

import pytest

from abaco_loans.clock import SystemClock
from abaco_loans.records.store import Store, open_store
from tests.cli.conftest import Abaco
from tests.operations.desk import bucketed_row, worked_example, write_csv


@pytest.fixture
def place(abaco: Abaco, tmp_path: Path) -> Path:
    assert abaco("init", tmp_path / "w").code == 0
    return tmp_path / "w"


def test_tapes_are_submitted_worked_and_shown(abaco: Abaco, place: Path, tmp_path: Path) -> None:
    tape, other = write_csv(tmp_path / "a.csv", worked_example()), tmp_path / "b.csv"
    other.write_text("Dear Sirs\n", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(tape)
    documents = abaco("submit", tape, other, tmp_path / "link.csv", "--json", "-w", place).document
    assert [(item["tape"], item["is_new"], item["status"]) for item in documents] == [
        ("a.csv", True, "queued"),
        ("b.csv", True, "queued"),
        ("a.csv", False, "queued"),
    ]
    assert "(known, queued)" in abaco("submit", tape, "-w", place).out
    assert abaco("submit", tape, "--as-of", "2025-13-01", "-w", place).code == 2

    said = abaco("worker", "status", "-w", place)
    assert "none yet" in said.out and "2 queued" in said.out and "waits since" in said.out
    assert abaco("worker", "--once", "--json", "-w", place).document["jobs"] == {"done": 1}
    assert abaco("worker", "--until-idle", "--json", "-w", place).document["jobs"]["failed"] == 1
    assert abaco("worker", "--once", "-w", place).out == "no job was taken\n"

    found = abaco("worker", "-w", place, "status", "--json").document
    assert (found["active_release"], found["held_by"], found["at_work"]) == ("v2", None, [])
    assert found["counts"] == {"queued": 0, "leased": 0, "done": 1, "failed": 1}
    assert [item["tape"] for item in found["failed"]] == ["b.csv"]


def test_status_says_who_has_a_job_and_who_holds_production(abaco: Abaco, place: Path, tmp_path: Path) -> None:
    abaco("submit", write_csv(tmp_path / "a.csv", worked_example()), "-w", place)
    with records(place) as store:
        store.production_writer.ensure("v2")
        store.production_writer.take("host-7-abc", lease_s=60)
        store.production_writer.hold("c1")
    said = abaco("worker", "status", "-w", place).out
    assert "held by cutover c1" in said and "host-7-abc" in said and "1 leased" in said


def test_a_run_goes_by_the_release_that_is_active(abaco: Abaco, place: Path, tmp_path: Path) -> None:
    first, second = (write_csv(tmp_path / f"{name}.csv", [bucketed_row("A", name)]) for name in ("1", "2"))
    assert abaco("run", first, "--json", "-w", place).document["release"] == "v2"
    with records(place) as store:
        store.production_writer.ensure("v2")
        store.production_writer.hold("c1")
        store.production_writer.switch("c1", "v1", expected="v2")
        store.production_writer.unhold("c1")
    said = abaco("run", second, "--json", "-w", place)
    assert said.document["release"] == "v1", said.err
    assert abaco("run", second, "--release", "v2", "--json", "-w", place).document["release"] == "v2"


def records(place: Path) -> Store:
    return open_store(f"sqlite:///{place / 'records' / 'abaco.db'}", clock=SystemClock(), actor="ana")
