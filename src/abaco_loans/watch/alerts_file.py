"""Reads ``alerts.yml``: who hears of an alert, through what, and when. What is wrong in it is told with its line.

A secret has no place in the file: it names the environment variables that hold them, and what is no such name is
refused without being repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, time, timedelta, tzinfo
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field as ModelField
from pydantic import field_validator, model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.watch.alert import Severity
from abaco_loans.watch.alert_policy import (
    CONSOLE,
    AlertPolicy,
    ConsoleTarget,
    EmailTarget,
    ErrorBudget,
    PagerDutyTarget,
    Places,
    QuietHours,
    SlackTarget,
    Step,
    Target,
    WebhookTarget,
)
from abaco_loans.watch.rules import RULES

_DAY_MIN = 24 * 60

# With an underscore at least: few secrets look so, and the names of variables do.
Variable = Annotated[str, ModelField(pattern=r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$", max_length=100)]
Name = Annotated[str, ModelField(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Host = Annotated[
    str,
    ModelField(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=253),
]
# A host, with or without scheme and port; an address or a network. `outputs.channels.address` says what each means.
Allowed = Annotated[str, ModelField(pattern=r"^(https?://)?[a-z0-9_\[]([a-z0-9._:/-]*[a-z0-9_\]])?$", max_length=270)]
Address = Annotated[str, ModelField(pattern=r"^[^@\s<>,;\x00-\x1f\x7f]+@[A-Za-z0-9.-]+$", max_length=254)]
# Whoever reads a message follows it: no user or password before the host; a runbook is given without an anchor.
_PLACE = r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?"
Page = Annotated[str, ModelField(pattern=f"{_PLACE}$", max_length=500)]
Place = Annotated[str, ModelField(pattern=f"{_PLACE}(#[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?$", max_length=1000)]
Minutes = Annotated[int, ModelField(ge=0, le=_DAY_MIN, strict=True)]


class _Console(FileModel):
    kind: Literal["console"]

    def target(self) -> Target:
        return ConsoleTarget()


class _Slack(FileModel):
    kind: Literal["slack"]
    url_env: Variable

    def target(self) -> Target:
        return SlackTarget(url_env=self.url_env)


class _Webhook(FileModel):
    kind: Literal["webhook"]
    url_env: Variable
    token_env: Variable | None = None

    def target(self) -> Target:
        return WebhookTarget(url_env=self.url_env, token_env=self.token_env or "")


class _PagerDuty(FileModel):
    kind: Literal["pagerduty"]
    key_env: Variable
    host: Host = PagerDutyTarget(key_env="").host

    def target(self) -> Target:
        return PagerDutyTarget(key_env=self.key_env, host=self.host)


class _Email(FileModel):
    kind: Literal["email"]
    host: Host
    port: int = ModelField(default=587, ge=1, le=65535, strict=True)
    sender: Address = ModelField(alias="from")
    to: tuple[Address, ...] = ModelField(min_length=1, max_length=20)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user_env: Variable | None = None
    password_env: Variable | None = None

    @model_validator(mode="after")
    def _login_is_whole_and_hidden(self) -> Self:
        if (self.user_env is None) != (self.password_env is None):
            raise ValueError("user_env and password_env go together")
        if self.user_env and self.tls == "none":
            raise ValueError("a password is not sent without tls")
        return self

    def target(self) -> Target:
        return EmailTarget(
            host=self.host,
            port=self.port,
            sender=self.sender,
            to=self.to,
            tls=self.tls,
            user_env=self.user_env or "",
            password_env=self.password_env or "",
        )


_Channel = Annotated[_Console | _Slack | _Webhook | _PagerDuty | _Email, ModelField(discriminator="kind")]


class _Step(FileModel):
    who: Name
    channels: tuple[Name, ...] = ModelField(min_length=1)
    warning_after_min: Minutes | None
    critical_after_min: Minutes | None

    def step(self) -> Step:
        return Step(
            who=self.who,
            channels=tuple(dict.fromkeys(self.channels)),
            warning_after=_minutes(self.warning_after_min),
            critical_after=_minutes(self.critical_after_min),
        )


class _QuietHours(FileModel):
    begin: str = ModelField(alias="from", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    end: str = ModelField(alias="to", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    zone: str = ModelField(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", max_length=100)

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        _zone(zone)
        return zone

    @model_validator(mode="after")
    def _end(self) -> Self:
        if self.begin == self.end:
            raise ValueError("they end when they begin; leave quiet_hours out for none")
        return self


class _Budget(FileModel):
    runs: int = ModelField(ge=1, le=1000, strict=True)
    failed: int = ModelField(ge=0, strict=True)

    @model_validator(mode="after")
    def _can_be_used_up(self) -> Self:
        if self.failed >= self.runs:
            raise ValueError("fewer may fail than there are runs; else nothing is ever told")
        return self


class _Links(FileModel):
    runbook: Page | None = None
    dashboard: Place | None = None


class _AlertsFile(FileModel):
    channels: dict[Name, _Channel] = {}
    allowed_hosts: tuple[Allowed, ...] = ()
    chain: tuple[_Step, ...] | None = ModelField(default=None, min_length=1, max_length=20)
    quiet_hours: _QuietHours | None = None
    expect_tape_every_h: int | None = ModelField(default=26, ge=1, le=8784, strict=True)
    error_budget: _Budget = _Budget(runs=ErrorBudget().runs, failed=ErrorBudget().failed)
    owners: dict[str, Name] = {}
    links: _Links = _Links()


def read_alerts(document: Document) -> AlertPolicy:
    """The policy of the document; what it does not say is as in `AlertPolicy`.

    Raises:
        ConfigError: ``ALR-101`` not the form, an unknown key, a secret where the name of a variable belongs;
            ``ALR-102`` a step names a channel that is not there; ``ALR-103`` a host is not allowed; ``ALR-104`` the
            chain asks nobody at once, somebody twice, or somebody sooner than the step before; ``ALR-105`` an owner
            of no rule, or who is not in the chain.
    """
    empty = Document(name=document.name, data={}, lines=document.lines)
    file = check(empty if document.data is None else document, _AlertsFile, code="ALR-101", hint="see docs/alerts.md")
    _check_hosts(document, file)
    every_h, hours = file.expect_tape_every_h, file.quiet_hours
    policy = AlertPolicy(
        channels={CONSOLE: ConsoleTarget(), **{name: item.target() for name, item in file.channels.items()}},
        allowed_hosts=frozenset(file.allowed_hosts),
        chain=AlertPolicy().chain if file.chain is None else tuple(item.step() for item in file.chain),
        quiet_hours=None
        if hours is None
        else QuietHours(begin=_clock_time(hours.begin), end=_clock_time(hours.end), zone=_zone(hours.zone)),
        tape_every=None if every_h is None else timedelta(hours=every_h),
        error_budget=ErrorBudget(runs=file.error_budget.runs, failed=file.error_budget.failed),
        owners=file.owners,
        links=Places(runbook=file.links.runbook or "", dashboard=file.links.dashboard or ""),
    )
    _check_chain(document, policy)
    _check_owners(document, policy)
    return policy


def _check_hosts(document: Document, file: _AlertsFile) -> None:
    """Every network channel needs a host that is allowed; that of an address in a variable is known only later."""
    allowed = {re.sub(r"^https?://|:[0-9]+$", "", entry) for entry in file.allowed_hosts}
    for name, item in file.channels.items():
        if isinstance(item, _Console):
            continue
        host = item.host if isinstance(item, _PagerDuty | _Email) else ""
        if not file.allowed_hosts or (host and host not in allowed):
            raise ConfigError(
                f"channel {name}: {host or 'its host'} is not allowed",
                code="ALR-103",
                where=document.where("channels", name),
                hint="write the exact name of every host that anything may be sent to under allowed_hosts",
            )


def _check_chain(document: Document, policy: AlertPolicy) -> None:
    for place, step in enumerate(policy.chain):
        missing = [name for name in step.channels if name not in policy.channels]
        if missing:
            raise ConfigError(
                f"step {step.who} goes through {missing[0]}, which is no channel",
                code="ALR-102",
                where=document.where("chain", place, "channels"),
                hint=f"channels are {', '.join(policy.channels)}",
            )
    for where, fault in _faults_of_chain(policy.chain):
        raise ConfigError(
            f"the chain does not do: {fault}",
            code="ALR-104",
            where=document.where("chain", where),
            hint="somebody is asked after 0 minutes, and each step no sooner than the one before",
        )


def _faults_of_chain(chain: tuple[Step, ...]) -> Iterator[tuple[int, str]]:
    people: set[str] = set()
    for place, step in enumerate(chain):
        if step.who in people:
            yield place, f"{step.who} stands in it twice"
        people.add(step.who)
    for severity in Severity:
        last: timedelta | None = None
        for place, step in enumerate(chain):
            after = step.after(severity)
            if after is not None and last is None and after:
                yield place, f"nobody is asked at once when it is {severity}"
            if after is not None and last is not None and after < last:
                yield place, f"{step.who} is asked before the step before, when it is {severity}"
            last = last if after is None else after
        if last is None:
            yield 0, f"nobody is ever asked when it is {severity}"


def _check_owners(document: Document, policy: AlertPolicy) -> None:
    people = [step.who for step in policy.chain]
    for rule, who in policy.owners.items():
        if rule not in RULES or who not in people:
            raise ConfigError(
                f"{rule} is no rule" if rule not in RULES else f"{who}, who owns {rule}, is not in the chain",
                code="ALR-105",
                where=document.where("owners", rule),
                hint=f"rules are {', '.join(RULES)}" if rule not in RULES else f"the chain is {', '.join(people)}",
            )


def _zone(name: str) -> tzinfo:
    """The zone of a name.

    Raises:
        ValueError: there is none.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError("no zone of this name is known here; write one such as America/Tegucigalpa") from error


def _clock_time(text: str) -> time:
    return time.fromisoformat(text)


def _minutes(minutes: int | None) -> timedelta | None:
    return None if minutes is None else timedelta(minutes=minutes)
