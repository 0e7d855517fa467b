"""`memaudit plan --whatif`: what a comparison of variants takes at most, and the budget for it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memaudit.cli.common import Job
from memaudit.cli.terminal import deliver, duration, table
from memaudit.errors import SettingsError

if TYPE_CHECKING:
    from memaudit.whatif import Variant
    from memaudit.whatif.planning import Plan, VariantCost


def variants(call: Job, only: tuple[str, ...] = ()) -> tuple[Variant, ...]:
    """Return the variants of the [[variant]] tables, or those of them that are named.

    Raises:
        SettingsError: A name is unknown or is given twice, or a table cannot be used.
    """
    from memaudit.whatif import read

    given = {variant.name: variant.parameters for variant in call.variants}
    if len(given) < len(call.variants):
        raise SettingsError("two [[variant]] tables have one name")
    if unknown := [name for name in only if name not in given]:
        raise SettingsError(f"--only {unknown[0]}: there is no such variant; there are: {', '.join(given) or 'none'}")
    return read({name: values for name, values in given.items() if not only or name in only}, call.folder)


def planned(call: Job, shadows: int, folder: Path, tried: tuple[Variant, ...]) -> Plan:
    """Return what a comparison takes at most."""
    from memaudit.whatif.planning import plan_variants

    return plan_variants(
        call.recipe(),
        tried,
        folder,
        bank=call.place(call.audit.bank),
        shadows=shadows,
        seed=call.audit.seed,
        device=call.audit.device,
    )


def show(call: Job, shadows: int | None, *, as_json: bool, quiet: bool, yes: bool) -> None:
    """Print what the comparison of a settings file takes.

    Raises:
        SettingsError: It may take more than [budget] allows, and `yes` is not given.
    """
    found = planned(call, shadows or call.whatif.shadows, call.folder / "whatif", variants(call))
    if as_json:
        deliver(json.dumps(asdict(found), indent=2))
    elif not quiet:
        _print(found, call.workers)
    if not yes:
        found.require(call.budget.hours, call.budget.disk_gb)


def _print(found: Plan, workers: int) -> None:
    processes = f"{workers} process{'es' if workers > 1 else ''}"
    columns = ("Variant", "There", "One model", *(f"{models} models" for models in found.rungs), "Known from")
    rows = [_row(variant, found, workers) for variant in found.variants]
    rows.append(("all", "", "", *(duration(found.seconds(models, workers)) for models in found.rungs), processes))
    for line in table(columns, rows, sys.stdout):
        click.echo(line)
    for variant in found.variants:
        if variant.problem:
            click.echo(f"{variant.name}: {variant.problem}")
    click.echo("The most that it may take: a variant that is shown to be dominated or to exceed the limit stops early.")


def _row(variant: VariantCost, found: Plan, workers: int) -> tuple[str, ...]:
    if variant.cost is None:
        return (variant.name, str(variant.models), "–", *("–" for _ in found.rungs), "not known")
    each = (duration(variant.seconds(models, workers) or 0.0) for models in found.rungs)
    return (variant.name, str(variant.models), duration(variant.cost.seconds), *each, variant.cost.source)
