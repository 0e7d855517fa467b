"""`memaudit plan`: what an audit costs and what it can decide, before anything is trained."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memaudit.cli.common import Job, design_options, job, ledger_option, over_budget, settings_options, subsets
from memaudit.cli.terminal import deliver, duration
from memaudit.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from memaudit.auditing import Plan
    from memaudit.policy import Outlook

_WIDTH = 120  # where there is no terminal
_WORKERS = (1, 2, 4, 8, 16)


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@settings_options
@click.option("--members", help="Who the model is trained on: a file of ids; by default MODEL.members.csv.")
@click.option("--fpr", type=float, multiple=True, help="False-positive rate to measure at; may be repeated.")
@click.option(
    "--access", type=click.Choice(["labels", "confidences", "weights", "all"]), help="As for memaudit audit: its cost."
)
@click.option(
    "--whatif", is_flag=True, help="The cost of `memaudit whatif`, variant by variant, instead of an audit's."
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Such as memaudit.plan.json.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@design_options
@ledger_option
@over_budget
def command(
    model: Path | None, config: Path | None, output: Path | None, as_json: bool, yes: bool, fpr: tuple[float, ...],
    quiet: bool, whatif: bool, **flags: Any,
) -> None:  # fmt: skip
    """Estimate the time and disk for the shadow models, and which gates the data can decide.

    The trial models are not kept. Without MODEL or --members, half of the examples are assumed to be members. -o writes
    the plan and enters its digest in the ledger of audits: an audit with --plan follows it, and its report shows that
    the plan came first. Exits 2 if the cost exceeds [budget], unless --yes is given.
    """
    from memaudit.auditing import plan, require_budget, write_plan
    from memaudit.auditing.costs import cost_of_access
    from memaudit.recipe import members_beside
    from memaudit.training import population

    design = subsets(flags)
    call = job(config, **flags, fpr=list(fpr) or None)
    if whatif:
        from memaudit.cli import whatif_plan

        if output is not None:
            raise SettingsError("a plan of a comparison is not kept; leave -o out")
        whatif_plan.show(call, flags["shadows"], as_json=as_json, quiet=quiet, yes=yes)
        return
    settings, recipe = call.audit, call.recipe()
    members = None if settings.members is None else call.place(settings.members)
    if members is None and model is not None:
        members = members_beside(model)
    examples, bank = population(recipe), call.place(settings.bank)
    found = plan(
        recipe,
        bank,
        shadows=settings.shadows,
        seed=settings.seed,
        members=members,
        design=design,
        fprs=settings.fpr,
        attacks=settings.attacks,
        limits=call.limits,
        device=settings.device,
        weights=settings.weights,
        examples=examples,
        references=len(settings.references),
    )
    if as_json:
        deliver(json.dumps(asdict(found), indent=2))
    elif not quiet:
        _print(found, call)
        _print_access(cost_of_access(bank, recipe, examples, settings.shadows, settings.access))
    if not yes:
        require_budget(found.missing, found.cost, call.budget.hours, call.budget.disk_gb)
    if output is not None:
        entered = write_plan(found, output, bank, recipe, examples, call.ledger, members, design)
        click.echo(f"{output}: SHA-256 {entered.sha256}, in the ledger after {entered.audits_before} audits", err=True)
        click.echo(f'follow it with: memaudit audit MODEL --plan {output}, or plan = "{output}" in [audit]', err=True)


def _print(found: Plan, call: Job) -> None:
    from rich.console import Console
    from rich.markup import escape

    to = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    assumed = "assumed to be half" if abs(found.members - found.nonmembers) <= 1 else "assumed, by the design"
    known = assumed if found.assumed else "as listed"
    for warning in found.warnings:
        to.print(f"[bold]warning[/]    {escape(warning)}")
    if not found.warnings:
        _print_counts(found, to, known)
    if found.shadows:
        _print_cost(found, call, to)
    if found.warnings:
        return
    if found.outlooks:
        to.print(_gates(found.outlooks))
    else:
        to.print(
            escape("No limits are set, so there will be no pass/fail decision. Add a [[gate]] table to memaudit.toml.")
        )


def _print_counts(found: Plan, to: Console, known: str) -> None:
    from rich.markup import escape

    to.print(f"members    {found.members + found.always:,}, non-members {found.nonmembers + found.never:,} ({known})")
    if found.shadows:
        to.print(f"design     {escape(found.design)}")
    if found.always or found.never:
        to.print(_candidates(found))


def _print_cost(found: Plan, call: Job, to: Console) -> None:
    to.print(f"models     {found.shadows} shadow models, {found.missing} still to train")
    to.print(f"one model  {duration(found.cost.seconds)}, {found.cost.stored / 1e6:.1f} MB ({found.cost.source})")
    to.print(f"disk       {found.gigabytes:.2g} GB\n")
    if found.missing:
        to.print(_times(found, call.workers))
        to.print(
            "\nFewer shadow models take less time and decide the same gates, but the attack is weaker and finds less."
            f"{_wider(found)}\n"
        )


def _print_access(cost: tuple[int, float | None]) -> None:
    queries, seconds = cost
    if queries:
        took = "unknown until the bank has a model" if seconds is None else f"about {duration(seconds)} of one process"
        click.echo(f"\naccess     {queries} queries per example and model, {took}")


def _candidates(found: Plan) -> str:
    """Return in words which examples are measured and what the others are used for."""
    always = f"every shadow model is trained on the other {found.always:,} members, and so takes longer than on half"
    never = f"no shadow model is trained on the other {found.never:,} non-members"
    rest = "; ".join(words for words, count in ((always, found.always), (never, found.never)) if count)
    return (
        f"candidates {found.members:,} members and {found.nonmembers:,} non-members, which the results will describe: "
        f"{rest}. The lowest false-positive rate that can be measured is {100 / max(1, found.nonmembers):.2g} %"
    )


def _times(found: Plan, workers: int) -> Table:
    from rich.table import Table

    table = Table(title="Training time", title_justify="left", title_style="bold")
    counts = sorted({workers, *_WORKERS})
    for heading in ("shadow models", *(f"{n} process{'es' if n > 1 else ''}" for n in counts)):
        table.add_column(heading, justify="right")
    for shadows in sorted({*found.cheaper, found.shadows}):
        row = (duration(3600 * found.hours(shadows, count)) for count in counts)
        table.add_row(f"{shadows}{' (requested)' if shadows == found.shadows else ''}", *row)
    return table


def _gates(outlooks: tuple[Outlook, ...]) -> Table:
    from rich.table import Table

    table = Table(
        title="Power of the gates: probability of each verdict, by true rate",
        title_justify="left",
        title_style="bold",
        show_lines=True,
    )
    for heading in ("gate", "can it pass?", "true rate: pass / fail / inconclusive"):
        table.add_column(heading)
    for outlook in outlooks:
        rates = (f"{100 * c.rate:.3g}%: {c.passes:.2f} / {c.fails:.2f} / {c.undecided:.2f}" for c in outlook.chances)
        answer = {True: "yes", False: "no", None: "unknown"}[outlook.can_pass]
        said = answer + (f": {outlook.reason}" if outlook.reason else "")
        table.add_row(outlook.limit, said, "\n".join(rates))
    return table


def _wider(found: Plan) -> str:
    least = min(found.cheaper, default=found.shadows)
    if least == found.shadows:
        return ""
    times = f"{(found.shadows / least) ** 0.5:.2g} times as wide with {least} as with {found.shadows}"
    return f" The intervals of single examples' memorization are {times}."
