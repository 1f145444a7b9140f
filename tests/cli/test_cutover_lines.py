"""What goes by on the screen while a cutover is carried out: each phase is named once, as the plan names it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from abaco_loans.cli.cutover import _Lines
from abaco_loans.operations.carry_out import Told
from abaco_loans.releases.plan import Phase, PlanFacts, cutover_plan
from tests.operations.desk import Desk

AT = datetime(2025, 11, 30, 12, tzinfo=UTC)


def test_every_phase_is_named_once_as_the_plan_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = PlanFacts(
        from_release="v1",
        to_release="v2",
        from_meaning="",
        from_policy="",
        to_meaning="",
        to_policy="",
        planned_by="nobody",
        planned_at=AT,
        pointer_epoch=1,
        workspace_id="w",
    )
    plan = cutover_plan(facts)
    lines = _Lines(Desk(tmp_path / "workspace").workspace, quiet=False)
    steps = (*plan.steps, *plan.way_back)
    for step in steps:
        lines.tell(Told(at=AT, step=step, status="started"))
        lines.tell(Told(at=AT, step=step, status="done", seconds=0.5))
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if not line.startswith("  ")] == [
        f"{phase.words}:" if phase is Phase.WAY_BACK else f"phase {int(phase)}: {phase.words}" for phase in Phase
    ]
    assert said[0] == "phase 0: pre-cutover validation"
    assert len(said) == len(Phase) + len(steps)
