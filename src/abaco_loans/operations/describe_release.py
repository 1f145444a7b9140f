"""What a release is, in JSON-ready data: digests, what it holds, what it is judged by, and since when it is frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from abaco_loans.errors import ConfigError
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.runs import RETIRED, ReleaseRow
from abaco_loans.records.shadows import GateSeal
from abaco_loans.releases.command_release import AnyRelease, CommandRelease
from abaco_loans.releases.diff import Change, ReleaseDiff, release_diff
from abaco_loans.releases.gate import Gates, Rule
from abaco_loans.releases.policy_files import EXPECTED_FILE, GATES_FILE
from abaco_loans.releases.program_diff import program_diff
from abaco_loans.releases.release import Release


def listed_releases(workspace: Workspace, recorded: Sequence[ReleaseRow]) -> list[dict[str, Any]]:
    """Every release of the workspace; one that cannot be read has a ``fault`` and no digests."""
    found = []
    for name in workspace.release_names():
        item: dict[str, Any] = {"name": name, "role": _role(workspace, name, recorded), "fault": None}
        try:
            release = workspace.any_release(name)
        except ConfigError as error:
            found.append({**item, "kind": None, "meaning": None, "policy": None, "fault": error.as_dict()})
            continue
        found.append({**item, **_digests(release), "holds": _holds(release), "frozen": _frozen(release, recorded)})
    return found


def _role(workspace: Workspace, name: str, recorded: Sequence[ReleaseRow]) -> str:
    """The role that a release has now; one that was retired has none any more."""
    return RETIRED if any((item.name, item.role) == (name, RETIRED) for item in recorded) else workspace.role(name)


def release_document(
    workspace: Workspace, name: str, recorded: Sequence[ReleaseRow], seals: Sequence[GateSeal], today: date
) -> dict[str, Any]:
    """One release in full.

    Args:
        workspace: where it stands.
        name: of the release.
        recorded: all releases that were recorded.
        seals: of its gates, oldest first.
        today: the day; predictions expire.

    Raises:
        ConfigError: ``REL-103`` there is no such release; or what a file of it says wrong.
    """
    release = workspace.any_release(name)
    return {
        "name": name,
        "role": _role(workspace, name, recorded),
        **_digests(release),
        "core": release.core_digest,
        "frozen": _frozen(release, recorded),
        "holds": _holds(release),
        "description": workspace.description(name),
        **(_program(release) if isinstance(release, CommandRelease) else _catalogue(release)),
        "definitions": {
            item.name: {
                **item.as_dict(),
                "description": item.description,
                "default_for": list(item.default_for),
            }
            for item in release.definitions.values()
        },
        **_judged_by(workspace, name, today),
        "seal": _seal(seals[-1]) if seals else None,
    }


def diff_document(workspace: Workspace, baseline: str, candidate: str) -> dict[str, Any]:
    """What changed from one release to another, and which KPIs each change can touch.

    Raises:
        ConfigError: ``REL-103`` there is no such release; or what a file of one says wrong.
    """
    old, new = workspace.any_release(baseline), workspace.any_release(candidate)
    texts = workspace.policy_texts(baseline), workspace.policy_texts(candidate)
    if isinstance(old, Release) and isinstance(new, Release):
        found = release_diff(old, new, texts)
    else:
        found = program_diff(old, new, texts)
    return {
        "baseline": {"name": baseline, **_digests(old), "holds": _holds(old)},
        "candidate": {"name": candidate, **_digests(new), "holds": _holds(new)},
        "same_meaning": old.meaning_digest == new.meaning_digest,
        "any_kpi": found.any_kpi,
        "amendment": _amends(found),
        "kpis": list(found.kpis),
        "meaning": [_change(item) for item in found.meaning],
        "policy": [_change(item) for item in found.policy],
    }


def _amends(found: ReleaseDiff) -> bool:
    """Whether the one release could become the other without a cutover."""
    return not found.any_kpi and all(item.amendment for item in found.changes)


def _change(item: Change) -> dict[str, Any]:
    return {
        "part": item.part.value,
        "name": item.name,
        "path": list(item.path),
        "before": item.before,
        "after": item.after,
        "words": item.words,
        "amendment": item.amendment,
        "kpis": list(item.kpis),
        "rows": item.rows,
    }


def _digests(release: AnyRelease) -> dict[str, str]:
    return {"kind": release.kind, "meaning": release.meaning_digest, "policy": release.policy_digest}


def _holds(release: AnyRelease) -> str:
    """What it is made of, in a few words."""
    if isinstance(release, CommandRelease):
        return " ".join(release.spec.argv)
    return f"{len(release.catalogue.kpis)} KPIs, {len(release.definitions)} definitions"


def _frozen(release: AnyRelease, recorded: Sequence[ReleaseRow]) -> dict[str, Any] | None:
    """Since when its meaning is frozen, and whether it is still what ran then; None where it has not run."""
    row = next((item for item in recorded if item.name == release.name), None)
    if row is None or row.first_run_at is None:
        return None
    return {"since": row.first_run_at.isoformat(), "unchanged": row.meaning_digest == release.core_digest}


def _catalogue(release: Release) -> dict[str, Any]:
    return {
        "catalogue": {
            "version": release.catalogue.version,
            "kpis": [kpi.id for kpi in release.catalogue.kpis],
            "layouts": sorted(release.contracts),
            "mappings": dict(release.mapping_digests),
        },
    }


def _program(release: CommandRelease) -> dict[str, Any]:
    spec = release.spec
    return {
        "program": {
            "argv": list(spec.argv),
            **spec.limits(),
            "environment": list(spec.environment),
            "loans": {"format": spec.loans.format, "columns": dict(spec.loans.columns)} if spec.loans else None,
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in release.files.items()},
        },
    }


def _judged_by(workspace: Workspace, name: str, today: date) -> dict[str, Any]:
    """Gates and predictions in words; a ``gates_fault`` where a file of them cannot be used."""
    texts = workspace.policy_texts(name)
    try:
        kpis = _known_kpis(workspace)
        gates, expected = workspace.gates(name, kpis), workspace.expected(name, kpis)
    except ConfigError as error:
        return {"gates": None, "expected": [], "gates_fault": error.as_dict()}
    return {
        "gates": {"file": GATES_FILE in texts, "digest": gates.digest(), "words": gate_words(gates)},
        "expected": [
            {
                "kpi": item.key.kpi,
                "words": f"{item.key.words} {item.words}",
                "until": item.until.isoformat(),
                "expired": item.until < today,
            }
            for item in expected
        ],
        "expected_file": EXPECTED_FILE in texts,
        "gates_fault": None,
    }


def _known_kpis(workspace: Workspace) -> set[str]:
    """The KPIs of every catalogue release of the workspace that can be read."""
    found: set[str] = set()
    for name in workspace.release_names():
        try:
            found |= {kpi.id for kpi in workspace.release(name).catalogue.kpis}
        except ConfigError:
            continue
    return found


def gate_words(gates: Gates) -> list[str]:
    """What a candidate is judged by, a line a rule."""
    rules: Mapping[str, Rule] = {**gates.metrics, "other KPIs": gates.others}
    lines = [f"{kpi}: {_rule_words(rule)}" for kpi, rule in rules.items()]
    lines.append(
        f"passes at {_number(gates.pass_score)} % of the weights, fails below {_number(gates.fail_score)} %,"
        f" {gates.consecutive_passes} time(s) in a row on {gates.tapes_min} different tape(s),"
        f" none older than {gates.evidence_days_max} days"
    )
    if gates.dry_run:
        lines.append("dry run: says its verdict and stops nobody")
    return lines


def _rule_words(rule: Rule) -> str:
    words = [
        f"unexplained below {_number(rule.pass_percent)} % passes, above {_number(rule.halt_percent)} % halts",
        f"weight {rule.weight}",
    ]
    words += ["critical"] if rule.critical else []
    words += ["must have data"] if rule.must_have_data else []
    words += [] if rule.segments else ["segments are not judged"]
    return ", ".join(words)


def _number(value: object) -> str:
    return f"{value:f}"


def _seal(seal: GateSeal) -> dict[str, Any]:
    return {
        "gates_digest": seal.gates_digest,
        "expected_digest": seal.expected_digest,
        "sealed_at": seal.sealed_at.isoformat(),
        "sealed_by": seal.sealed_by,
        "loosened": list(seal.loosened),
        "pending": seal.pending,
        "approved_by": seal.approved_by,
        "approved_at": seal.approved_at and seal.approved_at.isoformat(),
        "reason": seal.reason,
    }
