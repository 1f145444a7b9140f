"""The settings: what the file and the environment may say, and where a fault is."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from abaco_loans.errors import ConfigError
from abaco_loans.settings import DESCRIPTIONS, Settings, read_settings
from abaco_loans.strict_yaml import parse


def settings(text: str = "", **environment: str) -> Settings:
    return read_settings(parse(text, name="abaco.yml"), environment)


def test_what_nobody_says_is_the_default() -> None:
    assert settings() == settings("# nothing\n") == settings("{}") == Settings()
    assert [item.name for item in fields(Settings)] == list(DESCRIPTIONS)


def test_every_setting_by_file_and_by_environment() -> None:
    wanted: dict[str, Any] = {
        "release": "v3_b.1-c",
        "shadow": "v4",
        "rollback": "automatic",
        "reporting_currency": "COP",
        "memory_mb": 200,
        "threads": 256,
        "records_url": "postgresql://somebody:secret@host/db?x=%20é",
        "masking_key_file": "a b/c",
        "lock_timeout_s": 0,
        "lineage": "file",
        "inbox_settle_s": 86_400,
        "job_lease_s": 1,
        "job_attempts_max": 10_000,
    }
    assert wanted.keys() == DESCRIPTIONS.keys()
    text = "".join(f"{name}: {value}\n" for name, value in wanted.items())
    assert settings(text) == Settings(**wanted)
    environment = {f"ABACO_{name.upper()}": str(value) for name, value in wanted.items()}
    assert settings("release: v1\nthreads: 9", **environment, ABACO_OTHER="x") == Settings(**wanted)


@pytest.mark.parametrize(
    "line",
    [
        "threads: 0",
        "threads: 257",
        "threads: -1",
        "threads: 1.5",
        "threads: two",
        "threads: true",
        "threads:",
        "threads: [1]",
        "threads: 99999999999999999999",
        'threads: "٣"',
        "memory_mb: 199",
        "lock_timeout_s: 86401",
        "release: V2",
        "rollback: always",
        "release: ../v2",
        "shadow: ../v2",
        'release: "v2\\n"',
        "release:",
        "reporting_currency: usd",
        "reporting_currency: USDT",
        "records_url: 5",
        "masking_key_file: {a: b}",
        "lineage: on",
        "thread: 2",
        "5: 2",
    ],
)
def test_a_fault_is_told_with_its_line(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(f"# a comment\nmemory_mb: 300\n{line}\n" if "memory" not in line else f"\n\n{line}\n")
    assert caught.value.code == "CFG-501"
    assert caught.value.where == "abaco.yml:3"
    assert line.split(":")[0] in caught.value.what


def test_a_fault_of_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="ABACO_THREADS: threads: 'x' is not a whole number from 1 to 256") as caught:
        settings("threads: 2", ABACO_THREADS="x")
    assert caught.value.where == "ABACO_THREADS"


def test_a_variable_that_is_nearly_a_settings_is_refused_and_others_are_let_be() -> None:
    said = "in the environment: ABACO_RECORD_URL: is no setting; did you mean ABACO_RECORDS_URL"
    with pytest.raises(ConfigError, match=said) as caught:
        settings("threads: 2", ABACO_RECORD_URL="postgresql://db/abaco")
    assert (caught.value.code, caught.value.where) == ("CFG-501", "ABACO_RECORD_URL")
    others = {"ABACO_MASKING_KEY": "00", "ABACO_SLACK_URL": "x", "ABACO_SMTP_PASSWORD": "x", "ABACO_RECORDS": "x"}
    assert settings("threads: 2", **others) == settings("threads: 2")


def test_every_fault_is_told() -> None:
    with pytest.raises(ConfigError, match=r"3 fault\(s\) in abaco.yml: abaco.yml:1: .*abaco.yml:2: .*ABACO_RELEASE: "):
        settings("threads: 0\nthread: 2\n", ABACO_RELEASE="")


@pytest.mark.parametrize("text", ["[release, v2]", "v2", "7"])
def test_what_is_no_settings_at_all(text: str) -> None:
    with pytest.raises(ConfigError, match="CFG-501"):
        settings(text)
