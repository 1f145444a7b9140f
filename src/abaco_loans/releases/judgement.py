"""What a gate says of a comparison: pass, fail or inconclusive, with the KPI and the figures of every reason.

What is missing, is no number, comes late or is too noisy is inconclusive, never a pass. What halts is: a line that is
crossed unforeseen, a prediction that failed, an unexplained part beyond ``halt_percent``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum

from abaco_loans.portfolio.view import percent
from abaco_loans.releases.comparison import Compared, Key, Verdict
from abaco_loans.releases.expected import Expected, active, digest_of_ledger
from abaco_loans.releases.gate import Gates, Rule
from abaco_loans.releases.materiality import StageMove


class Outcome(StrEnum):
    """What is said of a gate, of a KPI or of a place. `NOT_JUDGED`: there was nothing to judge."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a gate says what it says. ``halts``: whatever the score. ``compared``: the figures, where it has any."""

    outcome: Outcome
    words: str
    key: Key | None = None
    halts: bool = False
    compared: Compared | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """The verdict, and all that is not simply a pass.

    Attributes:
        score: weights of the KPIs that passed, in percent of those that were judged; None when none was.
        passed: the KPIs that passed.
        gates_digest: of the gates, and ``expected_digest`` of the predictions, that it was judged by.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    score: Decimal | None
    passed: tuple[str, ...]
    dry_run: bool
    gates_digest: str
    expected_digest: str

    @property
    def stops(self) -> bool:
        """Whether the candidate may not go on."""
        return self.outcome is not Outcome.PASS and not self.dry_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An earlier verdict: ``tape`` is its SHA-256, ``on`` the day of the comparison."""

    tape: str
    on: date
    outcome: Outcome
    gates_digest: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What all evidence together says; ``passes`` in a row at the end, on ``tapes`` different tapes."""

    outcome: Outcome
    words: str
    passes: int = 0
    tapes: int = 0
    used: tuple[Evidence, ...] = field(default=())


def judge(
    compared: Sequence[Compared],
    gates: Gates,
    expected: Sequence[Expected],
    *,
    today: date,
    compared_on: date,
    stage_moves: Sequence[StageMove] = (),
) -> GateVerdict:
    """Judge a comparison (after its bridges, see `comparison.bridged`).

    Args:
        compared: every KPI in every place.
        gates: as they were sealed.
        expected: the whole ledger; what has expired does not count.
        today: the day on which it is judged.
        compared_on: the day on which both sides ran.
        stage_moves: loans whose IFRS 9 stage differs.
    """
    predictions = active(expected, today)
    by_key = {item.key: item for item in compared}
    reasons = [_judged(item, gates, predictions) for item in compared]
    reasons += _predicted(by_key, predictions)
    reasons += _staged(by_key, predictions, stage_moves)
    reasons += [
        Reason(outcome=Outcome.INCONCLUSIVE, key=Key(kpi=kpi), words="neither side says it, and it must have data")
        for kpi, rule in gates.metrics.items()
        if rule.must_have_data and Key(kpi=kpi) not in by_key
    ]
    reasons += _late(today, compared_on, gates)
    by_kpi = _by_kpi(reasons)
    score = _score(by_kpi, gates)
    reasons += _scored(score, gates)
    return GateVerdict(
        outcome=_whole(reasons, by_kpi, score, gates),
        reasons=tuple(reason for reason in reasons if reason.outcome is not Outcome.PASS),
        score=score,
        passed=tuple(sorted(kpi for kpi, outcome in by_kpi.items() if outcome is Outcome.PASS)),
        dry_run=gates.dry_run,
        gates_digest=gates.digest(),
        expected_digest=digest_of_ledger(expected),
    )


def not_compared(outcome: Outcome, words: str, gates: Gates, expected: Sequence[Expected]) -> GateVerdict:
    """The verdict where there is nothing to compare, because a side gave nothing."""
    return GateVerdict(
        outcome=outcome,
        reasons=(Reason(outcome=outcome, words=words, halts=outcome is Outcome.FAIL),),
        score=None,
        passed=(),
        dry_run=gates.dry_run,
        gates_digest=gates.digest(),
        expected_digest=digest_of_ledger(expected),
    )


def unapproved(verdict: GateVerdict, loosened: Sequence[str]) -> GateVerdict:
    """The verdict by gates that were loosened and that nobody has approved: no pass; a fail stays one."""
    words = f"the gates were loosened, and nobody has approved it: {'; '.join(loosened)}"
    return replace(
        verdict,
        outcome=Outcome.FAIL if verdict.outcome is Outcome.FAIL else Outcome.INCONCLUSIVE,
        reasons=(*verdict.reasons, Reason(outcome=Outcome.INCONCLUSIVE, words=words)),
    )


def settled(history: Sequence[Evidence], gates: Gates, *, today: date) -> Settled:
    """Whether there are enough passes in a row, on enough tapes; ``history`` oldest first.

    Verdicts under other gates, and of dry runs, are no evidence.
    """
    digest = gates.digest()
    usable = [item for item in history if item.gates_digest == digest and not item.dry_run]
    if not usable:
        return Settled(outcome=Outcome.INCONCLUSIVE, words="nothing was judged by these gates yet")
    streak: list[Evidence] = []
    for item in reversed(usable):
        if item.outcome is not Outcome.PASS:
            break
        streak.insert(0, item)
    passes, tapes = len(streak), len({item.tape for item in streak})
    said = f"passes in a row: {passes} ({gates.consecutive_passes} wanted), tapes: {tapes} ({gates.tapes_min} wanted)"
    late = _late(today, usable[-1].on, gates)
    if usable[-1].outcome is Outcome.FAIL:
        outcome, words = Outcome.FAIL, "the last verdict is fail"
    elif late:
        outcome, words = Outcome.INCONCLUSIVE, late[0].words
    elif passes >= gates.consecutive_passes and tapes >= gates.tapes_min:
        outcome, words = Outcome.PASS, said
    else:
        outcome, words = Outcome.INCONCLUSIVE, said
    return Settled(outcome=outcome, words=words, passes=passes, tapes=tapes, used=tuple(streak))


def _judged(item: Compared, gates: Gates, predictions: Sequence[Expected]) -> Reason:
    """One KPI in one place."""
    rule = gates.rule(item.key.kpi)

    def said(outcome: Outcome, words: str, *, halts: bool = False) -> Reason:
        return Reason(outcome=outcome, words=words, key=item.key, halts=halts, compared=item)

    if item.key.segment and not rule.segments:
        return said(Outcome.NOT_JUDGED, "segments of this KPI are not judged")
    if item.verdict is Verdict.NOT_COMPARABLE:
        return said(_without_value(item, rule), item.words)
    if item.noise and _beyond(item.noise_percent, rule):
        return said(Outcome.INCONCLUSIVE, f"the baseline's own repeats differ by {item.noise:f}: too much to judge by")
    foreseen = any(prediction.covers(item) for prediction in predictions)
    if item.crossed and not foreseen:
        return said(Outcome.FAIL, f"crosses {', '.join(item.crossed)}, and nobody expected it", halts=True)
    if item.verdict is Verdict.UNEXPLAINED:
        if _beyond(item.unexplained_percent, rule):
            return said(Outcome.FAIL, item.words, halts=True)
        if not foreseen:
            return said(Outcome.FAIL, f"{item.words}; it needs an explanation")
    if _beyond(item.explained_percent, rule) and not foreseen:
        return said(Outcome.FAIL, f"{item.words}, but by more than {rule.halt_percent:f} %, and nobody expected it")
    return said(Outcome.PASS, item.words)


def _without_value(item: Compared, rule: Rule) -> Outcome:
    """What cannot be compared never passes; what neither side can say, or only the candidate has, stops nothing."""
    if rule.must_have_data and not item.key.segment:
        return Outcome.INCONCLUSIVE
    return Outcome.NOT_JUDGED if item.agrees or not item.baseline_knows else Outcome.INCONCLUSIVE


def _beyond(percent_: Decimal | None, rule: Rule) -> bool:
    """Beside zero there is no ratio, and no ratio is beyond every one."""
    return percent_ is None or percent_ > rule.halt_percent


def _predicted(by_key: dict[Key, Compared], predictions: Sequence[Expected]) -> list[Reason]:
    """The predictions that failed. One about what cannot be compared is not tested, and covers nothing."""
    return [
        Reason(
            outcome=Outcome.FAIL,
            key=prediction.key,
            words=f"was expected to go {prediction.words}; it went by {item.difference:f}",
            halts=True,
            compared=item,
        )
        for prediction in predictions
        if (item := by_key.get(prediction.key)) and item.difference is not None and not prediction.holds(item)
    ]


def _staged(by_key: dict[Key, Compared], predictions: Sequence[Expected], moves: Sequence[StageMove]) -> list[Reason]:
    """Loans may change their stage only as far as a prediction that held says so."""
    held = [item for item in predictions if item.key in by_key and item.holds(by_key[item.key])]
    allowed = max((item.stage_loans_max for item in held), default=0)
    if sum(move.loans for move in moves) <= allowed:
        return []
    words = f"{'; '.join(move.words for move in moves)}: {allowed} were expected"
    return [Reason(outcome=Outcome.FAIL, words=words, halts=True)]


def _late(today: date, compared_on: date, gates: Gates) -> list[Reason]:
    age = (today - compared_on).days
    if 0 <= age <= gates.evidence_days_max:
        return []
    words = f"the comparison is of {compared_on}: {age} days old, {gates.evidence_days_max} are allowed"
    return [Reason(outcome=Outcome.INCONCLUSIVE, words=words)]


_WORST = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.NOT_JUDGED)


def _by_kpi(reasons: Sequence[Reason]) -> dict[str, Outcome]:
    """The worst that is said of each KPI, in any place."""
    found: dict[str, Outcome] = {}
    for reason in reasons:
        if reason.key:
            kpi = reason.key.kpi
            found[kpi] = min(found.get(kpi, Outcome.NOT_JUDGED), reason.outcome, key=_WORST.index)
    return found


def _score(by_kpi: dict[str, Outcome], gates: Gates) -> Decimal | None:
    weights = {
        outcome: sum(gates.rule(kpi).weight for kpi, found in by_kpi.items() if found is outcome) for outcome in Outcome
    }
    return percent(weights[Outcome.PASS], weights[Outcome.PASS] + weights[Outcome.FAIL])


def _scored(score: Decimal | None, gates: Gates) -> list[Reason]:
    if score is None:
        return [Reason(outcome=Outcome.INCONCLUSIVE, words="nothing could be judged")]
    if score >= gates.pass_score:
        return []
    outcome = Outcome.FAIL if score < gates.fail_score else Outcome.INCONCLUSIVE
    return [Reason(outcome=outcome, words=f"the score is {score:.1f}; {gates.pass_score:f} passes")]


def _whole(reasons: Sequence[Reason], by_kpi: dict[str, Outcome], score: Decimal | None, gates: Gates) -> Outcome:
    """The verdict: fail before inconclusive before pass."""
    critical = any(rule.critical and by_kpi.get(kpi) is Outcome.FAIL for kpi, rule in gates.metrics.items())
    if critical or any(reason.halts for reason in reasons) or (score is not None and score < gates.fail_score):
        return Outcome.FAIL
    if any(reason.outcome is Outcome.INCONCLUSIVE for reason in reasons):
        return Outcome.INCONCLUSIVE
    return Outcome.PASS
