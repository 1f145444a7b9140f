"""What changed between two releases of which at least one is a program. What a program does is not known from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from abaco_loans.releases.command_release import AnyRelease, CommandRelease
from abaco_loans.releases.diff import Change, Part, ReleaseDiff, changed_files


def program_diff(baseline: AnyRelease, candidate: AnyRelease, texts: tuple[Mapping[str, str], ...]) -> ReleaseDiff:
    """How the programs are called, their files, limits and declarations; of a program and a catalogue, policy files.

    Args:
        baseline: the one.
        candidate: the other.
        texts: the files of policy (file → text) of each.
    """
    changes: list[Change] = []
    if isinstance(baseline, CommandRelease) and isinstance(candidate, CommandRelease):
        before, after = _calls(baseline), _calls(candidate)
        changes += _differences(before, after, meaning=True)
        changes += changed_files(baseline.files, candidate.files)
        changes += _differences(_policy(baseline), _policy(candidate), meaning=False)
        changes += _declared(baseline, candidate)
    changes += changed_files(*texts)
    same = baseline.meaning_digest == candidate.meaning_digest
    return ReleaseDiff(baseline=baseline.name, candidate=candidate.name, changes=tuple(changes), any_kpi=not same)


def _calls(release: CommandRelease) -> dict[str, str]:
    """All of a program's meaning but its files."""
    spec = release.spec
    rows = {f"loans.{ours}": its for ours, its in spec.loans.columns.items()} if spec.loans else {}
    return {
        "argv": " ".join(spec.argv),
        "environment": " ".join(sorted(spec.environment)),
        "loans.format": spec.loans.format if spec.loans else "",
        **rows,
    }


def _policy(release: CommandRelease) -> dict[str, str]:
    return {**{name: str(value) for name, value in release.spec.limits().items()}, "description": release.description}


def _differences(before: Mapping[str, str], after: Mapping[str, str], *, meaning: bool) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name) or None, after.get(name) or None
        if old != new:
            yield Change(part=Part.PROGRAM, name="release.yml", path=(name,), before=old, after=new, meaning=meaning)


def _declared(baseline: CommandRelease, candidate: CommandRelease) -> Iterator[Change]:
    """Declarations of what the programs do: they change no number, but what a bridge says."""
    olds, news = baseline.definitions, candidate.definitions
    for name in dict.fromkeys([*olds, *news]):
        if olds.get(name) != news.get(name):
            yield Change(
                part=Part.DEFINITION,
                name=name,
                path=(),
                before="there" if name in olds else None,
                after="there" if name in news else None,
                meaning=False,
            )
