"""Seal a candidate's gates and predictions before anything is compared; what loosens them waits for a second person.

A prediction that is added or widened after the first comparison was not made beforehand, so it loosens the gates too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from abaco_loans.errors import ConfigError
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.shadows import GateSeal, NewSeal, ShadowReader, ShadowWriter, in_force
from abaco_loans.releases.expected import Expected, active, digest_of_ledger
from abaco_loans.releases.gate import Gates, loosened
from abaco_loans.releases.gate_file import read_expected, read_gates
from abaco_loans.strict_yaml import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedGates:
    """What a candidate is judged by, as it was sealed.

    Attributes:
        history: every seal of the candidate, oldest first.
        pending: in what these gates are looser than those in force, where nobody has approved it; else empty.
    """

    gates: Gates
    expected: tuple[Expected, ...]
    gates_digest: str
    expected_digest: str
    history: tuple[GateSeal, ...]
    pending: tuple[str, ...]

    @property
    def loosenings(self) -> tuple[GateSeal, ...]:
        """The seals that loosened something, approved or not: they stand in every report."""
        return tuple(seal for seal in self.history if seal.loosened)


def seal_gates(
    workspace: Workspace,
    candidate: str,
    kpis: Collection[str],
    reader: ShadowReader,
    writer: ShadowWriter,
    *,
    today: date,
) -> SealedGates:
    """Seal the gates of a candidate as they stand in its files now.

    Args:
        candidate: name of the release.
        kpis: those that either release has.
        today: the day; a prediction that has expired is none.

    Raises:
        ConfigError: what a file says wrong; ``GATE-108`` what was sealed cannot be read any more.
    """
    gates, expected = workspace.gates(candidate, kpis), workspace.expected(candidate, kpis)
    texts = workspace.gate_texts(candidate)
    before = in_force(reader.seals(candidate))
    looser: tuple[str, ...] = ()
    if before is not None:
        old_gates, old_expected = _sealed(before, kpis)
        looser = (*loosened(old_gates, gates), *widened(old_expected, active(expected, today)))
    seal = writer.seal(
        NewSeal(
            candidate=candidate,
            gates_digest=gates.digest(),
            expected_digest=digest_of_ledger(expected),
            gates=texts[0],
            expected=texts[1],
            loosened=looser,
        )
    )
    return SealedGates(
        gates=gates,
        expected=expected,
        gates_digest=seal.gates_digest,
        expected_digest=seal.expected_digest,
        history=reader.seals(candidate),
        pending=seal.loosened if seal.pending else (),
    )


def widened(old: Sequence[Expected], new: Sequence[Expected]) -> tuple[str, ...]:
    """The predictions that were not there before, in words."""
    return tuple(f"expected: {item.key.words} {item.words}" for item in new if item not in old)


def _sealed(seal: GateSeal, kpis: Collection[str]) -> tuple[Gates, tuple[Expected, ...]]:
    """What was sealed, read again from its text. A KPI that is gone meanwhile was judged then, and is known."""
    documents = [parse(text, name=f"sealed gates of {seal.candidate}") for text in (seal.gates, seal.expected)]
    known = {*kpis, *_named(documents[0].data, "metrics"), *_named(documents[1].data, "expected")}
    try:
        gates = read_gates(documents[0], kpis=known) if seal.gates else Gates()
        expected = read_expected(documents[1], kpis=known) if seal.expected else ()
    except ConfigError as error:
        raise ConfigError(
            f"the gates of {seal.candidate} that were sealed on {seal.sealed_at.date()} cannot be read any more",
            code="GATE-108",
            where=error.where,
            hint=f"they were written for another version of abaco ({error.what}); use that one, or a new release name",
        ) from error
    return gates, expected


def _named(data: object, part: str) -> list[str]:
    """The KPIs that a file of gates or predictions names."""
    found = data.get(part) if isinstance(data, dict) else None
    if isinstance(found, dict):
        return [str(name) for name in found]
    items = found if isinstance(found, list) else []
    return [str(item["kpi"]) for item in items if isinstance(item, dict) and "kpi" in item]
