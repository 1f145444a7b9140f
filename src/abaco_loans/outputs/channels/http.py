"""The one place that posts: HTTPS to hosts of the allow-list, without redirects, proxies, or a look at the answer.

What a URL holds may be a secret (a Slack hook is one), so no error, no log line and no chained exception holds it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from abaco_loans.outputs.channels.address import AllowedHosts, dial, not_allowed, unreachable
from abaco_loans.outputs.channels.base import ChannelError, late

if TYPE_CHECKING:
    import httpx2

_CONNECT_S, _ANSWER_S = 5, 10
_TRIES, _PAUSE_S = 2, 0.2
_RETRY_AFTER_MAX_S = 3600
_BUSY = frozenset({408, 425, 429})
_NEVER = frozenset({413, 415, 422})
_DIGITS_MAX = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Poster:
    """Posts JSON to one URL.

    Args:
        url: checked when something is posted, so that what waits is delivered once the configuration is mended.
        tls: what is trusted; None: what the machine trusts.
    """

    url: str = field(repr=False)
    channel: str
    allowed: AllowedHosts
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post a JSON document; returns when the receiver answers with 2xx.

        Raises:
            ChannelError: ALR-201 the extra is not installed; ALR-203 the URL or its host is not allowed; ALR-204,
                ALR-205, ALR-206 it cannot be reached; ALR-207 it points elsewhere; ALR-208 it is busy or broken;
                ALR-209 it refuses us; ALR-210 it refuses the message.
        """
        _need_extra(self.channel)
        import stamina

        _quieten_libraries()
        url = self._checked()
        tries = stamina.retry_context(on=_not_reached, attempts=_TRIES, wait_initial=_PAUSE_S, wait_jitter=_PAUSE_S)
        for attempt in tries:
            with attempt:
                self._post(url, body, headers or {})

    def _checked(self) -> httpx2.URL:
        import httpx2

        try:
            url = httpx2.URL(self.url)
        except (httpx2.InvalidURL, ValueError):
            raise _unusable(self.channel) from None
        host = _host(url)
        if url.scheme not in ("http", "https") or not host or url.userinfo or not 0 < _port(url) < 65536:
            raise _unusable(self.channel)
        if not self.allowed.allows(host, _port(url), plain_http=url.scheme == "http"):
            raise not_allowed(host)
        return url

    def _post(self, url: httpx2.URL, body: bytes, headers: Mapping[str, str]) -> None:
        """Post to the first address that takes a connection."""
        import httpx2

        host = _host(url)
        for address in dial(host, _port(url), self.allowed):
            try:
                return self._post_to(address, url, body, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL):
                continue
            except httpx2.HTTPError:
                raise late(host) from None
        raise unreachable(host, "it does not take a connection, or its certificate does not hold")

    def _post_to(self, address: str, url: httpx2.URL, body: bytes, headers: Mapping[str, str]) -> None:
        import httpx2

        host = _host(url)
        said = {**headers, "Content-Type": "application/json", "Host": url.netloc.decode("ascii")}
        trusted = self.tls or httpx2.create_ssl_context()
        limits = httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S)
        with httpx2.Client(verify=trusted, trust_env=False, follow_redirects=False, timeout=limits) as client:
            # The certificate is checked against the name, not the address: that is what sni_hostname is for.
            request = client.build_request(
                "POST", url.copy_with(host=address), content=body, headers=said, extensions={"sni_hostname": host}
            )
            answer = client.send(request, stream=True)  # what stands in the answer is not read
            try:
                judge(answer.status_code, answer.headers.get("retry-after", ""), host)
            finally:
                answer.close()


def judge(status: int, retry_after: str, host: str) -> None:
    """What an answer means; nothing is raised where the message was taken.

    Args:
        retry_after: the header, or ''.

    Raises:
        ChannelError: as `Poster.post`.
    """
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise ChannelError(
            f"{host} points to another place ({status}), which is not followed",
            code="ALR-207",
            where=host,
            hint="put the final URL into the environment variable, and its host into allowed_hosts",
        )
    if status in _BUSY or status >= 500:
        wait = int(retry_after) if retry_after.isdecimal() and len(retry_after) <= _DIGITS_MAX else None
        raise ChannelError(
            f"{host} is busy or broken ({status})",
            code="ALR-208",
            where=host,
            hint="it is tried again; other channels are told meanwhile",
            retry_after_s=None if wait is None else min(wait, _RETRY_AFTER_MAX_S),
        )
    if status in _NEVER:
        raise ChannelError(
            f"{host} refuses the message ({status})",
            code="ALR-210",
            where=host,
            hint="it is not sent again; `abaco alert list` still shows the alert",
            temporary=False,
        )
    raise ChannelError(
        f"{host} refuses us ({status})",
        code="ALR-209",
        where=host,
        hint="look whether the URL and the key in the environment are still good; deliveries wait until then",
    )


def _need_extra(channel: str) -> None:
    try:
        import httpx2  # noqa: F401
        import stamina  # noqa: F401
    except ImportError:
        raise ChannelError(
            "sending over HTTP needs an extra package",
            code="ALR-201",
            where=f"channel {channel}",
            hint="pip install 'abaco-loans[watch]'",
        ) from None


def _not_reached(error: Exception) -> bool:
    """Whether it is tried again at once: nothing was sent. Anything else waits in the outbox."""
    return isinstance(error, ChannelError) and error.code == "ALR-205"


def _unusable(channel: str) -> ChannelError:
    return ChannelError(
        "the environment variable of this channel holds no usable URL",
        code="ALR-203",
        where=f"channel {channel}",
        hint="write https://host/path, without a user or password in it",
    )


def _host(url: httpx2.URL) -> str:
    return url.raw_host.decode("ascii").lower()


def _port(url: httpx2.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _quieten_libraries() -> None:
    """At INFO the client logs every URL, and a URL may be the secret; that something failed is ours to say."""
    for name, level in (("httpx2", logging.WARNING), ("httpcore2", logging.WARNING), ("stamina", logging.ERROR)):
        logging.getLogger(name).setLevel(level)
