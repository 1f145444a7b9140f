"""The report of a shadow run as JSON-ready data: what `abaco shadow --json` prints and the page is made of.

Every number is text, exact. Documented in docs/shadow.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abaco_loans.kpi.catalogue import Kpi
from abaco_loans.kpi.result import text_of
from abaco_loans.operations.compare_sides import Found, Sides
from abaco_loans.operations.run_side import SideRun
from abaco_loans.operations.seal_gates import SealedGates
from abaco_loans.records.shadows import GateSeal, ShadowPlan
from abaco_loans.releases.bridge import Bridge
from abaco_loans.releases.command_release import AnyRelease
from abaco_loans.releases.comparison import Compared, Key, Verdict
from abaco_loans.releases.judgement import GateVerdict, Outcome, Reason, Settled


def shadow_document(
    plan: ShadowPlan, sides: Sides, found: Found, settled: Settled, timings: Mapping[str, float]
) -> dict[str, Any]:
    """The report.

    Args:
        plan: as it was recorded.
        sides: what ran.
        found: what the comparison found.
        settled: what this verdict and the earlier ones say together.
        timings: seconds of ``compare`` and ``total``.
    """
    verdict = found.verdict
    return {
        "shadow_id": plan.shadow_id,
        "verdict": verdict.outcome.value,
        "stops": verdict.stops,
        "dry_run": verdict.dry_run,
        "compared_at": sides.now.isoformat(),
        "as_of": plan.as_of.isoformat(),
        "currency": sides.currency,
        "tape": {"name": plan.tape_name, "sha256": plan.tape_sha256, "layout": sides.tape.layout},
        "baseline": _side(sides.baseline, found.definitions[0], sides.runs),
        "candidate": _side(sides.candidate, found.definitions[1], [sides.other]),
        "gates": _gates(sides.sealed, verdict),
        "reasons": [_reason(item) for item in sorted(verdict.reasons, key=_first)],
        "passed": list(verdict.passed),
        **_places(sides, found),
        "bridge": {key.kpi: bridge.as_dict() for key, bridge in found.bridges.by_key.items() if not key.segment},
        "loans": found.loans.as_dict() if found.loans else None,
        "stage_moves": [
            {
                "baseline": move.baseline,
                "candidate": move.candidate,
                "loans": move.loans,
                "balance_usd": text_of(move.balance_usd),
            }
            for move in found.stage_moves
        ],
        "timings": {
            "baseline_seconds": [f"{run.seconds:.3f}" for run in sides.runs],
            "candidate_seconds": f"{sides.other.seconds:.3f}",
            **{f"{name}_seconds": f"{seconds:.3f}" for name, seconds in timings.items()},
        },
        "settled": {
            "outcome": settled.outcome.value,
            "words": settled.words,
            "passes": settled.passes,
            "tapes": settled.tapes,
        },
        "notes": list(found.notes),
    }


def _places(sides: Sides, found: Found) -> dict[str, Any]:
    """What was compared: overall, in segments, and the noise of the baseline."""
    kpis = {kpi.id: kpi for catalogue in reversed(sides.catalogues) for kpi in catalogue.kpis}
    outcomes = _outcomes(found.verdict, found.compared)
    whole = [item for item in found.compared if not item.key.segment]
    cells = [item for item in found.compared if item.key.segment and item.baseline_knows]
    return {
        "kpis": {item.key.kpi: _cell(item, kpis, outcomes) for item in whole},
        "segments": {
            "compared": len(cells),
            "only_candidate": len(found.compared) - len(whole) - len(cells),
            "same": sum(_silent(item) for item in cells),
            "cells": [
                {
                    "kpi": item.key.kpi,
                    "segment": item.key.segment,
                    "segment_value": item.key.segment_value,
                    **_cell(item, kpis, outcomes),
                    "bridge": _cell_bridge(found.bridges.by_key.get(item.key)),
                }
                for item in cells
                if not _silent(item)
            ],
        },
        "noise": {
            "repeats": len(sides.runs),
            "kpis": {item.key.kpi: text_of(item.noise) for item in whole if item.noise is not None},
        },
    }


def _cell_bridge(bridge: Bridge | None) -> dict[str, Any] | None:
    """The bridge of a cell; its ends and difference stand beside it already."""
    if bridge is None:
        return None
    written = bridge.as_dict()
    return {name: written[name] for name in ("parts", "not_bridged", "not_by_loan")}


def _silent(item: Compared) -> bool:
    """A cell of a segment of which there is nothing to say: the same on both sides, or rightly on neither."""
    return item.verdict is Verdict.SAME or (item.verdict is Verdict.NOT_COMPARABLE and item.agrees)


def _side(release: AnyRelease, definition: str, runs: Sequence[SideRun]) -> dict[str, Any]:
    return {
        "release": release.name,
        "kind": release.kind,
        "meaning": release.meaning_digest,
        "policy": release.policy_digest,
        "definition": definition,
        "runs": [run.as_dict() for run in runs],
    }


def _gates(sealed: SealedGates, verdict: GateVerdict) -> dict[str, Any]:
    return {
        "digest": sealed.gates_digest,
        "expected_digest": sealed.expected_digest,
        "pass_score": text_of(sealed.gates.pass_score),
        "score": text_of(verdict.score),
        "pending": list(sealed.pending),
        "loosened": [_loosening(seal) for seal in sealed.loosenings],
    }


def _loosening(seal: GateSeal) -> dict[str, Any]:
    return {
        "at": seal.sealed_at.isoformat(),
        "by": seal.sealed_by,
        "what": list(seal.loosened),
        "approved_by": seal.approved_by,
        "approved_at": seal.approved_at.isoformat() if seal.approved_at else None,
        "reason": seal.reason,
    }


def _first(item: Reason) -> tuple[bool, int, bool]:
    """The whole book before its segments, the worst before the rest."""
    return bool(item.key and item.key.segment), _WORST.index(item.outcome), not item.halts


def _reason(item: Reason) -> dict[str, Any]:
    key = item.key or Key(kpi="")
    return {
        "outcome": item.outcome.value,
        "kpi": key.kpi,
        "segment": key.segment,
        "segment_value": key.segment_value,
        "words": item.words,
        "halts": item.halts,
    }


_WORST = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NOT_JUDGED, Outcome.PASS)


def _outcomes(verdict: GateVerdict, compared: Sequence[Compared]) -> dict[Key, str]:
    """What the gate says of each place: the worst of its reasons; a place without one passed."""
    found = dict.fromkeys((item.key for item in compared), Outcome.PASS)
    for reason in verdict.reasons:
        if reason.key in found:
            found[reason.key] = min(found[reason.key], reason.outcome, key=_WORST.index)
    return {key: outcome.value for key, outcome in found.items()}


def _cell(item: Compared, kpis: Mapping[str, Kpi], outcomes: Mapping[Key, str]) -> dict[str, Any]:
    kpi = kpis.get(item.key.kpi)
    return {
        "name": kpi.name if kpi else item.key.kpi,
        "unit": kpi.unit if kpi else "",
        "baseline": text_of(item.baseline),
        "candidate": text_of(item.candidate),
        "difference": text_of(item.difference),
        "variance_percent": text_of(item.variance_percent),
        "noise": text_of(item.noise),
        "tolerance": {
            "pass_percent": text_of(item.tolerance.pass_percent),
            "halt_percent": text_of(item.tolerance.halt_percent),
        },
        "verdict": item.verdict.value,
        "words": item.words,
        "explained": text_of(item.explained) if item.difference is not None else None,
        "unexplained": text_of(item.unexplained),
        "unexplained_percent": text_of(item.unexplained_percent),
        "causes": list(item.causes),
        "crossed": list(item.crossed),
        "outcome": outcomes[item.key],
    }
