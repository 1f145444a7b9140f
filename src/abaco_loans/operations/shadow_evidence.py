"""What the shadow runs of two releases prove together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from abaco_loans.records.shadows import ShadowReader, ShadowRecord
from abaco_loans.releases.judgement import Evidence, Outcome

_RUNS_MAX = 1000
# Longer than any shadow run takes: one that was planned before and never ended was stopped, and may have looked bad.
_AT_WORK = timedelta(hours=6)


def shadow_runs(
    reader: ShadowReader, candidate: str, *, candidate_meaning: str, baseline_meaning: str
) -> list[ShadowRecord]:
    """The shadow runs of this candidate beside this baseline, both meaning what they mean now, oldest first."""
    # Reading the history finds what was taken out of it.
    reader.history(candidate, candidate_meaning=candidate_meaning, baseline_meaning=baseline_meaning)
    return [
        item
        for item in reversed(reader.list(_RUNS_MAX, candidate))
        if (item.candidate_meaning, item.baseline_meaning) == (candidate_meaning, baseline_meaning)
    ]


def evidence_of(runs: Sequence[ShadowRecord], now: datetime) -> list[Evidence]:
    """What they prove, in their order: one that broke or was stopped is inconclusive, one at work says nothing yet."""
    return [
        Evidence(
            tape=item.tape_sha256,
            on=(item.finished_at or item.planned_at).date(),
            outcome=Outcome(item.verdict) if item.verdict else Outcome.INCONCLUSIVE,
            gates_digest=item.gates_digest,
            dry_run=bool(item.dry_run),
        )
        for item in runs
        if item.status != "planned" or now - item.planned_at > _AT_WORK
    ]
