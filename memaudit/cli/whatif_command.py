"""`memaudit whatif`: what remedies buy and cost, measured on the user's own data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memaudit.cli.common import Job, job, progress, settings_options
from memaudit.cli.terminal import deliver, table
from memaudit.errors import SettingsError
from memaudit.files import write_whole
from memaudit.types import Verdict

if TYPE_CHECKING:
    from memaudit.training import Progress
    from memaudit.whatif import Comparison

_SUFFIXES = (".json", ".html", ".md", ".pdf")


@click.command()
@settings_options
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of the variants' banks."
)
@click.option("--attack", help="By which every model is attacked; by default lira-online.")
@click.option(
    "--fpr", type=float, help="False-positive rate at which the leak is measured; by default the first of fpr."
)
@click.option("--limit", type=float, help="The largest leak that is accepted; by default that of the gate on it.")
@click.option("--only", multiple=True, help="Compare only this variant; repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Such as whatif.html or .json.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(
    config: Path | None, quiet: bool, folder: Path | None, attack: str | None, fpr: float | None, limit: float | None,
    only: tuple[str, ...], output: Path | None, as_json: bool, **flags: Any,
) -> int:  # fmt: skip
    """Compare the variants of the recipe that memaudit.toml names, each with a bank of its own.

    Every bank has the same training sets, so that accuracy and leak are compared model by model and example by
    example. Small banks come first; a variant that is shown to be dominated gets no more models. Resumes after any
    interruption.

    Exits 0 if a variant, or the model as it is, keeps the limit, or none is set; 1 if all exceed it; 3 if neither is
    shown.
    """
    from memaudit.whatif import compare_variants, read, written

    if output is not None and output.suffix not in _SUFFIXES:
        raise SettingsError(f"{output}: give a file ending in {', '.join(_SUFFIXES)}")
    call = job(config, **flags)
    fpr = call.audit.fpr[0] if fpr is None else fpr
    with _shown(quiet) as show:
        found = compare_variants(
            call.recipe(),
            read(_variants(call, only), call.folder),
            call.folder / "whatif" if folder is None else Path.cwd() / folder,
            bank=call.place(call.audit.bank),
            shadows=flags["shadows"] or call.whatif.shadows,
            seed=call.audit.seed,
            attack=attack or call.whatif.attack,
            fpr=fpr,
            limit=_limit(call, fpr) if limit is None else limit,
            workers=call.workers,
            device=call.audit.device,
            progress=show,
        )
    if as_json:
        deliver(written(found, ".json"))
    elif not quiet:
        _print(found)
    if output is not None:
        write_whole(output, written(found, output.suffix))
    return {Verdict.PASS: 0, Verdict.NOTED: 0, Verdict.FAIL: 1}.get(found.verdict, 3)


def _variants(call: Job, only: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the [[variant]] tables, or those of them that are named."""
    given = {variant.name: variant.parameters for variant in call.variants}
    if len(given) < len(call.variants):
        raise SettingsError("two [[variant]] tables have one name")
    if unknown := [name for name in only if name not in given]:
        raise SettingsError(f"--only {unknown[0]}: there is no such variant; there are: {', '.join(given) or 'none'}")
    return {name: parameters for name, parameters in given.items() if not only or name in only}


def _limit(call: Job, fpr: float) -> float | None:
    """Return the limit of the gates on a true-positive rate; None if there is none at this rate."""
    found = [limit.max for limit in call.limits if limit.metric == "tpr" and limit.at_fpr == fpr]
    return min(found, default=None)


@contextmanager
def _shown(quiet: bool) -> Iterator[Any]:
    """Yield a function that shows the progress of one variant after the other."""
    with progress(quiet, "models of all variants") as show:
        done: dict[str, Progress] = {}

        def told(name: str, now: Progress) -> None:
            from dataclasses import replace

            done[name] = now
            values = done.values()
            show(replace(now, done=sum(p.done for p in values), total=sum(p.total for p in values)))

        yield told


def _print(found: Comparison) -> None:
    from memaudit.whatif.result import COLUMNS

    click.echo(found.sentence)
    for line in table(COLUMNS, [row.cells for row in found.rows], sys.stdout):
        click.echo(line)
    click.echo(found.explanation)
