"""Alerts go to allowed hosts only (FAULTS 30), and what is secret stays so (FAULTS 31)."""

from __future__ import annotations

import json
import logging
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.outputs.channels.address import allowed_hosts, dial
from abaco_loans.outputs.channels.base import ChannelError
from abaco_loans.outputs.channels.email import Email
from abaco_loans.outputs.channels.http import Poster
from abaco_loans.outputs.channels.pagerduty import PagerDuty
from abaco_loans.outputs.channels.slack import Slack
from abaco_loans.outputs.channels.webhook import Webhook
from abaco_loans.strict_yaml import parse
from abaco_loans.watch.alerts_file import read_alerts
from tests.outputs.receivers import HOST, Receiver, a_message, receiver, relay, trusting

INSIDE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%2", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a00:1", "2001:db8::1",
)  # fmt: skip
OUTSIDE = ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101")
Resolver = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def inside() -> Iterator[Receiver]:
    """A server that nobody outside may reach, and that is not in the list."""
    with receiver() as made:
        yield made


def said(url: str, *entries: str, **more: Any) -> ChannelError | None:
    """What comes of a message to a URL, where these hosts are allowed."""
    try:
        Slack(poster=Poster(url=url, channel="team", allowed=allowed_hosts(entries), **more)).send(a_message())
    except ChannelError as error:
        return error
    return None


def code(url: str, *entries: str, **more: Any) -> str:
    error = said(url, *entries, **more)
    return error.code if error else ""


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that resolve as a test says, one answer after the other, the last one for ever."""
    real, answers = socket.getaddrinfo, dict[str, list[str]]()

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host in answers:
            host = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


# --- the list ---


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_dialled_unless_it_stands_in_the_list(address: str) -> None:
    assert not allowed_hosts(["hooks.example", "8.8.8.8"]).reachable(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_is_dialled(address: str) -> None:
    assert allowed_hosts([]).reachable(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.0.0/16", "10.1.200.9"),
        ("10.1.0.0/16", "::ffff:10.1.200.9"),
        ("fd00::/8", "fd00::9"),
        ("http://10.1.2.3:8080", "10.1.2.3"),
        ("localhost", "127.0.0.1"),
        ("http://localhost:1", "::1"),
    ],
)
def test_an_address_inside_is_dialled_where_the_list_has_it(entry: str, address: str) -> None:
    allowed = allowed_hosts([entry])
    assert allowed.reachable(ip_address(address)) and not allowed.reachable(ip_address("10.2.0.1"))


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "a b",
        "https://",
        "ftp://a",
        "user@host",
        "host/path",
        "https://a/b",
        "a:0",
        "a:70000",
        "*",
        "-a",
        "é",
    ],
)
def test_what_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        allowed_hosts([entry])


@given(st.text(max_size=40))
def test_a_list_never_allows_every_host(entry: str) -> None:
    try:
        allowed = allowed_hosts([entry])
    except ValueError:
        return
    assert not allowed.allows("other.host.example", 443)


def test_an_entry_allows_its_host_port_and_way_only() -> None:
    allowed = allowed_hosts(["hooks.example", "http://plain.example:8080", "https://tls.example:444"])
    assert allowed.allows("hooks.example", 443) and allowed.allows("hooks.example", 8443)
    assert not allowed.allows("hooks.example", 80, plain_http=True)
    assert allowed.allows("plain.example", 8080, plain_http=True) and allowed.allows("plain.example", 8080)
    assert not allowed.allows("plain.example", 80, plain_http=True)
    assert allowed.allows("tls.example", 444) and not allowed.allows("tls.example", 443)
    for host in ("evil.hooks.example", "hooks.example.evil", "hooks.example.", "example", ""):
        assert not allowed.allows(host, 443)


def test_the_entries_of_the_page_are_read_by_the_file_and_by_the_channels(repository: Path) -> None:
    page = (repository / "docs" / "alerts.md").read_text(encoding="utf-8")
    table = page.partition("\n### Hosts\n")[2].partition("\n### ")[0]
    entries = [entry for line in table.splitlines() if line.startswith("| `") for entry in re.findall("`(.+?)`", line)]
    assert len(entries) >= 6
    policy = read_alerts(parse(f"allowed_hosts: {json.dumps(entries)}", name="alerts.yml"))
    assert policy.allowed_hosts == frozenset(entries)
    allowed = allowed_hosts(policy.allowed_hosts)
    assert len(allowed.networks) == 3 and allowed.allows("relay.internal", 8080, plain_http=True)


# --- ways in ---


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "hooks.example@127.0.0.1",
        "user:pw@127.0.0.1",
        "127.0.0.1#hooks.example",
        "127.0.0.1%2523hooks.example",
        "hooks.example\\@127.0.0.1",
        "169.254.169.254",
    ],
)
def test_no_way_of_writing_a_host_leads_inside(inside: Receiver, host: str) -> None:
    assert code(f"http://{host}:{inside.port}/hook", "hooks.example", "http://hooks.example") == "ALR-203"
    assert code(f"https://{host}:{inside.port}/hook", "hooks.example") == "ALR-203"
    assert inside.received == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example/x",
        "ftp://hooks.example/x",
        "file:///etc/passwd",
        "https:///x",
        "https://user:pw@hooks.example/",
        "https://hooks.example:99999/",
    ],
)
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    error = said(url, "hooks.example")
    assert error is not None and error.code == "ALR-203" and (not url or url not in str(error))


def test_plain_http_only_where_the_list_says_so(inside: Receiver) -> None:
    assert code(inside.url(), HOST) == "ALR-203"
    assert inside.received == []
    assert code(inside.url(), f"http://{HOST}:{inside.port}") == "" and len(inside.received) == 1


def test_a_redirect_is_not_followed(inside: Receiver) -> None:
    with receiver(tls=True) as server:
        for status in (301, 302, 303, 307, 308):
            server.answer(status, {"Location": inside.url("/admin")})
            # Also where the other host is allowed.
            assert code(server.url(), HOST, f"http://{HOST}", tls=trusting()) == "ALR-207"
    assert len(server.received) == 5 and inside.received == []


def test_a_public_name_that_points_inwards_is_no_way_in(names: dict[str, list[str]]) -> None:
    with receiver(tls=True) as server:
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "2130706433"):
            names["hooks.example"] = [address]
            error = said(server.url(host="hooks.example"), "hooks.example", tls=trusting())
            assert error is not None and error.code == "ALR-204" and error.temporary
        assert server.received == []
        names["hooks.example"] = ["127.0.0.1"]
        assert code(server.url(host="hooks.example"), "hooks.example", "127.0.0.1", tls=trusting()) == ""
    assert server.received[0].headers["Host"] == f"hooks.example:{server.port}"


def test_a_name_is_asked_once_and_what_was_checked_is_dialled(names: dict[str, list[str]], inside: Receiver) -> None:
    with receiver(tls=True) as server:
        names["hooks.example"] = ["127.0.0.1", "169.254.169.254"]
        assert code(server.url(host="hooks.example"), "hooks.example", "127.0.0.1", tls=trusting()) == ""
        assert names["hooks.example"] == ["169.254.169.254"] and len(server.received) == 1
        assert code(server.url(host="hooks.example"), "hooks.example", "127.0.0.1", tls=trusting()) == "ALR-204"


def test_a_certificate_is_for_the_name_not_for_the_address(names: dict[str, list[str]]) -> None:
    names["other.example"] = ["127.0.0.1"]
    with receiver(tls=True) as server:
        assert code(server.url(host="other.example"), "other.example", HOST, tls=trusting()) == "ALR-205"
    assert server.received == []


def test_mail_takes_the_same_way(names: dict[str, list[str]]) -> None:
    names["relay.example"] = ["127.0.0.1"]
    with relay(starttls=False) as server:
        for entries, wanted in (([], "ALR-203"), (["relay.example"], "ALR-204")):
            mail = Email(
                channel="mail", host="relay.example", port=server.port, sender="a@b.example", to=("c@d.example",),
                allowed=allowed_hosts(entries), tls="none",
            )  # fmt: skip
            with pytest.raises(ChannelError) as caught:
                mail.send(a_message())
            assert caught.value.code == wanted
    assert server.mails == []


def test_mail_goes_to_the_address_that_was_checked(names: dict[str, list[str]]) -> None:
    names["relay.example"] = ["127.0.0.1", "169.254.169.254"]
    with relay(starttls=False) as server:
        Email(
            channel="mail", host="relay.example", port=server.port, sender="a@b.example", to=("c@d.example",),
            allowed=allowed_hosts(["relay.example", "127.0.0.1"]), tls="none",
        ).send(a_message())  # fmt: skip
    assert len(server.mails) == 1 and names["relay.example"] == ["169.254.169.254"]


def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    with pytest.raises(ChannelError) as caught:
        dial("no-such-host.invalid", 443, allowed_hosts(["no-such-host.invalid"]))
    assert caught.value.code == "ALR-205" and caught.value.temporary


def test_a_proxy_of_the_environment_is_not_asked(inside: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, inside.url())
    with receiver(tls=True) as server:
        assert code(server.url(), HOST, tls=trusting()) == ""
    assert inside.received == [] and len(server.received) == 1


# --- secrets ---

PLANTED = "PLANTEDsecret0123456789"


def everything(error: BaseException) -> str:
    """All that anybody could print of an error, and of those behind it."""
    texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    if isinstance(error, ChannelError):
        texts += [str(error.as_dict()), str(error.details)]
    return "\n".join(texts)


def test_no_secret_is_in_an_error_a_log_or_a_repr(inside: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2.http11", "httpcore2.connection", "stamina"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    urls = [
        f"{inside.url()}/{PLANTED}?token={PLANTED}",
        f"https://{PLANTED}@hooks.example/{PLANTED}",
        f"{PLANTED}://x/{PLANTED}",
        f"https://hooks.example:{PLANTED}/",
    ]
    answers: tuple[tuple[int, dict[str, str]], ...] = (
        (200, {}),
        (302, {"Location": f"https://x/{PLANTED}"}),
        (404, {}),
        (500, {}),
        (422, {}),
        (503, {}),
    )
    seen = []
    for url in urls:
        for status, headers in answers:
            inside.answer(status, headers, PLANTED.encode())
            poster = Poster(url=url, channel="team", allowed=allowed_hosts([f"http://{HOST}"]))
            channels = (
                Slack(poster=poster),
                PagerDuty(poster=poster, routing_key=PLANTED),
                Webhook(poster=poster, token=PLANTED),
            )
            for channel in channels:
                seen.append(repr(channel))
                try:
                    channel.send(a_message())
                except ChannelError as error:
                    seen.append(everything(error))
    with relay(login=True) as server:
        mail = Email(
            channel="mail", host=HOST, port=server.port, sender="a@b.example", to=("c@d.example",),
            allowed=allowed_hosts([HOST]), user="abaco", password=PLANTED, trust=trusting(),
        )  # fmt: skip
        with pytest.raises(ChannelError) as caught:
            mail.send(a_message())
        seen += [repr(mail), everything(caught.value)]
    assert any(PLANTED in item.path for item in inside.received), "nothing was planted"
    assert server.logins == [("abaco", PLANTED)] or ("abaco", PLANTED) in server.logins
    assert not [text for text in seen if PLANTED in text]
    assert PLANTED not in caplog.text
