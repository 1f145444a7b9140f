"""Write what a program printed into a run's staging folder, in the form in which a catalogue run writes its results.

Values are as printed, so ``value`` and ``value_exact`` are the same. Names, units and thresholds are those of a
catalogue release of the workspace, where it has the KPI; the program says none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from abaco_loans.engines.base import Engine, NotPlain
from abaco_loans.errors import InputError
from abaco_loans.kpi.catalogue import Catalogue, Kpi
from abaco_loans.kpi.result import Status, judged, text_of
from abaco_loans.operations.write_outputs import write_kpi_table
from abaco_loans.outputs.cells import safe_expression, safe_text
from abaco_loans.releases.command import CommandOutput, LoanRows, Printed, Values
from abaco_loans.releases.command_release import CommandRelease
from abaco_loans.sources.plain import ReadOptions, as_staged
from abaco_loans.sources.stage import stage
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.masking import MaskingKey, mask_expression
from abaco_loans.tape.template import expression
from abaco_loans.tape.tree import exp

UNDECLARED = "program"  # stands for the definition of a program whose author does not say what it does
_LARGEST = 10**28
_TEXT = "SELECT NULLIF(TRIM(CAST(:column AS VARCHAR)), '')"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramValue:
    """A KPI that a program printed, overall (``segment`` empty) or in a segment; ``kpi`` where a catalogue has it."""

    kpi_id: str
    segment: str = ""
    segment_value: str = ""
    printed: Printed | None
    kpi: Kpi | None = None

    @property
    def status(self) -> Status:
        """Against the thresholds of the catalogue; a value that has none is ``ok``."""
        if self.printed is None:
            return Status.NOT_COMPUTABLE
        return judged(self.printed.value, self.kpi.thresholds if self.kpi else None)

    @property
    def reason(self) -> str:
        """Why there is no value."""
        return "the program printed null" if self.printed is None else ""

    @property
    def unit(self) -> str:
        """As the catalogue says; empty where it does not."""
        return self.kpi.unit if self.kpi else ""

    @property
    def name(self) -> str:
        """As the catalogue says; else the id."""
        return self.kpi.name if self.kpi else self.kpi_id

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, with the keys of a catalogue run's result."""
        text = text_of(self.printed.value) if self.printed else None
        return {
            "value": text,
            "value_exact": text,
            "unit": self.unit,
            "status": self.status.value,
            "reason": self.reason,
            "held": "",
            "thresholds": self.kpi.thresholds.as_dict() if self.kpi and self.kpi.thresholds else None,
            "formula": "as the program printed it",
            "components": {},
            "rows_used": None,
            "null_counts": {},
            "low": None,
            "high": None,
            "bound_reason": "a program says nothing of rows that it leaves out",
            "name": self.name,
        }


def program_values(output: CommandOutput, catalogue: Catalogue | None) -> list[ProgramValue]:
    """Everything that was printed: overall first, in the order of the program.

    Raises:
        InputError: ``REL-213`` a number that is larger than what can be published.
    """
    known = {kpi.id: kpi for kpi in catalogue.kpis} if catalogue else {}
    found = list(_of(output.kpis, known))
    for segment, cells in output.segments.items():
        for value, kpis in cells.items():
            found += _of(kpis, known, segment, value)
    for item in found:
        if item.printed and abs(item.printed.value) >= _LARGEST:
            raise InputError(
                f"{item.kpi_id} is larger than any KPI",
                code="REL-213",
                where=f"stdout: {item.kpi_id}",
                hint="print plain finite numbers, each KPI once; null for one that cannot be computed",
            )
    return found


def _of(values: Values, known: dict[str, Kpi], segment: str = "", value: str = "") -> Iterator[ProgramValue]:
    for kpi_id, printed in values.items():
        yield ProgramValue(kpi_id=kpi_id, segment=segment, segment_value=value, printed=printed, kpi=known.get(kpi_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResults:
    """What is published of a program's run."""

    release: CommandRelease
    definition: Definition | None
    as_of: date
    values: Sequence[ProgramValue] = field(default_factory=tuple)
    loans: Path | None = None

    @property
    def definition_name(self) -> str:
        """Of the definition that the program's author declares, else `UNDECLARED`."""
        return self.definition.name if self.definition else UNDECLARED

    def kpis_document(self) -> dict[str, object]:
        """The content of ``kpis.json``."""
        segments: dict[str, dict[str, dict[str, Any]]] = {}
        for item in self.values:
            if item.segment:
                shown = {name: part for name, part in item.as_dict().items() if part not in (None, "", {})}
                del shown["bound_reason"], shown["name"]
                segments.setdefault(item.segment, {}).setdefault(item.segment_value, {})[item.kpi_id] = shown
        return {
            "as_of": self.as_of.isoformat(),
            "definition": self.definition.as_dict() if self.definition else {"name": UNDECLARED},
            "release": {"name": self.release.name, "meaning": self.release.core_digest},
            "kpis": {item.kpi_id: item.as_dict() for item in self.values if not item.segment},
            "segments": segments,
        }

    def kpi_rows(self) -> Iterator[tuple[object, ...]]:
        """Rows as `write_outputs.KPI_COLUMNS`."""
        for item in self.values:
            text = text_of(item.printed.value) if item.printed else None
            yield (
                item.kpi_id,
                safe_text(item.name),
                item.segment and safe_text(item.segment),
                item.segment_value and safe_text(item.segment_value),
                text,
                text,
                item.unit,
                item.status.value,
                None,
                None,
                None,
                item.reason,
                self.as_of.isoformat(),
                self.definition_name,
                self.release.name,
            )


def write_program(folder: Path, results: ProgramResults, engine: Engine, key: MaskingKey) -> frozenset[str]:
    """Write ``kpis.json|csv|parquet`` and, where there are any, the loan rows; gives the restricted files.

    Raises:
        InputError: ``REL-215`` the loan rows are not what ``release.yml`` says.
    """
    text = json.dumps(results.kpis_document(), indent=2, ensure_ascii=False)
    (folder / "kpis.json").write_text(text + "\n", encoding="utf-8")
    write_kpi_table(folder, results.kpi_rows(), engine)
    described = results.release.spec.loans
    if results.loans is None or described is None:
        return frozenset()
    name = f"loans.{described.format}"
    _load_loans(results.loans, described, engine)
    columns = [_published(ours, described.format, key) for ours in described.columns]
    engine.write(
        exp.select(*columns).from_("program_loans").order_by(exp.column("rowid")), folder / name, described.format
    )
    return frozenset({name})


def _load_loans(path: Path, described: LoanRows, engine: Engine) -> None:
    """The described columns of the loan rows as text, under our names: relation ``program_loans``."""
    scratch = path.parent / "loan-rows"
    scratch.mkdir(mode=0o700)
    try:
        raw = stage(path, scratch)
        staged = as_staged(raw, ReadOptions())
        header = staged.header or engine.columns(staged)
        missing = [its for its in described.columns.values() if its not in header]
        if missing:
            raise _unusable(f"they have no column {missing[0]!r}")
        read = [
            exp.alias_(expression(_TEXT, column=exp.column(its, quoted=True)), ours)
            for ours, its in described.columns.items()
        ]
        query = exp.select(*read).from_("source")
        try:
            engine.load("program_loans", staged, query)
        except NotPlain:
            staged = as_staged(raw, ReadOptions(), force_rewrite=True)
            engine.load("program_loans", staged, query)
    except InputError as error:
        raise error if error.code == "REL-215" else _unusable(error.what) from error
    if staged.refused:
        raise _unusable(f"{len(staged.refused)} line(s) are no rows")


def _published(ours: str, file_format: str, key: MaskingKey) -> exp.Expr:
    """A column as it is published: customers masked, text safe to open in a spreadsheet."""
    node: exp.Expr = exp.column(ours)
    if ours == "customer_id":
        node = mask_expression(node, key)
    return exp.alias_(safe_expression(node) if file_format == "csv" else node, ours)


def _unusable(what: str) -> InputError:
    return InputError(
        f"the loan rows cannot be used: {what}",
        code="REL-215",
        where="{loans_out}",
        hint="write one row a loan under the column names that stand in release.yml, or no loan rows at all",
    )
