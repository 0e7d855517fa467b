"""`memaudit init`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from memaudit.errors import SettingsError

FILES = ("recipe.py", "memaudit.toml", "train.py")
MODEL = {False: "model.safetensors", True: "model"}  # what train.py writes, for a language model or not


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--language", is_flag=True, help="For a language model.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(folder: Path, language: bool, force: bool) -> None:
    """Write a recipe.py, a memaudit.toml and a train.py to start from.

    They work as they are, on scikit-learn's handwritten digits (--language: on the documentation strings of Python's
    standard library): put your data and your network in their place.
    """
    write(folder, language, force)
    where = "" if folder == Path() else f"cd {folder}\n  "
    click.echo(f"wrote {', '.join(FILES)} in {folder}; they work as they are:")
    click.echo(f"  {where}python train.py\n  memaudit audit {MODEL[language]}")


def write(folder: Path, language: bool, force: bool) -> None:
    """Write the starting files into a folder.

    Raises:
        SettingsError: One of them is there already.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise SettingsError(f"{folder} has a {there[0]} already; --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text(template("language" if language else "classifier", name), "utf-8")


def template(kind: str, name: str) -> str:
    """Return the text of a starting file."""
    return files("memaudit.cli").joinpath("templates", kind, name).read_text("utf-8")
