"""`memaudit report`."""

from __future__ import annotations

from pathlib import Path

import click

from memaudit import reports


@click.command(short_help="Renders a report.json again.")
@click.argument("report", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), multiple=True, required=True, help="x.html, x.md, x.json."
)
def command(report: Path, output: tuple[Path, ...]) -> None:
    """Renders a report.json again, in the formats that the outputs' suffixes name; needs no bank, model or torch."""
    loaded = reports.load(report)
    for path in output:
        reports.save(loaded, path)
        click.echo(path)
