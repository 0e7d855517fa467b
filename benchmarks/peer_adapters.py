"""Other toolkits' own functions, called on the arrays of benchmarks/peers.py. Nothing of theirs is copied here.

Each adapter takes a `Bank` and returns (work, scores of what the work returned): the work is timed and includes the
toolkit's own split of the data by membership; turning its result into an array, larger = more like a member, is not.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

Array = np.ndarray
POPULATION = 2000
Work = Callable[[], Any]
Scores = Callable[[Any], Array]


@dataclass(frozen=True, slots=True)
class Bank:
    """Signals of shadow models and of one target, one query each, and who was a member of what."""

    phi: Float[Array, "models examples"]
    keep: Bool[Array, "models examples"]
    target: Float[Array, " examples"]
    members: Bool[Array, " examples"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A toolkit at a commit: where it is, which law its attack has, and how it is called.

    Args:
        name: What the table calls it.
        source: `owner/name@commit` on GitHub; its folder below PEERS is called as the repository is.
        law: The law in words.
        ours: The attack of memaudit with the nearest law.
        adapt: Returns work and scores, as above.
        large: Whether it is fast enough for the large banks.
    """

    name: str
    source: str
    law: str
    ours: str
    adapt: Callable[[Path, Bank], tuple[Work, Scores]]
    large: bool = True

    @property
    def repository(self) -> str:
        """Its owner and name."""
        return self.source.partition("@")[0]

    @property
    def commit(self) -> str:
        """The commit that is fetched."""
        return self.source.partition("@")[2]

    def folder(self, peers: Path) -> Path:
        """Return where its files are."""
        return peers / self.repository.partition("/")[2]


def mi_lira(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return the online attack of the paper's own code."""
    attack = _file(folder / "research" / "mi_lira_2021" / "plot.py").generate_ours
    return _mi_lira(attack, bank)


def mi_lira_offline(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return the offline attack of the paper's own code."""
    attack = _file(folder / "research" / "mi_lira_2021" / "plot.py").generate_ours_offline
    return _mi_lira(attack, bank)


def _mi_lira(attack: Callable[..., Any], bank: Bank) -> tuple[Work, Scores]:
    phi, target = bank.phi[:, :, None], bank.target[None, :, None]
    return lambda: attack(bank.keep, phi, bank.members[None], target), lambda found: -np.array(found[0])


def advanced_mia(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return `compute_score_lira` of TensorFlow Privacy: median and standard deviation of each example."""
    module = _module(folder, "tensorflow_privacy.privacy.privacy_tests.membership_inference_attack.advanced_mia")

    def work() -> Any:
        inside = [bank.phi[kept, i][:, None] for i, kept in enumerate(bank.keep.T)]
        outside = [bank.phi[~kept, i][:, None] for i, kept in enumerate(bank.keep.T)]
        return module.compute_score_lira(bank.target[:, None], inside, outside)

    return work, lambda found: -found


def privacy_guard(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return `prepare_lira_data` and `LiraAttack` of PrivacyGuard, online with a variance per example."""
    sys.path.insert(0, str(folder))
    training = importlib.import_module("privacy_guard.shadow_model_training.training")
    lira = importlib.import_module("privacy_guard.attacks.lira_attack")
    phi, target = bank.phi[:, :, None], bank.target[:, None]

    def work() -> Any:
        shadows = [(None, kept) for kept in bank.keep]
        frames = training.prepare_lira_data(target, phi, (None, bank.members), shadows)
        kind = lira.AggregationType.NONE
        return lira.LiraAttack(*frames[:2], row_aggregation=kind, online_attack=True).run_attack()

    def scores(found: Any) -> Array:
        out = np.empty(len(bank.target))
        out[bank.members], out[~bank.members] = found.df_train_merge["score"], found.df_test_merge["score"]
        return out

    return work, scores


def privacy_meter(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return offline RMIA of ML Privacy Meter, with 2,000 population examples and a = 0.3."""
    module = _file(folder / "attacks.py")
    models = len(bank.phi) + 2  # the target and its complement come last
    signals = np.vstack([bank.phi, np.zeros_like(bank.target), bank.target])
    keep = np.vstack([bank.keep, ~bank.members, bank.members]).T
    rng = np.random.default_rng(1)
    others = rng.normal(size=(POPULATION, models))
    probabilities, of_population = expit(signals.astype(np.float64)).T, expit(others)

    def work() -> Any:
        return module.run_rmia(models - 1, probabilities, of_population, keep, (models - 2) // 2, 0.3)

    return work, lambda found: found


def leakpro(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return `run_attack` of LeakPro's LiRA, with what its preparation would have put there."""
    module: Any = _module(folder, "leakpro.attacks.mia_attacks.lira")
    module.MIAResult = SimpleNamespace(
        from_full_scores=lambda **found: found["signal_values"]
    )  # its report is not timed
    module.tqdm = lambda iterable, **_: iterable
    inside, outside = np.flatnonzero(bank.members), np.flatnonzero(~bank.members)
    dataset = {"in_members": inside, "out_members": outside}
    attack: Any = object.__new__(type("Prepared", (module.AttackLiRA,), {"audit_dataset": dataset}))
    attack.configs = SimpleNamespace(model_dump=dict)
    attack.online, attack.var_calculation = True, "carlini"
    attack.num_shadow_models, attack.fix_var_threshold = len(bank.phi), 32
    attack.shadow_models_logits, attack.target_logits, attack.out_indices = bank.phi, bank.target, ~bank.keep

    def scores(found: Any) -> Array:
        out = np.empty(len(bank.target))
        out[np.concatenate([inside, outside])] = found[:, 0]
        return out

    return attack.run_attack, scores


def sacro(folder: Path, bank: Bank) -> tuple[Work, Scores]:
    """Return `_compute_scores` of SACRO-ML's LiRA after a split into lists, as its own method splits."""
    attack = object.__new__(_module(folder, "sacroml.attacks.likelihood_attack").LIRAAttack)
    attack.mode, attack.fix_variance, attack.report_individual = "online-carlini", False, False
    p = expit(bank.target.astype(np.float64))
    labels, outputs = np.ones(len(p), dtype=int), np.stack([1 - p, p], axis=1)

    def work() -> Any:
        sides: tuple[dict[int, list[float]], ...] = tuple({i: [] for i in range(len(p))} for _ in range(2))
        for values, kept in zip(bank.phi, bank.keep, strict=True):
            for i, value in enumerate(values):
                sides[int(kept[i])][i].append(value)
        return attack._compute_scores(labels, outputs, *sides)

    return work, lambda found: np.array(found[0])[:, 1]


_TENSORFLOW = "tensorflow/privacy@03035d5d4a271ac795dab80f5bc1cef82fc3d462"
_PRIVACY_GUARD = "facebookresearch/PrivacyGuard@fb9c26ca70f5de4a145a8d01a36cf0415851ccb9"
_LEAKPRO = "aidotse/LeakPro@c47752fad0fb48cba7d4d03023cdcedf267501c4"
_SACRO = "AI-SDC/SACRO-ML@a94060ce85df52ac4b32d0b134f7afaa81af670d"
_PRIVACY_METER = "privacytrustlab/ml_privacy_meter@e384af8fd9319b8eeb1303aa82474df1441e3c59"
_MEDIAN, _MEAN = "median, variance of each example", "mean, variance of each example"
_REFERENCE, _PER_EXAMPLE = "lira-online-reference", "lira-online-per-example"

PEERS = (
    Peer("mi_lira, online", _TENSORFLOW, _MEDIAN, _REFERENCE, mi_lira),
    Peer("mi_lira, offline", _TENSORFLOW, _MEDIAN, "lira-offline-reference", mi_lira_offline),
    Peer("TensorFlow Privacy", _TENSORFLOW, _MEDIAN, _REFERENCE, advanced_mia, large=False),
    Peer("PrivacyGuard", _PRIVACY_GUARD, _MEAN, _PER_EXAMPLE, privacy_guard),
    Peer("LeakPro", _LEAKPRO, _MEAN, _PER_EXAMPLE, leakpro, large=False),
    Peer("SACRO-ML", _SACRO, f"{_MEAN}, and a Shapiro test", _PER_EXAMPLE, sacro, large=False),
    Peer("ML Privacy Meter", _PRIVACY_METER, "RMIA, offline, a = 0.3", "rmia-offline", privacy_meter),
)


def _file(path: Path) -> ModuleType:
    """Return a module from a file outside any package."""
    spec = importlib.util.spec_from_file_location(f"peer_{path.parent.name}_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise ImportError(f"there is no {path.name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _module(folder: Path, name: str) -> ModuleType:
    """Return a module of a package whose `__init__` files are not run: they import much that the attack does not."""
    sys.path.insert(0, str(folder))
    parts = name.split(".")[:-1]
    for depth in range(1, len(parts) + 1):
        package = ModuleType(".".join(parts[:depth]))
        package.__path__ = [str(folder.joinpath(*parts[:depth]))]
        sys.modules.setdefault(package.__name__, package)
    return importlib.import_module(name)
