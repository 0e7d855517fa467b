"""What several commands share: the settings with flags laid over them, and progress on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from memaudit.cli import settings as toml
from memaudit.errors import SettingsError
from memaudit.files import SHARED
from memaudit.types import Context, Limit, Waiver

if TYPE_CHECKING:
    from memaudit.auditing import Dp
    from memaudit.design import Subsets
    from memaudit.recipe import Recipe
    from memaudit.training import Progress

_PLAIN_LINE_SECONDS = 30.0


@dataclass(frozen=True)
class Job:
    """The settings of one call: of the file, with the flags laid over them."""

    audit: toml.AuditSettings
    budget: toml.BudgetSettings
    limits: tuple[Limit, ...]
    waivers: tuple[Waiver, ...]
    context: Context
    folder: Path  # what relative paths of the file start from
    file: Path | None
    dp: toml.DpSettings | None = None
    whatif: toml.WhatIfSettings = field(default_factory=toml.WhatIfSettings)
    variants: tuple[toml.VariantSettings, ...] = ()

    def place(self, value: str) -> Path:
        """Return a path of the settings, relative to the file that they stand in."""
        return self.folder / value

    @property
    def ledger(self) -> Path:
        """The file in which audits are recorded: as set, or beside the bank."""
        from memaudit.auditing.ledger import beside

        return beside(self.place(self.audit.bank)) if self.audit.ledger is None else self.place(self.audit.ledger)

    def promise(self) -> Dp | None:
        """Return the differential privacy that the settings claim; None if they claim none."""
        if self.dp is None:
            return None
        from memaudit.auditing import Dp

        record = None if self.dp.record is None else self.place(self.dp.record)
        return Dp(**self.dp.model_dump() | {"record": record})

    def recipe(self) -> Recipe:
        """Return the recipe that the settings name."""
        from memaudit.recipe import load_recipe

        return load_recipe(self.audit.recipe, self.folder)

    @property
    def workers(self) -> int:
        """Processes to train with: as set, or one per core, or one where there is a GPU."""
        if self.audit.workers is not None:
            return self.audit.workers
        from memaudit.training import choose_device

        if choose_device(self.audit.device) != "cpu":
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that override memaudit.toml for filling a bank."""
    for option in reversed(
        (
            click.option(
                "--config", type=click.Path(path_type=Path), help="Settings; by default the nearest memaudit.toml."
            ),
            click.option("--recipe", help="Where the recipe is: recipe.py:recipe or package.module:recipe."),
            click.option("--bank", help="Folder of the bank."),
            click.option("--shadows", type=int, help="Number of shadow models (even); 0 audits without any."),
            click.option("--seed", type=int, help="Seed of the bank."),
            click.option("--workers", type=int, help="Processes to train with; by default one per core."),
            click.option("--device", help="cpu, cuda, cuda:1, …; by default a GPU if there is one."),
            click.option("-q", "--quiet", is_flag=True, help="No progress."),
        )
    ):
        command = option(command)
    return command


def design_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say which subsets of the examples the models of a new bank are trained on."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in reversed(
        (
            click.option(
                "--candidates", type=file, help="Draw only these examples (file of ids); all models have the rest."
            ),
            click.option("--removed", type=file, help="Train no model on these examples: a file of ids."),
            click.option(
                "--share", type=float, help="Draw each example independently with this probability, not in halves."
            ),
            click.option(
                "--leave-one-out", type=file, help="Leave out each of these examples (file of ids) by itself."
            ),
            click.option(
                "--label-noise", type=float, help="Replace this share of the labels, in each model by itself."
            ),
        )
    ):
        command = option(command)
    return command


def subsets(flags: dict[str, Any]) -> Subsets | None:
    """Return the design that flags ask for, which are taken out; None where none does."""
    names = ("candidates", "removed", "share", "leave_one_out", "label_noise")
    given = {name: value for name in names if (value := flags.pop(name)) is not None}
    if not given:
        return None
    from memaudit.design import Subsets

    return Subsets(**given)


ledger_option = click.option("--ledger", help="The ledger file that records audits; default: beside the bank.")
over_budget = click.option("--yes", is_flag=True, help="Train even if it takes more than [budget] allows.")


def job(config: Path | None, **flags: Any) -> Job:
    """Return the settings of this call.

    Flags that name files start from the working directory; the same keys in the file start from the file.

    Raises:
        SettingsError: The file or a flag is wrong.
    """
    here = Path.cwd()
    file = config if config is not None else toml.find(here)
    settings = toml.read(file) if file is not None else toml.Settings()
    if settings.files.shared:
        os.environ[SHARED] = "1"  # for worker processes, too
    folder = file.resolve().parent if file is not None else here
    given = {name: value for name, value in flags.items() if value is not None}
    for name in {"bank", "ledger", "manifest", "members", "out", "plan"} & given.keys():
        given[name] = str((here / given[name]).resolve())
    if "references" in given:
        given["references"] = [str((here / file).resolve()) for file in given["references"]]
    if "recipe" in given:
        place, _, variable = given["recipe"].partition(":")
        given["recipe"] = f"{(here / place).resolve()}:{variable}" if place.endswith(".py") else given["recipe"]
    try:
        audit = toml.AuditSettings.model_validate(settings.audit.model_dump(exclude_unset=True) | given)
    except ValidationError as error:
        problems = (f"--{p['loc'][0]}: {p['msg']}, got {p['input']!r}" for p in error.errors())
        raise SettingsError("; ".join(problems)) from None
    limits = settings.limits()
    measured = _with_what_limits_need(audit, limits)
    return Job(
        measured,
        settings.budget,
        limits,
        settings.waivers(),
        settings.context(),
        folder,
        file,
        settings.dp,
        settings.whatif,
        tuple(settings.variant),
    )


def _with_what_limits_need(audit: toml.AuditSettings, limits: tuple[Limit, ...]) -> toml.AuditSettings:
    """Return the settings with the rates and attacks that a limit names measured too."""
    rates = [limit.at_fpr for limit in limits if limit.metric == "tpr" and limit.at_fpr is not None]
    attacks = [limit.attack for limit in limits if limit.metric == "tpr" and limit.attack is not None]
    more = {} if audit.attacks is None else {"attacks": list(dict.fromkeys([*audit.attacks, *attacks]))}
    return audit.model_copy(update={"fpr": list(dict.fromkeys([*audit.fpr, *rates])), **more})


@contextmanager
def progress(quiet: bool, what: str = "shadow models") -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows a fill's progress: a bar on a terminal, else a plain line every 30 seconds."""
    if quiet:
        yield lambda now: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "CI" not in os.environ:
        yield from _bar(what)
    else:
        yield from _lines(what)


def _bar(what: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=None, eta="")
        yield lambda now: bars.update(task, completed=now.done, total=now.total, eta=_eta(now))


def _lines(what: str) -> Iterator[Callable[[Progress], None]]:
    last = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _PLAIN_LINE_SECONDS or (now.done == now.total and now.fresh):
            last = time.monotonic()
            click.echo(f"{what}: {now.done} of {now.total}{_eta(now, ', ')}", err=True)

    yield show


def _eta(now: Progress, before: str = "") -> str:
    left = now.remaining_seconds
    if left is None or now.done >= now.total:
        return ""
    minutes, seconds = divmod(round(left), 60)
    return f"{before}about {f'{minutes} min ' if minutes else ''}{seconds} s left"
