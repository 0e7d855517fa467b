"""`memaudit verify FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memaudit.errors import SettingsError
from memaudit.types import Report

if TYPE_CHECKING:
    from memaudit.auditing.checked import Checked

_SHOWN = """\
This shows that no file was changed, added or removed since SHA256SUMS was written, and that report.json is complete and
consistent with its verdict. It does not show that the results are true."""
_UNSIGNED = """\
Nor does it show who wrote it or when: no signature was verified (--signature), and anyone who can write to the folder
can replace the checksums."""

_path = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_path)
@click.option("--ledger", type=_path, help="Ledger of audits; by default the one beside the folder.")
@click.option(
    "--signature", "public", type=_path, multiple=True, help="Public key that must have signed, or one of them."
)
@click.option("--model", type=_path, help="Is the report about this model?")
@click.option("--recipe", help="Was it made with these examples? Needs --bank, whose key they were sealed with.")
@click.option("--bank", type=_path, help="Folder of the bank.")
@click.option("--members", type=_path, help="Were these its members? Needs --recipe and --bank.")
def command(
    folder: Path,
    ledger: Path | None,
    public: tuple[Path, ...],
    model: Path | None,
    recipe: str | None,
    bank: Path | None,
    members: Path | None,
) -> None:
    """Verify that an audit's folder is unchanged: checksums, digest, report, and nothing added or missing.

    If the ledger of audits is available, also verify that its chain is intact and that it contains this audit. Exits 0,
    or 2 and lists every difference.
    """
    from memaudit.auditing.checked import Checked, check_model, check_signature
    from memaudit.auditing.folder import REPORT, SIGNATURE, SUMS, verify
    from memaudit.auditing.ledger import FILE as LEDGER
    from memaudit.policy.consistency import contradictions
    from memaudit.reports.canonical import digest

    if (recipe is None) != (bank is None) or (members is not None and recipe is None):
        raise SettingsError("--recipe and --bank go together, and --members needs both: the key is in the bank")
    report, problems = verify(folder)
    checked = Checked(problems=problems)
    if report is not None:
        problems += contradictions(report)
        place = folder.resolve().parent / LEDGER if ledger is None else ledger
        _check_ledger(checked, report, place, asked=ledger is not None)
        if public or (folder / SIGNATURE).exists():
            check_signature(checked, report, folder / REPORT, public)
        if model is not None:
            check_model(checked, report, model)
        if recipe is not None and bank is not None:
            _check_data(checked, report, recipe, bank, members, place)
    checked.require(f"{folder} is not as it was written:")
    files = sum(1 for entry in folder.iterdir() if entry.name not in (SUMS, SIGNATURE))
    click.echo(f"{folder}: {files} files are as they were written")
    click.echo(f"digest of the report: {digest((folder / REPORT).read_bytes())}")
    click.echo("\n".join([*checked.told, _SHOWN, *([] if public else [_UNSIGNED])]))


def _check_ledger(checked: Checked, report: Report, place: Path, asked: bool) -> None:
    from memaudit.auditing.checked import check_ledger

    if report.attempt is not None and (asked or place.exists()):
        check_ledger(checked, report, place)
        return
    lacking = "the report does not say" if report.attempt is None else f"there is no {place.name} beside the folder"
    checked.told.append(f"not checked: which attempt it was ({lacking}; --ledger)")


def _check_data(checked: Checked, report: Report, recipe: str, bank: Path, members: Path | None, ledger: Path) -> None:
    from memaudit.auditing.evidence import Key
    from memaudit.recipe import load_recipe, read_members
    from memaudit.training import population

    if not (bank / "bank.json").is_file():
        raise SettingsError(f"there is no bank in {bank}")
    key = Key(bank, make=False, ledger=ledger)
    if report.provenance.get("evidence.key") != key.name:
        checked.problems.append(
            f"the report was sealed with another key than that of {bank}, so its data cannot be compared"
        )
        return
    examples = population(load_recipe(recipe))
    counts = None if members is None else read_members(members, examples)
    for name, value in key.commitments(examples, counts).items():
        what = "the examples" if name == "commitment.examples" else "the members"
        same = report.provenance.get(name) == value
        (checked.told if same else checked.problems).append(f"{what} are {'' if same else 'not '}those of the audit")
