"""`memaudit bank fill|import|derive|compare|status|push|pull`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memaudit.cli.common import (
    Job,
    design_options,
    elsewhere_options,
    job,
    over_budget,
    progress,
    settings_options,
    subsets,
)
from memaudit.cli.store_command import pull, push
from memaudit.cli.terminal import table
from memaudit.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from memaudit.bank import Bank
    from memaudit.design import Subsets
    from memaudit.recipe import Counts, Population, Recipe
    from memaudit.training import Progress, Shard


@click.group()
def command() -> None:
    """Fill, import, derive, compare, verify and share banks of shadow models."""


command.add_command(push)
command.add_command(pull)


@command.command()
@settings_options
@click.option("--members", help="Who the model to be audited is trained on: a file of ids.")
@click.option("--shard", metavar="I/N", help="Train only this part of the models, such as 3/16.")
@click.option("--models", metavar="M,M,…", help="Train only these models, such as 3,7,9.")
@elsewhere_options
@click.option("--no-weights", is_flag=True, help="Store signals only.")
@design_options
@over_budget
def fill(
    config: Path | None,
    quiet: bool,
    yes: bool,
    shard: str | None,
    models: str | None,
    no_weights: bool,
    **flags: Any,
) -> None:
    """Train the shadow models that the bank lacks.

    Resumes after any interruption. A larger --shadows grows the bank. Several calls, also on several machines, can
    fill one folder. With --members, the shadow models of a new bank have training sets of the
    size of that model's, also where its members are not half of the examples. Other designs than halves are named by
    --candidates, --removed, --share, --leave-one-out and --label-noise; a bank that has models keeps its own.
    """
    design = subsets(flags)
    call = job(config, **flags, weights=False if no_weights else None)
    members = None if call.audit.members is None else call.place(call.audit.members)
    bank = fill_bank(call, quiet, yes, call.recipe(), None, shard, members, design, models)
    click.echo(f"{bank.path}: {len(bank.models())} shadow models")


@command.command("import")
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option("--kind", help="What the outputs are: logits, probabilities, losses, scaled-logits, …")
@click.option("--outputs", type=click.Path(path_type=Path), help="Outputs [models, examples, classes].")
@click.option("--members", type=click.Path(path_type=Path), help="Who each model was trained on [models, examples].")
@click.option("--labels", type=click.Path(path_type=Path), help="Labels [examples].")
@click.option("--ids", type=click.Path(path_type=Path), help="Ids of the examples.")
@click.option("--inputs", type=click.Path(path_type=Path), help="Inputs of the examples, for two of the controls.")
@click.option("--correct", type=click.Path(path_type=Path), help="Whether models are right [models, examples].")
@click.option("--models", type=click.Path(path_type=Path), help="A folder of models, instead of their outputs.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings; by default the nearest memaudit.toml.")
@click.option("--recipe", help="With --models: recipe.py:recipe, which loads them and has their examples.")
@click.option("--bank", help="Folder of the bank.")
@click.option("--seed", type=int, help="Seed of the bank.")
@click.option("--device", help="With --models: cpu, cuda, …; by default a GPU if there is one.")
def import_(
    source: Path | None,
    kind: str | None,
    models: Path | None,
    config: Path | None,
    recipe: str | None,
    bank: str | None,
    seed: int | None,
    device: str | None,
    **arrays: Path | None,
) -> None:
    """Import shadow models that were trained elsewhere.

    SOURCE holds the arrays outputs, members and labels: an .npz or .safetensors file, a folder of .npy files, a table
    (.csv or .parquet) with a row for each model and example, or what another audit program left. An option names the
    file of a single array.

    Nothing is unpickled. An interrupted import resumes when it is called again.
    """
    from memaudit.training import import_bank, import_models

    call = job(config, recipe=recipe, bank=bank, seed=seed, device=device)
    place, members = call.place(call.audit.bank), arrays.pop("members")
    if models is None:
        if source is None and arrays["outputs"] is None:
            raise SettingsError("name a SOURCE of outputs, or give --outputs FILE or --models FOLDER")
        done = import_bank(place, source, kind, members=members, seed=call.audit.seed, **arrays)
    else:
        if source is not None or kind is not None or any(arrays.values()):
            raise SettingsError("--models FOLDER goes with --recipe and --members alone: the models make the outputs")
        done = import_models(place, models, call.recipe(), members, seed=call.audit.seed, device=call.audit.device)
    click.echo(f"{done.bank.path}: {len(done.bank.models())} shadow models. {done.design.words}")
    for words in done.design.caveats:
        click.echo(words, err=True)


@command.command()
@settings_options
@click.argument("children", type=click.Path(path_type=Path))
@click.option("--by", required=True, metavar="FILE:NAME", help="The derivation, such as derivations.py:pruned.")
@click.option("--shard", metavar="I/N", help="Make only this part of the models, such as 3/16.")
@click.option("--no-weights", is_flag=True, help="Store signals only.")
def derive(
    config: Path | None, quiet: bool, children: Path, by: str, shard: str | None, no_weights: bool, **flags: Any
) -> None:
    """Derive a bank: apply a function to every model of another one.

    A function prunes, quantizes, unlearns or further trains a model. CHILDREN is the new bank's folder, --bank the
    parent. The derivation is a memaudit.Derivation, or a function (model, dataset, *, seed, device), in a file of its
    own beside recipe.py. Resumes after any interruption.
    """
    from memaudit.recipe import load_derivation
    from memaudit.training import derive

    asked = flags.get("shadows")
    call = job(config, **flags, weights=False if no_weights else None)
    recipe = call.recipe()

    def repaired(model: int, problem: str) -> None:
        click.echo(f"model {model} is derived again: {problem}", err=True)

    with progress(quiet, "derived models") as show:
        bank = derive(
            Path.cwd() / children,
            call.place(call.audit.bank),
            recipe,
            load_derivation(by, call.folder),
            shadows=asked,
            workers=call.workers,
            shard=_shard(shard),
            device=call.audit.device,
            weights=call.audit.weights,
            progress=show,
            repaired=repaired,
        )
    click.echo(f"{bank.path}: {len(bank.models())} models derived from {call.place(call.audit.bank)}")


@command.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--attack", "attacks", multiple=True, help="An attack, such as slira; repeatable.")
@click.option("--fpr", "fprs", type=float, multiple=True, help="A false-positive rate; repeatable.")
@click.option("--shadows", type=int, help="Use the first so many models.")
def compare(before: Path, after: Path, attacks: tuple[str, ...], fprs: tuple[float, ...], shadows: int | None) -> None:
    """Compare leak and utility of two banks, pair by pair.

    Their models must have the same training sets. AFTER may be derived from BEFORE, or filled by another recipe with
    the same seed.
    """
    from memaudit.auditing.comparing import COLUMNS, what_if

    found = what_if(before, after, attacks=attacks or ("lira-online",), fprs=fprs or (0.01,), shadows=shadows)
    click.echo(found.title)
    for line in table(COLUMNS, [change.row for change in found.changes], sys.stdout):
        click.echo(line)
    for note in found.notes:
        click.echo(note, err=True)


@command.command()
@click.option("--config", type=click.Path(path_type=Path), help="Settings; by default the nearest memaudit.toml.")
@click.option("--bank", help="Folder of the bank.")
def status(config: Path | None, bank: str | None) -> None:
    """Show what the bank contains and verify every checksum."""
    from memaudit.bank import Bank
    from memaudit.design import HALVES

    call = job(config, bank=bank)
    found = Bank.open(call.place(call.audit.bank))
    models = found.models()
    damaged = {m: problem for m in models if (problem := found.damage(m))}
    seconds = [found.record(m).get("seconds", 0.0) for m in models if m not in damaged]
    click.echo(f"bank      {found.path}")
    pairs = f"in {len(found.pairs())} complete pairs" if found.paired else "not in pairs"
    click.echo(f"models    {len(models)} {pairs}, {len(damaged)} damaged")
    click.echo(f"design    {found.fingerprint.get('design', HALVES)}")
    click.echo(f"examples  {found.examples}")
    if seconds:
        click.echo(f"training  {sum(seconds) / len(seconds):.1f} s per model, {sum(seconds) / 60:.1f} min in total")
    click.echo("settings")
    for name, value in found.fingerprint.items():
        click.echo(f"  {name:<22} {value}")
    for model, problem in damaged.items():
        click.echo(
            f"model {model} is damaged: {problem}; `memaudit bank {'derive' if found.derived else 'fill'}` repairs it",
            err=True,
        )


def fill_bank(
    call: Job,
    quiet: bool,
    yes: bool,
    recipe: Recipe,
    examples: Population | None = None,
    shard: str | None = None,
    members: Path | Counts | None = None,
    design: Subsets | None = None,
    models: str | None = None,
) -> Bank:
    """Return the filled bank, with progress on stderr; `yes` lets it cost more than was budgeted.

    `members` are the target's, by whose share the models of a new bank are trained, unless a design is asked for.
    """
    from memaudit.training import fill, population

    examples = population(recipe) if examples is None else examples
    place, store, part, wanted = call.place(call.audit.bank), call.store, _shard(shard), _models(models)
    if store is not None:
        store.pull(place, part.models(call.audit.shadows) if part else wanted)
    if not yes:
        _require_budget(call, recipe, examples, members, design)
    push: Callable[[], None] = (lambda: None) if store is None else store.pusher(place)

    def repaired(model: int, problem: str) -> None:
        click.echo(f"model {model} was damaged ({problem}) and is trained again", err=True)

    def shared(now: Progress) -> None:
        show(now)
        push()

    with progress(quiet) as show:
        bank = fill(
            place,
            recipe if call.audit.executor is None else call.recipe_name,
            call.audit.shadows,
            members=members,
            design=design,
            seed=call.audit.seed,
            workers=call.workers,
            shard=part,
            models=wanted,
            executor=call.audit.executor,
            options=call.options,
            device=call.audit.device,
            weights=call.audit.weights,
            examples=examples,
            progress=shared,
            repaired=repaired,
        )
    if store is not None:
        store.push(bank)
    return bank


def _shard(given: str | None) -> Shard | None:
    from memaudit.training import Shard

    try:
        return None if given is None else Shard(*map(int, given.split("/")))
    except (ValueError, TypeError):
        raise SettingsError(f"--shard is I/N, such as 3/16, got {given!r}") from None


def _models(given: str | None) -> list[int] | None:
    try:
        return None if given is None else list(map(int, given.split(",")))
    except ValueError:
        raise SettingsError(f"--models is a list of numbers, such as 3,7,9, got {given!r}") from None


def _require_budget(
    call: Job, recipe: Recipe, examples: Population, members: Path | Counts | None, subsets: Subsets | None
) -> None:
    if call.budget.hours is None and call.budget.disk_gb is None:
        return
    from memaudit.auditing import cost_to_fill, require_budget
    from memaudit.recipe import membership
    from memaudit.recipe.populations import units_of
    from memaudit.training.designing import design_for, require_models

    audit = call.audit
    who = None if members is None else units_of(examples, membership(members, examples).counts)
    design = design_for(call.place(audit.bank), examples, audit.seed, who, subsets)
    require_models(audit.shadows, design)
    missing, cost = cost_to_fill(
        call.place(audit.bank), recipe, examples, audit.shadows, audit.seed, audit.device, audit.weights, design
    )
    require_budget(missing, cost, call.budget.hours, call.budget.disk_gb)
