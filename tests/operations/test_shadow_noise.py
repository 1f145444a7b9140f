"""A noisy baseline: its own repeats say how much of a difference is noise; 20 seeds, real processes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from abaco_loans.operations.run_side import SideJob, SideRun, run_side
from abaco_loans.releases.command_release import CommandRelease, read_command_release
from abaco_loans.releases.comparison import Key, Verdict, compare
from abaco_loans.releases.gate import Gates
from abaco_loans.releases.judgement import Outcome, judge
from tests.operations.shadow_desk import HEAD
from tests.tape.reading import KEY

DAY = date(2025, 11, 30)
PAR_30 = Key(kpi="risk.par_30")
REPEATS = 8
# 8 % with a noise of 0.15 % of it to either side, another one for every seed and run. Imports nothing: it runs often.
NOISY = """
import os
seed, run, shift = int(os.environ["SEED"]), int(os.environ["RUN"]), float(os.environ["SHIFT"])
noise = (seed * 1000003 + run * 7919 + 12345) * 2654435761 % 2**32 / 2**31 - 1
print('{"kpis": {"risk.par_30": %.17g}}' % (8 * shift * (1 + 0.0015 * noise)))
"""


def release(name: str) -> CommandRelease:
    head = HEAD + "  environment: [SEED, RUN, SHIFT]\n"
    return read_command_release(name, {"release.yml": head}, {"program.py": NOISY.encode()})


def ran(folder: Path, tape: Path, seed: int, run: str, shift: str) -> SideRun:
    job = SideJob(
        tape=tape, as_of=DAY, definition=None, layout=None, mapping=None, currency="USD", worker=(), worker_path="",
        key=KEY, memory_mb=300, threads=1, timeout_s=20, environment={"SEED": str(seed), "RUN": run, "SHIFT": shift},
    )  # fmt: skip
    found = run_side(release("noisy"), job, folder / f"{seed}-{run}")
    assert found.ok, found.error
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_floor_covers_the_noise_and_a_real_shift_of_one_percent_fails(seed: int, tmp_path: Path) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text("loan_id\nA\n", encoding="utf-8")
    repeats = [ran(tmp_path, tape, seed, str(number), "1").said for number in range(REPEATS)]
    floor = max(item[PAR_30].value_exact or 0 for item in repeats) - min(
        item[PAR_30].value_exact or 0 for item in repeats
    )
    assert floor > 0
    for run, shift, outcome in (("100", "1", Outcome.PASS), ("101", "1.01", Outcome.FAIL)):
        other = ran(tmp_path, tape, seed, run, shift)
        (found,) = compare(repeats, other.said)
        assert found.noise == floor
        verdict = judge([found], Gates(), (), today=DAY, compared_on=DAY)
        assert verdict.outcome is outcome, found
        if outcome is Outcome.FAIL:
            assert found.verdict is Verdict.UNEXPLAINED
