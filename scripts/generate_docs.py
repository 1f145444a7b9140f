"""Write the reference pages of docs/ from the code: catalogue, columns, settings, errors, commands.

``python scripts/generate_docs.py`` writes them; with ``--check`` it says which are out of date and leaves with 1.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "abaco_loans"
MADE = "<!-- Made by scripts/generate_docs.py: change the code, then run it (make docs). -->\n\n"


# Functions that raise with a code they are given.
_HELPERS = {
    "check": "the file has not the form it should have: each fault with file:line",
    "row_expression": "a rule cannot be read, or uses what is not allowed or not there",
    "parse_allowed": "a formula cannot be read, or uses what is not allowed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One place that raises an error of ours."""

    code: str
    kind: str
    what: str
    hint: str


def failures() -> list[Failure]:
    """Every error code with its words, read from the source."""
    found: dict[tuple[str, str], Failure] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            failure = _failure(node, constants) if isinstance(node, ast.Call) else None
            if failure:
                found.setdefault((failure.code, failure.what), failure)
    return sorted(found.values(), key=lambda item: (item.code, item.what))


def _failure(node: ast.Call, constants: dict[str, ast.expr]) -> Failure | None:
    """What a call raises, if it raises one of our errors."""
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    words = {item.arg: item.value for item in node.keywords if item.arg}
    if name == "_refusal" and len(node.args) == 4:  # event, code, what, hint
        return Failure(
            code=_words(node.args[1]), kind="ConfigError", what=_words(node.args[2]), hint=_words(node.args[3])
        )
    code: ast.expr | None = words.get("code")
    if isinstance(code, ast.Name):
        code = constants.get(code.id)
    if not (isinstance(code, ast.Constant) and isinstance(code.value, str) and "-" in code.value and name):
        return None
    what = _words(node.args[0]) if node.args else _words(words.get("text"))
    if name in _HELPERS:
        name, what = "ConfigError", _HELPERS[name]
    return Failure(code=code.value, kind=name, what=what, hint=_words(words.get("hint")))


def _words(node: ast.expr | None) -> str:
    """A literal text with ``...`` where the code puts something in."""
    if node is None:
        return ""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    if isinstance(node, ast.IfExp):
        return f"{_words(node.body)} / {_words(node.orelse)}"
    return "..."


def errors_page() -> str:
    """Codes, what they say, and what to do."""
    from abaco_loans import errors
    from abaco_loans.operations.panel_checks import BREAK, GAP
    from abaco_loans.operations.rebuild import SERVICING_CHECKS
    from abaco_loans.portfolio.roll_forward import TRANSITIONS, VANISHED
    from abaco_loans.tape.reasons import REASONS, WARNINGS

    lines = [
        "# Error codes",
        "",
        "Every failure says what, where and what to do. Exit codes: 1 the answer is no,",
        "2 wrong usage or configuration, 3 bad input, 4 the world failed.",
        "",
    ]
    by_area: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures():
        if not failure.code.startswith(("WARN", "MOVE")):
            by_area[failure.code.split("-")[0]].append(failure)
    for area, items in sorted(by_area.items()):
        lines += [f"## {area}", "", "| code | exit | what | what to do |", "|---|---|---|---|"]
        for item in items:
            exit_code = getattr(getattr(errors, item.kind, None), "exit_code", "")
            lines.append(f"| {item.code} | {exit_code} | {_cell(item.what)} | {_cell(item.hint)} |")
        lines.append("")
    lines += [
        "## Reasons for which a row is refused",
        "",
        "The rules of a contract have codes of their own, which stand in the contract.",
        "",
        "| code | reason |",
        "|---|---|",
    ]
    lines += [f"| {code} | {text} |" for code, text in REASONS.items()]
    findings = [BREAK, GAP, *((item.code, item.text) for item in TRANSITIONS), VANISHED]
    lines += ["", "## What the checks of a panel find", "", "| code | finding |", "|---|---|"]
    lines += [f"| {code} | {text} |" for code, text in findings]
    lines += ["", "## Warnings: nothing is refused", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {item.code} | {_cell(item.what)} |" for item in failures() if item.code.startswith("WARN")]
    lines += [f"| {code} | {text} |" for code, text in WARNINGS.items()]
    lines += [f"| {code} | {text} |" for code, text, _ in SERVICING_CHECKS]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def catalogue_page() -> str:
    """Every KPI that ships."""
    from abaco_loans.operations.workspace import builtin_texts
    from abaco_loans.releases.release import read_release

    catalogue = read_release("v2", builtin_texts()).catalogue
    lines = [
        "# The catalogue",
        "",
        "The KPIs that ship with release `v2`. Your own go into `releases/<name>/catalogue.yml`.",
        "",
        "[How to write an entry](kpis.md).",
        "",
    ]
    for kpi in catalogue.kpis:
        limits = kpi.thresholds
        text = f"{limits.warning} / {limits.critical}, {limits.direction.replace('_', ' ')}" if limits else "none"
        lines += [
            f"## `{kpi.id}`: {kpi.name}",
            "",
            kpi.description,
            "",
            "```sql",
            kpi.formula.text,
            "```",
            "",
            f"Unit {kpi.unit}, {kpi.precision} decimals; per {kpi.grain.value}; warning / critical: {text}.",
            f"Owner {kpi.owner}; {', '.join(kpi.departments)}; {kpi.refresh}.",
            "",
        ]
    return "\n".join(lines)


def columns_page() -> str:
    """Columns that formulas may use, and those of the contracts."""
    from abaco_loans.kpi.formula import FACTS
    from abaco_loans.operations.workspace import builtin_texts
    from abaco_loans.releases.release import read_release
    from abaco_loans.tape.calculation import COLUMNS

    lines = [
        "# Columns",
        "",
        "## What KPI formulas are written over",
        "",
        "One row a loan (or segment) at the as-of date; `*_usd` is reporting currency. A layout that cannot give a",
        "column makes the KPIs that need it not computable, and they say so.",
        "",
        "| column | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {text} |" for name, text in COLUMNS.items()]
    lines += [
        "",
        "Formulas of `grain: customer` see the amounts above added up by customer, and `customer_rank` (1 is the",
        "largest outstanding). Facts of the run: " + ", ".join(f"`run.{name}`" for name in FACTS) + ".",
        "",
    ]
    for contract in read_release("v2", builtin_texts()).contracts.values():
        lines += [f"## The {contract.layout} layout", ""]
        for table in contract.tables:
            lines += [
                f"### `{table.name}`" + (" (optional)" if table.optional else ""),
                "",
                f"Key: {', '.join(table.key) or 'none'}.",
                "",
                "| column | type | needed | meaning |",
                "|---|---|---|---|",
            ]
            for column in table.columns:
                marks = [word for word, on in (("masked", column.pii), ("dimension", column.dimension)) if on]
                extra = f" ({', '.join(marks)})" if marks else ""
                ends = [str(end) for end in (column.minimum, column.maximum) if end is not None]
                extra += f"; {' to '.join(ends)}" if len(ends) == 2 else "; not negative" if ends == ["0"] else ""
                needed = "yes" if column.required else "no"
                text = _cell(column.description).removesuffix(".")
                lines.append(f"| `{column.name}` | {column.kind} | {needed} | {text}{extra} |")
            lines += ["", *(f"- {rule.code} ({rule.severity}): {rule.description}" for rule in table.rules), ""]
    return "\n".join(lines)


def settings_page() -> str:
    """Every setting with its default."""
    from dataclasses import fields

    from abaco_loans.settings import DESCRIPTIONS, ENVIRONMENT_PREFIX, Settings

    lines = [
        "# Settings",
        "",
        "In `abaco.yml`; an environment variable wins. Unknown settings are refused, and so are variables",
        "whose name is nearly a setting's.",
        "",
        "| setting | default | environment | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{item.name}` | `{item.default!r}` | `{ENVIRONMENT_PREFIX}{item.name.upper()}` |"
        f" {_cell(DESCRIPTIONS[item.name])} |"
        for item in fields(Settings)
    ]
    lines += ["", "`ABACO_MASKING_KEY` (64 or more hexadecimal digits) takes the place of the key file.", ""]
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its options, as --help says them."""
    from abaco_loans.cli import COMMANDS, cli

    lines = [
        "# Commands",
        "",
        "Every command has `--help`. Those that work in a workspace have `--workspace DIR` and `--json`.",
        "",
    ]

    def add(command: click.Command, path: str) -> None:
        context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
        lines.extend([f"## `{path}`", "", "```", command.get_help(context), "```", ""])
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                if (found := command.get_command(context, name)) is not None:
                    add(found, f"{path} {name}")

    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        if command is not None:
            add(command, f"abaco {name}")
    return "\n".join(lines)


PAGES = {
    "errors.md": errors_page,
    "catalogue.md": catalogue_page,
    "columns.md": columns_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
}


def views_page() -> str:
    """Every view with its columns, and the columns of the panel that they are made from."""
    from abaco_loans.portfolio.columns import columns
    from abaco_loans.portfolio.views import VIEWS

    lines = [
        "# Views",
        "",
        "`abaco view NAME` shows one of the latest panel ([how to build one](panel.md)); `--by SEGMENT` splits it,",
        "`--out FILE.csv` and `--json` hand it on. Amounts are in reporting currency; an empty cell is not computable.",
        "By segment, what speaks of fewer than 3 customers of a segment at a date (and cohort), or would give them",
        "away, is left out; within a segment that is shown, a bucket may hold one loan. Notes under the table say so.",
        "Definitions: [definitions](definitions.md).",
        "",
    ]
    for view in VIEWS.values():
        marks = [] if view.segmented else ["not by segment"]
        marks += ["restricted: it names customers"] if view.restricted else []
        lines += [f"## {view.title} (`{view.name}`)", "", view.text + (f" ({'; '.join(marks)})" if marks else ""), ""]
        lines += ["| column | unit | meaning |", "|---|---|---|"]
        lines += [f"| `{item.name}` | {item.unit} | {item.text} |" for item in view.columns]
        lines += [""]
    lines += ["## Columns of the panel", "", "| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in columns().items()]
    return "\n".join(lines)


PAGES["views.md"] = views_page


_METRICS = """\
# Metrics and health

`abaco watch serve` answers two questions over HTTP, at http://127.0.0.1:9464 unless `--host` or `--port` say otherwise:

| path | what it says |
|---|---|
| `/metrics` | the figures below, for Prometheus (text format, or OpenMetrics where it is asked for) |
| `/health` | 200 when production can be answered for, 503 when not, as JSON with the `reasons` |

It needs the extra `watch`. It keeps nothing: every scrape reads the records. Only GET and HEAD are answered, one look
at a time, and only to a client that names this machine in its Host header (`localhost`, `127.0.0.1`, `::1` or what
`--host` says). There is no password: whoever can reach the port can read the figures, which speak of the whole
portfolio and never of a segment, a loan, a file or a person. SIGTERM ends it.

`deploy/` has a systemd unit, a scrape configuration, alert rules and a Grafana dashboard ([deploy](deploy.md)).

## Health

| reason | means |
|---|---|
| `database` | the records cannot be read, or are not what was written |
| `ledger` | the last 200 events do not hold together, or the last anchor does not speak of them |
| `stalled_queue` | a tape waits for 15 minutes, and nobody takes any |
| `no_worker` | a tape waits for 2 minutes, and no worker has any; one that has nothing to do leaves no trace |

A cutover that holds production (`held`) is no reason.

## Figures

Names follow Prometheus: seconds, bytes and ratios. A status is one series for each value it can have, 1 for the one
that holds. What could not be measured has no series. When a part of the records cannot be read, its figures are gone
and `abaco_collector_success` of that part is 0. Whether the *whole* ledger holds is for `abaco audit verify` and for
every checkpoint; a scrape looks at its end.

There are at most 300 KPIs, 50 releases and 200 kinds of events; what is beyond is counted as `other`
(`abaco_kpis_left_out` for KPIs). A scrape of the demo took 0.04 s (220 series), one of a workspace with 100,000 events
and 3,000 jobs in the queue 0.3 s; events are counted anew every time, everything else does not grow.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def metrics_page() -> str:
    """What `/metrics` and `/health` say."""
    from abaco_loans.watch.exposed import EXPOSED

    rows = [
        f"| `{item.name}` | {item.kind.value} | {', '.join(f'`{name}`' for name in item.labels)} | {_cell(item.text)} |"
        for item in EXPOSED.values()
    ]
    return _METRICS + "\n".join(rows) + "\n"


PAGES["metrics.md"] = metrics_page


def main() -> int:
    """Write or check the pages."""
    stale = []
    for name, make in PAGES.items():
        text = (MADE + make()).rstrip() + "\n"
        path = ROOT / "docs" / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
