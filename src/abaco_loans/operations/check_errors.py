"""Is what is wrong refused? Bad tapes go through the pipeline; each must be refused, with its code, and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaco_loans.errors import AbacoError, InputError
from abaco_loans.operations.validation_desk import Desk, looked_at
from abaco_loans.outputs.publish import run_folders
from abaco_loans.watch.check import Check, Status, SubCheck

NAME = "error_handling"
_UNDATED = "RUN-111"
_REFUSALS = ("tape.rejected", "run.refused")


def check_errors(desk: Desk, known: Mapping[str, Any], tapes: Path) -> Check:
    """Every built-in bad tape, one part each."""
    return Check(name=NAME, subchecks=tuple(_refused(desk, case, tapes) for case in known["refused"]))


def _refused(desk: Desk, case: Mapping[str, str], tapes: Path) -> SubCheck:
    name = Path(case["tape"]).stem
    return looked_at(name, lambda: _tried(desk, name, case, tapes))


def _tried(desk: Desk, name: str, case: Mapping[str, str], tapes: Path) -> SubCheck:
    before, events = run_folders(desk.trial.outputs), _refusals(desk)
    refusal: AbacoError | None = None
    try:
        desk.try_tape(tapes / case["tape"])
    except AbacoError as error:
        refusal = error
    published = run_folders(desk.trial.outputs) != before
    recorded = _refusals(desk) > events
    evidence = {"tape": case["tape"], "wanted": case["code"], "got": refusal.code if refusal else None}
    status, words = _verdict(case, refusal, published=published, recorded=recorded)
    return SubCheck(name=name, status=status, words=words, evidence=evidence)


def _verdict(
    case: Mapping[str, str], refusal: AbacoError | None, *, published: bool, recorded: bool
) -> tuple[Status, str]:
    what, code = case["what"], case["code"]
    if refusal is None:
        return Status.FAIL, f"{what}, and the tape was accepted"
    # A program is not given a tape that cannot be read; the reason stands in what is said then.
    undated = refusal.code == _UNDATED and f"({code})" in refusal.what
    if not isinstance(refusal, InputError) or not (refusal.code == code or undated):
        return Status.FAIL, f"{what}: {code} was expected, and {refusal.code} was said: {refusal.what}"
    if published:
        return Status.FAIL, f"{what}: it was refused, and something was published all the same"
    if not recorded:
        return Status.FAIL, f"{what}: it was refused, and the ledger does not say so"
    return Status.PASS, f"{what}: refused with {code}"


def _refusals(desk: Desk) -> int:
    """How many refusals the ledger of the trial workspace holds."""
    with desk.given.open_trail(desk.trial) as trail:
        return sum(event.action in _REFUSALS for event in trail.events())
