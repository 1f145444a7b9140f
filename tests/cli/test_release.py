"""``abaco release`` and ``abaco run --release``: what a person and a script are told of releases of both kinds."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from abaco_loans.account import account
from abaco_loans.cli import COMMANDS
from abaco_loans.clock import SystemClock
from abaco_loans.operations.workspace import open_workspace
from abaco_loans.records.shadows import NewSeal
from abaco_loans.records.store import open_store
from tests.cli.conftest import Abaco
from tests.operations.desk import worked_example, write_csv


@pytest.fixture
def place(abaco: Abaco, tmp_path: Path) -> Path:
    folder = tmp_path / "w"
    assert abaco("init", folder).code == 0
    return folder


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "tape.csv", worked_example())


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def copied(place: Path, name: str, new: str) -> Path:
    return Path(shutil.copytree(place / "releases" / name, place / "releases" / new))


def test_init_says_which_releases_there_are(abaco: Abaco, tmp_path: Path) -> None:
    said = abaco("init", tmp_path / "a")
    assert "release v2" in said.out and "release v1 stands by" in said.out
    found = abaco("init", tmp_path / "b", "--json").document
    assert found["release"] == "v2"
    assert {name: (item["kind"], item["role"]) for name, item in found["releases"].items()} == {
        "v1": ("command", "standby"),
        "v2": ("catalogue", "active"),
    }
    assert found["releases"]["v2"]["policy"] == found["policy"]


def test_list_tells_kinds_roles_digests_and_first_runs(abaco: Abaco, place: Path, tape: Path) -> None:
    first = abaco("release", "list", "-w", place, "--json").document["releases"]
    assert [(item["name"], item["frozen"]) for item in first] == [("v1", None), ("v2", None)]
    assert abaco("run", tape, "--release", "v1", "-w", place).code == 0
    (v1, v2) = abaco("release", "list", "-w", place, "--json").document["releases"]
    assert v1["frozen"]["unchanged"] and v2["frozen"] is None
    (place / "releases" / "v1" / "legacy.py").write_text("print()", encoding="utf-8")
    copied(place, "v2", "v3").joinpath("catalogue.yml").unlink()
    said = abaco("release", "list", "-w", place)
    assert said.code == 0
    assert "changed since" in said.out  # v1, which has run, means something else now
    assert "BROKEN" in said.out and "has no catalogue.yml" in said.out
    assert abaco("run", tape, "--release", "v1", "-w", place).err.count("REC-121") == 1


def test_show_says_what_a_release_is_and_what_it_is_judged_by(abaco: Abaco, place: Path) -> None:
    program = abaco("release", "show", "v1", "-w", place, "--json").document
    assert program["program"]["argv"][1] == "legacy.py" and list(program["program"]["files"]) == ["legacy.py"]
    assert program["definitions"]["investor"]["default_for"] == ["servicing"]
    assert program["gates"]["file"] is False and program["seal"] is None
    said = abaco("release", "show", "v2", "-w", place)
    assert "27 KPIs" in said.out
    assert (
        "risk.par_30: unexplained below 0.1 % passes, above 1 % halts, weight 3, critical, must have data" in said.out
    )
    assert "the old report rounds to one decimal" in said.out
    replaced(place / "releases" / "v2" / "gates.yml", "risk.par_30", "risk.par_31")
    broken = abaco("release", "show", "v2", "-w", place)
    assert broken.code == 0 and "GATE-103" in broken.out
    assert abaco("release", "show", "v7", "-w", place).code == 2


def test_diff_of_two_catalogues(abaco: Abaco, place: Path) -> None:
    v3 = copied(place, "v2", "v3")
    same = abaco("release", "diff", "v2", "v3", "-w", place)
    assert "nothing differs" in same.out
    replaced(v3 / "gates.yml", "weight: 2", "weight: 4")
    replaced(v3 / "catalogue.yml", "warning: 5, critical: 8", "warning: 4, critical: 8")
    amended = abaco("release", "diff", "v2", "v3", "-w", place, "--json").document
    assert (amended["same_meaning"], amended["amendment"], amended["kpis"]) == (True, True, [])
    assert {item["name"] for item in amended["policy"]} == {"gates.yml", "risk.par_30"}
    replaced(v3 / "definitions.yml", "boundary: more_than", "boundary: at_least")
    found = abaco("release", "diff", "v2", "v3", "-w", place, "--json").document
    assert (found["same_meaning"], found["amendment"], found["any_kpi"]) == (False, False, False)
    assert [item["words"] for item in found["meaning"]] == ["definition iris: boundary more_than → at_least"]
    assert "risk.par_30" in found["kpis"] and "finance.outstanding" not in found["kpis"]
    said = abaco("release", "diff", "v2", "v3", "-w", place)
    assert "another meaning" in said.out and "boundary more_than → at_least" in said.out


def test_a_new_mapping_is_an_amendment_and_says_so(abaco: Abaco, place: Path) -> None:
    mappings = copied(place, "v2", "v3") / "mappings"
    shutil.copy(mappings / "factoring.yml", mappings / "other.yml")
    replaced(mappings / "other.yml", "name: factoring", "name: other")
    found = abaco("release", "diff", "v2", "v3", "-w", place, "--json").document
    assert (found["same_meaning"], found["amendment"]) == (False, True)
    assert [item["amendment"] for item in found["meaning"]] == [True]
    assert "(an amendment)" in abaco("release", "diff", "v2", "v3", "-w", place).out
    # The other way a source is lost: no amendment.
    assert not abaco("release", "diff", "v3", "v2", "-w", place, "--json").document["amendment"]


def test_diff_with_a_program_promises_nothing(abaco: Abaco, place: Path) -> None:
    mixed = abaco("release", "diff", "v1", "v2", "-w", place)
    assert "any KPI can differ" in mixed.out and "legacy.py" in mixed.out
    folder = copied(place, "v1", "v1b")
    same = abaco("release", "diff", "v1", "v1b", "-w", place, "--json").document
    assert (same["any_kpi"], same["amendment"], same["meaning"], same["policy"]) == (False, True, [], [])
    replaced(folder / "legacy.py", "days > 180", "days > 90")
    (folder / "rates.txt").write_text("1", encoding="utf-8")
    replaced(folder / "release.yml", "timeout_s: 300", "timeout_s: 30")
    replaced(folder / "definitions.yml", "write_off_after_days: 180", "write_off_after_days: 90")
    found = abaco("release", "diff", "v1", "v1b", "-w", place, "--json").document
    assert found["any_kpi"] and not found["amendment"]
    assert [item["words"] for item in found["meaning"]] == ["file legacy.py changed", "file rates.txt added"]
    assert [item["words"] for item in found["policy"]] == [
        "program release.yml: timeout_s 300 → 30",
        "definition investor changed",
    ]


def test_looser_gates_are_approved_by_a_second_person(abaco: Abaco, place: Path) -> None:
    none = abaco("release", "approve", "v2", "--reason", "so", "-w", place)
    assert none.code == 2 and "GATE-105" in none.err
    url = open_workspace(place, {}).records_url
    with open_store(url, clock=SystemClock(), actor="somebody-else") as store:
        for digest, loosened in (("a", ()), ("b", ("others: pass_percent 0.1 → 0.2",))):
            seal = NewSeal(
                candidate="v2", gates_digest=digest, expected_digest="e", gates="", expected="", loosened=loosened
            )
            store.shadow_writer.seal(seal)
    waiting = abaco("release", "show", "v2", "-w", place)
    assert "pass_percent 0.1 → 0.2" in waiting.out and "waits for a second person" in waiting.out
    assert abaco("release", "approve", "v2", "-w", place).code == 2  # no reason
    done = abaco("release", "approve", "v2", "--reason", "the old report is retired", "-w", place, "--json")
    assert done.code == 0 and done.document["loosened"] == ["others: pass_percent 0.1 → 0.2"]
    assert done.document["sealed_by"] == "somebody-else"
    assert "approved by" in abaco("release", "show", "v2", "-w", place).out
    assert abaco("audit", "verify", "-w", place).code == 0


def test_who_loosened_the_gates_cannot_approve_it(abaco: Abaco, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")  # which is not who they are
    with open_store(open_workspace(place, {}).records_url, clock=SystemClock(), actor=account()) as store:
        new = NewSeal(candidate="v2", gates_digest="a", expected_digest="e", gates="", expected="", loosened=("x",))
        store.shadow_writer.seal(new)
    said = abaco("release", "approve", "v2", "--reason", "because", "-w", place)
    assert said.code == 2 and "GATE-106" in said.err


def test_both_kinds_run_and_say_their_exact_values(abaco: Abaco, place: Path, tape: Path) -> None:
    old = abaco("run", tape, "--release", "v1", "-w", place, "--json").document
    new = abaco("run", tape, "-w", place, "--json").document
    assert (old["release"], old["definition"], new["release"]) == ("v1", "original", "v2")
    assert old["tape"]["sha256"] == new["tape"]["sha256"]
    for kpi, item in {**new["kpis"], **old["kpis"]}.items():
        assert "value_exact" in item, kpi
    printed, exact = (found["kpis"]["risk.collection_rate"]["value_exact"] for found in (old, new))
    assert len(exact) > len(printed) and abs(Decimal(printed) - Decimal(exact)) <= Decimal("0.05")
    said = abaco("runs", "show", old["run_id"], "-w", place)
    assert said.code == 0 and "given to the program" in said.out and "{python} legacy.py" in said.out
    history = abaco("kpi", "history", "risk.par_30", "-w", place, "--json")
    assert history.code == 0
    assert abaco("run", tape, "--release", "v1", "-w", place, "--json").document["earlier"]


def test_a_program_can_be_the_active_release(
    abaco: Abaco, place: Path, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(place / "abaco.yml", "release: v2", "release: v1")
    assert abaco("run", tape, "-w", place, "--json").document["release"] == "v1"
    assert abaco("doctor", "-w", place).code == 0
    refused = abaco("kpi", "list", "-w", place)
    assert refused.code == 2 and "REL-105" in refused.err and "--release" in refused.err
    assert abaco("kpi", "list", "--release", "v2", "-w", place).code == 0


def test_release_stands_behind_quarantine() -> None:
    names = list(COMMANDS)
    assert names.index("release") == names.index("quarantine") + 1
