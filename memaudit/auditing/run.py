"""From a model file and a bank to a report."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from memaudit import policy, reports
from memaudit.attacks import ATTACKS
from memaudit.auditing.evidence import EvidenceLevel, identifiers, most_exposed, table
from memaudit.bank import Bank
from memaudit.checks import CONTROLS, Evidence, all_checks, fidelity_check
from memaudit.errors import EvidenceError, MemauditError, ModelError, SettingsError
from memaudit.files import write_whole
from memaudit.recipe import (
    Examples,
    Recipe,
    fingerprint,
    load_recipe,
    load_target,
    member_mask,
    members_beside,
    read_members,
)
from memaudit.signals import Signals, evaluate
from memaudit.training import choose_device, population
from memaudit.types import Control, Limit, Report, Result, Skipped, Subject, Verdict

Array = np.ndarray

LEAST_SHADOWS = 6
_LEAST_EXAMPLES = 10

UNTESTED = (
    "Attacks other than those listed, such as ones that see the weights or their history, or ask only for labels.",
    "Extraction and reconstruction of training examples, model inversion, and inference of attributes.",
    "What can be learned about people who are not among the examples.",
    "Several releases of a model taken together.",
)
LIMITATIONS = (
    "The figures describe one trained model; training again gives another model with somewhat other figures.",
    "The adversary is assumed to know the recipe and to have data like the training data; a weaker one finds less.",
    "A failed attack is evidence of resistance to that attack only.",
    "Memorization is measured on training sets of half of the examples; it falls as training sets grow.",
    "The most exposed examples were picked because they looked exposed; measured again, they would look less so.",
)


@dataclass(frozen=True)
class Audit:
    """A finished audit: its report, and the evidence on single examples (None where none was asked for)."""

    report: Report
    evidence: bytes | None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the report."""
        return self.report.verdict

    def save(self, path: str | Path) -> None:
        """Writes the report in the format that the suffix names: .html, .json or .md."""
        reports.save(self.report, path)

    def write(self, folder: str | Path) -> list[Path]:
        """Writes the report in every format, and the evidence, into a folder; returns the files.

        Raises:
            MemauditError: The folder cannot be written.
        """
        folder = Path(folder)
        written = [folder / f"report{suffix}" for suffix in reports.FORMATS]
        evidence = folder / "evidence.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            evidence.unlink(missing_ok=True)  # an earlier audit's, about people that this one may not name
            for path in written:
                self.save(path)
            if self.evidence is not None:
                write_whole(evidence, self.evidence)
        except OSError as error:
            raise MemauditError(f"the report cannot be written into {folder}: {error.strerror}") from error
        return [*written, *([evidence] if self.evidence is not None else [])]


@dataclass(frozen=True, eq=False)
class Target:
    """A model that is ready to be audited: loaded, run over all examples, with its members known."""

    recipe: Recipe
    examples: Examples
    members: Bool[Array, " examples"]
    signals: Signals
    model: Path
    sha256: str


def open_target(
    model: str | Path,
    recipe: Recipe | str,
    members: str | Path | Iterable[Any] | None = None,
    device: str = "auto",
) -> Target:
    """Returns the target, after everything that can be wrong with it has been looked at; needs no bank.

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    loaded = load_target(model, recipe)  # first: it takes no time, and a wrong path is the commonest mistake
    examples = population(recipe)
    if members is None or isinstance(members, str | Path):
        mask = read_members(members_beside(model) if members is None else members, examples)
    else:
        mask = member_mask(members, examples)
    for who, count in (("members", int(mask.sum())), ("non-members", int((~mask).sum()))):
        if count < _LEAST_EXAMPLES:
            raise EvidenceError(
                f"there are {count} {who} among the {len(mask)} examples; an audit needs at least {_LEAST_EXAMPLES} of "
                "each: examples() must return the training set and about as many held-out examples"
            )
    try:
        signals = evaluate(loaded, examples, getattr(recipe, "queries", ()), choose_device(device))
    except ModelError as error:
        raise ModelError(f"{model}: {error}") from error
    return Target(recipe, examples, mask, signals, Path(model), _digest(Path(model)))


def audit(
    model: str | Path | Target,
    recipe: Recipe | str,
    bank: Bank | str | Path,
    *,
    members: str | Path | Iterable[Any] | None = None,
    shadows: int | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    attacks: Sequence[str] = ("lira-online", "lira-offline", "global-threshold"),
    limits: Sequence[Limit] = (),
    evidence: str = EvidenceLevel.HASHED,
    device: str = "auto",
) -> Audit:
    """Returns the audit of one trained model against a filled bank; trains nothing.

    Args:
        model: The file with the model's weights, or the target that `open_target` made of it.
        recipe: How it was made, or where the recipe is (`recipe.py:recipe`).
        bank: The bank, or its folder.
        members: Who it was trained on: a file of ids, a mask, or ids; by default the file that `save_target` wrote.
        shadows: Use the first so many models of the bank; by default all.
        fprs: False-positive rates at which attacks are measured.
        attacks: Names of membership attacks.
        limits: What findings are held against.
        evidence: `none`, `hashed` or `full`: how single examples are named.
        device: Where the model is run.

    Raises:
        MemauditError: Something is missing or does not fit; the message says what to do.
    """
    require_choices(fprs, attacks)
    target = model if isinstance(model, Target) else open_target(model, recipe, members, device)
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    seed = int(bank.fingerprint["seed"])
    bank.require(fingerprint(target.recipe, target.examples, seed))
    recordings = bank.read(shadows)
    count = 2 * recordings.shape[0]
    if count < LEAST_SHADOWS:
        raise EvidenceError(
            f"the bank has {count} usable shadow models; an audit needs at least {LEAST_SHADOWS}, and 64 give useful "
            "figures: memaudit bank fill --shadows 64"
        )
    facts = Evidence(
        bank=recordings,
        phi=target.signals.phi,
        correct=target.signals.correct,
        members=target.members,
        x=target.examples.x,
        y=target.examples.y,
        fprs=tuple(fprs),
        attacks=tuple(attacks),
        seed=seed,
    )
    subject = Subject(
        model=target.model.name,
        sha256=target.sha256,
        members=int(target.members.sum()),
        nonmembers=int((~target.members).sum()),
        shadows=count,
    )
    level = EvidenceLevel(evidence)
    report = _examine(facts, limits, subject, _limitations(target.examples), _provenance(target, bank, count, fprs))
    if level is EvidenceLevel.NONE or not _trusted(report.controls):
        return Audit(report, None)
    names = identifiers(target.examples.ids, level, bank.path)
    exposed = most_exposed(facts, names, level is EvidenceLevel.FULL)
    return Audit(replace(report, exposed=exposed), table(facts, names))


def require_choices(fprs: Sequence[float], attacks: Sequence[str]) -> None:
    """Raises SettingsError for a rate outside (0, 1) or an attack that does not exist."""
    for fpr in fprs:
        if not 0 < fpr < 1:
            raise SettingsError(f"a false-positive rate lies between 0 and 1, got {fpr:g}")
    for name in attacks:
        if name not in ATTACKS:
            near = get_close_matches(name, ATTACKS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(ATTACKS)}"
            raise SettingsError(f"there is no attack {name!r}; {hint}")


def _examine(
    facts: Evidence,
    limits: Sequence[Limit],
    subject: Subject,
    limitations: tuple[str, ...],
    provenance: dict[str, str],
) -> Report:
    """Returns the report: controls first, because figures about a model unlike its shadows are withheld."""
    controls = tuple(control.run(facts) for control in CONTROLS)
    results: list[Result] = []
    skipped: list[Skipped] = []
    for check in all_checks():
        if not _trusted(controls):
            reason = "the model does not look like its shadow models, so no figure about it is given"
            skipped.append(Skipped(code=check.code, title=check.title, reason=reason))
            continue
        findings, refused = check.run(facts)
        results += [policy.judge(finding, limits) for finding in findings]
        skipped += refused
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        subject=subject,
        results=tuple(results),
        skipped=(*skipped, *policy.undecided(limits, [r.finding for r in results])),
        controls=controls,
        untested=UNTESTED,
        limitations=limitations,
        provenance=provenance,
    )


def _trusted(controls: Sequence[Control]) -> bool:
    return not any(control.code == fidelity_check.code and control.passed is False for control in controls)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _limitations(examples: Examples) -> tuple[str, ...]:
    if not examples.duplicates:
        return LIMITATIONS
    return (
        f"{examples.duplicates} of the {len(examples)} examples are exact copies of others. Where one copy is a member "
        "and the other is not, each hides the other; remove copies from the examples for clear figures.",
        *LIMITATIONS,
    )


def _provenance(target: Target, bank: Bank, shadows: int, fprs: Sequence[float]) -> dict[str, str]:
    """Returns what is needed to do the same again."""
    try:
        own = version("memaudit-toolkit")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "memaudit": own,
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "command": f"memaudit audit {shlex.quote(target.model.name)} --shadows {shadows}"
        + f" --seed {bank.fingerprint['seed']}"
        + "".join(f" --fpr {fpr:g}" for fpr in fprs),
        "members.sha256": hashlib.sha256(np.packbits(target.members).tobytes()).hexdigest(),
        "exact copies among the examples": str(target.examples.duplicates),
        **{f"bank.{name}": value for name, value in bank.fingerprint.items()},
    }
