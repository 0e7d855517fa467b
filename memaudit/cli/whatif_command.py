"""`memaudit whatif`: what remedies buy and cost, measured on the user's own data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memaudit.cli.common import Job, job, over_budget, progress, settings_options
from memaudit.cli.terminal import deliver, table
from memaudit.cli.whatif_plan import planned, variants
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
@click.option("--attack", help="By which every model is attacked; by default slira.")
@click.option(
    "--fpr", type=float, help="False-positive rate at which the leak is measured; by default the first of fpr."
)
@click.option("--limit", type=float, help="The largest leak that is accepted; by default that of the gate on it.")
@click.option("--at-most-cost", type=float, help="The largest loss of accuracy that is accepted; 0.01 = 1 point.")
@click.option("--only", multiple=True, help="Compare only this variant; repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Such as whatif.html or .json.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@over_budget
def command(
    config: Path | None, quiet: bool, folder: Path | None, attack: str | None, fpr: float | None, limit: float | None,
    only: tuple[str, ...], output: Path | None, as_json: bool, yes: bool, at_most_cost: float | None, **flags: Any,
) -> int:  # fmt: skip
    """Compare the variants of the recipe that memaudit.toml names, each with a bank of its own.

    Every bank has the same training sets, so that accuracy and leak are compared model by model and example by
    example. Small banks come first; a variant that is shown to be dominated gets no more models. Resumes after any
    interruption.

    Exits 0 if a variant, or the model as it is, keeps the limit and costs no more than is accepted, or none is set; 1
    if none does; 3 if neither is shown; 2 if it may cost more than [budget] allows, unless --yes is given.
    """
    if output is not None and output.suffix not in _SUFFIXES:
        raise SettingsError(f"{output}: give a file ending in {', '.join(_SUFFIXES)}")
    call = job(config, **flags)
    place = call.folder / "whatif" if folder is None else Path.cwd() / folder
    chosen = {"shadows": flags["shadows"], "attack": attack, "limit": limit, "at_most_cost": at_most_cost, "fpr": fpr}
    found = compare(call, place, only, quiet=quiet, yes=yes, **chosen)
    return conclude(found, output, quiet=quiet, as_json=as_json)


def compare(
    call: Job, folder: Path, only: tuple[str, ...] = (), *, quiet: bool, yes: bool = False, **chosen: Any
) -> Comparison:
    """Return the comparison of the variants of the settings; what is not chosen comes from there.

    Raises:
        SettingsError: It may take more than [budget] allows, and `yes` is not given.
    """
    from memaudit.whatif import compare_variants

    tried = variants(call, only)
    chosen = {name: value for name, value in chosen.items() if value is not None}
    fpr = chosen.get("fpr", call.audit.fpr[0])
    options = {**call.whatif.model_dump(), "fpr": fpr, "limit": _limit(call, fpr), **chosen}
    if not yes and (call.budget.hours or call.budget.disk_gb):
        planned(call, options["shadows"], folder, tried).require(call.budget.hours, call.budget.disk_gb)
    with _shown(quiet, 1 + len(tried)) as show:
        return compare_variants(
            call.recipe(),
            tried,
            folder,
            bank=call.place(call.audit.bank),
            seed=call.audit.seed,
            workers=call.workers,
            device=call.audit.device,
            progress=show,
            **options,
        )


def conclude(found: Comparison, output: Path | None, *, quiet: bool, as_json: bool = False) -> int:
    """Print a comparison, write it into a file, and return the exit code."""
    from memaudit.whatif import written

    if as_json:
        deliver(written(found, ".json"))
    elif not quiet:
        _print(found)
    if output is not None:
        write_whole(output, written(found, output.suffix))
    return {Verdict.PASS: 0, Verdict.NOTED: 0, Verdict.FAIL: 1}.get(found.verdict, 3)


def _limit(call: Job, fpr: float) -> float | None:
    """Return the limit of the gates on a true-positive rate; None if there is none at this rate."""
    found = [limit.max for limit in call.limits if limit.metric == "tpr" and limit.at_fpr == fpr]
    return min(found, default=None)


@contextmanager
def _shown(quiet: bool, banks: int) -> Iterator[Any]:
    """Yield a function that shows how far so many banks are, as if all of them were filled up to the present rung."""
    with progress(quiet, "models of all variants") as show:
        done: dict[str, Progress] = {}

        def told(name: str, now: Progress) -> None:
            done[name] = now
            most = max(each.total for each in done.values())
            show(replace(now, done=sum(each.done for each in done.values()), total=banks * most))

        yield told


def _print(found: Comparison) -> None:
    click.echo(found.sentence)
    for line in table(found.columns, found.table, sys.stdout):
        click.echo(line)
    click.echo(found.explanation)
