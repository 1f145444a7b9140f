"""A command release: any program that prints KPIs. What it is asked, what it may take, and what it said.

Numbers are taken as Decimal from the printed text and keep their printed form: how many digits were printed says what
rounding alone can explain. `command_file` reads the specification; `operations.run_command` runs it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

import rfc8785

from abaco_loans.errors import InputError
from abaco_loans.releases.policy_files import POLICY_FILES, RELEASE_FILE
from abaco_loans.releases.release import DEFINITIONS_FILE

# Files of a command release that the product reads itself: policy, and no part of the program.
OWN_FILES = frozenset({RELEASE_FILE, DEFINITIONS_FILE, *POLICY_FILES})
PLACEHOLDERS = ("python", "tape", "as_of", "loans_out")
KPI_ID = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NUMBER_LENGTH_MAX, _MAGNITUDE_MAX, _NAME_LENGTH_MAX = 64, 40, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanRows:
    """Loan rows that a program writes to ``{loans_out}``: ``csv`` or ``parquet``, and our column → its column."""

    format: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """How a program is called and what it may take.

    Attributes:
        argv: arguments, no shell; may hold the placeholders of `PLACEHOLDERS` in braces.
        timeout_s: wall-clock seconds.
        memory_mb: address space of each of its processes.
        output_bytes_max: bytes on stdout.
        file_mb_max: size of each file that it writes.
        environment: names of the variables that it is given besides PATH, LANG, HOME and TMPDIR.
        loans: the loan rows that it writes, if it does.
    """

    argv: tuple[str, ...]
    timeout_s: int
    memory_mb: int
    output_bytes_max: int
    file_mb_max: int
    environment: tuple[str, ...] = ()
    loans: LoanRows | None = None

    def limits(self) -> dict[str, int]:
        """What it may take: policy, and no part of its meaning."""
        return {
            "timeout_s": self.timeout_s,
            "memory_mb": self.memory_mb,
            "output_bytes_max": self.output_bytes_max,
            "file_mb_max": self.file_mb_max,
        }

    def meaning_digest(self, files: Mapping[str, bytes]) -> str:
        """SHA-256 of what can change a number: arguments, names of variables, loan rows, and the program's files.

        Args:
            files: path below the release's folder → content, without `OWN_FILES`.
        """
        rows = {"format": self.loans.format, "columns": dict(self.loans.columns)} if self.loans else None
        meaning: dict[str, Any] = {
            "kind": "command",
            "argv": list(self.argv),
            "environment": sorted(self.environment),
            "loans": rows,
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
        }
        return hashlib.sha256(rfc8785.dumps(meaning)).hexdigest()


def placeholders(argument: str) -> list[str]:
    """The names in braces in one argument."""
    return _PLACEHOLDER.findall(argument)


def arguments(spec: CommandSpec, values: Mapping[str, str]) -> list[str]:
    """The arguments with every placeholder replaced; what is put in is never looked at again."""
    return [_PLACEHOLDER.sub(lambda found: values[found.group(1)], argument) for argument in spec.argv]


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A number as it was printed."""

    text: str

    @property
    def value(self) -> Decimal:
        """Exactly what the text says; a printed minus zero is zero."""
        found = Decimal(self.text)
        return found if found else found.copy_abs()

    @property
    def decimals(self) -> int:
        """Digits printed after the point: 1 for 2.2, 0 for 12, 3 for 2e-3, -2 for 1.2E3."""
        return -int(self.value.as_tuple().exponent)


Values = Mapping[str, Printed | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutput:
    """What a program printed: KPI id → number, or None where it says that it cannot compute it.

    ``segments`` is dimension → segment → the same.
    """

    kpis: Values
    segments: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)


class _NotJson(ValueError):
    """Something that the JSON reader of Python lets pass."""


def parse_output(text: str, *, where: str = "stdout") -> CommandOutput:
    """What a program printed: one JSON document ``{"kpis": {id: number or null}, "segments": {...}}``.

    Raises:
        InputError: ``REL-211`` not one JSON document; ``REL-212`` not of this form; ``REL-213`` a number that
            cannot be used.
    """
    data = _document(text, where)
    if not isinstance(data, dict) or not {"kpis"} <= set(data) <= {"kpis", "segments"}:
        raise InputError(
            f"the output is {_kind(data)}, not an object with kpis and, if it likes, segments",
            code="REL-212",
            where=where,
            hint='print {"kpis": {"risk.par_30": 2.2}} and nothing else',
        )
    segments = {}
    for dimension, cells in _named(data.get("segments", {}), "segments", where).items():
        place = f"segments.{dimension}"
        named = _named(cells, place, where)
        segments[dimension] = {name: _values(item, f"{place}.{name}", where) for name, item in named.items()}
    kpis = _values(data["kpis"], "kpis", where)
    if not kpis:
        raise InputError(
            "the output holds no KPI",
            code="REL-212",
            where=f"{where}: kpis",
            hint="print null for a KPI that cannot be computed",
        )
    return CommandOutput(kpis=kpis, segments=segments)


def _document(text: str, where: str) -> Any:
    """The only JSON document in a text; numbers as `Printed`."""
    if not text.strip():
        raise InputError(
            "nothing was printed",
            code="REL-211",
            where=where,
            hint="print one JSON document on stdout; stderr is for messages",
        )
    try:
        return json.loads(
            text,
            parse_int=_printed,
            parse_float=_printed,
            parse_constant=_no_constant,
            object_pairs_hook=_once,
        )
    except json.JSONDecodeError as error:
        raise InputError(
            f"the output is not one JSON document: {error.msg}",
            code="REL-211",
            where=f"{where}:{error.lineno}:{error.colno}",
            hint="print one whole document and nothing before or behind it; messages go to stderr",
        ) from error
    except _NotJson as error:
        raise InputError(
            f"the output cannot be used: {error}",
            code="REL-213",
            where=where,
            hint="print plain finite numbers, each KPI once; null for one that cannot be computed",
        ) from error
    except RecursionError as error:
        raise InputError(
            "the output is nested too deeply",
            code="REL-211",
            where=where,
            hint="kpis is flat; segments has two levels above it",
        ) from error


def _printed(text: str) -> Printed:
    if len(text) <= _NUMBER_LENGTH_MAX:
        value = Decimal(text)
        size = max(abs(value.adjusted()), abs(int(value.as_tuple().exponent)))
        if size <= _MAGNITUDE_MAX:
            return Printed(text=text)
    raise _NotJson(f"the number {_short(text)} is longer or larger than any KPI")


def _no_constant(text: str) -> NoReturn:
    raise _NotJson(f"{text} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotJson(f"{_short(twice)} stands twice")
    return found


def _named(data: Any, path: str, where: str) -> dict[str, Any]:
    """An object whose names can be shown and stored."""
    if not isinstance(data, dict):
        raise InputError(
            f"{_short(path)} is {_kind(data)}, not an object",
            code="REL-212",
            where=f"{where}: {_short(path)}",
            hint='segments are {"company": {"North": {"risk.par_30": 2.2}}}',
        )
    for name in data:
        if not (name.isprintable() and 0 < len(name) <= _NAME_LENGTH_MAX):
            raise InputError(
                f"{_short(name)} is no name",
                code="REL-212",
                where=f"{where}: {_short(path)}",
                hint=f"a name has 1 to {_NAME_LENGTH_MAX} printable characters",
            )
    return data


def _values(data: Any, path: str, where: str) -> dict[str, Printed | None]:
    found: dict[str, Printed | None] = {}
    for name, value in _named(data, path, where).items():
        if not KPI_ID.fullmatch(name):
            raise InputError(
                f"{_short(name)} is no KPI id",
                code="REL-212",
                where=f"{where}: {_short(path)}",
                hint="a KPI is named by two words, as risk.par_30",
            )
        if value is not None and not isinstance(value, Printed):
            raise InputError(
                f"{name} is {_kind(value)}, not a number",
                code="REL-212",
                where=f"{where}: {_short(path)}.{name}",
                hint="print the number without quotes, or null where it cannot be computed",
            )
        found[name] = value
    return found


def _kind(data: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", Printed: "a number"}
    return names.get(type(data), "null")


def _short(text: str) -> str:
    """A piece of foreign text for a message: escaped, cut."""
    return ascii(text if len(text) <= 60 else f"{text[:60]}...")
