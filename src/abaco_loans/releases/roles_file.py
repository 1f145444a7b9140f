"""Reads ``roles.yml``: who may approve a cutover. What is wrong in it is told with its line.

The file belongs where who plans cannot write; that is for the operating system to say, not for this room.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Self

from pydantic import Field as ModelField
from pydantic import field_validator, model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.releases.approval import Person, Role, Roles, folded

ROLES_FILE = "roles.yml"
_KEY = re.compile(r"[0-9a-f]{64}")
Account = Annotated[str, ModelField(min_length=1, max_length=256)]


class _Person(FileModel):
    accounts: tuple[Account, ...] = ()
    keys: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ModelField(min_length=1)

    @field_validator("keys")
    @classmethod
    def _are_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(key.lower() for key in keys)
        if not all(map(_KEY.fullmatch, lower)):
            raise ValueError("a key is an Ed25519 public key: 64 hexadecimal digits")
        return lower

    @model_validator(mode="after")
    def _can_be_known(self) -> Self:
        if not self.accounts and not self.keys:
            raise ValueError("name an account or a key; nobody can be identified without")
        return self


class _RolesFile(FileModel):
    people: dict[str, _Person] = {}


def read_roles(document: Document) -> Roles:
    """The people of the document, in its order.

    Raises:
        ConfigError: ``ROLE-101`` not the form; ``ROLE-102`` a name, account or key that stands for two people, or a
            name that names nobody.
    """
    file = check(document, _RolesFile, code="ROLE-101", hint="see docs/cutover.md")
    for what, pairs in (
        ("name", [(name, folded(name)) for name in file.people]),
        ("account", [(name, account) for name, item in file.people.items() for account in set(item.accounts)]),
        ("key", [(name, key) for name, item in file.people.items() for key in set(item.keys)]),
    ):
        for name in _shared(pairs):
            raise ConfigError(
                f"the {what} of {name!r} stands for somebody else, too, or for nobody",
                code="ROLE-102",
                where=document.where("people", name),
                hint="write each person once, with accounts and keys that nobody else has",
            )
    return Roles(
        people=tuple(
            Person(name=name.strip(), accounts=item.accounts, keys=item.keys, roles=frozenset(item.roles))
            for name, item in file.people.items()
        )
    )


def _shared(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The people, by name, whose value is empty or stood for somebody before."""
    seen: set[str] = set()
    for name, value in pairs:
        if not value.strip() or value in seen:
            yield name
        seen.add(value)
