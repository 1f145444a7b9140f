"""The reports of a real cutover, from its plan to its rollback: every figure is the one that is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import UsageError
from abaco_loans.operations.cut_over import roll_back, start_cutover
from abaco_loans.operations.watch_production import decide
from abaco_loans.operations.write_report import KINDS, write_report
from tests.cli.conftest import Abaco, abaco
from tests.operations.cutover_desk import PLANNER
from tests.operations.report_desk import ReportDesk

__all__ = ["abaco"]


def events(desk: ReportDesk) -> dict[int, str]:
    with desk.records() as records:
        return {event.seq: event.action for event in records.events()}


def marks(facts: dict[str, Any]) -> dict[str, str]:
    return {item["hour"]: item["mark"] for item in facts["watch"]["checkpoints"]}


@pytest.mark.slow
def test_from_the_plan_to_the_rollback(tmp_path: Path, abaco: Abaco, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = ReportDesk(tmp_path / "workspace")
    with pytest.raises(UsageError) as raised:
        desk.facts()
    assert raised.value.code == "RPT-101"
    cutover_id = desk.planned()
    planned = desk.facts()
    assert (planned["state"], planned["watch"], planned["alerts"]["fired"]) == ("planned", None, None)
    assert planned["approvals"]["missing"] == ["ops", "finance", "security", "governance"]
    assert [item["said"] for item in planned["evidence"]] == ["pass", "completed", "not measured", "not measured"]
    assert planned["idle"]["seconds"] is None and planned["kpis"]["items"], planned["kpis"]

    _watched(desk, cutover_id)
    facts = desk.facts(cutover_id)
    assert (facts["state"], facts["active_release"], facts["approvals"]["missing"]) == ("watching", "v2", [])
    assert list(marks(facts).values())[:10] == ["PASS"] * 8 + ["WARN", "PASS"], marks(facts)
    brief = facts["watch"]["points"][0]
    assert brief["asked"]["decision"] is None and not brief["passes"]
    assert [item["words"] for item in brief["criteria"] if not item["met"]] == [
        "not PASS: hour 7",
        "beyond a limit: hour 7",
    ]
    assert facts["no_loss"]["lost"] == 0 and facts["no_loss"]["acknowledged"] == 3
    assert facts["no_loss"]["ran_after_the_switch"] == 1
    known = events(desk)
    assert {known[item["event"]] for item in facts["watch"]["checkpoints"] if "event" in item} == {"checkpoint.done"}
    assert all(known[int(item["source"].rpartition(" ")[2])] == "step.done" for item in facts["steps"])
    assert known[int(facts["idle"]["source"].rpartition(" ")[2])] == "step.done"
    assert known[int(facts["kpis"]["source"].rpartition(" ")[2])] == "shadow.finished"

    decide(desk.watch_tools(), "8", "keep", "one warning")
    back = roll_back("the story asks for it", PLANNER, desk.given())
    assert back.status == "completed"
    after = desk.facts(cutover_id)
    assert (after["state"], after["active_release"]) == ("rolled_back", "v1")
    assert (after["rollback"]["reason"], after["rollback"]["lost"]) == ("the story asks for it", "0")
    assert after["watch"]["decisions"][0]["reason"] == "one warning"
    _written(desk, cutover_id, back.cutover_id, after, abaco, monkeypatch)


def _watched(desk: ReportDesk, cutover_id: str) -> None:
    """Approved, carried out, and watched to hour 8; latency was high at hour 7."""
    desk.approve(cutover_id)
    desk.arrive(2)
    assert start_cutover(cutover_id, desk.given()).status == "completed", desk.told[-3:]
    desk.settle()
    desk.walk(6.5)
    desk.metrics = {**desk.metrics, "kpi_latency_ms": 120}
    desk.walk(7)
    desk.metrics = {**desk.metrics, "kpi_latency_ms": 1}
    desk.walk(8)


def _written(
    desk: ReportDesk,
    cutover_id: str,
    rollback_id: str,
    facts: dict[str, Any],
    abaco: Abaco,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the command, from the workspace; the same facts give the same bytes, and name no loan."""
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    where = ("-w", desk.workspace.root)
    for kind in KINDS:
        said = abaco("report", kind, "--json", *where).document
        assert [Path(path).name for path in said["files"]] == [f"{kind}.md", f"{kind}.html"]
        assert all(
            (desk.workspace.root / "reports" / f"cutover-{cutover_id}") in Path(p).parents for p in said["files"]
        )
        assert said["facts"]["state"] == "rolled_back"
        texts = [Path(path).read_text(encoding="utf-8") for path in said["files"]]
        for text in (*texts, json.dumps(said)):
            assert (
                not any(loan in text for loan in ("L100", "L101", "L201", str(desk.workspace.root))) or text[0] == "{"
            )
        again = write_report(kind, said["facts"], desk.workspace.root / "again", ("md", "html"))
        assert [path.read_text(encoding="utf-8") for path in again] == texts
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in again)
    out = desk.workspace.root.parent / "elsewhere"
    told = abaco("report", "onepage", "--format", "md", "--out", out, "--cutover", cutover_id, *where)
    assert told.code == 0 and [path.name for path in out.iterdir()] == ["onepage.md"]
    assert "rolled back" in told.out
    one = out / "for the board.html"
    assert abaco("report", "onepage", "--out", one, "--cutover", cutover_id, *where).code == 0
    assert sorted(path.name for path in out.iterdir()) == ["for the board.html", "onepage.md"]
    assert one.read_bytes().lower().startswith(b"<!doctype html>")
    both = abaco("report", "onepage", "--out", one, "--format", "md", "--cutover", cutover_id, *where)
    assert both.code == 2 and "asks for another" in both.err
    for wrong, code in ((rollback_id, "RPT-102"), ("nowhere", "CUT-105")):
        refused = abaco("report", "brief", "--cutover", wrong, *where)
        assert refused.code == 2 and code in refused.err
    assert facts["cutover"]["id"] in abaco("report", "brief", "--cutover", rollback_id, *where).err
