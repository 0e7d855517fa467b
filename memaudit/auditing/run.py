"""From a model file and a bank to a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memaudit import policy, reports
from memaudit.auditing import ledger as ledgers
from memaudit.auditing.choices import default_attacks, require_choices, require_fitting
from memaudit.auditing.evidence import EvidenceLevel, Key, LedgerKey, identifiers, most_exposed, table
from memaudit.auditing.folder import EVIDENCE, seal, unseal
from memaudit.auditing.planning import require_planned
from memaudit.auditing.provenance import bound, provenance
from memaudit.auditing.scope import limitations, untested
from memaudit.auditing.target import Target, of_candidates, open_target, read_by_shadows
from memaudit.bank import Bank, Recordings
from memaudit.bank.inputs import require_inputs
from memaudit.checks import (
    BLIND,
    CONTROLS,
    Check,
    ClassifierEvidence,
    Evidence,
    TextEvidence,
    all_checks,
    fidelity_check,
)
from memaudit.design import Chosen, Role
from memaudit.errors import EvidenceError, MemauditError
from memaudit.files import make_private_folder, write_whole
from memaudit.recipe import (
    Recipe,
    TextPopulation,
    fingerprint,
    recipe_digest,
    recipe_folder,
)
from memaudit.recipe.populations import number_of_units
from memaudit.training.designing import require_fitting_design
from memaudit.types import Attempt, Context, Control, Edition, Limit, Report, Result, Skipped, Subject, Verdict, Waiver

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Array = np.ndarray

LEAST_SHADOWS = 6


@dataclass(frozen=True)
class Audit:
    """A finished audit: its report, and the evidence on single examples (None where none was asked for)."""

    report: Report
    evidence: bytes | None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the report."""
        return self.report.verdict

    def save(self, path: str | Path, edition: Edition | str | None = None) -> None:
        """Writes the report in the format that the suffix names: .html, .json, .md or .pdf.

        Unless an edition is asked for, .json is whole; the pages for people are the internal edition, without pictures,
        texts and ids.
        """
        reports.save(self.report, path, edition=edition)

    def write(self, folder: str | Path, also: Iterable[Path] = (), key: Ed25519PrivateKey | None = None) -> list[Path]:
        """Writes the report in every format, the evidence, and the sums of all, into a folder; returns the files.

        report.json is whole; the pages for people are the internal edition, without pictures, texts and ids.

        Args:
            folder: Made if it is not there.
            also: Other files that were written; those that lie in the folder get a sum, too.
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
    model: str | Path | Target,
    recipe: Recipe | str,
    bank: Bank | str | Path,
    *,
    members: str | Path | Iterable[Any] | None = None,
    shadows: int | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    attacks: Sequence[str] | None = None,
    limits: Sequence[Limit] = (),
    waivers: Sequence[Waiver] = (),
    context: Context | None = None,
    evidence: str = EvidenceLevel.HASHED,
    plan: str | Path | None = None,
    ledger: str | Path | None = None,
    manifest: str | Path | None = None,
    device: str = "auto",
    command: str = "",
    state_dict: str | None = None,
    trusted: Iterable[str] = (),
) -> Audit:
    """Returns the audit of one trained model against a filled bank; trains nothing.

    Args:
        model: The file with the model's weights, or the target that `open_target` made of it.
        recipe: How it was made, or where the recipe is (`recipe.py:recipe`).
        bank: The bank, or its folder.
        members: Who it was trained on: a file of ids, a mask, or ids; by default the file that `save_target` wrote.
        shadows: Use the first so many models of the bank; by default all.
        fprs: False-positive rates at which attacks are measured.
        attacks: Names of membership attacks; by default all that are usual for the kind of model.
        limits: What findings are held against.
        waivers: Which of them may be broken by this model, for a while.
        context: How the model is given to others, and who answers for what; the report says it as it is said here.
        evidence: `none`, `hashed`, `ids` or `full`: how single examples are named, and whether they are shown.
        plan: The file of the plan that was made beforehand, which the audit must keep to.
        ledger: The file in which the audit is recorded; by default `memaudit.ledger.jsonl` beside the bank.
        manifest: The file that `write_manifest` wrote: a control compares the members with it.
        device: Where the model is run.
        command: The command line that asked for the audit, for its report.
        state_dict: Which of several sets of weights in the file is the model, such as "model_ema".
        trusted: Types that a skops file may hold, such as "my_package.MyScaler"; the report names them.

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    target = (
        model
        if isinstance(model, Target)
        else open_target(model, recipe, members, device, state_dict=state_dict, manifest=manifest, trusted=trusted)
    )
    attacks = default_attacks(target.recipe, target.population, limits) if attacks is None else attacks
    require_choices(fprs, attacks)
    require_fitting(target, attacks)
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    place = ledgers.beside(bank.path) if ledger is None else Path(ledger)
    ledgers.require_writable(place)
    seed = int(bank.fingerprint["seed"])
    bank.require(fingerprint(target.recipe, target.population, seed) | bank.design_lines)
    design = bank.design(number_of_units(target.population))
    require_fitting_design(bank, design, target.members)
    require_inputs(bank, recipe_folder(target.recipe))
    recordings = bank.read(shadows)
    count = 2 * recordings.shape[0]
    if count < LEAST_SHADOWS:
        raise EvidenceError(
            f"the bank has {count} usable shadow models; an audit needs at least {LEAST_SHADOWS}, and 64 give useful "
            "figures: memaudit bank fill --shadows 64"
        )
    planned = None
    if plan is not None:
        planned = require_planned(Path(plan), bank, target.population, count, fprs, attacks, limits, place)
    measured = of_candidates(target, design, device)
    reading = read_by_shadows(measured, bank, recordings, device)
    facts = _facts(measured, recordings, tuple(fprs), tuple(attacks), seed, reading, design.share)
    subject = Subject(
        model=target.model.name.encode("utf-8", "backslashreplace").decode(),  # a file's name may be no text
        sha256=target.sha256,
        members=int(measured.members.sum()),
        nonmembers=int((~measured.members).sum()),
        shadows=count,
        always=design.count(Role.ALWAYS),
        never=design.count(Role.NEVER),
    )
    origin = provenance(target, bank, count, fprs, attacks, device, command)
    report = _examine(facts, subject, untested(target), limitations(target, design), origin)
    audited, level = Key.made(bank.path), EvidenceLevel(evidence)
    key = Key(bank.path, ledger=place)  # not before: a bank that has one was audited
    data = LedgerKey(place).commitments(target.population)["commitment.examples"]
    report = replace(report, provenance=origin | bound(target, key, level))
    report = replace(policy.hold(report, limits, waivers), context=context or Context(), plan=planned)
    report = replace(report, attempt=_recorded(report, limits, bank, data, place, audited))
    if level is EvidenceLevel.NONE or not _trusted(report.controls):
        return Audit(report, None)
    full = level is EvidenceLevel.FULL
    names = identifiers(measured.ids, level, key)
    return Audit(replace(report, exposed=most_exposed(facts, names, full)), table(facts, names, full))


def _facts(
    target: Target,
    recordings: Recordings,
    fprs: tuple[float, ...],
    attacks: tuple[str, ...],
    seed: int,
    reading: Array | None = None,
    share: float = 0.5,
) -> Evidence:
    """Returns what the checks may look at."""
    recorded, population = target.recorded, target.population
    split = 0 if target.membership is None else target.membership.split
    if isinstance(population, TextPopulation):
        return TextEvidence(
            bank=recordings,
            phi=recorded["phi"],
            correct=recorded["correct"],
            members=target.members,
            split=split,
            manifest=target.manifest,
            population=population,
            recorded=recorded,
            doses=target.counts[len(population) :],
            reading=reading,
            fprs=fprs,
            attacks=attacks,
            seed=seed,
            share=share,
        )
    rows = population.representatives
    return ClassifierEvidence(
        bank=recordings if len(rows) == len(population) else Chosen(recordings, rows),
        phi=recorded["phi"][rows],
        correct=recorded["correct"][rows],
        members=target.members,
        split=split,
        manifest=target.manifest,
        x=population.x[rows],
        y=population.y[rows],
        fprs=fprs,
        attacks=attacks,
        seed=seed,
        share=share,
    )


def _examine(
    facts: Evidence,
    subject: Subject,
    untested: tuple[str, ...],
    limitations: tuple[str, ...],
    provenance: dict[str, str],
) -> Report:
    """Returns the report, not yet judged: controls first, as figures about a model unlike its shadows are withheld."""
    controls = tuple(
        control.run(facts) for control in CONTROLS if isinstance(facts, control.needs) and control.wanted(facts)
    )
    results: list[Result] = []
    skipped: list[Skipped] = []
    for check in all_checks():
        if not isinstance(facts, check.needs):
            continue
        if (reason := _withheld(check, facts, controls)) is not None:
            skipped.append(Skipped(code=check.code, title=check.title, reason=reason))
            continue
        findings, refused = check.run(facts)
        results += [Result(finding=finding, verdict=Verdict.NOTED, reason="not judged") for finding in findings]
        skipped += refused
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        subject=subject,
        results=tuple(results),
        skipped=tuple(skipped),
        controls=controls,
        untested=untested,
        limitations=limitations,
        provenance=provenance,
    )


def _withheld(check: Check, facts: Evidence, controls: Sequence[Control]) -> str | None:
    """Returns why the figures of a check are not given; None if they are."""
    if not _trusted(controls):
        return "the model does not look like its shadow models, so no figure about it is given"
    blind = any(control.code == BLIND and control.passed is False for control in controls)
    if blind and isinstance(facts, TextEvidence) and check.metric == "tpr":
        return (
            "members can be told from non-members without the model, so that a figure would say how the documents were "
            "collected, not what the model gives away; draw the training set at random (memaudit.draw_members)"
        )
    return None


def _trusted(controls: Sequence[Control]) -> bool:
    return not any(control.code == fidelity_check.code and control.passed is False for control in controls)


def _recorded(report: Report, limits: Sequence[Limit], bank: Bank, data: str, place: Path, audited: bool) -> Attempt:
    """Returns which attempt the audit is, from now on also by the ledger and by the bank."""
    witness = ledgers.Witness(bank.path)
    entry = ledgers.Entry(
        time=report.created,
        model=report.subject.sha256,
        policy=ledgers.policy_digest(limits),
        recipe=recipe_digest(bank.fingerprint),
        examples=report.provenance["commitment.examples"],
        data=data,
        seed=int(bank.fingerprint["seed"]),
        shadows=report.subject.shadows,
        verdict=report.verdict,
        lost=witness.contradicts(place, audited),
    )
    attempt = ledgers.append(place, entry).attempt()
    witness.remember(attempt.entry)
    return attempt
