"""A panel is whole or absent: damage, dead attempts, two at once, and what is refused."""

from __future__ import annotations

import shutil
import threading
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import AbacoError, InputError, UsageError, WorldError
from abaco_loans.operations.build_panel import Span
from abaco_loans.operations.publish_panel import PanelOutcome
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.records.locks import exclusive
from abaco_loans.records.runs import RunStart
from abaco_loans.sample.spec import SampleSpec
from abaco_loans.wiring import open_records
from tests.operations.desk import Desk
from tests.operations.panel_desk import FEBRUARY, build, bytes_of, folder_of, opened, shots, verifies


@pytest.mark.parametrize(
    ("extract", "names"), [(True, ["panel_facts.parquet"]), (False, ["panel.json", "manifest.json"])]
)
def test_a_damaged_file_is_set_aside_and_made_anew_as_it_was(
    desk: Desk, tmp_path: Path, extract: bool, names: list[str]
) -> None:
    tape = shots(tmp_path / "tape.csv")
    if extract:
        write_sample(SampleSpec(loans=60, months=3, currencies=2, end=date(2025, 11, 30)), tmp_path)
        tape = tmp_path / "servicing"
    folder = folder_of(desk, build(desk, tape, by=("currency", "product")))
    good = bytes_of(folder)
    for name in names:
        path = folder / name
        path.chmod(0o644)
        path.write_bytes(good[name][:-2] + bytes([good[name][-2] ^ 4]) + good[name][-1:])
        with pytest.raises(WorldError, match="no longer what was published") as shown, opened(desk):
            pass
        with pytest.raises(WorldError, match=name) as error:
            build(desk, tape, by=("currency", "product"))
        assert (shown.value.code, error.value.code) == ("RUN-102", "RUN-102")
        assert not folder.exists()
        made = build(desk, tape, by=("product", "currency"))
        assert (made.earlier, made.record.attempt) == (False, 1)
        assert bytes_of(folder) == good
    assert len(list((desk.workspace.outputs / ".damaged" / "panels").iterdir())) == len(names)
    verifies(desk)


def test_a_killed_attempt_is_taken_over_and_what_it_left_is_removed(desk: Desk, tmp_path: Path) -> None:
    tape = shots(tmp_path / "tape.csv")
    other = Desk(tmp_path / "other")
    done = build(other, tape)
    record = done.record
    lost = RunStart(**{item.name: getattr(record, item.name) for item in fields(RunStart)})
    with open_records(desk.workspace, desk.clock) as store:
        assert store.writer.start(lost).status == "running"
    panels = desk.workspace.outputs / "panels"
    shutil.copytree(folder_of(other, done), panels / record.run_id)
    (panels / record.run_id / "half").write_text("x")
    orphan, ours = panels / "panel-20250131-0123456789abcdef0123", panels / "by hand"
    orphan.mkdir()
    ours.mkdir()
    made = build(desk, tape)
    assert (made.record.status, made.record.attempt, made.earlier) == ("finished", 2, False)
    assert sorted(path.name for path in panels.iterdir()) == sorted([ours.name, record.run_id])
    assert bytes_of(folder_of(desk, made)) == bytes_of(folder_of(other, done))
    verifies(desk)


def test_a_run_sweeps_what_a_dead_panel_left_and_keeps_the_others(desk: Desk, tmp_path: Path) -> None:
    tape = shots(tmp_path / "tape.csv")
    kept = folder_of(desk, build(desk, tape))
    orphan = kept.with_name("panel-20250131-0123456789abcdef0123")
    orphan.mkdir()
    desk.run(tape, as_of=FEBRUARY)
    assert kept.exists()
    assert not orphan.exists()


def test_two_at_once_make_one_panel(desk: Desk, tmp_path: Path) -> None:
    tape = shots(tmp_path / "tape.csv")
    gate = threading.Barrier(2)
    outcomes: list[PanelOutcome] = []

    def make() -> None:
        gate.wait()
        outcomes.append(build(desk, tape))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.earlier for item in outcomes) == [False, True]
    assert [item.record.attempt for item in outcomes] == [1, 1]
    assert build(desk, tape).earlier
    verifies(desk)


def test_a_panel_that_is_being_written_is_waited_for_and_its_writer_named(desk: Desk, tmp_path: Path) -> None:
    tape = shots(tmp_path / "tape.csv")
    name = build(desk, tape).record.run_id
    desk.workspace = replace(desk.workspace, settings=replace(desk.workspace.settings, lock_timeout_s=0))
    lock = exclusive(desk.workspace.locks / f"{name}.lock", timeout_s=0, who="somebody else")
    with lock, pytest.raises(WorldError, match="somebody else") as error:
        build(desk, tape)
    assert error.value.code == "REC-111"
    assert any(text.startswith("waiting: somebody else") for text in desk.said)


@pytest.mark.parametrize(
    ("request_of", "kind", "code"),
    [
        ({"by": ("prduct",)}, UsageError, "CLI-106"),
        ({"out": Path("panel.xlsx")}, UsageError, "PAN-104"),
        ({"out": Path("no folder") / "panel.csv"}, UsageError, "PAN-104"),
        ({"span": Span(at=(date(2025, 3, 31),))}, InputError, "TAPE-108"),
        ({"span": Span(start=date(2025, 3, 1))}, InputError, "TAPE-108"),
        ({"days_past_due": "never"}, InputError, "RUN-103"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    desk: Desk, tmp_path: Path, request_of: dict[str, Any], kind: type[AbacoError], code: str
) -> None:
    spoilt = {name: request_of.pop(name) for name in ("days_past_due",) if name in request_of}
    tape = shots(tmp_path / "tape.csv", **spoilt)
    with pytest.raises(kind) as error:
        build(desk, tape, **request_of)
    assert error.value.code == code
    assert error.value.hint
    assert desk.runs() == ()
    assert not (desk.workspace.outputs / "panels").exists()
    verifies(desk)
