"""`memaudit report`."""

from __future__ import annotations

from pathlib import Path

import click

from memaudit import reports
from memaudit.cli import outputs
from memaudit.types import Edition


@click.command()
@click.argument("report", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o", "--output", "--out", multiple=True, required=True, help=f"x.html, x.json, x.md or x.pdf; or {outputs.HELP}"
)
@click.option(
    "--edition",
    type=click.Choice([edition.value for edition in Edition]),
    help="What readers may see: by default internal for html, md and pdf, everything for other formats.",
)
def command(report: Path, output: tuple[str, ...], edition: str | None) -> None:
    """Render a report.json again; needs no bank, model or torch.

    Each output is a path whose suffix names the format, or several as in junit=report.xml,sarif=report.sarif,md=-.
    """
    named, paths = outputs.parse(output)
    wanted = (*named, *map(outputs.by_suffix, paths))
    taken = outputs.write(reports.load(report), wanted, edition)
    for place in (o.path for o in wanted if o.path is not None):
        click.echo(place, err=taken)
