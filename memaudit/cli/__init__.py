"""The command line: arguments in, exit code out. A thin layer over the Python interface; one file per command.

Exit codes: 0 every limit kept (or none set), 1 a limit shown to be broken, 2 nothing can be said, 3 inconclusive,
130 interrupted.
"""

from __future__ import annotations

import shlex
import sys
from importlib import import_module

import click

from memaudit.errors import MemauditError, shown

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130

_COMMANDS = (
    "audit",
    "bank",
    "canary",
    "demo",
    "diff",
    "doctor",
    "explain",
    "gate",
    "init",
    "plan",
    "policy",
    "report",
    "schema",
    "verify",
)


class _Commands(click.Group):
    """Imports a command's file only when that command is called: torch takes seconds, `--help` must not."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"memaudit.cli.{cmd_name}_command").command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="memaudit-toolkit", prog_name="memaudit")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
@click.pass_context
def cli(ctx: click.Context, traceback: bool) -> None:
    """Measures what a trained model gives away about its training data.

    Start with `memaudit demo`, or with `memaudit init` in your project.

    Exit codes: 0 limits kept, 1 a limit broken, 2 error, 3 inconclusive, 130 interrupted.
    """
    ctx.obj = traceback


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(arguments, prog_name="memaudit", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what is done is kept. Go on with:")
        _say(f"  {shlex.join(['memaudit', *arguments])}")
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit:  # click's own, when nobody reads our output; its 1 would say that a limit is broken
        sys.exit(EXIT_ERROR)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except MemauditError as error:
        if "--traceback" in arguments:
            raise
        _say(f"error: {error}")
        sys.exit(EXIT_ERROR)
    except Exception as error:
        if "--traceback" in arguments:
            raise
        _say(f"internal error: {shown(error)}")
        _say(f"this is a defect of memaudit; please report it with the output of:\n  "
             f"{shlex.join(['memaudit', '--traceback', *arguments])}")  # fmt: skip
        sys.exit(EXIT_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    click.echo(f"memaudit: {text}" if not text.startswith(" ") else text, err=True)
