"""The units and the container file: systemd reads them, and what they start exists."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from abaco_loans.cli import COMMANDS, cli
from tests.conftest import IN_CI

# The command comes with the watch; until then its unit is only read.
COMING = {"watch"}


def units(repository: Path) -> list[Path]:
    found = sorted((repository / "deploy" / "systemd").iterdir())
    assert [path.name for path in found] == [
        "abaco-metrics.service",
        "abaco-watch.service",
        "abaco-watch.timer",
        "abaco-worker@.service",
    ]
    return found


def starts(unit: Path) -> list[str]:
    """The words of what a service starts."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit, encoding="utf-8")
    return shlex.split(parser["Service"]["ExecStart"])


def is_a_command(words: list[str]) -> None:
    """The words are a command of abaco with options that it knows."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    known = {name for item in command.params for name in item.opts}
    assert {word for word in words if word.startswith("--")} <= known, words


def test_systemd_reads_the_units(repository: Path, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        assert not IN_CI, "systemd-analyze is missing; .ci/run installs it"
        pytest.skip("systemd-analyze is not here")
    for unit in units(repository):
        text = unit.read_text(encoding="utf-8").replace("/opt/abaco/bin/abaco", sys.executable)
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [tool, "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "abaco" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


def test_what_the_units_start_exists(repository: Path) -> None:
    services = [unit for unit in units(repository) if unit.suffix == ".service"]
    for unit in services:
        program, *words = starts(unit)
        assert program == "/opt/abaco/bin/abaco"
        if words[0] not in COMING - set(COMMANDS):
            is_a_command(words)
    timers = [unit for unit in units(repository) if unit.suffix == ".timer"]
    assert {timer.stem for timer in timers} <= {service.stem for service in services}


def test_what_the_container_starts_exists(repository: Path) -> None:
    text = (repository / "deploy" / "Containerfile").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    (words,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert json.loads(entry) == ["abaco"]
    is_a_command(json.loads(words))
    (base,) = re.findall(r"^FROM (.*)$", text, re.MULTILINE)
    assert "/" not in base, "no registry by name"
    assert text.index("\nUSER abaco") > text.index("\nRUN"), "it does not run as root"
    assert (
        re.search(r"^COPY constraints\.txt dist/\*\.whl ", text, re.MULTILINE)
        and (repository / "constraints.txt").exists()
    )


def test_the_worker_s_unit_lets_it_end_its_job(repository: Path) -> None:
    text = (repository / "deploy" / "systemd" / "abaco-worker@.service").read_text(encoding="utf-8")
    assert "KillMode=mixed" in text and "TimeoutStopSec=30min" in text and "User=abaco" in text
