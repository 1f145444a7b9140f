"""Shadow runs from end to end: real processes, a real engine, real records."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.operations.run_shadow import read_report
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.releases.bridge import decimal
from abaco_loans.sample import SampleSpec
from abaco_loans.wiring import open_records
from tests.operations.desk import Desk
from tests.operations.plain_book import PRESETS, State, read_book, states_at
from tests.operations.shadow_desk import copied_release, gates, printing, program, shadow, worked_tape

OLD = '{"kpis": {"risk.par_30": 2.2, "risk.par_90": 0.31, "risk.collection_rate": 12.0}}'
NEW = '{"kpis": {"risk.par_30": 2.2107, "risk.par_90": 0.3194, "risk.collection_rate": 11.9733}}'


def percent(cell: dict[str, Any]) -> str:
    return f"{Decimal(cell['variance_percent']):.2f}"


# --- the original rollout --------------------------------------------------------------------------------------


def test_the_original_rollout_is_halted_by_par_90_alone(desk: Desk) -> None:
    printing(desk, "old", OLD)
    printing(desk, "new", NEW)
    gates(desk, "new", "")
    found = shadow(desk, worked_tape(desk), "old", "new")
    kpis = found["kpis"]
    assert found["verdict"] == "fail"
    assert {name: percent(cell) for name, cell in kpis.items()} == {
        "risk.par_30": "0.49",
        "risk.par_90": "3.03",
        "risk.collection_rate": "0.22",
    }
    assert {name: cell["verdict"] for name, cell in kpis.items()} == {
        "risk.par_30": "explained",
        "risk.par_90": "unexplained",
        "risk.collection_rate": "explained",
    }
    assert kpis["risk.par_30"]["words"] == "explained by one-decimal rounding"
    assert [reason["kpi"] for reason in found["reasons"] if reason["halts"]] == ["risk.par_90"]


def test_two_digit_values_vary_as_it_was_reported(desk: Desk) -> None:
    printing(desk, "old", OLD)
    printing(desk, "new", '{"kpis": {"risk.par_30": 2.21, "risk.par_90": 0.32, "risk.collection_rate": 11.97}}')
    found = shadow(desk, worked_tape(desk), "old", "new")
    assert [percent(found["kpis"][f"risk.{name}"]) for name in ("par_30", "par_90", "collection_rate")] == [
        "0.45",
        "3.23",
        "0.25",
    ]


# --- what ships passes -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_old_report_and_v2_pass_on_the_sampled_book(desk: Desk, tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=400, months=24, seed=7), tmp_path / "sample")
    for name in ("bucketed.csv", "snapshot.csv", "servicing"):
        found = shadow(desk, tmp_path / "sample" / name)
        assert (found["verdict"], found["stops"]) == ("pass", False), found["reasons"]
        assert set(found["noise"]["kpis"].values()) == {"0"}
        assert {"risk.par_30", "risk.par_90"} <= set(found["passed"])
        assert found["loans"]["both"] > 0
        assert found["loans"]["only_baseline"] == found["loans"]["only_candidate"] == 0
        assert found["stage_moves"] == []


def test_the_report_is_recorded_and_read_again(desk: Desk) -> None:
    found = shadow(desk, worked_tape(desk))
    with open_records(desk.workspace, desk.clock) as store:
        (record,) = store.shadow_reader.list()
        actions = [event.action for event in store.events()]
        assert store.verify().ok
    assert (record.shadow_id, record.verdict, record.status) == (found["shadow_id"], "pass", "finished")
    assert actions.index("gates.sealed") < actions.index("shadow.planned") < actions.index("shadow.finished")
    assert read_report(desk.workspace, record) == found
    path = desk.workspace.shadows / record.shadow_id / "report.json"
    assert path.parent.parent.stat().st_mode & 0o077 == 0
    path.write_text(path.read_text(encoding="utf-8").replace('"pass"', '"PASS"'), encoding="utf-8")
    with pytest.raises(WorldError, match="no longer what was written"):
        read_report(desk.workspace, record)


def test_nothing_is_published_and_no_private_folder_stays(desk: Desk) -> None:
    before = sorted(path for path in desk.workspace.outputs.rglob("*"))
    shadow(desk, worked_tape(desk))
    assert sorted(path for path in desk.workspace.outputs.rglob("*")) == before
    assert [path for path in desk.workspace.scratch.iterdir() if path.is_dir()] == []


# --- two catalogue releases -----------------------------------------------------------------------------------------


def investor_changed(text: str) -> str:
    """The definition ``investor`` with ``more_than``, no dust, no write-off, cover principal."""
    head, sep, rest = text.partition("  investor:")
    body, end, tail = rest.partition("  iris:")
    for old, new in (
        ("boundary: at_least", "boundary: more_than"),
        ("dust_share: 0.01", 'dust_share: "0"'),
        ("    write_off_after_days: 180\n", ""),
        ("cover: total_due", "cover: principal"),
    ):
        assert old in body, (old, body)
        body = body.replace(old, new)
    return head + sep + body + end + tail


@pytest.mark.slow
def test_the_real_book_is_explained_cause_by_cause(desk: Desk, factoring_dir: Path) -> None:
    copied_release(desk, "v3", {"definitions.yml": investor_changed})
    found = shadow(desk, factoring_dir, "v2", "v3", as_of=date(2025, 4, 30), definition="investor", repeats=2)
    assert set(found["noise"]["kpis"].values()) == {"0"}
    for kpi in ("risk.par_30", "risk.par_60", "risk.par_90"):
        bridge = found["bridge"][kpi]
        parts = bridge["parts"]
        assert [part["cause"] for part in parts] == ["cover", "boundary", "dust", "write-off"]
        assert sum(Decimal(part["contribution"]) for part in parts) == Decimal(bridge["difference"])
        assert Decimal(bridge["unexplained"]) == 0
        assert all(part["loans"] == 0 or part["top"] for part in parts)
        assert found["kpis"][kpi]["verdict"] == "explained"
    assert "ABF - DSB2685-001" in {loan["loan_id"] for loan in found["bridge"]["risk.par_30"]["parts"][1]["top"]}
    assert all(cell["verdict"] != "unexplained" for cell in found["segments"]["cells"])
    bridged = [cell for cell in found["segments"]["cells"] if cell["bridge"]]
    assert len(bridged) > 300
    for cell in bridged:
        parts = cell["bridge"]["parts"]
        assert sum(Decimal(part["contribution"]) for part in parts) == Decimal(cell["difference"]), cell
        by_loan = not cell["bridge"]["not_by_loan"]
        assert all(len(part["top"]) == min(part["loans"], 3) > 0 for part in parts if by_loan), cell
    assert found["verdict"] == "fail"  # nobody expected it
    assert any("nobody expected" in reason["words"] for reason in found["reasons"])


ROWS = """
import shutil, sys
shutil.copyfile("rows.csv", sys.argv[3])
print(open("said.json").read())
"""
DECLARED = """\
definitions:
  like_investor:
    version: "1"
    description: the same as investor
    boundary: at_least
    cover: total_due
    restructured: by_schedule
    dust_share: 0.01
    write_off_after_days: 180
    default_for: [servicing]
"""


def rows_release(desk: Desk, name: str, states: dict[str, State], wrong: dict[str, Decimal]) -> None:
    """A program that gives the loans of the book, some with a wrong balance, and PARs of exactly these loans."""
    held = {loan: state.outstanding + wrong.get(loan, Decimal(0)) for loan, state in states.items()}
    lines = [f"{loan},{balance},{states[loan].days}" for loan, balance in held.items()]
    said = {}
    for days in (30, 60, 90):
        late = sum(balance for loan, balance in held.items() if states[loan].days >= days)
        said[f"risk.par_{days}"] = decimal(Fraction(late) * 100 / Fraction(sum(held.values())))
    figures = ", ".join(f'"{kpi}": {value}' for kpi, value in said.items())
    files = {
        "rows.csv": "\n".join(["loan_id,outstanding,days", *lines]) + "\n",
        "said.json": f'{{"kpis": {{{figures}}}}}',
        "definitions.yml": DECLARED,
    }
    program(desk, name, ROWS, files)
    gates(desk, name, "")


@pytest.mark.sweep  # test_bridge finds it at every change, without the processes around it
def test_one_wrong_balance_among_all_loans_is_found(desk: Desk, factoring_dir: Path) -> None:
    day = date(2025, 4, 30)
    states = states_at(read_book(factoring_dir), day, PRESETS["investor"])
    loan = next(name for name, state in states.items() if state.days >= 90 and state.outstanding > 1000)
    rows_release(desk, "right", states, {})
    rows_release(desk, "wrong", states, {loan: Decimal("0.01")})
    found = shadow(desk, factoring_dir, "v2", "right", as_of=day, repeats=1)
    assert {found["kpis"][f"risk.par_{days}"]["verdict"] for days in (30, 60, 90)} <= {"same", "within tolerance"}
    assert found["loans"]["differing"] == 0, found["loans"]
    found = shadow(desk, factoring_dir, "v2", "wrong", as_of=day, repeats=1)
    assert (found["loans"]["differing"], found["loans"]["both"]) == (1, len(states))
    for days in (30, 60, 90):
        (part,) = [item for item in found["bridge"][f"risk.par_{days}"]["parts"] if item["top"]]
        assert part["cause"] == "unexplained"
        assert part["top"][0]["loan_id"] == loan
        assert Decimal(part["contribution"]) != 0
