"""Are the numbers right? Known answers through the whole pipeline, and the last run once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.errors import AbacoError
from abaco_loans.operations.repeat_run import Repeated
from abaco_loans.operations.validation_desk import Desk
from abaco_loans.releases import rounding
from abaco_loans.watch.check import Check, Status, SubCheck

NAME = "kpi_calculations"
ANSWERS = "known_answers"


def check_kpis(desk: Desk, known: Mapping[str, Any], tapes: Path, repeated: Callable[[], Repeated]) -> Check:
    """The release on tapes whose answers were worked out by hand, and what comes of repeating the last run."""
    return Check(name=NAME, subchecks=(_known_answers(desk, known, tapes), repeated().found))


def _known_answers(desk: Desk, known: Mapping[str, Any], tapes: Path) -> SubCheck:
    """Every known answer, exactly; a program's to the digits that it printed."""
    is_program = False
    wrong: list[str] = []
    right, unsaid = 0, set[str]()
    try:
        is_program = desk.trial.release_kind(desk.release) == "command"
        for case in known["known"]:
            said = desk.try_tape(tapes / case["tape"], date.fromisoformat(case["as_of"]))
            for kpi, answer in case["answers"].items():
                if is_program and kpi not in said:
                    unsaid.add(kpi)
                    continue
                value = said[kpi]["value_exact"] if kpi in said else "no such KPI"
                if kpi in said and _agrees(value, answer, printed=is_program):
                    right += 1
                else:
                    wrong.append(f"{kpi} of {case['tape']} is {answer}, and {desk.release} says {value}")
    except AbacoError as error:
        wrong.append(f"{desk.release} gives no answer: {error.what} ({error.code})")
    metrics = {"known_answers_right": right, "known_answers_wrong": len(wrong)}
    evidence = {"release": desk.release, "tapes": [case["tape"] for case in known["known"]], "wrong": wrong}
    status, words = _verdict(desk.release, right, wrong, sorted(unsaid), is_program=is_program)
    return SubCheck(name=ANSWERS, status=status, words=words, metrics=metrics, evidence=evidence)


def _verdict(release: str, right: int, wrong: list[str], unsaid: list[str], *, is_program: bool) -> tuple[Status, str]:
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        return Status.FAIL, f"{wrong[0]}{more}"
    if not right:
        return Status.UNKNOWN, f"{release} is a program and prints none of {', '.join(unsaid)}"
    how = "to the digits that the program prints" if is_program else "to the last digit"
    left = f"; it does not print {', '.join(unsaid)}" if unsaid else ""
    return Status.PASS, f"{right} known answers, {how}{left}"


def _agrees(value: str | None, answer: str | None, *, printed: bool) -> bool:
    """Whether a value is the answer; a printed one stands for all that is printed like it."""
    if value is None or answer is None:
        return value is answer
    found, wanted = Decimal(value), Decimal(answer)
    if not printed:
        return found == wanted
    digits = rounding.printed_decimals(found)
    return rounding.explains(rounding.interval(found, digits), rounding.interval(wanted, None))
