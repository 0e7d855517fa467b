"""`memaudit demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from memaudit.cli import audit_command, init_command, whatif_command
from memaudit.cli.common import job
from memaudit.errors import MemauditError, SettingsError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="demo")
@click.option("--language", is_flag=True, help="Audit a language model, in about five minutes.")
@click.option("--whatif", is_flag=True, help="Compare five remedies instead, in about five minutes.")
@click.option("--workers", type=int, help="Processes to train with; by default one per core.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(folder: Path, language: bool, whatif: bool, workers: int | None, quiet: bool) -> int:
    """Audit a real model on real data: scikit-learn's 1,797 handwritten digits, with 64 shadow models.

    With --language: a small transformer on the documentation strings of Python's standard library, with planted
    secrets.

    With --whatif: what five remedies would buy and cost on the digits, measured with 16 models each.

    Writes into FOLDER what a user would write (recipe.py, train.py, memaudit.toml), trains the model, and audits it.
    """
    if language and whatif:
        raise SettingsError("--whatif compares remedies on the digits; leave --language out")
    init_command.write(folder, language, force=True)
    if whatif:
        return _compared(folder, workers, quiet)
    model = folder / init_command.MODEL[language]
    call = job(folder / "memaudit.toml", workers=workers)
    data = "documents" if language else "digits"
    click.echo(f"training the model on half of the {data} ({folder / 'train.py'})", err=True)
    trained = subprocess.run([sys.executable, "train.py"], cwd=folder, env=os.environ, check=False)
    if trained.returncode:
        raise MemauditError(f"{folder / 'train.py'} failed; see above")
    click.echo(f"training {call.audit.shadows} shadow models and auditing", err=True)
    return audit_command.conclude(audit_command.run(model, call, quiet), call, quiet)


def _compared(folder: Path, workers: int | None, quiet: bool) -> int:
    """Compare the variants that are added to the settings, and write the page."""
    settings, page = folder / "memaudit.toml", folder / "whatif.html"
    settings.write_text(settings.read_text("utf-8") + init_command.template("classifier", "variants.toml"), "utf-8")
    call = job(settings, workers=workers)
    count = f"{call.whatif.shadows} models each of the digits' recipe and {len(call.variants)} variants"
    click.echo(f"training up to {count} ({settings})", err=True)
    found = whatif_command.compare(call, folder / "whatif", quiet=quiet)
    code = whatif_command.conclude(found, page, quiet=quiet)
    click.echo(f"page: {page}")
    return code
