"""Every rule of the house holds; each is first seen failing on planted sources that break it.

The rules themselves are in ``house_rules.py``.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests import house_rules as rules
from tests.house_rules import FILE_LINES_MAX, FUNCTION_LINES_MAX, SOURCE, Rule, Source, calls, parsed

REPOSITORY = Path(__file__).resolve().parent.parent
CODE = re.compile(r"[A-Z]{2,5}-\d{3}")


# --- each rule, where it holds, what breaks it, what keeps it -----------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A rule with the folders it holds in, sources that break it and sources that keep it (path, text)."""

    rule: Rule
    folders: tuple[str, ...] = ("src",)
    breaks: tuple[tuple[str, str], ...]
    keeps: tuple[tuple[str, str], ...]


def in_room(room: str, *texts: str) -> tuple[tuple[str, str], ...]:
    """The texts as planted files of one room."""
    return tuple((f"{SOURCE}{room}", text) for text in texts)


LINES_61 = "def f():\n" + "    a = 1\n" * FUNCTION_LINES_MAX
LINES_60 = "def f():\n" + "    a = 1\n" * (FUNCTION_LINES_MAX - 1)
MARK = "# TO+DO: later".replace("+", "")
IGNORE = "a = 1  # type: +ignore".replace("+", "")
NOQA = "a = 1  # no+qa".replace("+", "")
FROZEN = "@dataclass(frozen=True, slots=True, kw_only=True)\nclass A:\n    a: int"

RULES = (
    Planted(
        rule=rules.time_is_passed_in,
        breaks=in_room(
            "kpi/x.py",
            "a = datetime.now(UTC)",
            "a = datetime.datetime.utcnow()",
            "a = date.today()",
            "a = time.time()",
            "field(default_factory=datetime.now)",
            "from time import time",
            "from datetime import datetime as dt\na = dt.now(UTC)",
            "a = time.perf_counter()",
        ),
        keeps=(
            *in_room("clock.py", "a = datetime.now(UTC)"),
            *in_room("operations/x.py", "import time\na = time.perf_counter()"),
            *in_room("records/x.py", "a = time.monotonic()"),
            *in_room("kpi/x.py", "a = clock.now()", "b = datetime.fromisoformat(a)"),
        ),
    ),
    Planted(
        rule=rules.sql_is_a_tree,
        breaks=in_room(
            "engines/x.py",
            "a = f'SELECT {b} FROM t'",
            "a = f'select {b} from t'",
            "a = f'CAST({b} AS DECIMAL)'",
            "a = f'SET memory_limit = {b}'",
            "a = 'DELETE FROM %s' % b",
            "a = 'SELECT * FROM {}'.format(b)",
            "a = 'SELECT * FROM ' + b",
            "a = b + ' WHERE x = 1'",
            "a = f'{b}' f' ORDER BY {c}'",
        ),
        keeps=in_room(
            "engines/x.py",
            "a = 'SELECT 1'",
            "a = f'update {b} from the newer file'",
            "a = f'create {b} first'",
            "a = f'{b} rows with {c}'",
            "a = select('a').from_('t')",
            "a = 'SELECT 1 FROM t' f''",
        ),
    ),
    Planted(
        rule=rules.dataclasses_are_values,
        breaks=in_room(
            "tape/x.py",
            "@dataclass\nclass A:\n    a: int",
            "@dataclass(frozen=True, slots=True)\nclass A:\n    a: int",
            "@dataclasses.dataclass(frozen=True, slots=False, kw_only=True)\nclass A:\n    a: int",
        ),
        keeps=in_room("tape/x.py", FROZEN, "class A:\n    a: int"),
    ),
    Planted(
        rule=rules.functions_are_short,
        breaks=in_room("tape/x.py", LINES_61, "async " + LINES_61),
        keeps=in_room("tape/x.py", LINES_60),
    ),
    Planted(
        rule=rules.files_are_short,
        folders=("src", "bench", "scripts"),
        breaks=in_room("tape/x.py", "a = 1\n" * (FILE_LINES_MAX + 1)),
        keeps=in_room("tape/x.py", "a = 1\n" * FILE_LINES_MAX),
    ),
    Planted(
        rule=rules.only_the_command_line_prints,
        breaks=in_room("operations/x.py", "print('a')"),
        keeps=(*in_room("cli/x.py", "print('a')"), *in_room("operations/x.py", "pprint('a')")),
    ),
    Planted(
        rule=rules.no_blind_except,
        folders=("src", "tests", "bench", "scripts"),
        breaks=in_room(
            "sources/x.py",
            "try:\n    f()\nexcept:\n    pass",
            "try:\n    f()\nexcept Exception as error:\n    g(error)",
            "try:\n    f()\nexcept (ValueError, BaseException):\n    pass",
        ),
        keeps=in_room(
            "sources/x.py",
            "try:\n    f()\nexcept ValueError:\n    pass",
            "try:\n    f()\nexcept BaseException:\n    g()\n    raise",
        ),
    ),
    Planted(
        rule=rules.nothing_is_left_for_later,
        folders=("src", "tests", "bench", "scripts", ".ci"),
        breaks=in_room("tape/x.py", MARK, IGNORE, NOQA),
        keeps=in_room("tape/x.py", f"{IGNORE}[arg-type]", f"{NOQA}: BLE001", "todos = 1"),
    ),
    Planted(
        rule=rules.money_is_no_float,
        breaks=(*in_room("tape/x.py", "a = float('1')"), *in_room("kpi/x.py", "a = 0.05")),
        keeps=(*in_room("cli/x.py", "a = float('1')"), *in_room("kpi/x.py", "a = Decimal('0.05')")),
    ),
    Planted(
        rule=rules.pure_rooms_touch_nothing,
        breaks=in_room(
            "tape/x.py",
            "import os",
            "import os.path",
            "from pathlib import Path",
            "from importlib.resources import files",
            "from importlib import resources",
            "a = open('x')",
            "a = path.read_text()",
            "from random import choice",
            "a = random.choice(b)",
            "import uuid",
        ),
        keeps=(
            *in_room("operations/x.py", "import os", "from pathlib import Path", "a = open('x')"),
            *in_room("tape/x.py", "from pathlib import PurePath", "a = random.Random(seed)", "b = a.choice(c)"),
        ),
    ),
    Planted(
        rule=rules.everything_public_is_explained,
        folders=("src", "bench", "scripts"),
        breaks=in_room(
            "tape/x.py",
            "a = 1",
            "'''M.'''\ndef f():\n    pass",
            "'''M.'''\nclass A:\n    pass",
            "'''M.'''\nclass A:\n    '''A.'''\n    def f(self):\n        pass",
        ),
        keeps=in_room(
            "tape/x.py",
            "'''M.'''\ndef _f():\n    pass",
            "'''M.'''\nclass A:\n    '''A.'''\n    def __len__(self):\n        pass",
            "'''M.'''\nclass _A:\n    def f(self):\n        pass",
        ),
    ),
    Planted(
        rule=rules.commands_and_options_have_help,
        breaks=in_room(
            "cli/x.py",
            "@click.command()\ndef f():\n    pass",
            "@main.group('kpi')\ndef f():\n    pass",
            "@click.option('--a')\ndef f(a):\n    pass",
        ),
        keeps=(
            *in_room("cli/x.py", "@click.command()\n@click.option('--a', help='A.')\ndef f():\n    '''Do it.'''"),
            *in_room("cli/x.py", "@click.command(help='Do it.')\ndef f():\n    pass"),
        ),
    ),
    Planted(
        rule=rules.nothing_is_mocked,
        folders=("tests", "bench"),
        breaks=(
            ("tests/x.py", "from unittest.mock import Mock"),
            ("tests/x.py", "from unittest import mock"),
            ("tests/x.py", "import unittest.mock"),
            ("tests/x.py", "monkeypatch.setattr('abaco_loans.clock.now', f)"),
            ("tests/x.py", "from abaco_loans import clock\nmonkeypatch.setattr(clock.SystemClock, 'now', f)"),
            (
                "tests/x.py",
                "from abaco_loans.clock import SystemClock as C\nmonkeypatch.setattr(C, 'now', f)",
            ),
        ),
        keeps=(
            ("tests/x.py", "monkeypatch.setenv('A', 'b')"),
            ("tests/x.py", "import os\nmonkeypatch.setattr(os, 'fsync', f)"),
        ),
    ),
)
BY_NAME = [pytest.param(planted, id=planted.rule.__name__) for planted in RULES]


@pytest.mark.parametrize("planted", BY_NAME)
def test_rule_sees_each_planted_breach(planted: Planted) -> None:
    unseen = [text for path, text in planted.breaks if not list(planted.rule(parsed(path, text)))]
    assert unseen == []


@pytest.mark.parametrize("planted", BY_NAME)
def test_rule_lets_what_keeps_it_pass(planted: Planted) -> None:
    refused = [(text, found) for path, text in planted.keeps if (found := list(planted.rule(parsed(path, text))))]
    assert refused == []


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Every Python file of the repository."""
    return [
        parsed(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))
        for folder in ("src", "tests", "bench", "scripts", ".ci")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    ]


@pytest.mark.parametrize("planted", BY_NAME)
def test_rule_holds(planted: Planted, sources: list[Source]) -> None:
    looked_at = [source for source in sources if PurePosixPath(source.path).parts[0] in planted.folders]
    assert looked_at, f"nothing to look at in {planted.folders}"
    breaches = [f"{source.path}:{line}: {what}" for source in looked_at for line, what in planted.rule(source)]
    assert not breaches, f"{planted.rule.__doc__}\n" + "\n".join(breaches)


def test_every_folder_of_code_is_a_package() -> None:
    """Import contracts do not see a folder without ``__init__.py``."""
    folders = {path.parent for path in (REPOSITORY / SOURCE).rglob("*.py")} - {
        REPOSITORY / SOURCE / "records" / "migrations" / "versions"
    }
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


# --- error codes and their documentation --------------------------------------------------------------------


def codes_raised(source: Source) -> set[str]:
    """The error codes that the file passes as ``code=``."""
    return {
        keyword.value.value
        for call, _ in calls(source)
        for keyword in call.keywords
        if keyword.arg == "code"
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, str)
        and CODE.fullmatch(keyword.value.value)
    }


def codes_in(text: str) -> set[str]:
    """Every error code that a text mentions."""
    return set(re.findall(rf"(?<![\w-]){CODE.pattern}(?![\w-])", text))


def test_codes_are_found_where_they_are_raised() -> None:
    planted = parsed("src/abaco_loans/x.py", "raise E('a', code='TAPE-101')\nf(code='x')\nname = 'SHA-256'")
    assert codes_raised(planted) == {"TAPE-101"}
    assert codes_in("| `TAPE-101` | SHA-2567 XTAPE-1 | (KPI-104)") == {"TAPE-101", "KPI-104"}


def test_every_error_code_is_documented_and_every_documented_one_exists(sources: list[Source]) -> None:
    product = [source for source in sources if source.path.startswith(SOURCE)]
    page = REPOSITORY / "docs" / "errors.md"
    documented = codes_in(page.read_text(encoding="utf-8")) if page.exists() else set()
    raised = {code: source.path for source in product for code in codes_raised(source)}
    missing = {code: path for code, path in sorted(raised.items()) if code not in documented}
    assert not missing, f"raised, but not in docs/errors.md: {missing}"
    mentioned = {code for source in product for code in codes_in(source.text)}
    assert documented <= mentioned, f"in docs/errors.md, but nowhere in src/: {sorted(documented - mentioned)}"


# --- the command line as it runs ----------------------------------------------------------------------------


def helpless(command: Any, name: str) -> Iterator[str]:
    """The commands at and below ``command`` (a click command) without a help text."""
    import click

    if not (command.help or "").strip():
        yield name
    if isinstance(command, click.Group):
        with click.Context(command, info_name=name) as context:
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None, f"{name} lists {child} and does not have it"
                yield from helpless(found, f"{name} {child}")


def test_a_command_without_help_is_seen() -> None:
    import click

    group = click.Group("g", help="G.", commands=[click.Command("a"), click.Command("b", help="B.")])
    assert list(helpless(group, "g")) == ["g a"]


def test_every_command_has_help() -> None:
    command_line = importlib.import_module("abaco_loans.cli")
    assert list(helpless(command_line.cli, "abaco")) == []


# --- what the repository may not name -----------------------------------------------------------------------

MACHINE = re.compile(
    r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/(?:wheels|pypi)[\w-]*|private/var|tmp/[a-z]\w*)(?=[/\s\"'`)]|$)"
    r"|\b(?:pypi|pythonhosted|npmjs|deb\.debian|crates)\.(?:org|com|io)\b"
    r"|--(?:(?:extra-)?index-url|trusted-host|find-links)\b",
    re.MULTILINE,
)


def named_places(text: str) -> list[tuple[int, str]]:
    """Lines of a text that name a place of one machine, or a package registry."""
    return [
        (number, match.group()) for number, line in enumerate(text.splitlines(), 1) for match in MACHINE.finditer(line)
    ]


def test_places_of_a_machine_are_seen_in_a_planted_text() -> None:
    slash = "/"
    for planted in ("root/x", "work/main", "home/ana/x", "Users/ana/x", "opt/wheels/a.whl", "tmp/v/bin"):
        assert named_places(f"cd {slash}{planted}"), planted
    for planted in (
        "https://py+pi.org/simple",
        "files.python+hosted.org",
        "registry.npm+js.org",
        "--index+-url x",
    ):
        assert named_places(planted.replace("+", "")), planted
    for harmless in (
        "../shared/data/factoring",
        "src/work/x",
        "https://semver.org",
        "a/root/b",
        "/usr/bin/env",
    ):
        assert not named_places(harmless), harmless


def repository_files() -> list[Path]:
    """The files that git tracks or would track."""
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git clone: nothing says which files belong to the repository")
    listed = subprocess.run(
        [git, "-c", f"safe.directory={REPOSITORY}", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [REPOSITORY / name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def test_no_file_names_a_machine_or_a_registry() -> None:
    files = repository_files()
    assert files
    breaches = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        breaches += [f"{path.relative_to(REPOSITORY)}:{line}: {what}" for line, what in named_places(text)]
    assert not breaches, "\n".join(breaches)


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin)] == []
