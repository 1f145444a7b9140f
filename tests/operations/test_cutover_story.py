"""The story on the real book: v1, shadow, cutover, months under v2, rollback; v2 leaves no trace in any KPI of v1.

`make story` plays every month end, with the real checks and comparisons; CI a handful of month ends with light ones.
"""

from __future__ import annotations

import os
from calendar import monthrange
from datetime import date
from pathlib import Path

import pytest

from abaco_loans.operations.cut_over import roll_back, start_cutover
from tests.operations.cutover_desk import PLANNER, CutoverDesk
from tests.operations.shadow_desk import shadow

WHOLE = os.environ.get("ABACO_TEST_STORY") == "whole"


def month_ends(first: tuple[int, int], last: tuple[int, int]) -> list[date]:
    """Every month end from the first month to the last."""
    months = range(first[0] * 12 + first[1] - 1, last[0] * 12 + last[1])
    return [date(item // 12, item % 12 + 1, monthrange(item // 12, item % 12 + 1)[1]) for item in months]


UNDER_V1, UNDER_V2 = month_ends((2024, 1), (2025, 6)), month_ends((2025, 7), (2025, 10))
if not WHOLE:
    UNDER_V1, UNDER_V2 = [day for day in UNDER_V1 if day.month == 6][-1:], [UNDER_V2[0], UNDER_V2[-1]]


def arrive(desk: CutoverDesk, tape: Path, days: list[date]) -> list[str]:
    """The book is submitted for each of the days, and worked off."""
    jobs = [desk.submit(tape, day).job.job_id for day in days]
    desk.work()
    return jobs


@pytest.mark.slow
def test_every_kpi_of_every_month_is_as_if_v2_had_never_been(factoring_dir: Path, tmp_path: Path) -> None:
    desk = CutoverDesk(tmp_path / "workspace")
    assert desk.drill()["passed"]
    arrive(desk, factoring_dir, UNDER_V1)
    assert shadow(desk, factoring_dir, as_of=UNDER_V1[-1])["verdict"] == "pass"
    record = desk.approved()
    assert start_cutover(record.cutover_id, desk.given(real=WHOLE)).status == "completed", desk.told[-3:]
    since = arrive(desk, factoring_dir, UNDER_V2)
    assert {job.served_by for job in desk.jobs() if job.job_id in since} == {"v2"}
    back = roll_back("the story asks for it", PLANNER, desk.given(real=WHOLE))
    assert back.status == "completed"
    assert desk.evidence(back.cutover_id, "lost") == [0]
    for job in since:
        assert [(item.release, item.epoch) for item in desk.served(job)] == [("v2", 2), ("v1", 3)]

    never = CutoverDesk(tmp_path / "never")
    arrive(never, factoring_dir, [*UNDER_V1, *UNDER_V2])
    wanted = {(job.as_of, never.published(job)) for job in never.jobs()}
    assert {(job.as_of, desk.published(job)) for job in desk.jobs()} == wanted
    assert len(wanted) == len(UNDER_V1) + len(UNDER_V2)
    assert {job.served_by for job in desk.jobs()} == {"v1"}
