"""What is needed to do an audit again, and what binds its report to the data."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from memaudit import policy
from memaudit.auditing.evidence import EvidenceLevel, Key
from memaudit.auditing.ground import Ground
from memaudit.auditing.target import Target
from memaudit.recipe import EstimatorRecipe, TextPopulation, fingerprint, sources
from memaudit.training import device_name
from memaudit.types import ASKED_ATTACKS, ASKED_RATES

_PACKAGES = ("numpy", "scipy", "torch", "scikit-learn")
_PACKAGES_OF_TEXT = ("transformers", "tokenizers", "peft")
HASHES = (
    "examples.sha256",
    "examples.labels.sha256",
    "examples.ids.sha256",
    "examples.ids.sorted.sha256",
    "design.sha256",
)  # someone who knows all but one could try
_SECONDS = 10  # for git to answer


def provenance(
    target: Target,
    base: Ground,
    made: dict[str, str],
    fprs: Sequence[float],
    attacks: Sequence[str],
    device: str,
    command: str = "",
) -> dict[str, str]:
    """Return what is needed to do the same again; `made` is what `made_from` returns, `command` what was run."""
    packages = _PACKAGES + (_PACKAGES_OF_TEXT if isinstance(target.population, TextPopulation) else ())
    return {
        **surroundings(device),
        "command": command or _call(target, base, fprs),
        **({"state dict": target.state_dict} if target.state_dict is not None else {}),
        **({"trusted types": ", ".join(sorted(set(trusted)))} if (trusted := _trusted(target)) else {}),
        ASKED_ATTACKS: ", ".join(attacks),
        ASKED_RATES: ", ".join(map(repr, map(float, fprs))),
        **({"signal": target.population.score} if isinstance(target.population, TextPopulation) else {}),
        "git commit of the recipe": revision(() if target.recipe is None else sources(target.recipe)),
        **({"outputs": target.outputs} if target.outputs else {}),
        "exact copies among the examples": str(target.population.duplicates),
        **_of_others(base, made),
        **{f"package.{name}": _version(name) for name in packages},
    }


def surroundings(device: str) -> dict[str, str]:
    """Return what the audit ran on."""
    return {
        "memaudit": _version("memaudit-toolkit"),
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "device": device_name(device),
    }


def _of_others(base: Ground, made: dict[str, str]) -> dict[str, str]:
    """Return what the target was compared with, and how it was made."""
    given = {f"reference.{number}": f"{name} {digest}" for number, (name, digest) in enumerate(base.models, 1)}
    if base.bank is None:
        own = {name: value for name, value in made.items() if name.startswith(("recipe.", "source."))}
        return given | own
    models = () if base.bank.imported else base.bank.models()[: base.shadows]
    seconds = [found["seconds"] for found in map(base.bank.record, models) if "seconds" in found]
    return {
        **({policy.SHADOW_SECONDS: f"{np.mean(seconds):.3g}"} if seconds else {}),
        **{f"bank.{name}": value for name, value in base.bank.fingerprint.items() if name not in HASHES},
        **given,
    }


def made_from(target: Target, base: Ground) -> dict[str, str]:
    """Return the fingerprint of the bank; without one, that of the recipe, or of recorded outputs."""
    if base.bank is not None:
        return base.bank.fingerprint
    if target.recipe is None:
        return {"seed": str(base.seed), "origin": "recorded outputs", "examples.sha256": target.population.digest()}
    return fingerprint(target.recipe, target.population, base.seed)


def _trusted(target: Target) -> tuple[str, ...]:
    return target.recipe.trusted if isinstance(target.recipe, EstimatorRecipe) else ()


def _call(target: Target, base: Ground, fprs: Sequence[float]) -> str:
    """Return the call that asked for an audit from Python, without what the target holds."""
    bank = "" if base.bank is None else f" {base.bank.path.name!r},"
    few = f" references={tuple(name for name, _ in base.models)}," if base.models else ""
    return f"memaudit.audit({target.model.name!r}, recipe,{bank} shadows={base.shadows},{few} fprs={tuple(fprs)})"


def bound(target: Target, key: Key, level: EvidenceLevel) -> dict[str, str]:
    """Return what binds the report to its data.

    Keyed, where a plain hash would let anyone who knows all examples but one test whether that one was among them.
    """
    commitments = key.commitments(target.population, target.counts)
    return {"evidence": level.value, "evidence.key": key.name, **_of_members(target), **commitments}


def _of_members(target: Target) -> dict[str, str]:
    """Return the SHA-256 of the members file, and whether its examples are known to be those of the training."""
    found = target.membership
    if found is None:
        return {}
    file = {} if found.sha256 is None else {"members.sha256": found.sha256}
    return file | {"members.content": f"{found.compared} of {found.listed} members compared by digest"}


def revision(files: Iterable[Path]) -> str:
    """Return the commit that the files' repository is at, and whether the files are as they were committed."""
    files = sorted(path.resolve() for path in files)
    if not files:
        return "not known: the recipe comes from no file"
    commit = _git(files[0].parent, "rev-parse", "HEAD")
    if not commit:
        return "none: the recipe is in no git repository, or git is not installed"
    changed = [_git(path.parent, "status", "--porcelain", "--ignored", "--", path.name) for path in files]
    if None in changed:
        return f"{commit}; whether the recipe’s files are as committed is not known"
    return f"{commit}; the recipe’s files {'are not' if any(changed) else 'are'} as committed"


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git answers; None where it has no answer."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # it must not write into the user's repository
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=True,
            text=True,
            timeout=_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
