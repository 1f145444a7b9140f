"""Make a staged file plain: what an engine can read as rows of text without surprises.

A plain CSV file is handed on as it is. Everything else (quoted newlines, blank lines, ragged rows, other
encodings, Excel, newline JSON) is rewritten row by row with the line number of each row, and lines that are
no rows are refused one by one.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from abaco_loans.errors import InputError, WorldError
from abaco_loans.sources.recognise import FileFormat
from abaco_loans.sources.stage import RawFile
from abaco_loans.tape import reasons
from abaco_loans.tape.staged import LINE_COLUMN, RefusedLine, StagedFile, TextFormat

_DELIMITERS = ",;\t|"
_CELL_MAX = 1_000_000
_FIELD_MAX = 1 << 27
_RUNAWAY_LINES = 1_000
_HEADER_CELL_MAX = 200
_COLUMNS_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a mapping or a person says about a file; None means find out."""

    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None


Row = tuple[int, list[str] | None, str]  # line, cells (None: refused), reason code


def as_staged(raw: RawFile, options: ReadOptions, *, force_rewrite: bool = False) -> StagedFile:
    """The file as an engine can read it; rewritten where that is needed (or asked for).

    The header of a Parquet file is left empty: the engine knows it (`Engine.columns`).

    Raises:
        InputError: ``SRC-107`` no header, or a column stands twice; ``SRC-108`` unreadable text;
            ``SRC-109`` a quote that is never closed.
    """
    if raw.format is FileFormat.PARQUET:
        return StagedFile(
            name=raw.name,
            path=str(raw.path),
            format=TextFormat.PARQUET,
            sha256=raw.sha256,
            size_bytes=raw.size_bytes,
            header=(),
        )
    if raw.format is FileFormat.CSV and not force_rewrite:
        header = checked_header(_named(_header_cells(raw, options)), raw.name)
        delimiter = _delimiter(raw, options)
        if _is_plain(raw, options):
            lines = raw.newlines + (not raw.ends_with_newline)
            return StagedFile(
                name=raw.name,
                path=str(raw.path),
                format=TextFormat.CSV,
                sha256=raw.sha256,
                size_bytes=raw.size_bytes,
                header=header,
                delimiter=delimiter,
                rows_expected=lines - 1,
            )
    return _rewrite(raw, options)


def _is_plain(raw: RawFile, options: ReadOptions) -> bool:
    """UTF-8 without byte order mark, one kind of line end, no NUL."""
    if not raw.utf8 or raw.nulls or (options.encoding or "utf-8").lower().replace("-", "") != "utf8":
        return False
    with raw.path.open("rb") as stream:
        head = stream.read(1 << 16)
    pairs = head.count(b"\r\n")
    return not head.startswith((b"\xef\xbb\xbf", b"\n", b"\r", b" ", b"\t")) and (
        raw.carriage_returns == 0 or (raw.carriage_returns == raw.newlines and pairs == head.count(b"\n"))
    )


def _encoding(raw: RawFile, options: ReadOptions) -> str:
    with raw.path.open("rb") as stream:
        head = stream.read(4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if options.encoding:
        return options.encoding
    return "utf-8-sig" if raw.utf8 else "cp1252"


def _delimiter(raw: RawFile, options: ReadOptions) -> str:
    if options.delimiter:
        return options.delimiter
    with raw.path.open(encoding=_encoding(raw, options), errors="replace", newline="") as stream:
        first = next((line for line in stream if line.strip()), "")
    bare = "".join(first.split('"')[::2])
    return max(_DELIMITERS, key=bare.count) if any(mark in bare for mark in _DELIMITERS) else ","


def _header_cells(raw: RawFile, options: ReadOptions) -> list[str]:
    if raw.format is FileFormat.JSON:
        return _json_names(raw)
    rows = _excel_rows(raw, options) if raw.format is FileFormat.EXCEL else _csv_rows(raw, options)
    for _, cells, _ in rows:
        if cells is not None and any(cell.strip() for cell in cells):
            return cells
    return []


def _named(cells: Sequence[str]) -> list[str]:
    """The header's cells, each a name that an engine can bear: an unnamed column is called by its number."""
    names = [_clean(cell).strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return [
        name if name and name.casefold() != LINE_COLUMN else f"column {number}" for number, name in enumerate(names, 1)
    ]


def _clean(text: str) -> str:
    """The text without what UTF-8 cannot write or an engine cannot hold: NUL, halves of a character."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def checked_header(cells: Sequence[str], name: str) -> tuple[str, ...]:
    """Column names without blanks around them.

    Raises:
        InputError: ``SRC-107`` there are none, or one stands twice.
    """
    names = tuple(cell.strip() for cell in cells)
    while names and not names[-1]:
        names = names[:-1]
    if not names or len(names) > _COLUMNS_MAX or any(len(cell) > _HEADER_CELL_MAX for cell in names):
        raise InputError(
            "the first line is not a header with column names",
            code="SRC-107",
            where=name,
            hint="the first line must name the columns",
        )
    twice = [cell for cell, count in Counter(cell.casefold() for cell in names).items() if count > 1]
    if twice:
        raise InputError(
            f"the header names a column twice: {', '.join(map(repr, twice[:5]))}",
            code="SRC-107",
            where=f"{name}:1",
            hint="rename or remove one of them",
        )
    return names


def _rewrite(raw: RawFile, options: ReadOptions) -> StagedFile:
    header = checked_header(_named(_header_cells(raw, options)), raw.name)
    rows = {FileFormat.EXCEL: _excel_rows, FileFormat.CSV: _csv_rows}.get(raw.format)
    source = rows(raw, options) if rows else _json_rows(raw, header)
    target = raw.path.with_suffix(".rows")
    refused: list[RefusedLine] = []
    count = 0
    header_seen = raw.format is FileFormat.JSON
    with target.open("x", encoding="utf-8", newline="") as stream:
        target.chmod(0o600)
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow((LINE_COLUMN, *header))
        for line, cells, code in source:
            if cells is not None and _is_blank(cells, whole_row=not header_seen or raw.format is FileFormat.EXCEL):
                continue
            if not header_seen:
                header_seen = True
                continue
            verdict = code or _verdict(cells or [], len(header))
            if verdict or cells is None:
                refused.append(RefusedLine(line=line, code=verdict, detail=_detail(verdict, cells, header)))
                continue
            writer.writerow((line, *map(_clean, _fitted(cells, len(header)))))
            count += 1
    return StagedFile(
        name=raw.name,
        path=str(target),
        format=TextFormat.CSV,
        sha256=raw.sha256,
        size_bytes=raw.size_bytes,
        header=header,
        delimiter=",",
        rows_expected=count,
        has_line_column=True,
        refused=tuple(refused),
    )


def _is_blank(cells: list[str], *, whole_row: bool) -> bool:
    """A blank line; a row of empty cells is one only in a sheet and above the header, else it is a (bad) row."""
    return not any(cell.strip() for cell in (cells if whole_row else cells[:1])) and (whole_row or len(cells) <= 1)


def _fitted(cells: list[str], width: int) -> list[str]:
    """Cells beyond the header are empty (`_verdict` saw to it) and go."""
    return cells[:width]


def _verdict(cells: list[str], width: int) -> str:
    if len(cells) < width or any(cell.strip() for cell in cells[width:]):
        return reasons.FIELD_COUNT
    return reasons.CELL_TOO_LONG if any(len(cell) > _CELL_MAX for cell in cells) else ""


def _detail(code: str, cells: list[str] | None, header: tuple[str, ...]) -> str:
    if code == reasons.FIELD_COUNT and cells is not None:
        return f"{len(cells)} fields, the header has {len(header)}"
    return reasons.REASONS[code]


class _Lines:
    """The lines of a text. A reader that gives a row after asking beyond the last line stood inside a quote."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._lines = iter(stream)
        self.asked_beyond_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            self.asked_beyond_end = True
            raise


def _csv_rows(raw: RawFile, options: ReadOptions) -> Iterator[Row]:
    csv.field_size_limit(_FIELD_MAX)
    encoding = _encoding(raw, options)
    delimiter = "," if raw.format is not FileFormat.CSV else _delimiter(raw, options)
    try:
        with raw.path.open(encoding=encoding, errors="strict" if raw.utf8 else "replace", newline="") as stream:
            lines = _Lines(stream)
            reader = csv.reader(lines, delimiter=delimiter)
            line = 1
            for cells in reader:
                if lines.asked_beyond_end or reader.line_num - line > _RUNAWAY_LINES:
                    raise InputError(
                        f"a quote opened near line {line} is never closed",
                        code="SRC-109",
                        where=f"{raw.name}:{line}",
                        hint="close or remove the quote on that line",
                    )
                yield line, cells, ""
                line = reader.line_num + 1
    except (UnicodeError, LookupError) as error:
        raise InputError(
            f"the text is not {encoding}",
            code="SRC-108",
            where=raw.name,
            hint="name the encoding in the mapping, for example `encoding: cp1252`",
        ) from error
    except csv.Error as error:
        raise InputError(
            f"the text cannot be read as CSV: {error}",
            code="SRC-108",
            where=raw.name,
            hint="look for a quote that is not closed, or a binary file",
        ) from error


def _json_names(raw: RawFile) -> list[str]:
    names: dict[str, None] = {}
    for _, item in _json_objects(raw):
        if item is not None:
            names.update(dict.fromkeys(item))
    return list(names)


def _json_rows(raw: RawFile, header: tuple[str, ...]) -> Iterator[Row]:
    for line, item in _json_objects(raw):
        if item is None:
            yield line, None, reasons.NOT_JSON
        else:
            cells = {name.strip(): _json_text(value) for name, value in item.items()}
            yield line, [cells.get(name, "") for name in header], ""


def _json_objects(raw: RawFile) -> Iterator[tuple[int, dict[str, object] | None]]:
    """(line, object) of every line that is not blank. Numbers stay the text that they are."""
    with raw.path.open(encoding="utf-8-sig", errors="replace") as stream:
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            try:
                item = json.loads(
                    text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_without_doubles
                )
            except (ValueError, RecursionError):
                item = None
            yield line, item if isinstance(item, dict) else None


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _json_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _excel_rows(raw: RawFile, options: ReadOptions) -> Iterator[Row]:
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        raise WorldError(
            "reading Excel needs an extra package",
            code="SRC-203",
            where=raw.name,
            hint="pip install 'abaco-loans[excel]'",
        ) from error
    try:
        workbook = CalamineWorkbook.from_path(str(raw.path))
        sheets = workbook.sheet_names
        sheet = options.sheet or (sheets[0] if sheets else "")
        if sheet not in sheets:
            raise InputError(
                f"the workbook has no sheet {sheet!r}",
                code="SRC-110",
                where=raw.name,
                hint=f"sheets are {', '.join(map(repr, sheets))}; name one in the mapping",
            )
        content = workbook.get_sheet_by_name(sheet)
        for line, values in enumerate(content.iter_rows(), 1):
            yield line, [_excel_text(value) for value in values], ""
    except CalamineError as error:
        raise InputError(
            "the workbook cannot be read",
            code="SRC-108",
            where=raw.name,
            hint="open it in a spreadsheet, save it as .xlsx or CSV and try again",
        ) from error


def _excel_text(value: object) -> str:
    """A cell as text: numbers in their shortest decimal form, dates in ISO form."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)
