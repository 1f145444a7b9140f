"""``abaco shadow`` from the outside: what is printed, exit codes, the page, the standing role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from abaco_loans.cli import cli
from tests.operations.desk import worked_example, write_csv


def abaco(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(item) for item in arguments], catch_exceptions=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    assert abaco("init", tmp_path / "w").exit_code == 0
    return tmp_path / "w"


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "worked.csv", worked_example())


def printing(place: Path, name: str, text: str) -> None:
    folder = place / "releases" / name
    folder.mkdir()
    (folder / "release.yml").write_text('kind: command\ncommand: {argv: ["{python}", p.py, "{tape}"]}\n')
    (folder / "p.py").write_text(f"print({text!r})\n")


def test_v1_and_v2_are_compared_listed_and_reported(place: Path, tape: Path, tmp_path: Path) -> None:
    said = abaco("shadow", tape, "--baseline", "v1", "--candidate", "v2", "-w", place)
    assert said.exit_code == 0, said.output
    assert said.output.startswith("PASS  v1 → v2 on worked.csv, as of 2025-11-30")
    assert "risk.par_30" in said.output
    listed = json.loads(abaco("shadow", "list", "--json", "-w", place).output)["shadow_runs"]
    assert [item["verdict"] for item in listed] == ["pass"]
    page = tmp_path / "page.html"
    assert abaco("shadow", "report", "--out", page, "-w", place).exit_code == 0
    assert "PASS" in page.read_text(encoding="utf-8")
    assert page.stat().st_mode & 0o077 == 0
    document = json.loads(abaco("shadow", "report", listed[0]["shadow_id"], "--json", "-w", place).output)
    assert {"verdict", "kpis", "bridge", "noise", "timings"} <= set(document)
    assert document["history"][0]["shadow_id"] == listed[0]["shadow_id"]


def test_a_gate_that_does_not_pass_is_exit_code_1_also_as_json(place: Path, tape: Path) -> None:
    printing(place, "v3", '{"kpis": {"risk.par_30": 3.14}}')
    said = abaco("shadow", tape, "--candidate", "v3", "--repeat", 1, "--json", "-w", place)
    assert said.exit_code == 1
    document = json.loads(said.output)
    assert document["verdict"] == "fail"
    assert document["kpis"]["risk.par_30"]["verdict"] == "unexplained"
    told = abaco("shadow", tape, "--candidate", "v3", "--repeat", 1, "-w", place).output
    assert told.startswith("FAIL")
    assert "fail: risk.par_30: unexplained" in told


def test_several_tapes_are_one_document(place: Path, tape: Path) -> None:
    printing(place, "v3", '{"kpis": {"risk.par_30": 2.4}}')
    other = tape.with_name("again.csv")
    other.write_bytes(tape.read_bytes())
    said = abaco("shadow", tape, other, "--candidate", "v3", "--repeat", 1, "--json", "-w", place)
    document = json.loads(said.output)
    assert [item["tape"]["name"] for item in document["tapes"]] == ["worked.csv", "again.csv"]
    assert document["tape"]["name"] == "again.csv"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shadow", "TAPE"), "--candidate"),
        (("shadow", "TAPE", "--candidate", "v9"), "there is no release 'v9'"),
        (("shadow", "no-such.csv", "--candidate", "v1"), "there is no such file"),
        (("shadow", "report", "20200101-000000000000"), "has no report"),
        (("shadow", "report"), "nothing was compared yet"),
    ],
)
def test_what_is_asked_wrongly_is_told(arguments: tuple[str, ...], words: str, place: Path, tape: Path) -> None:
    given = [str(tape) if item == "TAPE" else item for item in arguments]
    said = subprocess.run(
        [sys.executable, "-m", "abaco_loans", *given, "-w", str(place)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 2
    assert words in said.stderr
    assert "hint:" in said.stderr


def published(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted((place / "outputs").rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.mark.slow
def test_the_standing_shadow_delays_nothing_and_publishes_nothing(place: Path, tape: Path, tmp_path: Path) -> None:
    key = {"ABACO_MASKING_KEY": "5e" * 32}
    calm = tmp_path / "calm"
    assert abaco("init", calm).exit_code == 0
    printing(place, "v3", "")
    (place / "releases" / "v3" / "p.py").write_text("import time\ntime.sleep(3)\nprint('{\"kpis\": {')\n")
    with (place / "abaco.yml").open("a", encoding="utf-8") as settings:
        settings.write("shadow: v3\n")
    seconds = {}
    for workspace in (calm, place):
        for name in ("warm.csv", "tape.csv"):
            given = tmp_path / name
            lines = tape.read_text(encoding="utf-8").splitlines(keepends=True)
            given.write_text("".join(lines if name == "tape.csv" else lines[:-1]), encoding="utf-8")
            begun = time.perf_counter()
            command = [sys.executable, "-m", "abaco_loans", "run", str(given), "-w", str(workspace), "--json"]
            said = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **key})
            seconds[workspace.name] = time.perf_counter() - begun
            assert json.loads(said.stdout)["release"] == "v2"
    assert published(place) == published(calm)
    assert seconds["w"] < seconds["calm"] + 2.5  # the candidate alone sleeps longer than that
    for _ in range(300):
        listed = json.loads(abaco("shadow", "list", "--json", "-w", place).output)["shadow_runs"]
        if [item["verdict"] for item in listed] == ["fail", "fail"]:
            break
        time.sleep(0.1)
    else:
        pytest.fail((place / "logs" / "shadow_v3.log").read_text(encoding="utf-8"))
    assert published(place) == published(calm)
