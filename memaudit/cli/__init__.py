"""The command line: arguments in, exit code out. A thin layer over the Python interface; one file per command.

Exit codes: 0 every limit met (or none set), 1 a limit exceeded, 2 no result, 3 inconclusive, 130 interrupted.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from importlib import import_module

import click

from memaudit.cli.terminal import guarded
from memaudit.errors import MemauditError, shown

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130

_COMMANDS = {
    "audit": "Train missing shadow models, run all attacks, apply the policy and write the report.",
    "bank": "Fill, import, derive, compare and verify banks of shadow models.",
    "canary": "Create canaries, plant them in training data, verify them.",
    "demo": "Run a real audit on real data, in a minute or two.",
    "diff": "Compare the audits of two releases.",
    "doctor": "Check the set-up with one small model and a planted leak.",
    "explain": "Explain a finding: meaning, formula, source.",
    "gate": "Re-evaluate an existing report against the policy.",
    "init": "Write files to start from.",
    "key": "Create a key pair for signing audits.",
    "plan": "Estimate cost and statistical power; trains no shadow models.",
    "policy": "Validate memaudit.toml: every key, gate and waiver.",
    "report": "Render a report.json again.",
    "schema": "Print the JSON Schema of a report.json.",
    "verify": "Verify that an audit folder is unchanged.",
    "whatif": "Measure what remedies would buy, and what they cost.",
}


class _Commands(click.Group):
    """Imports a command's file only when that command is called: `--help` lists all of them without a single one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"memaudit.cli.{cmd_name}_command").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="memaudit-toolkit", prog_name="memaudit")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error came from.")
def cli() -> None:
    """Audit what a trained model leaks about its training data.

    Start with `memaudit demo`, or with `memaudit init` in your project.

    Exit codes: 0 limits met, 1 limit exceeded, 2 error, 3 inconclusive, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exits."""
    with guarded():
        _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> None:
    call = shlex.join(["memaudit", *arguments])
    try:
        code = cli.main(arguments, prog_name="memaudit", standalone_mode=False, obj=call)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; finished work is kept. Resume with:")
        _say(f"  {call}")
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit:  # of code that we call; its 1 would say that a limit is broken
        sys.exit(EXIT_ERROR)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except MemauditError as error:
        if "--traceback" in arguments:
            traceback.print_exc()
        _say(f"error: {error}")
        sys.exit(EXIT_ERROR)
    except Exception as error:
        if "--traceback" in arguments:  # printed here: Python ends with 1, which would say that a limit is broken
            traceback.print_exc()
        _say(f"internal error: {shown(error)}")
        _say(f"this is a bug in memaudit; please report it with the output of:\n  "
             f"{shlex.join(['memaudit', '--traceback', *arguments])}")  # fmt: skip
        sys.exit(EXIT_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    click.echo(f"memaudit: {text}" if not text.startswith(" ") else text, err=True)
