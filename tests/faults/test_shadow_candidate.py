"""A candidate that misbehaves (FAULTS 36, 37): the baseline says the same, as fast, and the candidate never passes."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest

from abaco_loans.operations.run_side import SideJob, SideRun, run_side
from abaco_loans.releases.command_release import AnyRelease
from tests.operations.desk import Desk
from tests.operations.shadow_desk import HEAD, gates, printing, program, shadow, worked_tape

GOOD = '{"kpis": {"risk.par_30": 2.4, "risk.par_90": 0.6}}'
LITTLE = HEAD.replace("timeout_s: 20", "timeout_s: 2").replace("memory_mb: 2048", "memory_mb: 200")
# What it does, and how that is called.
MISDEEDS = {
    "crashes": ("raise SystemExit('no such table')", "crashed"),
    "is killed": ("import os; os.kill(os.getpid(), 11)", "crashed"),
    "hangs": ("import time; time.sleep(600)", "timeout"),
    "floods": ("while True: print('x' * 100000)", "flood"),
    "prints half a document": ('print(\'{"kpis": {"risk.par_30": 2.4\')', "bad_output"),
    "prints nothing": ("pass", "bad_output"),
    "prints no number": ('print(\'{"kpis": {"risk.par_30": NaN}}\')', "bad_output"),
    "eats memory": ("x = [bytearray(10_000_000) for _ in range(10_000)]", "out_of_memory"),
    "leaves children": (
        "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True); sys.exit(3)",
        "crashed",
    ),
    "writes to the release": ("open(RELEASE, 'a').write('# changed')", "crashed"),
    "removes what the baseline gave": (
        "import glob, os\nfor path in glob.glob(SCRATCH + '/**/baseline*/*', recursive=True): os.remove(path)",
        "crashed",
    ),
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "workspace")


class Watched:
    """Runs sides, and keeps the digests of what the baseline left after the candidate ran."""

    def __init__(self) -> None:
        self.runs: list[SideRun] = []
        self.files: dict[str, str] = {}

    def run(self, release: AnyRelease, job: SideJob, folder: Path) -> SideRun:
        """Run a side; the candidate is the last."""
        self.runs.append(run_side(release, job, folder))
        self.files = {
            f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.parent.glob("baseline*/*"))
        }
        return self.runs[-1]


# A baseline with loan rows, so that there is something to spoil.
BASELINE = f"""
import sys
with open(sys.argv[3], "w") as out:
    out.write("loan_id,outstanding,days\\nA,100,0\\nB,50,31\\n")
print({GOOD!r})
"""
MUST = "metrics:\n  risk.par_30: {must_have_data: true, critical: true}\n"


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """The baseline beside a candidate that behaves."""
    desk = Desk(tmp_path_factory.mktemp("calm") / "workspace")
    program(desk, "old", BASELINE)
    printing(desk, "good", GOOD)
    gates(desk, "good", MUST)
    watched = Watched()
    assert shadow(desk, worked_tape(desk), "old", "good", run=watched.run)["verdict"] == "pass"
    assert len(watched.files) == 2
    return watched


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_the_baseline_is_not_touched(misdeed: str, desk: Desk, calm: Watched) -> None:
    code, status = MISDEEDS[misdeed]
    root = desk.workspace.root
    code = code.replace("RELEASE", repr(str(root / "releases" / "v2" / "catalogue.yml")))
    code = code.replace("SCRATCH", repr(str(desk.workspace.scratch)))
    program(desk, "old", BASELINE)
    program(desk, "bad", code, head=LITTLE)
    gates(desk, "bad", MUST)
    before = _tree(root / "releases"), _tree(desk.workspace.outputs)
    watched = Watched()
    found = shadow(desk, worked_tape(desk), "old", "bad", run=watched.run)
    assert found["verdict"] == "fail"
    assert found["candidate"]["runs"][0]["status"] == status, found["candidate"]
    assert found["reasons"][0]["halts"]
    assert found["candidate"]["runs"][0]["error"]["hint"]
    assert [run.status for run in watched.runs[:-1]] == ["ok", "ok"]
    assert watched.files == calm.files
    assert (_tree(root / "releases"), _tree(desk.workspace.outputs)) == before
    slowest = max(run.seconds for run in calm.runs[:-1])
    assert min(run.seconds for run in watched.runs[:-1]) < slowest * 3 + 0.5


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_baseline_that_fails_proves_nothing(desk: Desk) -> None:
    program(desk, "old", "raise SystemExit(1)")
    printing(desk, "new", GOOD)
    found = shadow(desk, worked_tape(desk), "old", "new")
    assert found["verdict"] == "inconclusive"
    assert "the baseline old gave no numbers" in found["reasons"][0]["words"]
    assert len(found["baseline"]["runs"]) == 1


def test_a_tape_that_only_the_baseline_can_read(desk: Desk, tmp_path: Path) -> None:
    program(desk, "old", f"print({GOOD!r})")
    tape = tmp_path / "strange.csv"
    tape.write_text("a,b\n1,2\n", encoding="utf-8")
    found = shadow(desk, tape, "old", "v2", as_of=date(2025, 11, 30))
    assert found["verdict"] == "fail"
    assert found["candidate"]["runs"][0]["status"] == "refused"
    assert found["candidate"]["runs"][0]["error"]["code"].startswith("TAPE-")
