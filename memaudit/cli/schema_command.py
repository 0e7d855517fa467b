"""`memaudit schema`."""

from __future__ import annotations

import json

import click

from memaudit.cli.terminal import deliver
from memaudit.reports.schema import schema


@click.command()
@click.option("--whatif", is_flag=True, help="Of what `memaudit whatif` writes.")
def command(whatif: bool) -> None:
    """Print the JSON Schema (draft 2020-12) of the JSON that an audit writes, for programs that read it."""
    if whatif:
        from memaudit.whatif.writing import schema as of_variants

        deliver(json.dumps(of_variants(), indent=1))
        return
    deliver(json.dumps(schema(), indent=1))
