"""Who hears of an alert, through what, and when: the policy that ``alerts.yml`` says. Pure data.

Invariants (the file's reader refuses everything else): the chain names only channels that are there; at each severity
some step of it is told at once, and no step sooner than the one before it; every network channel's host is allowed,
where the file says it. A secret is never here: only the name of the environment variable that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo

from abaco_loans.watch.alert import Severity
from abaco_loans.watch.rules import ALL_HANDS, DATA_OPERATIONS, ENGINEERING_LEAD, RULES, VP_ENGINEERING

CONSOLE = "console"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleTarget:
    """The terminal, or the journal, of whoever runs the tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackTarget:
    """An incoming webhook of Slack; the variable ``url_env`` holds its address."""

    url_env: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """A webhook; the variable ``url_env`` holds its address, ``token_env`` ('': none) what it is authorised by."""

    url_env: str
    token_env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDutyTarget:
    """A service of PagerDuty; the variable ``key_env`` holds its integration key."""

    key_env: str
    host: str = "events.pagerduty.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailTarget:
    """Mail by SMTP. ``tls`` is ``starttls``, ``tls`` (from the first byte) or ``none``.

    The variables ``user_env`` and ``password_env`` hold what to log in with; '': no login.
    """

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    tls: str = "starttls"
    user_env: str = ""
    password_env: str = ""


Target = ConsoleTarget | SlackTarget | WebhookTarget | PagerDutyTarget | EmailTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the escalation chain: who, through which channels, and after how long without an answer.

    ``warning_after`` and ``critical_after`` count from when the first step was told; None: never.
    """

    who: str
    channels: tuple[str, ...]
    warning_after: timedelta | None
    critical_after: timedelta | None

    def after(self, severity: Severity) -> timedelta | None:
        """How long after the first step this one is told; None: never."""
        return self.critical_after if severity is Severity.CRITICAL else self.warning_after


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """From when to when, by the clock of a zone, warnings are held back; over midnight where it ends before it
    begins."""

    begin: time
    end: time
    zone: tzinfo

    def hold(self, at: datetime) -> bool:
        """Whether the moment lies in them; the end does not."""
        local = at.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """Of the last ``runs`` so many may have ``failed``."""

    runs: int = 20
    failed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where people look, as https URLs ('': nowhere): the operator's runbook, without an anchor, and a dashboard."""

    runbook: str = ""
    dashboard: str = ""


def _default_chain() -> tuple[Step, ...]:
    """The chain of SPEC, "Watching production"."""
    minutes = (
        (ENGINEERING_LEAD, 0, 0),
        (DATA_OPERATIONS, 30, 5),
        (VP_ENGINEERING, None, 10),
        (ALL_HANDS, None, 15),
    )
    return tuple(
        Step(
            who=who,
            channels=(CONSOLE,),
            warning_after=None if warning is None else timedelta(minutes=warning),
            critical_after=timedelta(minutes=critical),
        )
        for who, warning, critical in minutes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """The whole policy; without a file, what stands here.

    Attributes:
        channels: by name.
        allowed_hosts: to which anything may be sent.
        chain: the first step is asked first.
        tape_every: how often a tape has to arrive; None: none is expected.
        owners: rule → who of the chain owns its alerts, where it is not the rule's own owner.
        links: what messages lead to.
    """

    channels: Mapping[str, Target] = field(default_factory=lambda: {CONSOLE: ConsoleTarget()})
    allowed_hosts: frozenset[str] = frozenset()
    chain: tuple[Step, ...] = field(default_factory=_default_chain)
    quiet_hours: QuietHours | None = None
    tape_every: timedelta | None = timedelta(hours=26)
    error_budget: ErrorBudget = field(default_factory=ErrorBudget)
    owners: Mapping[str, str] = field(default_factory=dict)
    links: Places = field(default_factory=Places)

    def owner(self, rule: str) -> str:
        """Who owns the alerts of a rule: as said here, else the rule's own owner, else the chain's first."""
        people = [step.who for step in self.chain]
        own = RULES[rule].owner if rule in RULES else ""
        return self.owners.get(rule) or (own if own in people else people[0])
