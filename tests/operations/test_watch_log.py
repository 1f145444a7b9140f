"""The log of a watch: a line for every tick that did something, and nothing that was not measured reads as a figure."""

from __future__ import annotations

from typing import Any

import pytest

from abaco_loans.operations.watch_log import hourly_line, write_watch_log
from abaco_loans.operations.workspace import make_workspace
from tests.outputs.report_documents import at, checkpoint

WATCH = {"watch_id": "c1", "release": "v2", "status": "watching"}
QUIET: dict[str, Any] = {"watch": WATCH, "done": None, "missed": [], "defaulted": [], "asked": [], "triggers": []}


def test_a_checkpoint_with_its_figures() -> None:
    line = hourly_line({**QUIET, "done": checkpoint("2.5", 133, "UNKNOWN", kpi_variance_percent=None)}, at(9))
    assert line.startswith(f"{at(2.51)} watch=c1 release=v2 status=watching hour=2.5 mark=UNKNOWN kpi_latency_ms=0.71 ")
    assert "kpi_variance_percent=not measured" in line and line.endswith("validation_status=PASS event=133")


def test_what_follows_from_a_tick_is_told_without_a_checkpoint() -> None:
    said = {
        "missed": ["3", "4"],
        "defaulted": [{"hour": "8", "decision": "keep"}],
        "asked": [{"hour": "24", "deadline": at(28)}],
        "triggers": [
            {"cause": "data_loss", "fired": True, "words": "1 tapes\nare \x1b[2Jlost"},
            {"cause": "crashes", "fired": False, "words": "not counted"},
        ],
    }
    line = hourly_line({**QUIET, **said}, at(9))
    assert line == (
        f"{at(9)} watch=c1 release=v2 status=watching missed=hour 3,4 default=hour 8: keep asked=hour 24 until {at(28)}"
        " trigger=data_loss: ROLLBACK PROPOSED: 1 tapes\\nare \\x1b[2Jlost"
    )


@pytest.mark.parametrize(
    "document",
    [
        QUIET,
        {**QUIET, "watch": None},
        {**QUIET, "triggers": [{"cause": "crashes", "fired": False, "words": "unknown"}]},
    ],
)
def test_a_tick_that_did_nothing_says_nothing(document: dict[str, Any]) -> None:
    assert hourly_line(document, at(9)) == ""


def test_lines_are_added_and_half_a_line_is_ended(tmp_path: Any) -> None:
    workspace = make_workspace(tmp_path / "w", {})
    assert write_watch_log(workspace, QUIET, at(1)) is None
    path = write_watch_log(workspace, {**QUIET, "missed": ["1"]}, at(1))
    assert path == workspace.root / "logs" / "watch_c1.log"
    with path.open("a") as stream:
        stream.write("half a li")
    write_watch_log(workspace, {**QUIET, "missed": ["2"]}, at(2))
    lines = path.read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == [at(1), "half", at(2)]
    assert path.stat().st_mode & 0o777 == 0o600
