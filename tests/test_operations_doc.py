"""The runbook: every command in it works in a workspace eight hours after a cutover, and every rule has a place."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from abaco_loans.watch.alert import Raise, Severity, Signal
from abaco_loans.watch.rules import RULES
from tests.cli.conftest import Abaco, abaco
from tests.operations.report_desk import ReportDesk

__all__ = ["abaco"]

PAGE = "docs/operations.md"
# Commands that are not run here, each with the reason; what they do is tested where it says.
NOT_RUN = {
    'abaco watch decide 8 reduce --reason "WHAT WAS LOOKED AT"': "the line before it has decided (test_watch)",
    'abaco watch decide 24 sign_off --reason "WHAT WAS LOOKED AT"': "it is hour 8 (test_watch)",
    'abaco release retire v1 --reason "28 good days"': "it is hour 8 (test_rehearse)",
    "abaco cutover resume": "nothing is held (test_cutover_failures)",
}
# What leaves with 1 rightly here: the answer is "no".
MAY_SAY_NO = ("abaco validate", "abaco watch tick")


def commands(repository: Path) -> list[str]:
    """The commands of the page, in order, each once; what follows a rollback stays behind it."""
    text = (repository / PAGE).read_text(encoding="utf-8")
    blocks = re.findall(r"^[ ]*```sh\n(.*?)^[ ]*```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(lines))


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a page get."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_every_rule_has_its_place(repository: Path) -> None:
    there = anchors((repository / PAGE).read_text(encoding="utf-8"))
    for rule in RULES.values():
        page, _, anchor = rule.runbook.partition("#")
        assert page == PAGE and anchor in there, rule.name


def test_anchors_that_are_linked_are_there(repository: Path) -> None:
    text = (repository / PAGE).read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(text)


@pytest.mark.slow
def test_every_command_works(repository: Path, tmp_path: Path, abaco: Abaco, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = ReportDesk(tmp_path / "workspace", hours_ago=8.5)
    desk.cut_over()
    desk.walk(8)
    alert_id = _alert(desk)
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(desk.workspace.root)
    lines = commands(repository)
    assert set(NOT_RUN) < set(lines) and len(lines) > 25
    for line in lines:
        if line in NOT_RUN:
            continue
        words = shlex.split(line.replace("ALERT", alert_id))
        assert words[0] == "abaco", line
        said = abaco(*words[1:])
        assert said.code == 0 or (said.code == 1 and line.startswith(MAY_SAY_NO)), (line, said.out, said.err)
    assert desk.pointer().active == "v1", "the rollback of the page went back"


def _alert(desk: ReportDesk) -> str:
    """An alert that is open."""
    signal = Signal(rule="kpi_threshold", subject="risk.par_30", severity=Severity.WARNING, words="risk.par_30 is 6")
    with desk.records() as records:
        made = records.alert_writer.apply(
            [Raise(signal=signal)],
            owners={rule.name: rule.owner for rule in RULES.values()},
            runbooks={rule.name: rule.runbook for rule in RULES.values()},
            now=desk.clock.now() - timedelta(minutes=1),
        )
    return made[0].alert_id
