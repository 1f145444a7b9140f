"""What is written about a cutover: the log that goes on whatever happens, and the report of a rollback."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.operations.carry_out import Told
from abaco_loans.operations.incident_report import (
    IncidentFacts,
    Proof,
    RunAgain,
    next_steps,
    write_cutover_log,
    write_incident,
)
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.cutovers import StepRecord
from abaco_loans.releases.plan import Phase, StepKind, StepSpec
from abaco_loans.settings import Settings

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
HOSTILE = "x | y\n| z\x1b[2J <script>alert(1)</script> [l](http://h) `c` \u202e# *b*"
SPEC = StepSpec(
    number=13,
    phase=Phase.ACTIVATION,
    name="the new release becomes the active one",
    kind=StepKind.SWITCH,
    evidence=(),
    undo=None,
    timeout_s=5,
)


def told(**said: Any) -> Told:
    given: dict[str, Any] = {"at": NOON, "step": SPEC, "status": "done", "seconds": 0.25}
    return Told(**(given | said))


def step(number: int = 1, status: Any = "done", **said: Any) -> StepRecord:
    given: dict[str, Any] = {
        "cutover_id": "r-1",
        "number": number,
        "phase": 6,
        "name": "no new job is taken",
        "status": status,
        "attempt": 1,
        "evidence": {},
        "started_at": NOON,
        "finished_at": NOON + timedelta(milliseconds=1500),
        "event_seq": number,
    }
    return StepRecord(**(given | said))


def again(now: str | None = "run-2", name: str = "one.csv") -> RunAgain:
    return RunAgain(job_id="a" * 24, tape_name=name, as_of=date(2026, 2, 28), was="run-1", now=now)


def facts(**said: Any) -> IncidentFacts:
    given: dict[str, Any] = {
        "at": NOON,
        "cutover_id": "r-1",
        "reason": "par 30 doubled",
        "who": "Ana",
        "from_release": "v2",
        "to_release": "v1",
        "steps": (step(),),
        "jobs": (again(),),
        "proof": Proof(before=frozenset({"t1", "t2"}), after=frozenset({"t1", "t2", "t3"})),
        "errors": ({"code": "TAPE-101", "what": "no column", "where": "t.csv", "hint": "h"},),
        "metrics": {"par_30_ratio": "0.0240", "runtime": None},
        "inactive_seconds": "0.310",
    }
    return IncidentFacts(**(given | said))


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "incident.json").read_bytes())
    return found


def place_at(root: Path) -> Workspace:
    return Workspace(root=root, settings=Settings())


# --- the log ------------------------------------------------------------------------------------------------


def test_a_line_a_step_under_the_name_that_playbooks_know(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    log = write_cutover_log(place, None, told(status="started", seconds=None))
    assert log == tmp_path / "logs" / "cutover_20260331_120000.log"
    assert write_cutover_log(place, log, told(at=NOON + timedelta(seconds=2), words="v2 is active")) == log
    name = "the new release becomes the active one"
    assert log.read_text(encoding="utf-8").splitlines() == [
        f"2026-03-31T12:00:00.000+00:00 phase=4 activation step=13 status=started seconds=- {name}",
        f"2026-03-31T12:00:02.000+00:00 phase=4 activation step=13 status=done seconds=0.250 {name}: v2 is active",
    ]
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_words_that_came_from_outside_stay_on_their_line(tmp_path: Path) -> None:
    log = write_cutover_log(place_at(tmp_path), None, told(words=HOSTILE))
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert line.isprintable()
    assert "\\n| z\\x1b[2J" in line


def test_half_a_line_of_a_dead_process_is_ended(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    log = write_cutover_log(place, None, told())
    log.write_bytes(log.read_bytes()[:-7])
    write_cutover_log(place, log, told())
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line.count("phase=") for line in lines] == [1, 1]


def test_a_log_that_is_a_link_is_not_written(tmp_path: Path) -> None:
    place, victim = place_at(tmp_path), tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cutover_20260331_120000.log").symlink_to(victim)
    with pytest.raises(WorldError):
        write_cutover_log(place, None, told())
    assert victim.read_text(encoding="utf-8") == "mine"


# --- the report ---------------------------------------------------------------------------------------------


def test_it_says_what_happened_twice_the_same(tmp_path: Path) -> None:
    path = write_incident(tmp_path / "reports", facts())
    said, page = document(path.parent), path.read_text(encoding="utf-8")
    assert path.name == "incident.md"
    assert (said["closed"], said["active_release"], said["inactive_seconds"]) == (True, "v1", "0.310")
    assert said["timeline"][0] | {"started_at": ""} == {
        "number": 1, "phase": 6, "name": "no new job is taken", "status": "done", "attempt": 1, "started_at": "",
        "seconds": "1.500",
    }  # fmt: skip
    for words in (
        "# Rollback of v2 to v1",
        "| reason | par 30 doubled |",
        "| TAPE\\-101 | no column | t.csv |",
        "| par\\_30\\_ratio | 0.0240 |",
        "| runtime | unknown |",
        "| everything is served again | yes |",
        "Lost: nothing.",
    ):
        assert words in page, words
    assert [item.name for item in path.parent.iterdir() if item.name.startswith(".")] == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_hashes_of_the_proof_can_be_made_again(tmp_path: Path) -> None:
    proof = document(write_incident(tmp_path, facts()).parent)["proof"]
    for name in ("before", "after"):
        text = "\n".join(sorted(proof[name]["entries"]))
        assert proof[name]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (proof["before"]["count"], proof["after"]["count"], proof["lost"]) == (2, 3, [])


def test_what_is_lost_unknown_or_failed_is_loud_and_comes_first(tmp_path: Path) -> None:
    lost = facts(proof=Proof(before=frozenset({"t1", "t2"}), after=frozenset({"t2"})))
    page = write_incident(tmp_path, lost).read_text(encoding="utf-8")
    assert "| everything is served again | NO |" in page
    assert "- t1" in page
    assert next_steps(lost)[0].startswith("1 tape(s) that were served are not")
    unproven = facts(proof=None, steps=(step(), step(2, "failed")), jobs=(again(None),))
    assert not unproven.closed
    assert "It is not proven" in next_steps(unproven)[0]
    assert "1 job(s) have no result of v1" in next_steps(unproven)[1]
    assert "1 step(s) failed" in next_steps(unproven)[2]
    assert not facts(jobs=(again(), again(None))).closed


def test_errors_of_the_journal_are_told() -> None:
    failed = step(2, "failed", evidence={"error": {"code": "CUT-202", "what": "damaged", "where": "w"}, "words": "x"})
    said = facts(steps=(step(), failed)).as_dict()
    assert [error["code"] for error in said["errors"]] == ["TAPE-101", "CUT-202"]


def test_a_clock_that_was_set_back_gives_no_seconds(tmp_path: Path) -> None:
    odd = (step(finished_at=NOON - timedelta(seconds=1)), step(2, "started", finished_at=None))
    assert [item["seconds"] for item in facts(steps=odd).as_dict()["timeline"]] == [None, None]


def test_markup_in_any_field_is_inert(tmp_path: Path) -> None:
    plain = write_incident(tmp_path / "plain", facts(next_steps=("look",))).read_text(encoding="utf-8")
    hostile = facts(
        reason=HOSTILE,
        who=HOSTILE,
        from_release=HOSTILE,
        jobs=(again(name=HOSTILE),),
        steps=(step(name=HOSTILE),),
        errors=({"code": HOSTILE, "what": HOSTILE, "where": HOSTILE},),
        metrics={HOSTILE: HOSTILE, "z": None},
        next_steps=(HOSTILE,),
        proof=Proof(before=frozenset({"t1", "t2"}), after=frozenset({"t1", "t2"})),
    )
    page = write_incident(tmp_path / "hostile", hostile).read_text(encoding="utf-8")
    assert page.replace("\n", "").isprintable()
    assert len(page.splitlines()) == len(plain.splitlines())
    for sign in ("<", "[", "`", "*"):
        assert page.count(sign) == page.count(f"\\{sign}"), sign
    rows = [line.replace("\\|", "").count("|") for line in page.splitlines() if line.startswith("|")]
    assert rows == [line.count("|") for line in plain.splitlines() if line.startswith("|")]


def test_a_report_is_replaced_whole(tmp_path: Path) -> None:
    write_incident(tmp_path, facts(reason="first"))
    write_incident(tmp_path, facts(reason="second"))
    assert document(tmp_path)["reason"] == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["incident.json", "incident.md"]
