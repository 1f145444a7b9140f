"""How things look on a terminal and in a pipe: tables, colours, JSON, progress. Nothing is decided here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

_CELL_MAX = 64
_COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "critical": "red",
    "out_of_range": "red",
    "not_computable": "bright_black",
    "suppressed": "bright_black",
    "finished": "green",
    "refused": "yellow",
    "failed": "red",
    "running": "cyan",
}
WORDS = {
    "ok": "ok",
    "warning": "WARNING",
    "critical": "CRITICAL",
    "out_of_range": "OUT OF RANGE",
    "not_computable": "not computable",
    "suppressed": "suppressed",
}

Command = TypeVar("Command", bound=Callable[..., Any])


def common(command: Command) -> Command:
    """The options that every command has: ``--workspace`` and ``--json``."""

    @click.option(
        "--workspace",
        "-w",
        type=click.Path(path_type=Path),
        default=None,
        help="Folder with abaco.yml [default: the nearest one upwards].",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
    @wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **kwargs)

    return with_options  # type: ignore[return-value]


def plain(text: str) -> str:
    """Text with control characters escaped, so that a tape cannot write to the terminal."""
    return "".join(char if char.isprintable() or char == " " else f"\\x{ord(char):02x}" for char in text)


def print_json(document: object) -> None:
    """One JSON document on stdout; control characters are escaped by JSON itself."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def progress() -> Callable[[str], None]:
    """Tells what is being done on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        return lambda text: None

    def tell(text: str) -> None:
        click.echo(f"\r\x1b[2K{plain(text)[:100]} ...", err=True, nl=False)
        if not text:
            click.echo("\r\x1b[2K", err=True, nl=False)

    return tell


def coloured(status: str) -> str:
    """A status as a coloured word; colour is dropped where the output is no terminal."""
    return click.style(WORDS.get(status, status), fg=_COLOURS.get(status))


def against(thresholds: dict[str, str] | None) -> str:
    """Thresholds in words: ``from 5 / 8`` where high is bad, ``down to 1.5 / 1.0`` where low is."""
    if thresholds is None:
        return ""
    sign = "from" if thresholds["direction"] == "high_is_bad" else "down to"
    return f"{sign} {thresholds['warning']} / {thresholds['critical']}"


def verdict(status: str, thresholds: object) -> str:
    """The status in colour; ``-`` where a value has no threshold that it could be within."""
    return "-" if status == "ok" and thresholds is None else coloured(status)


def number(value: str | Decimal | None, unit: str = "") -> str:
    """A decimal with thousands separated; ``-`` for none."""
    if value is None:
        return "-"
    text = f"{Decimal(value):,f}"
    return f"{text} {unit}".strip()


def note(warning: dict[str, Any]) -> None:
    """A warning with its count, what it is worth, and its code."""
    worth = f", {number(warning['amount'])}" if warning.get("amount") else ""
    text = f"{plain(warning['text'])}: {warning['count']:,}{worth} ({warning['code']})"
    click.echo(click.style("note: ", fg="yellow") + text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), *, cut: bool = True) -> None:
    """A table in plain text; columns in ``right`` are set to the right."""
    cells = [[_short(plain_cell(cell)) if cut else plain_cell(cell) for cell in row] for row in rows]
    widths = [
        max([len(title), *(len(click.unstyle(row[index])) for row in cells)]) for index, title in enumerate(header)
    ]
    click.echo(
        "  ".join(
            _pad(title, width, index in right) for index, (title, width) in enumerate(zip(header, widths, strict=True))
        ).rstrip()
    )
    click.echo("  ".join("-" * width for width in widths))
    for row in cells:
        click.echo(
            "  ".join(
                _pad(cell, width, index in right) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )


def _short(cell: str) -> str:
    """A cell that leaves room for the others; what is cut stands in the files and in ``--json``."""
    return cell if len(click.unstyle(cell)) <= _CELL_MAX else f"{cell[: _CELL_MAX - 3]}..."


def plain_cell(cell: str) -> str:
    """A cell whose only control characters are the colours that we put there."""
    return cell if click.unstyle(cell) != cell and cell.startswith("\x1b[") else plain(cell)


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - len(click.unstyle(cell)))
    return space + cell if right else cell + space
