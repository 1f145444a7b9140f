"""Alerts as their receivers get them: real servers here, and the vendors' documented form of every field."""

from __future__ import annotations

import html
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from abaco_loans.outputs.channels.address import allowed_hosts
from abaco_loans.outputs.channels.base import Channel, ChannelError, Link, Message, send_within
from abaco_loans.outputs.channels.choose import open_channel
from abaco_loans.outputs.channels.console import Console, console_line
from abaco_loans.outputs.channels.email import Email, mail_of
from abaco_loans.outputs.channels.http import Poster
from abaco_loans.outputs.channels.pagerduty import PagerDuty, events_url, pagerduty_event
from abaco_loans.outputs.channels.slack import Slack, slack_payload
from abaco_loans.outputs.channels.webhook import Webhook, webhook_payload
from abaco_loans.outputs.channels.words import facts, plain, title
from abaco_loans.watch.alert import AlertStatus, NoticeKind, Severity
from abaco_loans.watch.alert_policy import (
    AlertPolicy,
    EmailTarget,
    PagerDutyTarget,
    SlackTarget,
    Target,
    WebhookTarget,
)
from abaco_loans.watch.rules import RULES
from tests.outputs.receivers import (
    HOST,
    NOON,
    Received,
    Receiver,
    Relay,
    a_message,
    receiver,
    relay,
    resolved,
    trusting,
)

KEY = "R0UT1NGK3Y0123456789012345678901"
MAIL = {"sender": "abaco@lender.example", "to": ("ana@lender.example", "ben@lender.example")}
# Everything that a channel might read as more than text: mentions, links, markup, new lines, terminal and direction.
HOSTILE = "<!channel> <https://evil.example|ok> *b* & <b>\r\nBcc: eve@evil.example\x1b[31m\u202egnp.exe\x00\x07"


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver(tls=True) as made:
        yield made


def poster(server: Receiver, path: str = "/hook", **more: Any) -> Poster:
    given: dict[str, Any] = {
        "url": server.url(path),
        "channel": "team",
        "allowed": allowed_hosts([HOST]),
        "tls": trusting(),
    }
    return Poster(**given | more)


def mailer(server: Relay, **more: Any) -> Email:
    given: dict[str, Any] = {
        "channel": "mail",
        "host": HOST,
        "port": server.port,
        "allowed": allowed_hosts([HOST]),
        "trust": trusting(),
    }
    return Email(**MAIL, **given | more)  # type: ignore[arg-type]


def sent(server: Receiver, channel: Channel, message: Message | None = None) -> Received:
    channel.send(message or a_message())
    return server.received[-1]


def failure(channel: Channel, message: Message | None = None) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        channel.send(message or a_message())
    return caught.value


def hostile(**more: Any) -> Message:
    made = a_message(subject=HOSTILE, words=HOSTILE, runbook=HOSTILE, alert_id="a1; rm -rf $HOME", **more)
    links = (Link(text="evil|x>", href="javascript:alert(1)"), Link(text=HOSTILE, href="https://ok.example/a?b=1"))
    return replace(made, who=HOSTILE, meaning=HOSTILE, source=HOSTILE, links=links)


def texts(document: Any) -> Iterator[str]:
    """Every text of a document, keys too."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from texts(value)
    elif isinstance(document, list):
        for item in document:
            yield from texts(item)
    elif isinstance(document, str):
        yield document


# --- what is said ---


def test_a_message_says_what_since_when_what_it_means_who_is_asked_and_what_to_type() -> None:
    said = dict(facts(a_message()))
    assert said == {
        "What": "error rate 6 %, above 5 %",
        "Since": "2026-03-31 12:00 UTC, seen 2 times",
        "Means": "tapes fail",
        "Asked": "engineering_lead",
        "State": "nobody has acknowledged it",
        "Acknowledge": 'abaco alert ack a-4f2c90aa --reason "..."',
        "Runbook": "docs/operations.md#error-rate",
        "Alert": "a-4f2c90aa",
    }
    assert title(a_message()) == "[CRITICAL] error_rate: error rate 6 %, above 5 %"


def test_a_proposal_to_roll_back_has_its_command_and_what_is_gone_has_none() -> None:
    assert "rollback_proposed" in RULES
    proposed = a_message(rule="rollback_proposed", subject="error_rate")
    assert dict(facts(proposed))["Roll back"] == 'abaco rollback --reason "..."'
    assert 'abaco rollback --reason "..."' in console_line(proposed)
    gone = dict(facts(resolved()))
    assert not {"Acknowledge", "Roll back", "Asked"} & set(gone) and gone["To do"] == "nothing: it is gone"
    assert gone["Since"] == "2026-03-31 12:00 UTC until 2026-03-31 13:00 UTC, seen 2 times"


@pytest.mark.parametrize(
    ("kind", "mark"),
    [
        (NoticeKind.RAISE, "[CRITICAL]"),
        (NoticeKind.ESCALATE, "[CRITICAL, NOBODY ANSWERED]"),
        (NoticeKind.REMIND, "[STILL CRITICAL]"),
        (NoticeKind.ANSWER, "[ACKNOWLEDGED]"),
        (NoticeKind.RESOLVE, "[RESOLVED]"),
    ],
)
def test_the_title_says_why_somebody_is_told(kind: NoticeKind, mark: str) -> None:
    assert title(a_message(kind)).startswith(f"{mark} error_rate: ")


def test_what_was_acknowledged_says_by_whom_and_asks_for_no_acknowledgement() -> None:
    answered = a_message(status=AlertStatus.ACKNOWLEDGED, acknowledged_by="ana", acknowledged_at=NOON)
    said = dict(facts(answered))
    assert said["State"] == "acknowledged by ana at 2026-03-31 12:00 UTC" and "Acknowledge" not in said


def test_plain_text_is_one_line_without_anything_that_moves_or_hides() -> None:
    assert plain(HOSTILE) == "<!channel> <https://evil.example|ok> *b* & <b> Bcc: eve@evil.example [31m gnp.exe"
    assert plain("a" * 50, 10) == "a" * 9 + "…"


# --- Slack ---


def test_slack_gets_blocks_of_plain_text(server: Receiver) -> None:
    got = sent(server, Slack(poster=poster(server, "/services/T0/B0/x")))
    assert (got.path, got.headers["Content-Type"]) == ("/services/T0/B0/x", "application/json")
    assert got.headers["Host"] == f"{HOST}:{server.port}"
    assert got.document["text"] == "[CRITICAL] error_rate: error rate 6 %, above 5 %"
    header, section = got.document["blocks"]
    assert header == {
        "type": "header",
        "text": {"type": "plain_text", "text": got.document["text"].replace(">", "&gt;"), "emoji": False},
    }
    assert section["type"] == "section"
    assert {"type": "plain_text", "text": "Asked: engineering_lead", "emoji": False} in section["fields"]


def slack_form(document: dict[str, Any]) -> None:
    """The limits of Block Kit, and no markup but ours."""
    assert set(document) == {"text", "mrkdwn", "unfurl_links", "unfurl_media", "blocks"}
    assert document["mrkdwn"] is False and len(document["blocks"]) <= 50
    assert not re.search(r"<|>|&(?!amp;|lt;|gt;)", document["text"])
    for block in document["blocks"]:
        assert block["type"] in {"header", "section", "context"}
        if block["type"] == "context":
            (element,) = block["elements"]
            assert element["type"] == "mrkdwn" and element["text"].startswith("<https://ok.example/a?b=1|")
            assert element["text"].count("<") == element["text"].count(">") == 1
            continue
        items = [block["text"]] if block["type"] == "header" else block["fields"]
        assert 1 <= len(items) <= 10
        for text in items:
            assert text["type"] == "plain_text" and 0 < len(text["text"]) <= (
                150 if block["type"] == "header" else 2000
            )
            assert not re.search(r"<|>|&(?!amp;|lt;|gt;)", text["text"])


@pytest.mark.parametrize("make", [a_message, resolved, hostile])
def test_slack_takes_no_markup_from_us(make: Any) -> None:
    document = slack_payload(make())
    slack_form(document)
    assert all(text.isprintable() for text in texts(document))


def test_slack_limits_hold_for_whatever_is_said() -> None:
    slack_form(slack_payload(a_message(words="&<>" * 5000, subject="<" * 500)))


# --- PagerDuty ---


def pagerduty_form(event: dict[str, Any]) -> None:
    """What PagerDuty documents of Events API v2."""
    assert event["event_action"] in {"trigger", "acknowledge", "resolve"}
    assert event["routing_key"] == KEY and len(KEY) == 32 and 0 < len(event["dedup_key"]) <= 255
    payload = event["payload"]
    assert set(payload) <= {
        "summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details",
    }  # fmt: skip
    assert 0 < len(payload["summary"]) <= 1024 and payload["source"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert datetime.fromisoformat(payload["timestamp"]).utcoffset() == timedelta(0)
    assert isinstance(payload["custom_details"], dict)
    assert set(event) <= {"routing_key", "event_action", "dedup_key", "payload", "links"}
    for link in event.get("links", []):
        assert set(link) == {"href", "text"} and link["href"].startswith("https://")


def test_pagerduty_gets_one_incident_an_alert(server: Receiver) -> None:
    server.answer(202, body=b'{"status":"success","message":"Event processed","dedup_key":"a-4f2c90aa"}')
    channel = PagerDuty(poster=poster(server, "/v2/enqueue"), routing_key=KEY)
    answered = a_message(status=AlertStatus.ACKNOWLEDGED, acknowledged_by="ana", acknowledged_at=NOON)
    messages = (a_message(), a_message(NoticeKind.ESCALATE, step=1), answered, resolved())
    events = [sent(server, channel, message).document for message in messages]
    for event in events:
        pagerduty_form(event)
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert {event["dedup_key"] for event in events} == {"a-4f2c90aa"}
    assert {item.path for item in server.received} == {"/v2/enqueue"}
    payload = events[0]["payload"]
    assert (payload["severity"], payload["class"], payload["component"]) == ("critical", "error_rate", "error_rate")
    assert payload["timestamp"] == "2026-03-31T12:00:00.000+00:00"
    assert payload["custom_details"]["runbook"] == "docs/operations.md#error-rate"
    assert events_url("events.eu.pagerduty.com") == "https://events.eu.pagerduty.com/v2/enqueue"


def test_pagerduty_takes_whatever_is_said() -> None:
    event = pagerduty_event(hostile(), KEY)
    pagerduty_form(event)
    assert all(text.isprintable() for text in texts(event["payload"]))
    assert [link["href"] for link in event["links"]] == ["https://ok.example/a?b=1"]
    pagerduty_form(pagerduty_event(a_message(words="x" * 9000), KEY))


# --- webhook ---


def alertmanager_form(document: dict[str, Any]) -> None:
    """What Prometheus documents of Alertmanager's webhook, data version 4."""
    assert set(document) == {
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
        "commonAnnotations", "externalURL", "alerts",
    }  # fmt: skip
    assert document["version"] == "4" and document["truncatedAlerts"] == 0
    assert document["status"] in {"firing", "resolved"}
    assert all(isinstance(document[name], str) for name in ("groupKey", "receiver", "externalURL"))
    (alert,) = document["alerts"]
    assert set(alert) == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
    assert alert["status"] == document["status"] and re.fullmatch("[0-9a-f]{16}", alert["fingerprint"])
    for name in ("startsAt", "endsAt"):
        assert datetime.fromisoformat(alert[name]).tzinfo is not None
    for mapping in (alert["labels"], alert["annotations"], document["groupLabels"]):
        assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", key) and isinstance(mapping[key], str) for key in mapping)
    assert document["groupLabels"].items() <= document["commonLabels"].items() <= alert["labels"].items()


def test_a_webhook_gets_what_alertmanager_sends_and_a_key_that_a_repeat_keeps(server: Receiver) -> None:
    channel = Webhook(poster=poster(server), token="t0ken")
    first, again, other, gone = (
        sent(server, channel, message)
        for message in (a_message(), a_message(), a_message(NoticeKind.ESCALATE, step=1), resolved())
    )
    for got in (first, again, other, gone):
        alertmanager_form(got.document)
    keys = [got.headers["Idempotency-Key"] for got in (first, again, other, gone)]
    assert keys[0] == keys[1] and len(set(keys)) == 3 and re.fullmatch("[0-9a-f]{64}", keys[0])
    assert first.body == again.body and first.headers["Authorization"] == "Bearer t0ken"
    (alert,) = first.document["alerts"]
    assert (first.document["status"], alert["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert alert["labels"] == {
        "alertname": "error_rate", "severity": "critical", "owner": "engineering_lead", "source": "abaco-loans",
    }  # fmt: skip
    assert alert["annotations"]["runbook_url"] == "docs/operations.md#error-rate"
    assert alert["annotations"]["acknowledge"] == 'abaco alert ack a-4f2c90aa --reason "..."'
    (ended,) = gone.document["alerts"]
    assert (gone.document["status"], ended["endsAt"]) == ("resolved", "2026-03-31T13:00:00.000+00:00")


def test_a_webhook_takes_whatever_is_said() -> None:
    document = webhook_payload(hostile())
    alertmanager_form(document)
    assert all(text.isprintable() for text in texts(document))


# --- e-mail ---


def test_mail_goes_out_over_starttls_as_text_and_html() -> None:
    with relay(login=True) as server:
        mailer(server, user="abaco", password="right-password").send(a_message())
    (mail,) = server.mails
    assert server.encrypted == [True] and server.logins == [("abaco", "right-password")]
    assert mail["Subject"] == "[CRITICAL] error_rate: error rate 6 %, above 5 %"
    assert (mail["From"], mail["To"]) == ("abaco@lender.example", "ana@lender.example, ben@lender.example")
    assert mail["Date"].datetime == NOON and mail["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(r"<[0-9a-f]{32}@lender\.example>", mail["Message-ID"])
    text, page = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and page is not None
    for label, said in facts(a_message()):
        assert f"{label}: {said}" in text.get_content()
        assert html.escape(said) in page.get_content()


def test_a_repeated_mail_is_the_same_mail_and_one_alert_is_one_thread() -> None:
    first, again, other = (
        mail_of(message, sender="a@b.example", to=("c@d.example",))
        for message in (a_message(), a_message(), resolved())
    )
    assert bytes(first) == bytes(again)
    assert first["Message-ID"] != other["Message-ID"] and first["References"] == other["References"]


def test_mail_takes_no_header_and_no_markup_from_us() -> None:
    with relay() as server:
        mailer(server).send(hostile())
    (mail,) = server.mails
    assert "Bcc" not in mail and set(mail.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "References", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    page = mail.get_body(("html",))
    assert page is not None
    tags = set(re.findall(r"</?([a-z0-9!]+)", page.get_content()))
    assert tags == {"!doctype", "html", "head", "meta", "title", "body", "h1", "table", "tr", "th", "td"}
    assert mail["Subject"].isprintable()


def test_mail_goes_out_over_tls_from_the_first_byte() -> None:
    with relay(starttls=False, tls=True) as server:
        mailer(server, tls="tls").send(a_message())
    assert len(server.mails) == 1


def test_mail_without_tls_only_where_the_file_says_so_and_never_with_a_password() -> None:
    with relay(starttls=False) as server:
        refused = failure(mailer(server))
        assert (refused.code, refused.temporary) == ("ALR-209", True)
        assert failure(mailer(server, tls="none", user="abaco", password="x")).code == "ALR-212"
        assert server.mails == []
        mailer(server, tls="none").send(a_message())
    assert server.encrypted == [False]


def test_a_relay_that_nobody_vouches_for_gets_nothing() -> None:
    with relay() as server:
        assert failure(mailer(server, trust=None)).code == "ALR-205"
    assert server.mails == []


@pytest.mark.parametrize(
    ("answers", "code", "temporary", "mails"),
    [
        ({"ana@lender.example": "450 later", "ben@lender.example": "450 later"}, "ALR-208", True, 0),
        ({"ana@lender.example": "550 no", "ben@lender.example": "550 no"}, "ALR-209", True, 0),
        ({"ben@lender.example": "550 no"}, "ALR-210", False, 1),
    ],
)
def test_a_relay_that_refuses_people(answers: dict[str, str], code: str, temporary: bool, mails: int) -> None:
    with relay() as server:
        server.recipients.update(answers)
        error = failure(mailer(server))
    assert (error.code, error.temporary, len(server.mails)) == (code, temporary, mails)


def test_a_relay_that_does_not_know_us_or_is_not_there() -> None:
    with relay(login=True) as server:
        assert failure(mailer(server, user="abaco", password="wrong")).code == "ALR-209"
    assert failure(mailer(server)).code == "ALR-205"
    assert failure(mailer(server, allowed=allowed_hosts(["mail.example"]))).code == "ALR-203"


# --- console ---


def test_the_console_gets_one_line() -> None:
    lines: list[str] = []
    for message in (a_message(), resolved(), hostile()):
        Console(tell=lines.append).send(message)
    assert lines[0] == (
        "[CRITICAL] error_rate: error rate 6 %, above 5 % | asked: engineering_lead | "
        'abaco alert ack a-4f2c90aa --reason "..." | docs/operations.md#error-rate'
    )
    assert lines[1] == "[RESOLVED] error_rate: error rate 6 %, above 5 %"
    assert lines[2].isprintable() and "ack a1??rm?-rf??HOME " in lines[2]


# --- what receivers answer ---


@pytest.mark.parametrize(
    ("status", "code", "temporary"),
    [
        (301, "ALR-207", True),
        (400, "ALR-209", True),
        (401, "ALR-209", True),
        (404, "ALR-209", True),
        (410, "ALR-209", True),
        (413, "ALR-210", False),
        (422, "ALR-210", False),
        (429, "ALR-208", True),
        (500, "ALR-208", True),
        (503, "ALR-208", True),
    ],
)
def test_each_refusal_has_its_code(server: Receiver, status: int, code: str, temporary: bool) -> None:
    server.answer(status, {"Location": "https://elsewhere.example/", "Retry-After": "90"}, b"because of SECRET")
    error = failure(Slack(poster=poster(server)))
    assert (error.code, error.temporary) == (code, temporary)
    assert error.retry_after_s == (90 if code == "ALR-208" else None)
    assert len(server.received) == 1 and "SECRET" not in str(error)


@pytest.mark.parametrize("said", ["", "Wed, 21 Oct 2026 07:28:00 GMT", "-5", "9" * 30, "²"])
def test_a_receiver_cannot_silence_us_for_long(server: Receiver, said: str) -> None:
    server.answer(429, {"Retry-After": said.encode("utf-8").decode("latin-1")})
    assert failure(Slack(poster=poster(server))).retry_after_s is None
    server.answer(429, {"Retry-After": "99999"})
    assert failure(Slack(poster=poster(server))).retry_after_s == 3600


def test_a_receiver_that_is_not_there_or_that_nobody_vouches_for(server: Receiver) -> None:
    assert failure(Slack(poster=poster(server, tls=None))).code == "ALR-205"
    assert server.received == []
    with receiver() as gone:
        pass
    assert failure(Slack(poster=poster(gone, allowed=allowed_hosts([f"http://{HOST}"])))).code == "ALR-205"


def test_what_failed_is_told_by_the_error_alone() -> None:
    code = (
        "from abaco_loans.outputs.channels.address import allowed_hosts\n"
        "from abaco_loans.outputs.channels.base import ChannelError\n"
        "from abaco_loans.outputs.channels.http import Poster\n"
        "try:\n"
        f"    Poster(url='http://{HOST}:1/x', channel='a', allowed=allowed_hosts(['http://{HOST}'])).post(b'{{}}')\n"
        "except ChannelError as error:\n"
        "    print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("ALR-205", "")


def test_a_receiver_that_hangs_up_is_asked_once_and_then_waits_in_the_outbox() -> None:
    with socket.create_server((HOST, 0)) as server:
        calls: list[bytes] = []

        def hang_up() -> None:
            line, _ = server.accept()
            with line:
                calls.append(line.recv(1 << 16))

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://{HOST}:{server.getsockname()[1]}/"
        error = failure(Slack(poster=Poster(url=url, channel="team", allowed=allowed_hosts([f"http://{HOST}"]))))
        thread.join()
    assert (error.code, error.temporary, len(calls)) == ("ALR-206", True, 1)


def test_a_receiver_that_holds_the_line_is_left(server: Receiver) -> None:
    with receiver(tls=True, slow=True) as slow, pytest.raises(ChannelError) as caught:
        send_within(Slack(poster=poster(slow)), a_message(), 1)
    assert caught.value.code == "ALR-206" and caught.value.temporary
    send_within(Slack(poster=poster(server)), a_message(), 10)
    assert len(server.received) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_channel_is_a_failure_of_the_channel() -> None:
    class Broken:
        def send(self, message: Message) -> None:
            raise KeyError(message)

    with pytest.raises(ChannelError) as caught:
        send_within(Broken(), a_message(), 10)
    assert caught.value.code == "ALR-211"


# --- which channel a target is ---

TARGETS: dict[str, Target] = {
    "team": SlackTarget(url_env="A_SLACK"),
    "hook": WebhookTarget(url_env="A_HOOK", token_env="A_TOKEN"),
    "pager": PagerDutyTarget(key_env="A_KEY"),
    "mail": EmailTarget(
        host="mail.example", port=587, sender="a@b.example", to=("c@d.example",), user_env="A_USER", password_env="A_PW"
    ),
}
SECRETS = {
    "A_SLACK": "https://hooks.example/services/PLANTED-S",
    "A_HOOK": "https://hooks.example/PLANTED-H",
    "A_TOKEN": "PLANTED-T",
    "A_KEY": "PLANTED-K",
    "A_USER": "PLANTED-U",
    "A_PW": "PLANTED-P",
}
HOSTS = frozenset({"hooks.example", "mail.example", "events.pagerduty.com"})
POLICY = AlertPolicy(channels={**AlertPolicy().channels, **TARGETS}, allowed_hosts=HOSTS)


def opened(name: str, environment: dict[str, str] | None = None, policy: AlertPolicy = POLICY) -> Channel:
    return open_channel(name, policy, SECRETS if environment is None else environment, lambda text: None)


def test_each_target_opens_with_its_secrets_and_shows_none() -> None:
    kinds = {name: type(opened(name)).__name__ for name in POLICY.channels}
    assert kinds == {
        "console": "Console",
        "team": "Slack",
        "hook": "Webhook",
        "pager": "PagerDuty",
        "mail": "Email",
    }
    assert not [name for name in POLICY.channels if "PLANTED-U" not in (said := repr(opened(name))) and "PLANT" in said]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("value", ["", " PLANTED ", "PLANTED\nHost: evil", "PLANTÉD"])
def test_a_secret_that_is_not_there_or_not_usable_is_told_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ChannelError) as caught:
        opened(name, dict.fromkeys(SECRETS, value))
    assert caught.value.code == "ALR-202" and caught.value.temporary
    assert "A_" in str(caught.value) and "PLANT" not in repr(caught.value.as_dict())


def test_a_channel_that_the_file_has_no_more_and_a_list_that_cannot_be_read() -> None:
    with pytest.raises(ChannelError) as caught:
        opened("old")
    assert caught.value.code == "ALR-213" and caught.value.temporary
    with pytest.raises(ChannelError) as caught:
        opened("team", policy=replace(POLICY, allowed_hosts=frozenset({"https://user@x/"})))
    assert caught.value.code == "ALR-203"


# --- the extra ---


def test_without_the_extra_it_says_what_to_install(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    error = failure(Slack(poster=poster(server)))
    assert (error.code, error.hint, error.temporary) == ("ALR-201", "pip install 'abaco-loans[watch]'", True)


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; import abaco_loans.operations.deliver_alerts; import abaco_loans.outputs.channels.choose;"
        "print(sorted({'httpx2', 'stamina', 'smtplib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_severity_is_one_that_every_vendor_knows() -> None:
    assert {item.value for item in Severity} <= {"critical", "error", "warning", "info"}
