"""A command release: a program, how it is called, and what its author declares that it does.

*Meaning* is all that can change a number of it: the arguments and the program's files. *Policy* is the rest: limits,
texts, the declared definitions, gates and expected differences, portfolio policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from abaco_loans.errors import ConfigError
from abaco_loans.releases.command import CommandSpec
from abaco_loans.releases.gate import digest_of
from abaco_loans.releases.policy_files import POLICY_FILES, RELEASE_FILE
from abaco_loans.releases.release import DEFINITIONS_FILE, Release
from abaco_loans.tape.definition import Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRelease:
    """A loaded release of kind ``command``. Digests are SHA-256, hexadecimal.

    Attributes:
        spec: how the program is called and what it may take.
        files: the program's own files, path → content.
        definitions: what the program does, as its author declares it, by name; they change no number.
    """

    name: str
    description: str
    spec: CommandSpec
    files: Mapping[str, bytes]
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    meaning_digest: str
    policy_digest: str
    kind: str = "command"

    @property
    def core_digest(self) -> str:
        """What is frozen once the release has run: all of its meaning, for it has no mappings."""
        return self.meaning_digest

    def declared(self, layout: str) -> Definition | None:
        """What the program does with tapes of the layout; None where its author does not say."""
        return next((item for item in self.definitions.values() if layout in item.default_for), None)


def read_command_release(name: str, texts: Mapping[str, str], files: Mapping[str, bytes]) -> CommandRelease:
    """The release whose own files (``texts``, path → text) and program (``files``, path → content) are given.

    Raises:
        ConfigError: what a file says wrong, with ``file:line``; ``REL-106`` a layout has two definitions.
    """
    from abaco_loans.releases.command_file import read_command, read_description
    from abaco_loans.strict_yaml import parse
    from abaco_loans.tape.definition_file import read_definitions

    place = f"releases/{name}"
    document = parse(texts[RELEASE_FILE], name=f"{place}/{RELEASE_FILE}")
    spec, description = read_command(document), read_description(document)
    declared = texts.get(DEFINITIONS_FILE)
    definitions = read_definitions(parse(declared, name=f"{place}/{DEFINITIONS_FILE}")) if declared else {}
    _one_each(definitions, f"{place}/{DEFINITIONS_FILE}")
    return CommandRelease(
        name=name,
        description=description,
        spec=spec,
        files=files,
        definitions=definitions,
        meaning_digest=spec.meaning_digest(files),
        policy_digest=digest_of(
            {
                "limits": spec.limits(),
                "description": description,
                "definitions": {
                    item.name: {
                        **item.as_dict(),
                        "description": item.description,
                        "default_for": sorted(item.default_for),
                    }
                    for item in definitions.values()
                },
                "files": {path: texts[path] for path in POLICY_FILES if path in texts},
            }
        ),
    )


def _one_each(definitions: Mapping[str, Definition], where: str) -> None:
    """A program does one thing with a layout."""
    layouts = [layout for item in definitions.values() for layout in item.default_for]
    twice = sorted({layout for layout in layouts if layouts.count(layout) > 1})
    if twice:
        raise ConfigError(
            f"two definitions are declared for {', '.join(twice)}",
            code="REL-106",
            where=where,
            hint="name each layout under one default_for only",
        )


AnyRelease = Release | CommandRelease
