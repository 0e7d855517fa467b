"""`memaudit verify FOLDER`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from memaudit.errors import MemauditError, SettingsError
from memaudit.reports.text import one_line
from memaudit.types import Report

_SHOWN = """\
This shows that no file was changed, added or taken away since SHA256SUMS was written, and that report.json is a whole
report whose verdict follows from what it holds.
It does not show who wrote it or when: nothing is signed, and whoever can write the folder can write the sums anew. Keep
the digest, or a signature over SHA256SUMS, where others cannot write. Nor does it show that the figures are true."""

_path = click.Path(path_type=Path)


@click.command(short_help="Checks that an audit's folder is as it was written.")
@click.argument("folder", type=_path)
@click.option("--ledger", type=_path, help="Ledger of audits; by default the one beside the folder.")
@click.option("--model", type=_path, help="Is the report about this model?")
@click.option("--recipe", help="Was it made with these examples? Needs --bank, whose key they were sealed with.")
@click.option("--bank", type=_path, help="Folder of the bank.")
@click.option("--members", type=_path, help="Were these its members? Needs --recipe and --bank.")
def command(
    folder: Path, ledger: Path | None, model: Path | None, recipe: str | None, bank: Path | None, members: Path | None
) -> None:
    """Checks that an audit's folder is as it was written: sums, digest, report, and nothing added or missing.

    Where the ledger of audits is to be had, also that its chain is whole and that it holds this audit. Exits 0, or 2
    and says all that differs.
    """
    from memaudit.auditing.folder import REPORT, verify
    from memaudit.reports.canonical import digest

    if (recipe is None) != (bank is None) or (members is not None and recipe is None):
        raise SettingsError("--recipe and --bank go together, and --members needs both: the key lies in the bank")
    report, problems = verify(folder)
    seen = _Seen(problems=problems)
    if report is not None:
        _see_ledger(seen, report, folder, ledger)
        if model is not None:
            _see_model(seen, report, model)
        if recipe is not None and bank is not None:
            _see_data(seen, report, recipe, bank, members)
    if seen.problems or report is None:
        problems = [one_line(problem, 1000) for problem in seen.problems]  # names and values that others wrote
        raise MemauditError("\n  ".join([f"{folder} is not as it was written:", *problems]))
    click.echo(f"{folder}: {sum(1 for _ in folder.iterdir()) - 1} files are as they were written")
    click.echo("\n".join([f"digest of the report: {digest((folder / REPORT).read_bytes())}", *seen.told, _SHOWN]))


@dataclass
class _Seen:
    """What was found to be right, and what was not."""

    told: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _see_ledger(seen: _Seen, report: Report, folder: Path, ledger: Path | None) -> None:
    from memaudit.auditing.folder import REPORT
    from memaudit.auditing.ledger import FILE, Entry, read

    place = folder.resolve().parent / FILE if ledger is None else ledger
    if report.attempt is None or (ledger is None and not place.exists()):
        lacking = "the report does not say" if report.attempt is None else f"there is no {FILE} beside the folder"
        seen.told.append(f"not checked: which attempt it was ({lacking}; --ledger)")
        return
    try:
        found = read(place)
    except MemauditError as error:
        seen.problems.append(str(error))
        return
    if report.attempt.entry not in found.hashes:
        seen.problems.append(f"{place} does not hold this audit: it is of another place (--ledger), or was changed")
        return
    number = found.hashes.index(report.attempt.entry)
    entry = found.entries[number]
    own = replace(found.attempt(number), torn=report.attempt.torn) if isinstance(entry, Entry) else None
    if not isinstance(entry, Entry) or (entry.model, entry.verdict, own) != (
        report.subject.sha256,
        report.verdict,
        report.attempt,
    ):
        seen.problems.append(f"{place}: what it says of this audit is not what {REPORT} says")
        return
    if report.plan is not None:
        if found.planned(report.plan.sha256) == report.plan and report.plan.entry in found.hashes[:number]:
            seen.told.append(f"the plan {report.plan.sha256[:12]}… was entered before the audit")
        else:
            seen.problems.append(f"{place}: what it says of the plan is not what {REPORT} says")
    after = found.audits()[len(found.audits(number + 1)) :]
    later = [e.verdict for e in after if (e.model, e.policy) == (entry.model, entry.policy)]
    torn = f"; {found.torn} lines were cut short and are no entries" if found.torn else ""
    seen.told.append(f"{own}{', after it: ' if later else ''}{', '.join(later)}")
    seen.told.append(f"{place}: the chain of {len(found.audits())} audits is whole{torn}")


def _see_model(seen: _Seen, report: Report, model: Path) -> None:
    from memaudit.auditing.folder import sha256
    from memaudit.recipe import require_model_file

    require_model_file(model)
    if sha256(model) == report.subject.sha256:
        seen.told.append(f"the report is about {model}")
    else:
        seen.problems.append(f"the report is not about {model}, but about a model with another SHA-256")


def _see_data(seen: _Seen, report: Report, recipe: str, bank: Path, members: Path | None) -> None:
    from memaudit.auditing.evidence import Key
    from memaudit.recipe import load_recipe, read_members
    from memaudit.training import population

    if not (bank / "bank.json").is_file():
        raise SettingsError(f"there is no bank in {bank}")
    key = Key(bank, make=False)
    if report.provenance.get("evidence.key") != key.name:
        seen.problems.append(f"the report was sealed with another key than that of {bank}, so its data cannot be told")
        return
    examples = population(load_recipe(recipe))
    counts = None if members is None else read_members(members, examples)
    for name, value in key.commitments(examples, counts).items():
        what = "the examples" if name == "commitment.examples" else "the members"
        same = report.provenance.get(name) == value
        (seen.told if same else seen.problems).append(f"{what} are {'' if same else 'not '}those of the audit")
