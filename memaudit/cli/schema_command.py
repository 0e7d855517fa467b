"""`memaudit schema`."""

from __future__ import annotations

import json

import click

from memaudit.cli.terminal import deliver
from memaudit.reports.schema import schema


@click.command()
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of the JSON that an audit writes, for programs that read it."""
    deliver(json.dumps(schema(), indent=1))
