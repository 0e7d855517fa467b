"""`memaudit audit model.pt`: train missing shadow models, attack, apply the policy, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memaudit.cli import outputs as formats
from memaudit.cli import results, terminal
from memaudit.cli.bank_command import fill_bank
from memaudit.cli.common import Job, job, ledger_option, over_budget, settings_options
from memaudit.errors import SettingsError
from memaudit.policy import exit_code
from memaudit.reports.uncovered import uncovered
from memaudit.reports.wording import attempts, rung
from memaudit.types import Report, Rung, word

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from memaudit.auditing import Audit, Target
    from memaudit.bank import Bank
    from memaudit.recipe import Recipe


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@settings_options
@click.option("--outputs", type=click.Path(path_type=Path), help="Recorded outputs, in place of MODEL: .npz, .csv, …")
@click.option("--kind", help="What the recorded outputs are: logits, probabilities, losses, scaled-logits, …")
@click.option("--members", help="The model's members: a file of ids; by default MODEL.members.csv.")
@click.option("--state-dict", help="Which set of weights in MODEL to audit, if it has several, such as model_ema.")
@click.option("--trust", multiple=True, metavar="MODULE.TYPE", help="A type that a skops file may hold; repeatable.")
@click.option("--out", multiple=True, help=f"Folder for the report. Beside it, {formats.HELP}")
@click.option("--reference", multiple=True, help="Another model's file, to compare with; may be repeated (1 to 5).")
@click.option("--fpr", type=float, multiple=True, help="False-positive rate to measure at; repeatable.")
@click.option(
    "--access",
    type=click.Choice(["labels", "confidences", "weights", "all"]),
    help="Also measure attacks by access, up to a level: what if only labels are returned?",
)
@click.option("--plan", help="The plan for this audit, as written by memaudit plan -o.")
@ledger_option
@click.option("--sign", metavar="KEY", help="Sign the report with a private key: a PEM file, or env:NAME.")
@click.option("--manifest", help="Data manifest to compare the members with: memaudit.write_manifest.")
@click.option("--before", help="An earlier release of the model: which records were added or removed since?")
@click.option("--before-members", help="Its members: a file of ids; by default those saved beside it.")
@click.option("--poisoned", help="A bank filled by memaudit.poisoned(recipe, …): how much more do its records leak?")
@click.option("--poisoned-recipe", help="The recipe that filled it: FILE:NAME; by default recipe.py:poisoned.")
@click.option("--subgroup", multiple=True, metavar="COLUMN", help="Compare the groups of this column; repeatable.")
@click.option("--attribute", multiple=True, metavar="COLUMN", help="Infer this column of the inputs; repeatable.")
@over_budget
@click.option("-v", "--sentences", is_flag=True, help="Print the results as sentences, not as a table.")
@click.option(
    "--evidence", type=click.Choice(["none", "hashed", "ids", "full"]), help="How single examples are identified."
)
def command(
    model: Path | None,
    outputs: Path | None,
    kind: str | None,
    config: Path | None,
    quiet: bool,
    yes: bool,
    fpr: tuple[float, ...],
    reference: tuple[str, ...],
    out: tuple[str, ...],
    trust: tuple[str, ...],
    subgroup: tuple[str, ...],
    attribute: tuple[str, ...],
    sign: str | None,
    sentences: bool,
    **flags: Any,
) -> int:
    """Train missing shadow models, run all attacks, apply the policy and write the report.

    MODEL is a file of weights, or a language model's folder. With --outputs and an imported bank, neither a model nor
    a recipe is needed. Exit codes: 0 every limit kept or none set, 1 a limit broken, 2 error, 3 inconclusive.
    """
    named, folders = formats.parse(out)
    if len(folders) > 1:
        raise SettingsError(f"--out: the report goes into one folder, got {' and '.join(folders)}")
    call = job(
        config,
        **flags,
        fpr=list(fpr) or None,
        references=list(reference) or None,
        trust=list(trust) or None,
        subgroups=list(subgroup) or None,
        attribute=list(attribute) or None,
        out=next(iter(folders), None),
    )
    if (model is None) == (outputs is None):
        raise SettingsError("name a MODEL, or give its recorded outputs with --outputs FILE; one of the two")
    key = None if sign is None else _signing_key(sign)  # before hours are spent
    if outputs is not None:
        return conclude(_run_outputs(outputs, kind, call, flags["recipe"]), call, quiet, named, key, sentences)
    assert model is not None
    if call.file is None and flags["recipe"] is None and not (call.folder / "recipe.py").exists():
        raise SettingsError(_missing(model))
    return conclude(run(model, call, quiet, yes), call, quiet, named, key, sentences)


def _signing_key(source: str) -> Ed25519PrivateKey:
    from memaudit.auditing.signing import private_key

    return private_key(source)


def conclude(
    done: Audit,
    call: Job,
    quiet: bool,
    named: Sequence[formats.Output] = (),
    key: Ed25519PrivateKey | None = None,
    sentences: bool = False,
) -> int:
    """Write the report, print the results to stderr, and the verdict and its path to stdout; return the exit code."""
    taken = formats.write(done.report, named)
    also = [output.path for output in named if output.path is not None]
    written = done.write(call.place(call.audit.out), also, key)
    for line in [] if quiet else _told(done.report, sentences):
        click.echo(line, err=True)
    click.echo(f"{word(done.verdict)}: {next(path for path in written if path.suffix == '.html')}", err=taken)
    return exit_code(done.report)


def _told(report: Report, sentences: bool) -> list[str]:
    """Return what is printed about a report: a table, or sentences, and what must be known beside it."""
    found = _sentences(report) if sentences else _table(report)
    entries = [
        *([] if report.rung is Rung.BANK else [("no bank", rung(report))]),
        *(("note", words) for words in report.notices),
        *uncovered(report),
        *(("control", control.sentence) for control in report.controls if control.passed is False),
        *(("not run", f"{'; '.join(titles)}: {reason}.") for reason, titles in _not_run(report).items()),
        *([("attempt", str(report.attempt))] if attempts(report.attempt) else []),
    ]
    lines = results.wrapped(entries)
    return ["", *found, *([""] if lines and not sentences else []), *lines, ""]


def _table(report: Report) -> list[str]:
    return (
        terminal.table(results.COLUMNS, [results.row(r) for r in report.results], sys.stderr) if report.results else []
    )


def _sentences(report: Report) -> list[str]:
    return results.wrapped(
        ("no limit" if r.limit is None else r.verdict, r.finding.sentence + (f" ({r.reason})" if r.limit else ""))
        for r in report.results
    )


def _not_run(report: Report) -> dict[str, list[str]]:
    """Return the titles of the checks that could not run, by the reason."""
    found: dict[str, list[str]] = {}
    for skipped in report.skipped:
        found.setdefault(skipped.reason, []).append(skipped.title)
    return found


def run(model: Path, call: Job, quiet: bool, yes: bool = False) -> Audit:
    """Return the audit of a model by the settings of a call; `yes` lets the bank cost more than was budgeted."""
    from memaudit.auditing import default_attacks, open_target, require_planned
    from memaudit.auditing.asked import Options, questions
    from memaudit.auditing.ledger import require_writable
    from memaudit.bank import Bank
    from memaudit.recipe import Counts

    settings = call.audit
    require_writable(call.ledger)  # and all else before hours are spent on the bank
    _require_folder(call.place(settings.out))
    members = None if settings.members is None else call.place(settings.members)
    manifest = None if settings.manifest is None else call.place(settings.manifest)
    target = open_target(
        model,
        call.recipe(),
        members,
        settings.device,
        state_dict=settings.state_dict,
        manifest=manifest,
        trusted=settings.trust,
    )
    assert target.recipe is not None
    asked = _asked(target, call)
    questions(target, Options(**asked, device=settings.device, weights=settings.weights))
    place = call.place(settings.bank)
    if settings.shadows != 0 and (Bank.is_imported(place) or Bank.is_derived(place)):
        return _audited(target, Bank.open(place), call, None, asked)
    if settings.plan is not None:
        attacks = settings.attacks or default_attacks(target.recipe, target.population, call.limits)
        require_planned(
            call.place(settings.plan),
            Bank.open(place),
            target.population,
            settings.shadows,
            settings.fpr,
            attacks,
            call.limits,
            call.ledger,
        )
    if _without_shadows(call, target.recipe):
        return _audited(target, None, call, 0, asked)
    bank = fill_bank(call, quiet, yes, target.recipe, target.population, members=Counts(target.counts))
    return _audited(target, bank, call, settings.shadows, asked)


def _asked(target: Target, call: Job) -> dict[str, Any]:
    """Return what the settings ask beside the usual, as arguments of `audit`; an earlier release is opened once."""
    from memaudit.auditing.asked.earlier import open_earlier
    from memaudit.recipe import load_recipe

    settings, before = call.audit, None
    if settings.before is not None:
        members = None if settings.before_members is None else call.place(settings.before_members)
        before = open_earlier(call.place(settings.before), target, members, settings.device)
    return {
        "access": settings.access,
        "subgroups": settings.subgroups,
        "smallest_group": settings.smallest_group,
        "attribute": settings.attribute,
        "before": before,
        "poisoned": None if settings.poisoned is None else call.place(settings.poisoned),
        "poisoned_recipe": None if settings.poisoned is None else load_recipe(settings.poisoned_recipe, call.folder),
        "dp": call.promise(),
    }


def _run_outputs(outputs: Path, kind: str | None, call: Job, recipe: str | None) -> Audit:
    """Return the audit of recorded outputs: against a bank if there is one, else of the outputs alone."""
    from memaudit.auditing import open_outputs
    from memaudit.auditing.ledger import require_writable
    from memaudit.bank import Bank

    place = call.place(call.audit.bank)
    bank = Bank.open(place) if call.audit.shadows != 0 and (place / "bank.json").is_file() else None
    require_writable(call.ledger)
    _require_folder(call.place(call.audit.out))
    members = None if call.audit.members is None else call.place(call.audit.members)
    needed = recipe is not None or (bank is not None and not bank.imported)
    target = open_outputs(outputs, kind, members, call.recipe() if needed else None)
    shadows = None if bank is None or bank.imported else call.audit.shadows
    return _audited(target, bank, call, shadows, _asked(target, call))


def _audited(target: Target, bank: Bank | None, call: Job, shadows: int | None, asked: dict[str, Any]) -> Audit:
    from memaudit.auditing import audit

    settings = call.audit
    return audit(
        target,
        target.recipe,
        bank,
        shadows=shadows,
        references=[call.place(file) for file in settings.references],
        fprs=settings.fpr,
        attacks=settings.attacks,
        limits=call.limits,
        waivers=call.waivers,
        context=call.context,
        evidence=settings.evidence,
        plan=None if settings.plan is None else call.place(settings.plan),
        ledger=call.ledger,
        command=(click.get_current_context().find_root().obj or "").encode("utf-8", "backslashreplace").decode(),
        device=settings.device,
        **asked,
    )


def _without_shadows(call: Job, recipe: Recipe) -> bool:
    """Return whether the audit has no bank: none was asked for, or none can be trained and no number was set."""
    from memaudit.recipe import CallableRecipe

    untrained = isinstance(recipe, CallableRecipe) and recipe.train is None
    return call.audit.shadows == 0 or (untrained and "shadows" not in call.audit.model_fields_set)


def _require_folder(folder: Path) -> None:
    """Raise SettingsError if the report cannot be written into a folder; it need not be there yet."""
    around = next(place for place in (folder, *folder.resolve().parents) if os.access(place, os.F_OK))
    if not around.is_dir() or not os.access(around, os.W_OK):
        raise SettingsError(f"the report cannot be written into {folder}; name another folder with --out FOLDER")


def _missing(model: Path) -> str:
    found = "is there" if model.exists() else "is missing"
    return (
        "A model file alone cannot be audited. An audit needs:\n"
        f"  the model            {model} ({found})\n"
        "  how it was made      recipe.py: its data, its network and its training (missing)\n"
        f"  who it was made with {model}.members.csv: the ids of its members; memaudit.save_target writes it\n"
        "  settings             memaudit.toml (missing)\n"
        "Write a recipe.py and a memaudit.toml to start from with:\n"
        "  memaudit init"
    )
