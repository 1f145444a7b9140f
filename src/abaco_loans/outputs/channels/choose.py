"""Which channel a target of ``alerts.yml`` is. Secrets are read from the environment here, when something is sent."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import assert_never

from abaco_loans.outputs.channels.address import AllowedHosts, allowed_hosts
from abaco_loans.outputs.channels.base import Channel, ChannelError
from abaco_loans.watch.alert_policy import (
    AlertPolicy,
    ConsoleTarget,
    EmailTarget,
    PagerDutyTarget,
    SlackTarget,
    WebhookTarget,
)

Secret = Callable[[str], str]


def open_channel(
    name: str,
    policy: AlertPolicy,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    tls: ssl.SSLContext | None = None,
) -> Channel:
    """The channel of this name.

    Args:
        environment: where the secrets are, by the names that the policy says.
        tell: takes the console's lines.
        tls: what is trusted; None: what the machine trusts.

    Raises:
        ChannelError: ALR-202 a secret is not there; ALR-203 the list of allowed hosts cannot be read; ALR-213 the
            policy has no such channel.
    """
    target = policy.channels.get(name)
    if target is None:
        raise ChannelError(
            f"alerts.yml has no channel {name!r} any more",
            code="ALR-213",
            where=f"channel {name}",
            hint="what was queued for it waits for a day; give the channel its name again, or let it go",
        )
    if isinstance(target, ConsoleTarget):
        from abaco_loans.outputs.channels.console import Console

        return Console(tell=tell)
    allowed = _allowed(name, policy)

    def secret(variable: str) -> str:
        return secret_of(environment, variable, name) if variable else ""

    if isinstance(target, EmailTarget):
        return _email(name, target, secret, allowed, tls)
    return _posting(name, target, secret, allowed, tls)


def _email(
    name: str, target: EmailTarget, secret: Secret, allowed: AllowedHosts, tls: ssl.SSLContext | None
) -> Channel:
    from abaco_loans.outputs.channels.email import Email

    return Email(
        channel=name,
        host=target.host,
        port=target.port,
        sender=target.sender,
        to=target.to,
        allowed=allowed,
        tls=target.tls,
        user=secret(target.user_env),
        password=secret(target.password_env),
        trust=tls,
    )


def _posting(
    name: str,
    target: SlackTarget | PagerDutyTarget | WebhookTarget,
    secret: Secret,
    allowed: AllowedHosts,
    tls: ssl.SSLContext | None,
) -> Channel:
    from abaco_loans.outputs.channels.http import Poster

    def poster(url: str) -> Poster:
        return Poster(url=url, channel=name, allowed=allowed, tls=tls)

    match target:
        case SlackTarget():
            from abaco_loans.outputs.channels.slack import Slack

            return Slack(poster=poster(secret(target.url_env)))
        case PagerDutyTarget():
            from abaco_loans.outputs.channels.pagerduty import PagerDuty, events_url

            return PagerDuty(poster=poster(events_url(target.host)), routing_key=secret(target.key_env))
        case WebhookTarget():
            from abaco_loans.outputs.channels.webhook import Webhook

            return Webhook(poster=poster(secret(target.url_env)), token=secret(target.token_env))
        case _:
            assert_never(target)


def secret_of(environment: Mapping[str, str], variable: str, channel: str) -> str:
    """The value of a variable that holds a secret; what it is appears in no error.

    Raises:
        ChannelError: ALR-202 it is not set, or is not one line of printable ASCII without spaces around it.
    """
    value = environment.get(variable, "")
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise ChannelError(
            f"the environment variable {variable} is {'not one line of printable ASCII' if value else 'not set'}",
            code="ALR-202",
            where=f"channel {channel}",
            hint="set it where `abaco` runs, see docs/deploy.md; deliveries wait until then",
        )
    return value


def _allowed(name: str, policy: AlertPolicy) -> AllowedHosts:
    try:
        return allowed_hosts(policy.allowed_hosts)
    except ValueError as error:
        raise ChannelError(
            f"allowed_hosts cannot be read: {error}",
            code="ALR-203",
            where=f"channel {name}",
            hint="correct it in alerts.yml",
        ) from None
