"""Reads ``release.yml`` of a command release: what is wrong in it is told with its line."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field as ModelField
from pydantic import field_validator, model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.releases.command import PLACEHOLDERS, CommandSpec, LoanRows, placeholders

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = "ABACO_"  # settings and secrets of the product
LoanColumn = Literal[
    "loan_id", "outstanding", "days_past_due", "written_off", "written_off_balance", "customer_id", "currency"
]


class _Loans(FileModel):
    format: Literal["csv", "parquet"] = "csv"
    columns: dict[LoanColumn, str] = ModelField(min_length=2)

    @field_validator("columns")
    @classmethod
    def _keyed(cls, columns: dict[LoanColumn, str]) -> dict[LoanColumn, str]:
        missing = {"loan_id", "outstanding"} - set(columns)
        if missing:
            raise ValueError(f"columns lack {', '.join(sorted(missing))}")
        if len(set(columns.values())) < len(columns):
            raise ValueError("two columns are read from the same one")
        return columns


class _Command(FileModel):
    argv: tuple[str, ...] = ModelField(min_length=1)
    timeout_s: int = ModelField(default=300, ge=1, le=86_400)
    memory_mb: int = ModelField(default=1024, ge=64, le=1_048_576)
    output_bytes_max: int = ModelField(default=1_000_000, ge=1000, le=64_000_000)
    file_mb_max: int = ModelField(default=1024, ge=1, le=1_048_576)
    environment: tuple[str, ...] = ()
    loans: _Loans | None = None

    @field_validator("argv")
    @classmethod
    def _known(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for argument in argv for name in placeholders(argument) if name not in PLACEHOLDERS]
        if unknown:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise ValueError(f"{{{unknown[0]}}} is not known; known are {known}")
        if not argv[0] or any("\0" in argument for argument in argv):
            raise ValueError("the first argument is a program, and none holds a zero byte")
        return argv

    @field_validator("environment")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _VARIABLE.fullmatch(name) or name.upper().startswith(_OURS):
                raise ValueError(f"{name!r} cannot be passed on; variables of the product ({_OURS}...) never are")
        return names

    @model_validator(mode="after")
    def _rows_have_a_place(self) -> Self:
        written = any("loans_out" in placeholders(argument) for argument in self.argv)
        if written is not (self.loans is not None):
            raise ValueError("{loans_out} in argv and a description under loans belong together")
        return self


class _ReleaseFile(FileModel):
    kind: Literal["command"]
    description: str = ""
    command: _Command


class _CatalogueFile(FileModel):
    kind: Literal["catalogue", "command"]
    description: str = ""


def read_kind(document: Document) -> str:
    """``catalogue`` or ``command``; a catalogue's file is checked whole. Raises ConfigError ``REL-201``."""
    data = document.data
    if isinstance(data, dict) and data.get("kind") == "command":
        return "command"
    return check(document, _CatalogueFile, code="REL-201", hint="see docs/releases.md").kind


def read_description(document: Document) -> str:
    """What a ``release.yml`` says of its release. Raises ConfigError ``REL-201``."""
    if read_kind(document) == "command":
        return check(document, _ReleaseFile, code="REL-201", hint="see docs/releases.md").description
    return check(document, _CatalogueFile, code="REL-201", hint="see docs/releases.md").description


def read_command(document: Document) -> CommandSpec:
    """The command of a ``release.yml``. Raises ConfigError ``REL-201``, with ``file:line``."""
    file = check(document, _ReleaseFile, code="REL-201", hint="see docs/releases.md").command
    loans = file.loans
    return CommandSpec(
        argv=file.argv,
        timeout_s=file.timeout_s,
        memory_mb=file.memory_mb,
        output_bytes_max=file.output_bytes_max,
        file_mb_max=file.file_mb_max,
        environment=file.environment,
        loans=LoanRows(format=loans.format, columns={str(ours): its for ours, its in loans.columns.items()})
        if loans
        else None,
    )
