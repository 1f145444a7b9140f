"""Exports: a finished run in another form, made when somebody asks for it.

An export is a function from the run's document (what ``abaco runs show --json`` prints) to a file. Packages
add their own under the entry point group ``abaco_loans.outputs``. Suppressed cells carry no values here either,
and nothing in a document names a loan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from abaco_loans.errors import AbacoError, UsageError, WorldError
from abaco_loans.nearest import nearest
from abaco_loans.outputs.cells import safe_text
from abaco_loans.outputs.publish import world

GROUP = "abaco_loans.outputs"
Export = Callable[[Mapping[str, Any], Path], None]
_HEADER = ("KPI", "name", "value", "unit", "status", "low", "high", "note")


def exports() -> dict[str, Callable[[], Export]]:
    """Every export by name; the value loads it."""
    found: dict[str, Callable[[], Export]] = {"xlsx": lambda: write_xlsx, "md": lambda: write_markdown}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point.load)
    return found


def export_run(document: Mapping[str, Any], form: str, path: Path) -> None:
    """Write a run's document to ``path``, which must not exist yet.

    Raises:
        UsageError: ``OUT-106`` no such export; ``OUT-107`` the file is there already;
            ``OUT-109`` the export itself failed.
        WorldError: ``OUT-1xx`` it cannot be written; ``OUT-108`` a package is missing.
    """
    known = exports()
    if form not in known:
        raise UsageError(f"there is no export {form!r}", code="OUT-106", where="--as", hint=nearest(form, known))
    if path.exists():
        raise UsageError(
            "the file is there already", code="OUT-107", where=str(path), hint="choose another name with --out"
        )
    partial = path.with_name(f".{path.name}.partial")
    try:
        with world(path):
            known[form]()(document, partial)
            partial.rename(path)
    except AbacoError:
        raise
    except Exception as error:
        raise UsageError(
            f"the export {form!r} failed: {type(error).__name__}: {error}",
            code="OUT-109",
            where=str(path),
            hint="the package that adds this export has to be mended; `abaco runs show --json` shows what it is given",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _rows(kpis: Mapping[str, Any]) -> list[tuple[str | None, ...]]:
    return [
        (kpi_id, item["name"], item["value"], item["unit"], item["status"], item["low"], item["high"],
         item["held"] or item["reason"])
        for kpi_id, item in kpis.items()
    ]  # fmt: skip


def write_markdown(document: Mapping[str, Any], path: Path) -> None:
    """KPIs of a run as a Markdown table."""
    tape = document["tape"]
    lines = [
        f"# {_inert(tape['path'])}, as of {document['as_of']}",
        "",
        f"Run `{document['run_id']}`, release {document['release']}, definition {document['definition']}.",
        "",
        f"| {' | '.join(_HEADER)} |",
        f"|{'---|' * len(_HEADER)}",
        *(f"| {' | '.join(_inert(cell or '') for cell in row)} |" for row in _rows(document["kpis"])),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _inert(text: str) -> str:
    for mark in "\\|<>[]`*_":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def write_xlsx(document: Mapping[str, Any], path: Path) -> None:
    """KPIs of a run as a workbook: overall, and a sheet for each segment. Same run, same bytes."""
    try:
        import xlsxwriter
    except ImportError as error:
        raise WorldError(
            "writing Excel needs an extra package",
            code="OUT-108",
            where=str(path),
            hint="pip install 'abaco-loans[excel]'",
        ) from error
    # `strings_to_formulas` off: a cell is never a formula (FAULTS 23).
    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"title": f"Run {document['run_id']}", "created": datetime(2000, 1, 1, tzinfo=UTC)})
        _sheet(book, "KPIs", _HEADER, _rows(document["kpis"]))
        for segment, cells in document["segments"].items():
            rows = [
                (value, kpi_id, item.get("value"), item.get("unit"), item.get("status"))
                for value, cell in cells.items()
                for kpi_id, item in cell.items()
            ]
            _sheet(book, segment[:31], (segment, "KPI", "value", "unit", "status"), rows)


def _sheet(book: Any, name: str, header: tuple[str, ...], rows: Sequence[tuple[str | None, ...]]) -> None:
    sheet = book.add_worksheet(name)
    bold = book.add_format({"bold": True})
    sheet.write_row(0, 0, header, bold)
    sheet.freeze_panes(1, 0)
    for line, row in enumerate(rows, 1):
        for column, cell in enumerate(row):
            if cell is not None and header[column] in ("value", "low", "high"):
                sheet.write_string(line, column, cell)
            else:
                sheet.write_string(line, column, safe_text(cell or ""))
    sheet.autofit()
