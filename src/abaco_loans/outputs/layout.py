"""What the pages of the product are laid out from, and how: sections of parts, put through a template that escapes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from abaco_loans.errors import WorldError
from abaco_loans.outputs.tables import Table

if TYPE_CHECKING:
    import jinja2

    from abaco_loans.outputs.charts import Figure

_NEEDED = ("jinja2", "vl_convert")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A paragraph under a chart or table."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """What stands where a part is not there: its title, that it could not be had in ``words``, and the reason."""

    title: str
    reason: str
    words: str = "not computable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """Parts that are shown when their title is opened."""

    title: str
    parts: Sequence[Part]
    opened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A list; ``numbered`` where the order counts."""

    items: Sequence[str]
    numbered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Commands to copy, a line each."""

    lines: Sequence[str]


Part: TypeAlias = "Note | Absent | Heading | Listed | Commands | Folded | Table | Figure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A term with what is said of it; ``codes`` are digests with their names."""

    term: str
    text: str
    note: str = ""
    codes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of a page: its anchor, heading, first sentence and parts in order."""

    name: str
    title: str
    lead: str
    parts: Sequence[Part]


def need_packages(what: str, where: str, names: Sequence[str] = _NEEDED) -> None:
    """Check that the packages are there which pages are made with.

    Raises:
        WorldError: ``OUT-110`` one is missing.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise WorldError(
                f"writing {what} needs an extra package",
                code="OUT-110",
                where=where,
                hint="pip install 'abaco-loans[book]'",
            ) from error


@cache
def environment() -> jinja2.Environment:
    """Jinja with the product's templates: every text is escaped, every name must be there."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("abaco_loans.outputs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["part"] = lambda value, kind: type(value).__name__.lower() == kind
    return made
