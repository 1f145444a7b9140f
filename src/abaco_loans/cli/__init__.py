"""The command ``abaco``. Thin commands, one file a noun, each imported only when it is called."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from typing import Any, NoReturn

import click

from abaco_loans import __version__
from abaco_loans.errors import AbacoError

# command → (module, attribute, one line of help); the line stands here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("workspace", "init", "Make a workspace: settings, release, keys."),
    "run": ("run", "run", "Run a loan tape: KPIs, quarantine, files, record."),
    "panel": ("panel", "panel", "Follow every loan from date to date."),
    "view": ("panel", "view", "Show the book over time: ageing, roll rates, vintages, ..."),
    "report": ("report", "report", "Write reports: the book as one HTML page."),
    "kpi": ("kpi", "kpi", "List, show, explain KPIs, and their history."),
    "runs": ("runs", "runs", "List runs, or show one."),
    "quarantine": ("quarantine", "quarantine", "Show what was refused, and why."),
    "release": ("release", "release", "List, show and compare releases."),
    "shadow": ("shadow", "shadow", "Run two releases on the same tapes; explain every difference."),
    "validate": ("validate", "validate", "Check production: numbers, files, speed, refusals, audit trail."),
    "watch": ("watch", "watch", "Watch production after a cutover: checkpoints and decisions."),
    "alert": ("alert", "alert", "See alerts, answer them, silence a cause, try the channels."),
    "submit": ("submit", "submit", "Put loan tapes into the queue of production."),
    "worker": ("worker", "worker", "Work the queue; see how it stands."),
    "cutover": ("cutover", "cutover", "Change the release of production, in six gated phases."),
    "rollback": ("cutover", "rollback", "Go back to the release before, with nothing lost."),
    "rehearse": ("rehearse", "rehearse", "Rehearse the whole migration on a copy of the workspace."),
    "audit": ("audit", "audit", "Verify or export the audit ledger."),
    "sample": ("workspace", "sample", "Make a synthetic loan book to try things on."),
    "demo": ("demo", "demo", "See it all work, in under a minute."),
    "doctor": ("workspace", "doctor", "Check this machine and workspace."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"abaco_loans.cli.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="abaco")
def cli() -> None:
    """Loan-tape KPIs with proof.

    Begin with `abaco demo`, or with `abaco init DIR` and `abaco run TAPE`.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code: 0 done, 1 "no", 2 usage, 3 bad input, 4 the world failed."""
    # The collector finds nothing in a short command, and looks at every import: 0.1 s.
    gc.disable()
    try:
        code: Any = cli.main(args=arguments, prog_name="abaco", standalone_mode=False)
    except AbacoError as error:
        _tell(error, sys.argv[1:] if arguments is None else arguments)
        code = error.exit_code
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = 130
    finally:
        gc.enable()
    sys.exit(code if isinstance(code, int) else 0)


def run() -> NoReturn:
    """`main` as a process of its own, that ends at once, as mypy's does: to free everything takes 0.05 s.

    What wants to be told of the end (`atexit`) is told. While a thread still works, or a profiler looks on, the end is
    the usual one.
    """
    try:
        main()
    except SystemExit as leave:
        if threading.active_count() > 1 or sys.getprofile() or sys.gettrace():
            raise
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            raise leave from None  # nobody reads any more: the interpreter has its ways
        os._exit(leave.code if isinstance(leave.code, int) else 1)


def _tell(error: AbacoError, arguments: list[str]) -> None:
    """The failure on stderr as what, where, hint; with --json also as one document on stdout."""
    from abaco_loans.cli.show import plain

    click.echo(click.style("error: ", fg="red", bold=True) + plain(error.what), err=True)
    if error.where:
        click.echo(f"  where: {plain(error.where)}", err=True)
    if error.hint:
        click.echo(f"  hint:  {plain(error.hint)}", err=True)
    click.echo(f"  code:  {error.code}", err=True)
    if "--json" in arguments:
        import json

        click.echo(json.dumps({"error": error.as_dict(), **error.details}, ensure_ascii=False))
