"""Does the book roll forward from one run to the next? The identity of DEFINITIONS, by the checks of the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from abaco_loans.operations.find_run import sound_folder
from abaco_loans.operations.repeat_run import clean_tape
from abaco_loans.operations.validation_desk import Desk
from abaco_loans.records.runs import PANEL_PREFIX, RunReader, RunRecord
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.watch.check import Status, SubCheck

NAME = "roll_forward"
_LAYOUT = "servicing"
_OUTSTANDING = "finance.outstanding"
_RUNS_MAX = 200
_BALANCES = ("ROLL-101", "ROLL-102")


def check_roll_forward(desk: Desk) -> SubCheck:
    """The book of the last servicing tape, from the as-of date of the run before to its own.

    The panel of the two dates is built in the trial workspace from the clean tape of the later run. What it says of
    the earlier date is held against what was published then: a past that was changed since is told, and no failure.

    Raises:
        InputError, WorldError: the clean tape is not what was published, or cannot be read.
    """
    with desk.given.tools.open_records() as records:
        pair = _last_two([run for run in records.reader.list(limit=_RUNS_MAX) if _is_book(run, desk)])
        if pair is None:
            words = "no servicing book was run at two dates under one definition and by formulas"
            return SubCheck(name=NAME, status=Status.NOT_APPLICABLE, words=words)
        earlier, later = pair
        published = _outstanding(records.reader, earlier.run_id, earlier.as_of)
    # Not above: most validations build no panel.
    from abaco_loans.operations.build_panel import Span
    from abaco_loans.operations.publish_panel import PanelRequest, publish_panel

    request = PanelRequest(
        tapes=(clean_tape(sound_folder(desk.workspace, later), desk.folder / "book"),),
        span=Span(at=(earlier.as_of, later.as_of)),
        definition=later.definition,
        release=later.release,
        layout=_LAYOUT,
    )
    panel = publish_panel(request, desk.trial_tools)
    with desk.trial_tools.open_records() as records:
        now = _outstanding(records.reader, panel.record.run_id, earlier.as_of)
    comparable = earlier.release_digest == later.release_digest
    return _judged(earlier, later, panel.document["checks"], (published, now) if comparable else (now, now))


def _last_two(books: Sequence[RunRecord]) -> tuple[RunRecord, RunRecord] | None:
    """The run at the latest date, and that at the date before it, under the same definition."""
    books = sorted(books, key=lambda run: (run.as_of, run.event_seq), reverse=True)
    before = (run for run in books if run.as_of < books[0].as_of and run.definition == books[0].definition)
    earlier = next(before, None)
    return None if earlier is None else (earlier, books[0])


def _is_book(run: RunRecord, desk: Desk) -> bool:
    """A finished run of a servicing extract that left a clean tape: no panel, and no run of a program.

    A panel needs formulas, which a program does not have.
    """
    is_run = run.status == "finished" and not run.run_id.startswith(PANEL_PREFIX)
    if not is_run or run.layout != _LAYOUT or run.rows is None:
        return False
    return not isinstance(desk.release_of(run.release), CommandRelease)


def _outstanding(reader: RunReader, run_id: str, as_of: date) -> Decimal | None:
    values = (row for row in reader.kpi_values(run_id) if row.kpi_id == _OUTSTANDING and not row.segment)
    return next((row.value_exact for row in values if row.as_of == as_of), None)


def _judged(
    earlier: RunRecord,
    later: RunRecord,
    checks: Sequence[Mapping[str, Any]],
    outstanding: tuple[Decimal | None, Decimal | None],
) -> SubCheck:
    found = {item["code"]: item["count"] for item in checks}
    breaks = [item for item in checks if item["code"] in _BALANCES and item["count"]]
    odd = [item for item in checks if item["code"] not in _BALANCES and item["count"]]
    span = f"from {earlier.as_of} to {later.as_of}"
    published, now = outstanding
    status, words = Status.PASS, f"the book rolls forward {span}, to the last digit"
    if any(found.get(code) is None for code in _BALANCES):
        status, words = Status.UNKNOWN, f"{span} the tape does not say what was paid"
    elif breaks:
        status, words = Status.FAIL, f"{span} {breaks[0]['text']} ({breaks[0]['code']}): {breaks[0]['count']:,}"
    elif published != now:
        was = f"outstanding at {earlier.as_of} was published as {published}, and the tape of {later.as_of} has {now}"
        status, words = Status.WARN, f"{was}: the past was changed, or it is another book"
    elif odd:
        status, words = Status.WARN, f"{span} {odd[0]['text']} ({odd[0]['code']}): {odd[0]['count']:,}"
    return SubCheck(
        name=NAME,
        status=status,
        words=words,
        metrics={"roll_forward_breaks": sum(found.get(code) or 0 for code in _BALANCES)},
        evidence={"runs": [earlier.run_id, later.run_id], "checks": list(checks)},
    )
