"""From a model file and a bank to a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memaudit import policy, reports
from memaudit.auditing import ledger as ledgers
from memaudit.auditing.asked import Options, questions
from memaudit.auditing.choices import require_choices, require_fitting, usual_attacks
from memaudit.auditing.evidence import EvidenceLevel, Key, LedgerKey, flags_table, identifiers, most_exposed, table
from memaudit.auditing.examination import examine, trusted_by
from memaudit.auditing.facts import facts_of, of_examples
from memaudit.auditing.folder import EVIDENCE, seal, unseal
from memaudit.auditing.ground import LEAST_SHADOWS, Ground, ground
from memaudit.auditing.planning import require_planned
from memaudit.auditing.promised import Dp
from memaudit.auditing.provenance import bound, made_from, provenance
from memaudit.auditing.recorded import Outputs, open_outputs
from memaudit.auditing.scope import limitations, notices, untested
from memaudit.auditing.target import Target, open_target
from memaudit.bank import Bank
from memaudit.checks import Evidence
from memaudit.design import Role
from memaudit.errors import EvidenceError, MemauditError, SettingsError
from memaudit.files import make_private_folder, write_whole
from memaudit.recipe import Recipe, recipe_digest
from memaudit.types import (
    Attempt,
    Context,
    Edition,
    Limit,
    Planned,
    Report,
    Rung,
    Subject,
    Verdict,
    Waiver,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["LEAST_SHADOWS", "Audit", "audit", "examine", "of_examples", "recorded"]


@dataclass(frozen=True)
class Audit:
    """A finished audit: its report, and the evidence on single examples (None where none was asked for)."""

    report: Report
    evidence: bytes | None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the report."""
        return self.report.verdict

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the report in short."""
        return self.report._repr_html_()

    def save(self, path: str | Path, edition: Edition | str | None = None) -> None:
        """Write the report in the format that the suffix names: .html, .json, .md or .pdf.

        Unless an edition is asked for, .json is whole; the pages for people are the internal edition, without pictures,
        texts and ids.
        """
        reports.save(self.report, path, edition=edition)

    def write(self, folder: str | Path, also: Iterable[Path] = (), key: Ed25519PrivateKey | None = None) -> list[Path]:
        """Write the report in every format, the evidence, and the sums of all, into a folder; returns the files.

        report.json is whole; the pages for people are the internal edition, without pictures, texts and ids.

        Args:
            folder: Made if it is not there.
            also: Other files that were written; those inside the folder get a sum, too.
            key: The audit is signed with it, after everything else is written.

        Raises:
            MemauditError: The folder cannot be written, or is for something else.
        """
        folder = Path(folder)
        written = [folder / f"report.{name}" for name in reports.FOLDER]
        evidence = folder / EVIDENCE
        names = [path.name for path in (*written, *([evidence] if self.evidence is not None else []))]
        try:
            make_private_folder(folder)
            unseal(folder, names)
            evidence.unlink(missing_ok=True)  # an earlier audit's, about people that this one may not name
            for path in written:
                reports.save(self.report, path)
            if self.evidence is not None:
                write_whole(evidence, self.evidence, private=True)
            inside = [path.name for path in also if path.resolve().parent == folder.resolve()]
            sealed = seal(folder, [*names, *inside])
            if key is not None:
                from memaudit.auditing.signing import sign

                sealed.append(sign(self.report, folder, key))
        except OSError as error:
            raise MemauditError(f"the report cannot be written into {folder}: {error.strerror}") from error
        return [*(folder / name for name in names), *sealed]


def audit(
    model: str | Path | Target | Outputs,
    recipe: Recipe | str | None = None,
    bank: Bank | str | Path | None = None,
    *,
    members: str | Path | Iterable[Any] | None = None,
    shadows: int | None = None,
    references: Sequence[str | Path] = (),
    fprs: Sequence[float] = (0.01, 0.001),
    attacks: Sequence[str] | None = None,
    access: str | None = None,
    limits: Sequence[Limit] = (),
    waivers: Sequence[Waiver] = (),
    context: Context | None = None,
    evidence: str = EvidenceLevel.HASHED,
    plan: str | Path | None = None,
    ledger: str | Path | None = None,
    manifest: str | Path | None = None,
    subgroups: Sequence[str] | Mapping[str, Iterable[Any]] | None = None,
    smallest_group: int = 10,
    attribute: str | Sequence[str] = (),
    device: str = "auto",
    command: str = "",
    state_dict: str | None = None,
    trusted: Iterable[str] = (),
    before: str | Path | Target | None = None,
    before_members: str | Path | Iterable[Any] | None = None,
    poisoned: Bank | str | Path | None = None,
    poisoned_recipe: Recipe | str | None = None,
    dp: Dp | None = None,
) -> Audit:
    """Return the audit of one trained model; trains nothing.

    It goes as far as what it is given allows, and the report names that as its `rung`: a bank of shadow models, a few
    reference models, or the model alone.

    Args:
        model: The file with the model's weights, the target that `open_target` made of it, or recorded `Outputs`.
        recipe: How it was made, or where the recipe is (`recipe.py:recipe`); not needed for outputs.
        bank: The bank, or its folder; None for an audit without shadow models.
        members: Who it was trained on: a file of ids, a mask, or ids; by default the file that `save_target` wrote.
        shadows: Use the first so many models of the bank; by default all. 0 for an audit without shadow models.
        references: Files of up to five other models, which were trained on none of the examples.
        fprs: False-positive rates at which attacks are measured.
        attacks: Names of membership attacks; by default all that are usual for the kind of model.
        access: Also measure attacks with less or more access than the usual ones, up to a level: `labels`,
            `confidences`, `weights`. `boundary` adds a search for the decision boundary to `labels`, which takes
            hundreds of queries per example; `all` measures all. The bank's models are asked again, from the
            weights that it keeps.
        limits: What findings are compared with.
        waivers: Which of them may be broken by this model, for a while.
        context: Release type, auditor and owner of the model, for the report.
        evidence: `none`, `hashed`, `ids` or `full`: how single examples are named, and whether they are shown.
        plan: The file of the plan that was made beforehand, which the audit must keep to.
        ledger: The file in which the audit is recorded; by default `memaudit.ledger.jsonl` beside the bank, or beside
            the model without one.
        manifest: The file that `write_manifest` wrote: a control compares the members with it.
        subgroups: Columns that make groups, which are compared: names of `Examples(subgroups=...)` or of a table's
            columns, or values for each example by name. By default all of `Examples(subgroups=...)`.
        smallest_group: Members, and non-members, that a group needs to be shown; 10 or more.
        attribute: Columns of the inputs, of a table or an array, which an adversary infers from the model who knows
            the rest of a record. The models of the bank are asked again; estimators are fitted again for that.
        device: Where the model is run.
        command: The command line that asked for the audit, for its report.
        state_dict: Which of several sets of weights in the file is the model, such as "model_ema".
        trusted: Types that a skops file may hold, such as "my_package.MyScaler"; the report names them.
        before: An earlier release of the model, retrained since: what the two reveal together about the records that
            were added or removed.
        before_members: Who the earlier release was trained on; by default the file that `save_target` wrote.
        poisoned: A bank that a recipe of `memaudit.poisoned` filled with the same seed: how much more the poisoned
            records leak.
        poisoned_recipe: That recipe, or where it is.
        dp: The differential privacy that is claimed of the training, `memaudit.Dp(epsilon=..., delta=...)`: the audit
            tries to refute it, and draws what it allows beside what was measured.

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    if isinstance(model, Target):
        target = model
    elif isinstance(model, Outputs):
        target = open_outputs(model, members=members, recipe=recipe)
    elif recipe is None:
        raise EvidenceError(f"{model} needs a recipe to be loaded; for recorded outputs, pass memaudit.Outputs(...)")
    else:
        target = open_target(model, recipe, members, device, state_dict=state_dict, manifest=manifest, trusted=trusted)
    require_choices(fprs, attacks, limits)
    require_fitting(target, attacks or ())
    bank = Bank.open(bank) if isinstance(bank, str | Path) and shadows != 0 else bank
    options = Options(
        access=access,
        subgroups=subgroups,
        smallest_group=smallest_group,
        attribute=attribute,
        before=before,
        before_members=before_members,
        poisoned=poisoned,
        poisoned_recipe=poisoned_recipe,
        dp=dp,
        device=device,
    )
    target, asked = questions(target, options)
    place = Path(ledger) if ledger is not None else _ledger(bank, target)
    ledgers.require_writable(place)
    base = ground(target, bank, shadows, references, device)
    attacks = usual_attacks(target, base, limits) if attacks is None else attacks
    require_choices(fprs, attacks)
    require_fitting(target, attacks)
    planned = None
    if plan is not None:
        planned = _planned(Path(plan), target, base, fprs, attacks, limits, place)
    measured = base.target
    more = {name: fact for question in asked for name, fact in question.facts(base).items()}
    facts = facts_of(base, tuple(fprs), tuple(attacks), device, **more)
    subject = Subject(
        model=target.name,
        sha256=target.sha256,
        members=int(measured.members.sum()),
        nonmembers=int((~measured.members).sum()),
        shadows=base.shadows,
        references=base.others,
        always=base.count(Role.ALWAYS),
        never=base.count(Role.NEVER),
        unit=getattr(target.population, "unit", "examples"),
    )
    made = made_from(target, base)
    origin = provenance(target, base, made, fprs, attacks, device, command)
    tested: dict[str, str] = {}
    for question in asked:
        origin |= question.provenance(facts)
        tested |= question.tested(facts)
    report = examine(facts, subject, untested(target, base.rung, tested), limitations(target, base), origin)
    audited, shown = base.bank is not None and Key.made(base.bank.path), EvidenceLevel(evidence)
    # Not before: a bank that has a key was audited.
    key = LedgerKey(place) if base.bank is None else Key(base.bank.path, ledger=place)
    data = LedgerKey(place).commitments(target.population)["commitment.examples"]
    report = replace(report, provenance=origin | bound(target, key, shown))
    report = replace(policy.hold(report, limits, waivers), context=context or Context(), plan=planned)
    report = replace(report, notices=notices(target))
    report = replace(report, attempt=recorded(report, limits, base.bank, made, data, place, audited))
    if shown is EvidenceLevel.NONE or not trusted_by(report.controls):
        return Audit(report, None)
    full = shown is EvidenceLevel.FULL
    names = identifiers(measured.ids, shown, key)
    if not isinstance(facts, Evidence):
        return Audit(report, flags_table(facts, names))
    return Audit(replace(report, exposed=most_exposed(facts, names, full)), table(facts, names, full))


def _ledger(bank: Bank | str | Path | None, target: Target) -> Path:
    """Return where the audit is recorded: beside the bank, or beside the model."""
    return ledgers.beside(bank.path if isinstance(bank, Bank) else target.model)


def _planned(
    plan: Path,
    target: Target,
    base: Ground,
    fprs: Sequence[float],
    attacks: Sequence[str],
    limits: Sequence[Limit],
    place: Path,
) -> Planned:
    if base.bank is None or base.rung is not Rung.BANK:
        raise SettingsError("a plan is about an audit with a bank; leave --plan out, or fill the bank")
    return require_planned(plan, base.bank, target.population, base.shadows, fprs, attacks, limits, place)


def recorded(
    report: Report,
    limits: Sequence[Limit],
    bank: Bank | None,
    made_from: dict[str, str],
    data: str,
    place: Path,
    audited: bool = False,
) -> Attempt:
    """Return which attempt the audit is, from now on also by the ledger, and by the bank if there is one."""
    witness = None if bank is None else ledgers.Witness(bank.path)
    entry = ledgers.Entry(
        time=report.created,
        model=report.subject.sha256,
        policy=ledgers.policy_digest(limits),
        recipe=recipe_digest(made_from),
        examples=report.provenance["commitment.examples"],
        data=data,
        seed=int(made_from["seed"]),
        shadows=report.subject.shadows,
        verdict=report.verdict,
        lost=witness is not None and witness.contradicts(place, audited),
    )
    attempt = ledgers.append(place, entry).attempt()
    if witness is not None:
        witness.remember(attempt.entry)
    return attempt
