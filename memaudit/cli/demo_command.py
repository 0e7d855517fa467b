"""`memaudit demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from memaudit.cli import audit_command, init_command
from memaudit.cli.common import job
from memaudit.errors import MemauditError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="demo")
@click.option("--language", is_flag=True, help="Audit a language model, in about five minutes.")
@click.option("--workers", type=int, help="Processes to train with; by default one per core.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(folder: Path, language: bool, workers: int | None, quiet: bool) -> int:
    """Audit a real model on real data: scikit-learn's 1,797 handwritten digits, with 64 shadow models.

    With --language: a small transformer on the documentation strings of Python's standard library, with planted
    secrets.

    Writes into FOLDER what a user would write (recipe.py, train.py, memaudit.toml), trains the model, and audits it.
    """
    init_command.write(folder, language, force=True)
    model = folder / init_command.MODEL[language]
    call = job(folder / "memaudit.toml", workers=workers)
    data = "documents" if language else "digits"
    click.echo(f"training the model on half of the {data} ({folder / 'train.py'})", err=True)
    trained = subprocess.run([sys.executable, "train.py"], cwd=folder, env=os.environ, check=False)
    if trained.returncode:
        raise MemauditError(f"{folder / 'train.py'} failed; see above")
    click.echo(f"training {call.audit.shadows} shadow models and auditing", err=True)
    return audit_command.conclude(audit_command.run(model, call, quiet), call, quiet)
