"""What two sides said of a tape: compared, taken apart into causes and loans, and judged by sealed gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.kpi.catalogue import Catalogue
from abaco_loans.operations.bridge_stations import LoanRows, Side
from abaco_loans.operations.compare_loans import LoanComparison, compare_loans
from abaco_loans.operations.run_side import SideRun
from abaco_loans.operations.seal_gates import SealedGates
from abaco_loans.operations.shadow_bridges import Bridges, BridgeWork, bridge_all
from abaco_loans.operations.shadow_rows import engine_rows, program_rows
from abaco_loans.operations.shadow_tape import ShadowTape
from abaco_loans.portfolio.policy import Policy
from abaco_loans.releases.command_release import AnyRelease, CommandRelease
from abaco_loans.releases.comparison import Compared, bridged, compare, with_parts
from abaco_loans.releases.comparison import Side as Said
from abaco_loans.releases.judgement import GateVerdict, Outcome, judge, not_compared, unapproved
from abaco_loans.releases.materiality import Lines, StageMove, stage_moves_query
from abaco_loans.releases.release import Release
from abaco_loans.tape.definition import Definition

_STAGED = {"loan_id", "outstanding_usd", "days_past_due"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Two releases that ran, on what, and by what they are judged.

    Attributes:
        runs: the runs of the baseline; the last may have failed.
        policy: covenants and provisions that a difference must not cross unseen.
        folder: private; what is read from the sides' files is put there.
    """

    baseline: AnyRelease
    candidate: AnyRelease
    runs: Sequence[SideRun]
    other: SideRun
    tape: ShadowTape
    definition: str | None
    currency: str
    sealed: SealedGates
    policy: Policy
    folder: Path
    now: datetime

    @property
    def catalogues(self) -> tuple[Catalogue, ...]:
        """The catalogues of the two, the candidate's first."""
        return tuple(item.catalogue for item in (self.candidate, self.baseline) if isinstance(item, Release))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that a comparison found.

    Attributes:
        definitions: names of the definitions that were bridged between; empty where nothing was.
        bridges: by place, as far as there are any.
        loans: the loan rows of both, compared; None where one of them gave none.
        notes: what the reader should know, in words.
    """

    verdict: GateVerdict
    compared: Sequence[Compared] = ()
    definitions: tuple[str, str] = ("", "")
    bridges: Bridges = field(default_factory=lambda: Bridges(by_key={}))
    loans: LoanComparison | None = None
    stage_moves: Sequence[StageMove] = ()
    notes: tuple[str, ...] = ()


def compare_sides(sides: Sides, engine: Engine) -> Found:
    """Compare, bridge and judge. The tape is in the engine, where it could be read."""
    sealed = sides.sealed
    failed = _failed(sides)
    if failed:
        return Found(verdict=not_compared(*failed, sealed.gates, sealed.expected))
    said = [_held_to_parts(run.said, sides) for run in (*sides.runs, sides.other)]
    thresholds = {kpi.id: kpi.thresholds for item in reversed(sides.catalogues) for kpi in item.kpis if kpi.thresholds}
    lines = Lines(thresholds=thresholds, covenants=sides.policy.covenants)
    compared = compare(said[:-1], said[-1], sealed.gates.tolerances(), lines)
    notes: list[str] = []
    ends = _ends(sides, notes)
    bridges, loans = Bridges(by_key={}), None
    moves: tuple[StageMove, ...] = ()
    if ends and sides.tape.read:
        rows = [_rows(sides, engine, index, ends[index], notes) for index in (0, 1)]
        works = [
            Side(definition=definition, catalogue=_catalogue(sides, index), rows=rows[index])
            for index, definition in enumerate(ends)
        ]
        work = BridgeWork(
            tape=sides.tape.read,
            engine=engine,
            day=sides.tape.as_of,
            currency=sides.currency,
            baseline=works[0],
            candidate=works[1],
            baseline_printed=sides.runs[0].printed,
            candidate_printed=sides.other.printed,
            rates=sides.tape.rates,
        )
        bridges = bridge_all(work, compared)
        compared = bridged(compared, bridges.judged())
        if rows[0] and rows[1]:
            loans = compare_loans(engine, rows[0], rows[1])
            moves = _stage_moves(engine, rows[0], rows[1], loans, sides.policy)
    elif not ends:
        notes.append("nothing is bridged: neither release has formulas")
    else:
        notes.append(f"nothing is bridged: {sides.tape.unread}")
    today = sides.now.date()
    verdict = judge(compared, sealed.gates, sealed.expected, today=today, compared_on=today, stage_moves=moves)
    return Found(
        verdict=unapproved(verdict, sealed.pending) if sealed.pending else verdict,
        compared=compared,
        definitions=(ends[0].name, ends[1].name) if ends else ("", ""),
        bridges=bridges,
        loans=loans,
        stage_moves=moves,
        notes=(*notes, *bridges.notes),
    )


def _failed(sides: Sides) -> tuple[Outcome, str] | None:
    """What is said where a side gave nothing: the candidate has failed; without a baseline nothing is known."""
    for outcome, name, run in (
        (Outcome.FAIL, f"the candidate {sides.candidate.name}", sides.other),
        (Outcome.INCONCLUSIVE, f"the baseline {sides.baseline.name}", sides.runs[-1]),
    ):
        if not run.ok:
            why = f": {run.error.what} ({run.error.code})" if run.error else ""
            return outcome, f"{name} gave no numbers, {run.status.replace('_', ' ')}{why}"
    return None


def _held_to_parts(said: Said, sides: Sides) -> Said:
    for catalogue in sides.catalogues[:1]:
        return with_parts(said, catalogue)
    return said


def _ends(sides: Sides, notes: list[str]) -> tuple[Definition, Definition] | None:
    """The definitions to bridge between; a program has the one that it declares, else that of the other side."""
    found = [_definition(sides, index) for index in (0, 1)]
    if not sides.catalogues:
        return None
    for index, own in enumerate(found):
        other = found[1 - index]
        if own is None and other is not None:
            name = (sides.baseline, sides.candidate)[index].name
            notes.append(f"{name} declares no definition for this layout: it is bridged as if it had {other.name}")
            found[index] = other
    first, second = found
    return (first, second) if first and second else None


def _definition(sides: Sides, index: int) -> Definition | None:
    release = (sides.baseline, sides.candidate)[index]
    layout = sides.tape.layout
    if isinstance(release, CommandRelease):
        return release.declared(layout)
    run = (sides.runs[0], sides.other)[index]
    return release.definition(run.definition or sides.definition, layout)


def _catalogue(sides: Sides, index: int) -> Catalogue:
    """The formulas of a side; a program is held against those of the other."""
    release = (sides.baseline, sides.candidate)[index]
    return release.catalogue if isinstance(release, Release) else sides.catalogues[0]


def _rows(sides: Sides, engine: Engine, index: int, definition: Definition, notes: list[str]) -> LoanRows | None:
    """The loan rows of a side in the engine; rows that cannot be used are none, and it is said."""
    release, run = ((sides.baseline, sides.runs[0]), (sides.candidate, sides.other))[index]
    name = ("baseline", "candidate")[index]
    if run.loans is None:
        return None
    try:
        if isinstance(release, Release):
            return engine_rows(engine, run.loans, run.loan_columns, f"{name}_rows")
        if release.spec.loans is None:
            return None
        return program_rows(
            engine,
            run.loans,
            release.spec.loans,
            definition=definition,
            relation=f"{name}_rows",
            scratch=sides.folder / f"{name}_rows",
        )
    except InputError as error:
        notes.append(f"the loan rows of {release.name} are not used: {error.what} ({error.code})")
        return None


def _stage_moves(
    engine: Engine, baseline: LoanRows, candidate: LoanRows, loans: LoanComparison, policy: Policy
) -> tuple[StageMove, ...]:
    """Loans whose IFRS 9 stage differs; not looked at where a loan stands twice or a side has no days."""
    known = all(set(rows.columns) >= _STAGED for rows in (baseline, candidate))
    if policy.provisions is None or not known or loans.duplicates_baseline or loans.duplicates_candidate:
        return ()
    query = stage_moves_query(baseline.relation, candidate.relation, policy.provisions, restructured=False)
    return tuple(
        StageMove(baseline=before, candidate=after, loans=int(count), balance_usd=Decimal(balance))
        for before, after, count, balance in engine.rows(query)
    )
