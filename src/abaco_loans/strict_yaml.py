"""Read YAML that people write, strictly: no aliases, tags or duplicate keys, and no floats.

A scalar is text unless it is plainly ``null``, ``true``, ``false`` or an integer. So ``0.05`` arrives
as the text ``"0.05"`` and becomes a Decimal without passing through a float, and ``no`` is a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from abaco_loans.document import Document
from abaco_loans.errors import ConfigError

__all__ = ["Document", "parse"]

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})\Z")
_WORDS: dict[str, bool | None] = {"": None, "null": None, "~": None, "true": True, "false": False}
_DEPTH_MAX = 40
_LENGTH_MAX = 4_000_000


def parse(text: str, *, name: str) -> Document:
    """Parse one YAML document.

    Raises:
        ConfigError: ``CFG-101`` not YAML, ``CFG-102`` alias, anchor or tag, ``CFG-103`` duplicate key,
            ``CFG-104`` too large or too deep; each with ``file:line``.
    """
    if len(text) > _LENGTH_MAX:
        raise ConfigError(
            "the file is too large to be a configuration",
            code="CFG-104",
            where=name,
            hint="keep configuration files under 4 MB",
        )
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        data = _Builder(events, name, lines).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"not valid YAML: {getattr(error, 'problem', None) or error}",
            code="CFG-101",
            where=f"{name}{line}",
            hint="check indentation and quotes on that line",
        ) from error
    return Document(name=name, data=data, lines=lines)


class _Builder:
    """Turns a stream of YAML events into plain data, refusing what could surprise."""

    def __init__(self, events: Iterator[yaml.Event], name: str, lines: dict[tuple[str | int, ...], int]) -> None:
        self._events = events
        self._name = name
        self._lines = lines

    def document(self) -> Any:
        """The data of the only document; None when the file is empty."""
        data: Any = None
        seen = False
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise self._refusal(
                        event,
                        "CFG-101",
                        "more than one document in the file",
                        "keep one document, without ---",
                    )
                seen = True
                data = self._value(next(self._events), ())
        return data

    def _refusal(self, event: yaml.Event, code: str, what: str, hint: str) -> ConfigError:
        return ConfigError(what, code=code, where=f"{self._name}:{_line(event)}", hint=hint)

    def _value(self, event: yaml.Event, path: tuple[str | int, ...]) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._refusal(event, "CFG-102", "aliases and anchors (& and *) are not read", "write the value out")
        if getattr(event, "tag", None):
            raise self._refusal(
                event, "CFG-102", f"the tag {getattr(event, 'tag', '')!r} is not read", "remove the tag"
            )
        if len(path) > _DEPTH_MAX:
            raise self._refusal(event, "CFG-104", "nested too deeply", f"use at most {_DEPTH_MAX} levels")
        self._lines[path] = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: tuple[str | int, ...]) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: tuple[str | int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refusal(event, "CFG-101", "a key must be a word", "write `name: value`")
            if event.anchor or event.tag:
                raise self._refusal(event, "CFG-102", "aliases, anchors and tags are not read", "remove it")
            key = event.value
            if key in found:
                raise self._refusal(event, "CFG-103", f"the key {key!r} stands twice", "keep one of them")
            line = _line(event)
            found[key] = self._value(next(self._events), (*path, key))
            self._lines[(*path, key)] = line
        return found


def _line(event: yaml.Event) -> int:
    """The line on which the event starts, from 1."""
    return event.start_mark.line + 1 if event.start_mark else 1


def _scalar(event: yaml.ScalarEvent) -> str | int | bool | None:
    text: str = event.value
    if event.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.match(text) else text
