"""`abaco alert`: what it prints, and its exit codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from abaco_loans.clock import FixedClock
from abaco_loans.operations.alert_production import alert_production
from abaco_loans.operations.workspace import ALERTS_FILE
from tests.cli.conftest import Abaco
from tests.operations.alert_watch_desk import AlertWatchDesk
from tests.operations.watch_desk import CALM, Machine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AlertWatchDesk:
    """A watch that began an hour ago; nobody took the one tape, and CPU is not known."""
    desk = AlertWatchDesk(tmp_path_factory.mktemp("made") / "workspace")
    desk.clock = FixedClock(datetime.now(UTC) - timedelta(hours=1.1))
    desk.begin()
    desk.submit(desk.tape())
    desk.clock.move_to(desk.clock.now() + timedelta(hours=1.05))
    desk.machine = Machine(metrics=CALM, cpu_percent=None)
    desk.at_now()
    return desk


@pytest.fixture
def desk(made: AlertWatchDesk, tmp_path: Path) -> AlertWatchDesk:
    desk = made.copied(tmp_path / "workspace")
    assert isinstance(desk, AlertWatchDesk)
    return desk


def test_list_show_and_answer(desk: AlertWatchDesk, abaco: Abaco) -> None:
    where = ("-w", desk.workspace.root)
    listed = abaco("alert", "list", *where)
    assert listed.code == 0
    lines = listed.out.splitlines()
    assert "critical".upper() in lines[2] and "pipeline" in lines[2]  # the worst stands first
    assert any("cpu" in line and "WARNING" in line for line in lines)
    found = {item["rule"]: item for item in abaco("alert", "list", *where, "--json").document}
    assert found["no_run"]["follows_from_another"] is True
    name = found["pipeline"]["id"]
    shown = abaco("alert", "show", name, *where)
    assert shown.code == 0
    assert "docs/operations.md#pipeline" in shown.out
    assert "engineering_lead" in shown.out
    answered = abaco("alert", "ack", name, "--reason", "a worker is started", *where)
    assert (answered.code, "is acknowledged by" in answered.out) == (0, True)
    again = abaco("alert", "ack", name, "--reason", "so", *where, "--json")
    assert (again.code, again.document["error"]["code"]) == (2, "ALR-113")
    assert "acknowledged, by" in abaco("alert", "list", *where).out
    document = abaco("alert", "show", name, *where, "--json").document
    assert (document["status"], [item["kind"] for item in document["deliveries"]]) == ("acknowledged", ["raise"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("ack", "nobody", "--reason", "so"), "ALR-111"),
        (("show", "nobody"), "ALR-111"),
        (("silence", "nobody", "--for", "4h", "--reason", "so"), "ALR-111"),
        (("silence", "nobody", "--for", "4 weeks", "--reason", "so"), "ALR-116"),
        (("silence", "nobody", "--reason", "so"), "ALR-116"),
        (("silence", "nobody", "--for", "4h", "--until", "2099-01-01", "--reason", "so"), "ALR-116"),
        (("silence", "nobody", "--until", "soon", "--reason", "so"), "ALR-116"),
        (("silence", "nobody", "--until", "2001-01-01", "--reason", "so"), "ALR-114"),
        (("silence", "nobody", "--for", "4h", "--reason", "a\nb"), "ALR-112"),
        (("test", "--channel", "pigeon"), "ALR-115"),
    ],
)
def test_what_is_refused(desk: AlertWatchDesk, abaco: Abaco, words: tuple[str, ...], code: str) -> None:
    said = abaco("alert", *words, "-w", desk.workspace.root)
    assert (said.code, code in said.err) == (2, True)


def test_a_silence_by_name_and_by_fingerprint(desk: AlertWatchDesk, abaco: Abaco) -> None:
    where = ("-w", desk.workspace.root)
    found = {item["rule"]: item for item in abaco("alert", "list", *where, "--json").document}["cpu"]
    said = abaco("alert", "silence", found["id"], "--for", "90m", "--reason", "a new machine comes", *where)
    assert (said.code, f"{found['fingerprint']} is silent until" in said.out) == (0, True)
    end = (datetime.now(UTC) + timedelta(days=2)).replace(tzinfo=None).isoformat(timespec="minutes")
    again = abaco("alert", "silence", found["fingerprint"], "--until", end, "--reason", "later", *where, "--json")
    assert (again.code, again.document["until"]) == (0, f"{end}:00+00:00")
    assert "silent until" in abaco("alert", "list", *where).out


def test_a_test_message_says_that_it_is_one(desk: AlertWatchDesk, abaco: Abaco) -> None:
    where = ("-w", desk.workspace.root)
    said = abaco("alert", "test", *where)
    assert (said.code, said.out) == (0, "console: sent\n")
    assert "THIS IS A TEST" in said.err
    (desk.workspace.root / ALERTS_FILE).write_text(
        "channels:\n  chat: {kind: slack, url_env: ABACO_NO_SUCH_URL}\nallowed_hosts: [hooks.slack.com]\n",
        encoding="utf-8",
    )
    failed = abaco("alert", "test", *where, "--json")
    assert failed.code == 1
    assert {item["channel"]: item["error"] and item["error"]["code"] for item in failed.document} == {
        "console": None,
        "chat": "ALR-202",
    }
    (desk.workspace.root / ALERTS_FILE).write_text("chanels: {}\n", encoding="utf-8")
    wrong = abaco("alert", "list", *where)
    assert (wrong.code, "alerts.yml:1" in wrong.err) == (2, True)


def test_without_alerts(tmp_path: Path, abaco: Abaco) -> None:
    desk = AlertWatchDesk(tmp_path / "workspace")
    where = ("-w", desk.workspace.root)
    assert abaco("alert", "list", *where).out == "no alert is open\n"
    assert abaco("alert", "list", "--all", *where).out == "no alert was ever raised\n"
    assert abaco("alert", "list", *where, "--json").document == []
    alert_production(desk.alert_tools())
    assert abaco("alert", "list", "--all", *where).out == "no alert was ever raised\n"
