"""`memaudit bank fill|status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memaudit.cli.common import Job, job, over_budget, progress, settings_options
from memaudit.errors import SettingsError

if TYPE_CHECKING:
    from memaudit.bank import Bank
    from memaudit.recipe import Counts, Population, Recipe


@click.group()
def command() -> None:
    """Fills a bank of shadow models, or says what is in it."""


@command.command()
@settings_options
@click.option("--members", help="Who the model to be audited is trained on: a file of ids.")
@click.option("--shard", metavar="I/N", help="Train only this part of the models, such as 3/16.")
@click.option("--no-weights", is_flag=True, help="Keep the signals alone.")
@over_budget
def fill(config: Path | None, quiet: bool, yes: bool, shard: str | None, no_weights: bool, **flags: Any) -> None:
    """Trains the shadow models that the bank lacks.

    Goes on where it stopped, whatever stopped it. With a larger --shadows the bank grows. Several calls, also on
    several machines, may fill one folder. With --members, the shadow models of a new bank have training sets of the
    size of that model's, also where its members are not half of the examples.
    """
    call = job(config, **flags, weights=False if no_weights else None)
    members = None if call.audit.members is None else call.place(call.audit.members)
    bank = fill_bank(call, quiet, yes, call.recipe(), shard=shard, members=members)
    click.echo(f"{bank.path}: {len(bank.models())} shadow models")


@command.command()
@click.option("--config", type=click.Path(path_type=Path), help="Settings; by default the nearest memaudit.toml.")
@click.option("--bank", help="Folder of the bank.")
def status(config: Path | None, bank: str | None) -> None:
    """Says what is in the bank, and checks every file against its checksum."""
    from memaudit.bank import Bank

    call = job(config, bank=bank)
    found = Bank.open(call.place(call.audit.bank))
    models = found.models()
    damaged = {m: problem for m in models if (problem := found.damage(m))}
    seconds = [found.record(m).get("seconds", 0.0) for m in models if m not in damaged]
    click.echo(f"bank      {found.path}")
    click.echo(f"models    {len(models)} in {len(found.pairs())} complete pairs, {len(damaged)} damaged")
    click.echo(f"examples  {found.examples}")
    if seconds:
        click.echo(f"training  {sum(seconds) / len(seconds):.1f} s a model, {sum(seconds) / 60:.1f} min in all")
    click.echo("made from")
    for name, value in found.fingerprint.items():
        click.echo(f"  {name:<22} {value}")
    for model, problem in damaged.items():
        click.echo(f"model {model} is damaged: {problem}; `memaudit bank fill` repairs it", err=True)


def fill_bank(
    call: Job,
    quiet: bool,
    yes: bool,
    recipe: Recipe,
    examples: Population | None = None,
    shard: str | None = None,
    members: Path | Counts | None = None,
) -> Bank:
    """Returns the filled bank, with progress on stderr; `yes` lets it cost more than was budgeted.

    `members` are the target's, by whose share the models of a new bank are trained.
    """
    from memaudit.training import Shard, fill, population, require_shadows

    part = None
    if shard is not None:
        try:
            part = Shard(*map(int, shard.split("/")))
        except (ValueError, TypeError):
            raise SettingsError(f"--shard is I/N, such as 3/16, got {shard!r}") from None

    require_shadows(call.audit.shadows)
    examples = population(recipe) if examples is None else examples
    if not yes:
        _require_budget(call, recipe, examples, members)

    def repaired(model: int, problem: str) -> None:
        click.echo(f"model {model} was damaged ({problem}) and is trained again", err=True)

    with progress(quiet) as show:
        return fill(
            call.place(call.audit.bank),
            recipe,
            call.audit.shadows,
            members=members,
            seed=call.audit.seed,
            workers=call.workers,
            shard=part,
            device=call.audit.device,
            weights=call.audit.weights,
            examples=examples,
            progress=show,
            repaired=repaired,
        )


def _require_budget(call: Job, recipe: Recipe, examples: Population, members: Path | Counts | None) -> None:
    if call.budget.hours is None and call.budget.disk_gb is None:
        return
    from memaudit.auditing import cost_to_fill, require_budget
    from memaudit.recipe import membership
    from memaudit.recipe.populations import units_of
    from memaudit.training.designing import design_for

    audit = call.audit
    who = None if members is None else units_of(examples, membership(members, examples).counts)
    design = design_for(call.place(audit.bank), examples, audit.seed, who)
    missing, cost = cost_to_fill(
        call.place(audit.bank), recipe, examples, audit.shadows, audit.seed, audit.device, audit.weights, design
    )
    require_budget(missing, cost, call.budget.hours, call.budget.disk_gb)
