"""`alerts.yml`: what it means, and every fault with its line; no secret is taken, and none repeated."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import ConfigError
from abaco_loans.operations.workspace import builtin_alerts
from abaco_loans.strict_yaml import parse
from abaco_loans.watch.alert_policy import (
    AlertPolicy,
    ConsoleTarget,
    EmailTarget,
    ErrorBudget,
    PagerDutyTarget,
    Places,
    QuietHours,
    SlackTarget,
    Step,
    WebhookTarget,
)
from abaco_loans.watch.alerts_file import read_alerts
from abaco_loans.watch.rules import RULES

FILE = """
channels:
  chat: {kind: slack, url_env: ABACO_SLACK_URL}
  on-call: {kind: pagerduty, key_env: ABACO_PAGERDUTY_KEY}
  ours: {kind: webhook, url_env: ABACO_HOOK_URL, token_env: ABACO_HOOK_TOKEN}
  mail:
    kind: email
    host: smtp.example.com
    port: 465
    tls: tls
    from: abaco@example.com
    to: [risk@example.com, ops@example.com]
    user_env: ABACO_SMTP_USER
    password_env: ABACO_SMTP_PASSWORD
allowed_hosts: [hooks.slack.com, events.pagerduty.com, "http://relay.internal:8080", smtp.example.com, 10.1.0.0/16]
chain:
  - {who: duty, channels: [chat, mail], warning_after_min: 0, critical_after_min: 0}
  - {who: boss, channels: [on-call], warning_after_min: null, critical_after_min: 5}
quiet_hours: {from: "21:00", to: "07:00", zone: America/Tegucigalpa}
expect_tape_every_h: null
error_budget: {runs: 10, failed: 0}
owners: {kpi_threshold: boss}
links: {runbook: https://wiki.example.com/abaco/operations, dashboard: "https://grafana.example.com:3000/d/a?var=1#p"}
"""


def read(text: str) -> AlertPolicy:
    return read_alerts(parse(text, name="alerts.yml"))


def test_what_a_whole_file_means() -> None:
    assert read(FILE) == AlertPolicy(
        channels={
            "console": ConsoleTarget(),
            "chat": SlackTarget(url_env="ABACO_SLACK_URL"),
            "on-call": PagerDutyTarget(key_env="ABACO_PAGERDUTY_KEY", host="events.pagerduty.com"),
            "ours": WebhookTarget(url_env="ABACO_HOOK_URL", token_env="ABACO_HOOK_TOKEN"),
            "mail": EmailTarget(
                host="smtp.example.com",
                port=465,
                sender="abaco@example.com",
                to=("risk@example.com", "ops@example.com"),
                tls="tls",
                user_env="ABACO_SMTP_USER",
                password_env="ABACO_SMTP_PASSWORD",
            ),
        },
        allowed_hosts=frozenset(
            {
                "hooks.slack.com",
                "events.pagerduty.com",
                "http://relay.internal:8080",
                "smtp.example.com",
                "10.1.0.0/16",
            }
        ),
        chain=(
            Step(who="duty", channels=("chat", "mail"), warning_after=timedelta(0), critical_after=timedelta(0)),
            Step(who="boss", channels=("on-call",), warning_after=None, critical_after=timedelta(minutes=5)),
        ),
        quiet_hours=QuietHours(begin=time(21), end=time(7), zone=ZoneInfo("America/Tegucigalpa")),
        tape_every=None,
        error_budget=ErrorBudget(runs=10, failed=0),
        owners={"kpi_threshold": "boss"},
        links=Places(
            runbook="https://wiki.example.com/abaco/operations",
            dashboard="https://grafana.example.com:3000/d/a?var=1#p",
        ),
    )


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "allowed_hosts: []"])
def test_without_a_word_the_defaults_hold(text: str) -> None:
    assert read(text) == AlertPolicy()


def test_the_shipped_file_says_what_holds_without_it() -> None:
    assert read(builtin_alerts()) == AlertPolicy()


def test_what_the_shipped_file_offers_can_be_taken_out_of_its_comments() -> None:
    text = builtin_alerts().replace("allowed_hosts: []\n# allowed", "allowed")
    for name in ("team_chat", "on_call", "our_system", "mail", "quiet_hours", "owners", "links"):
        assert f"# {name}:" in text
        text = text.replace(f"# {name}:", f"{name}:")
    policy = read(text)
    assert {"console", "team_chat", "on_call", "our_system", "mail"} == set(policy.channels)
    assert policy.quiet_hours is not None
    assert policy.owners == {"kpi_threshold": "data_operations"}


def test_who_owns_an_alert() -> None:
    assert AlertPolicy().owner("rollback_proposed") == "vp_engineering"
    assert {AlertPolicy().owner(rule) for rule in RULES} <= {step.who for step in AlertPolicy().chain}
    policy = read(FILE)
    assert (policy.owner("kpi_threshold"), policy.owner("memory"), policy.owner("gone")) == ("boss", "duty", "duty")


def test_utc_needs_no_zone_data() -> None:
    hours = read('quiet_hours: {from: "22:00", to: "06:00", zone: UTC}').quiet_hours
    assert hours is not None
    assert hours.zone is UTC


STEP = "{who: a, channels: [console], warning_after_min: 0, critical_after_min: 0}"


MAIL = "{kind: email, host: smtp.example.com, from: a@b.c, to: [a@b.c]"


def later(who: str, critical_after_min: int) -> str:
    return f"{{who: {who}, channels: [console], warning_after_min: 0, critical_after_min: {critical_after_min}}}"


def slack(url_env: str) -> str:
    return f"allowed_hosts: [hooks.slack.com]\nchannels:\n  c: {{kind: slack, url_env: '{url_env}'}}"


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("[]", "ALR-101", 1, "dictionary"),
        ("chanels: {}", "ALR-101", 1, "unknown key"),
        ("channels:\n  c: {kind: pigeon}", "ALR-101", 2, "'console'"),
        ("channels:\n  c: {}", "ALR-101", 2, "kind"),
        ("channels:\n  C C: {kind: console}", "ALR-101", 2, "pattern"),
        ("allowed_hosts: [x.com]\nchannels:\n  c: {kind: slack}", "ALR-101", 3, "missing"),
        ("channels:\n  c: {kind: webhook, url_env: A_B}", "ALR-103", 2, "its host is not allowed"),
        ("allowed_hosts: [x.com]\nchannels:\n  c: {kind: pagerduty, key_env: A_B}", "ALR-103", 3, "events.pagerduty"),
        (
            f"allowed_hosts: [example.com]\nchannels:\n  c: {MAIL}}}",
            "ALR-103", 3, "smtp.example.com is not allowed",
        ),
        (
            f"channels:\n  c: {MAIL}, user_env: A_B}}",
            "ALR-101", 2, "go together",
        ),
        (
            f"channels:\n  c: {MAIL}, user_env: A_B, password_env: A_C, tls: none}}",
            "ALR-101", 2, "without tls",
        ),
        ("channels:\n  c: {kind: email, host: s, from: 'a@b.c\\nBcc: x@y.z', to: [a@b.c]}", "ALR-101", 2, "pattern"),
        ("allowed_hosts: ['*.example.com']", "ALR-101", 1, "pattern"),
        (f"chain:\n  - {STEP.replace('console', 'chat')}", "ALR-102", 2, "chat, which is no channel"),
        ("chain: []", "ALR-101", 1, "at least 1"),
        (f"chain:\n  - {STEP}\n  - {STEP}", "ALR-104", 3, "twice"),
        (f"chain:\n  - {STEP.replace('min: 0', 'min: 5')}", "ALR-104", 2, "at once"),
        (f"chain:\n  - {STEP.replace('warning_after_min: 0', 'warning_after_min: null')}", "ALR-104", 2, "ever asked"),
        (
            f"chain:\n  - {STEP}\n  - {later('b', 9)}\n  - {later('c', 8)}",
            "ALR-104", 4, "before the step before",
        ),
        (f"chain:\n  - {STEP.replace('min: 0', 'min: true')}", "ALR-101", 2, "integer"),
        (f"chain:\n  - {STEP.replace(', critical_after_min: 0', '')}", "ALR-101", 2, "missing"),
        ('quiet_hours: {from: "21:00", to: "21:00", zone: UTC}', "ALR-101", 1, "end when they begin"),
        ('quiet_hours: {from: "24:00", to: "07:00", zone: UTC}', "ALR-101", 1, "pattern"),
        ('quiet_hours: {from: "21:00", to: "07:00", zone: Mars/Base}', "ALR-101", 1, "no zone"),
        ('quiet_hours: {from: "21:00", to: "07:00", zone: ../../etc/passwd}', "ALR-101", 1, "pattern"),
        ("expect_tape_every_h: 0", "ALR-101", 1, "greater than or equal to 1"),
        ("expect_tape_every_h: daily", "ALR-101", 1, "integer"),
        ("error_budget: {runs: 3, failed: 3}", "ALR-101", 1, "nothing is ever told"),
        ("owners:\n  memori: engineering_lead", "ALR-105", 2, "memori is no rule"),
        ("owners:\n  memory: nobody", "ALR-105", 2, "not in the chain"),
        ("links:\n  runbook: http://wiki.example.com/x", "ALR-101", 2, "pattern"),
        ("links:\n  runbook: https://wiki.example.com/x#there", "ALR-101", 2, "pattern"),
        ("links:\n  dashboard: https://ana:secret@grafana.example.com/d", "ALR-101", 2, "pattern"),
        ("links:\n  dashboard: 'https://x.example.com/d|evil>'", "ALR-101", 2, "pattern"),
        ("links:\n  wiki: https://x.example.com", "ALR-101", 2, "unknown key"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_told_with_its_line(text: str, code: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        read(text)
    assert (told.value.code, told.value.where) == (code, f"alerts.yml:{line}")
    assert words in told.value.what


@pytest.mark.parametrize(
    "secret",
    [
        "https://hooks.slack.com/services/T000/B000/XXXXXXXX",
        "R0AB1C2D3E4F5G6H7I8J9K0L1M2N3O4P",
        "xoxb-000000000000-abcdefghijkl",
        "5f4dcc3b5aa765d61d8327deb882cf99",
    ],
)
def test_a_secret_is_refused_and_not_repeated(secret: str) -> None:
    for text in (slack(secret), slack("A_B").replace("}", f", url: '{secret}'}}")):
        with pytest.raises(ConfigError, match="ALR-101") as told:
            read(text)
        assert secret not in f"{told.value} {told.value.as_dict()} {told.value.details}"
    assert read(slack("ABACO_SLACK_URL")).channels["c"] == SlackTarget(url_env="ABACO_SLACK_URL")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_whatever_is_read_is_a_policy_or_an_error_of_ours(text: str) -> None:
    for form in (text, f"channels: {{{text}}}", f"chain: [{text}]", f"quiet_hours: {{zone: '{text}'}}"):
        with suppress(ConfigError):
            assert read(form).chain
