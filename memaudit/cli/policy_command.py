"""`memaudit policy`: are the settings right, and is every waiver still in force?"""

from __future__ import annotations

from pathlib import Path

import click

from memaudit.cli import settings as toml
from memaudit.errors import SettingsError


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Validate settings without a report: every key, every gate, and that no waiver has expired.

    FILES are by default the nearest memaudit.toml. Exits 0, or 2 and names the file, line and key of every error.
    """
    found = files or tuple(filter(None, [toml.find(Path.cwd())]))
    if not found:
        raise SettingsError("there is no memaudit.toml here or above; name one, or write one with: memaudit init")
    for file in found:
        settings = toml.read(file, in_force=True)
        click.echo(f"{file}: gates: {len(settings.gate)}, waivers: {len(settings.waiver)}, none expired")
