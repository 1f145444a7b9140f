"""What raises an alert: rules over facts. Pure.

Invariants: a rule whose facts were not measured says nothing and was not looked at; a cause that could not be judged
is named as unmeasured. Causes that follow from another alert (`Rule.inhibited_by`) are recorded, and their notices wait
while that one is open; what is worse than its cause does not wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from abaco_loans.releases.trigger import Cause, Trigger
from abaco_loans.watch.alert import Alert, Severity, Signal, fingerprint
from abaco_loans.watch.check import Status
from abaco_loans.watch.checkpoint import PIPELINE, VALIDATION
from abaco_loans.watch.metric import AUDIT_EVENTS, CPU, ERROR_RATE, KPI_LATENCY, KPI_VARIANCE, MEMORY, Judged

ENGINEERING_LEAD, DATA_OPERATIONS, VP_ENGINEERING, ALL_HANDS = (
    "engineering_lead",
    "data_operations",
    "vp_engineering",
    "all_hands",
)
UNWATCHED = "no cutover is watched any more; nobody measures it"
_WORDS_MAX = 300
_PATH = re.compile(r"(?:\b[A-Za-z]:)?(?:[\\/][\w.~ -]*[\w.~-]){2,}")
RUNS_LATE, RUNS_MISSING = timedelta(hours=1), timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule.

    Attributes:
        text: what an alert of it means, in one line.
        owner: who of the default escalation chain it belongs to.
        inhibited_by: causes, each a rule and a subject, that it follows from.
    """

    name: str
    text: str
    owner: str
    inhibited_by: frozenset[tuple[str, str]] = frozenset()

    @property
    def runbook(self) -> str:
        """Where it stands what to do."""
        return f"docs/operations.md#{self.name.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiFact:
    """A KPI of the last run, overall: its status as the run recorded it, and its value as text, '' without one."""

    status: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDecision:
    """A decision that is asked for and not made; ``point`` is the hour, as text."""

    point: str
    asked_at: datetime
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Tapes: when the last one came (None: none ever did), and since when the one that waits longest waits."""

    last_at: datetime | None
    waiting_since: datetime | None
    last_ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The last runs that ended: how many were looked at, how many of them gave no result, how many may."""

    looked_at: int
    failed: int
    failed_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of production at the time ``at``. None: it was not measured; empty: there is nothing.

    Attributes:
        figures: of a checkpoint or validation, by name. One that is not there was not measured; one that there is
            nothing of is NOT_APPLICABLE; one that waits for a first tape is not looked at.
        triggers: of a rollback that are not calm.
        watched: whether a cutover is watched; else no trigger is looked for.
        kpis: of the last run, by id.
        tape_every: how often a tape has to arrive; None, with ``arrivals``: none is expected.
        missed_hours: checkpoints that were missed just before the last one.
        breakers: by channel, whether its breaker is open.
        rollback_failed: what kept the last rollback from its end; '' where nothing did; None, too, while one runs.
    """

    at: datetime
    figures: Mapping[str, Judged] | None = None
    triggers: tuple[Trigger, ...] | None = None
    watched: bool = True
    kpis: Mapping[str, KpiFact] | None = None
    arrivals: Arrivals | None = None
    tape_every: timedelta | None = None
    ended: Ended | None = None
    missed_hours: tuple[str, ...] | None = None
    decisions: tuple[OpenDecision, ...] | None = None
    breakers: Mapping[str, bool] | None = None
    rollback_failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the rules found; see `alert.changes`.

    Attributes:
        looked_at: rules that could be judged.
        unmeasured: causes (fingerprints) of them that could not.
        why_gone: what is said of causes (fingerprints) that are no longer looked for.
    """

    signals: tuple[Signal, ...]
    looked_at: frozenset[str]
    unmeasured: frozenset[str] = frozenset()
    why_gone: Mapping[str, str] = field(default_factory=dict)


# Figure of a checkpoint → its rule.
FIGURES: Mapping[str, str] = MappingProxyType(
    {
        KPI_LATENCY.name: "kpi_latency",
        ERROR_RATE.name: "error_rate",
        MEMORY.name: "memory",
        CPU.name: "cpu",
        AUDIT_EVENTS.name: "audit_trail",
        KPI_VARIANCE.name: "kpi_variance",
        PIPELINE: "pipeline",
        VALIDATION: "validation",
    }
)
_SEVERITIES = {Status.WARN: Severity.WARNING, Status.UNKNOWN: Severity.WARNING, Status.FAIL: Severity.CRITICAL}
_KPIS = {"warning": Severity.WARNING, "out_of_range": Severity.WARNING, "critical": Severity.CRITICAL}
_KPI_WORDS = {
    "warning": "beyond its warning threshold",
    "critical": "beyond its critical threshold",
    "out_of_range": "out of the range that is possible",
}
_KPIS_UNMEASURED = frozenset({"not_computable", "suppressed"})


def _proposed(cause: Cause) -> tuple[str, str]:
    return "rollback_proposed", cause.value


_RULES = (
    Rule(name="kpi_latency", text="calculating KPIs takes too long", owner=DATA_OPERATIONS),
    Rule(
        name="error_rate",
        text="tapes fail since the last checkpoint",
        owner=ENGINEERING_LEAD,
        inhibited_by=frozenset({_proposed(Cause.ERROR_RATE), _proposed(Cause.CRASHES)}),
    ),
    Rule(name="memory", text="a calculation takes too much memory, or more every hour", owner=DATA_OPERATIONS),
    Rule(name="cpu", text="the processors are busy", owner=DATA_OPERATIONS),
    Rule(
        name="audit_trail",
        text="the last run left no event in the audit ledger",
        owner=ENGINEERING_LEAD,
        inhibited_by=frozenset({_proposed(Cause.AUDIT_TRAIL)}),
    ),
    Rule(
        name="kpi_variance",
        text="the KPIs differ from those of the old release",
        owner=ENGINEERING_LEAD,
        inhibited_by=frozenset({_proposed(Cause.KPI_VARIANCE)}),
    ),
    Rule(name="pipeline", text="tapes wait, and nobody takes them", owner=ENGINEERING_LEAD),
    Rule(
        name="validation",
        text="the validation of production does not pass",
        owner=ENGINEERING_LEAD,
        inhibited_by=frozenset(
            {_proposed(Cause.AUDIT_TRAIL), ("audit_trail", ""), ("kpi_latency", ""), ("memory", "")}
        ),
    ),
    Rule(name="rollback_proposed", text="production should go back to the release before", owner=VP_ENGINEERING),
    Rule(name="rollback_failed", text="a rollback did not come to its end", owner=VP_ENGINEERING),
    Rule(name="kpi_threshold", text="a KPI of the last run is beyond its threshold", owner=ENGINEERING_LEAD),
    Rule(name="no_tape", text="no tape arrived for longer than expected", owner=DATA_OPERATIONS),
    Rule(
        name="no_run",
        text="a tape arrived, and nothing ran",
        owner=DATA_OPERATIONS,
        inhibited_by=frozenset({("pipeline", "")}),
    ),
    Rule(
        name="error_budget",
        text="more of the last runs failed than may",
        owner=ENGINEERING_LEAD,
        inhibited_by=frozenset({("error_rate", ""), _proposed(Cause.ERROR_RATE), _proposed(Cause.CRASHES)}),
    ),
    Rule(name="checkpoint_missed", text="a checkpoint of the watch was missed", owner=ENGINEERING_LEAD),
    Rule(name="decision_open", text="a decision is asked for, and half of its time is gone", owner=ENGINEERING_LEAD),
    Rule(name="channel_down", text="messages do not go out through a channel", owner=DATA_OPERATIONS),
)
RULES: Mapping[str, Rule] = MappingProxyType({rule.name: rule for rule in _RULES})


def signals(facts: Facts) -> Found:
    """What the rules say of the facts."""
    found = [said for look in _LOOKS if (said := look(facts))]
    return Found(
        signals=tuple(signal for said in found for signal in said.signals),
        looked_at=frozenset().union(*(said.looked_at for said in found)),
        unmeasured=frozenset().union(*(said.unmeasured for said in found)),
        why_gone={key: words for said in found for key, words in said.why_gone.items()},
    )


def inhibited(alert: Alert, open_alerts: Iterable[Alert]) -> bool:
    """Whether the alert follows from another one that is open, and no less severe."""
    rule = RULES.get(alert.rule)
    causes = rule.inhibited_by if rule else frozenset()
    return any(
        other.is_open and (other.rule, other.subject) in causes and other.severity.rank >= alert.severity.rank
        for other in open_alerts
    )


def group(alert: Alert, open_alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """The open alerts of one rule that one look found: they are told in one message, that of the first, the worst."""
    mates = (other for other in open_alerts if (other.rule, other.first_seen) == (alert.rule, alert.first_seen))
    return tuple(sorted(mates, key=lambda item: (-item.severity.rank, item.subject))) or (alert,)


def _figures(facts: Facts) -> Found | None:
    if facts.figures is None:
        return None
    # What waits for a first tape was not looked at: that none comes, or none runs, has rules of its own.
    measured = {
        rule: facts.figures[name]
        for name, rule in FIGURES.items()
        if name in facts.figures and not facts.figures[name].waits
    }
    said = (
        _signal(rule, severity, judged.words)
        for rule, judged in measured.items()
        if (severity := _SEVERITIES.get(judged.status))
    )
    gone = {
        fingerprint(rule, ""): judged.words
        for rule, judged in measured.items()
        if judged.status is Status.NOT_APPLICABLE
    }
    return Found(signals=tuple(said), looked_at=frozenset(measured), why_gone=gone)


def _triggers(facts: Facts) -> Found | None:
    if facts.triggers is None:
        return None
    rule = "rollback_proposed"
    said = [_signal(rule, Severity.CRITICAL, item.words, item.cause.value) for item in facts.triggers if item.fired]
    found = _found(rule, said, [item.cause.value for item in facts.triggers if not item.fired])
    return (
        found
        if facts.watched
        else replace(found, why_gone={fingerprint(*_proposed(cause)): UNWATCHED for cause in Cause})
    )


def _rollback(facts: Facts) -> Found | None:
    words = facts.rollback_failed
    if words is None:
        return None
    return _found("rollback_failed", [_signal("rollback_failed", Severity.CRITICAL, words)] if words else [])


def _kpis(facts: Facts) -> Found | None:
    if facts.kpis is None:
        return None
    said = [
        _signal("kpi_threshold", severity, f"{kpi} is {_KPI_WORDS[fact.status]}: {fact.value or 'no value'}", kpi)
        for kpi, fact in facts.kpis.items()
        if (severity := _KPIS.get(fact.status))
    ]
    return _found("kpi_threshold", said, [kpi for kpi, fact in facts.kpis.items() if fact.status in _KPIS_UNMEASURED])


def _no_tape(facts: Facts) -> Found | None:
    """Nothing arrived in time: a warning, and critical after twice the time. Before the first tape none is missed."""
    if facts.arrivals is None:
        return None
    last, every = facts.arrivals.last_at, facts.tape_every
    if last is None or every is None or facts.at - last <= every:
        return _found("no_tape", [])
    severity = Severity.CRITICAL if facts.at - last > 2 * every else Severity.WARNING
    words = f"no tape for {_hours(facts.at - last)}; one is expected every {_hours(every)}"
    return _found("no_tape", [_signal("no_tape", severity, words)])


def _no_run(facts: Facts) -> Found | None:
    """A tape waits, and none was ended since: a warning after one hour, critical after four."""
    if facts.arrivals is None:
        return None
    since, ended = facts.arrivals.waiting_since, facts.arrivals.last_ended_at
    still = None if since is None else facts.at - (since if ended is None else max(since, ended))
    if still is None or still <= RUNS_LATE:
        return _found("no_run", [])
    severity = Severity.CRITICAL if still > RUNS_MISSING else Severity.WARNING
    return _found("no_run", [_signal("no_run", severity, f"a tape waits, and nothing ran for {_hours(still)}")])


def _budget(facts: Facts) -> Found | None:
    """More failed than may: a warning, and critical when it is more than half of them."""
    ended = facts.ended
    if ended is None:
        return None
    if ended.failed <= ended.failed_max:
        return _found("error_budget", [])
    severity = Severity.CRITICAL if 2 * ended.failed > ended.looked_at else Severity.WARNING
    words = f"{ended.failed} of the last {ended.looked_at} runs gave no result; {ended.failed_max} may"
    return _found("error_budget", [_signal("error_budget", severity, words)])


def _missed(facts: Facts) -> Found | None:
    if facts.missed_hours is None:
        return None
    words = f"not done: the checkpoint at hour {', '.join(facts.missed_hours)}"
    said = [_signal("checkpoint_missed", Severity.WARNING, words)] if facts.missed_hours else []
    return _found("checkpoint_missed", said)


def _decisions(facts: Facts) -> Found | None:
    if facts.decisions is None:
        return None
    words = "the decision at hour {} is asked for until {:%Y-%m-%d %H:%M %Z}"
    said = [
        _signal("decision_open", Severity.WARNING, words.format(item.point, item.deadline), item.point)
        for item in facts.decisions
        if facts.at - item.asked_at >= (item.deadline - item.asked_at) / 2
    ]
    return _found("decision_open", said)


def _channels(facts: Facts) -> Found | None:
    if facts.breakers is None:
        return None
    words = "nothing goes out through this channel: it failed again and again, and is tried less often"
    said = [_signal("channel_down", Severity.WARNING, words, name) for name, down in facts.breakers.items() if down]
    return _found("channel_down", said)


_LOOKS: tuple[Callable[[Facts], Found | None], ...] = (
    _figures,
    _triggers,
    _rollback,
    _kpis,
    _no_tape,
    _no_run,
    _budget,
    _missed,
    _decisions,
    _channels,
)


def _found(rule: str, said: Iterable[Signal], unmeasured: Iterable[str] = ()) -> Found:
    """What one rule says; ``unmeasured`` are subjects that could not be judged."""
    return Found(
        signals=tuple(said),
        looked_at=frozenset({rule}),
        unmeasured=frozenset(fingerprint(rule, subject) for subject in unmeasured),
    )


def _signal(rule: str, severity: Severity, words: str, subject: str = "") -> Signal:
    """A signal whose words are one line, not too long for any channel, and name no file of this machine."""
    line = "".join(character if character.isprintable() else " " for character in _PATH.sub("(a file)", words))
    return Signal(rule=rule, subject=subject, severity=severity, words=line[:_WORDS_MAX])


def _hours(time: timedelta) -> str:
    hours = time // timedelta(hours=1)
    return f"{hours} h" if hours else f"{time // timedelta(minutes=1)} min"
