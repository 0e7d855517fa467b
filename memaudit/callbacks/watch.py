"""What every callback does: know the members, observe the model, save it and audit it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memaudit.auditing import Audit, audit
from memaudit.callbacks.seen import Seen, look
from memaudit.errors import EvidenceError, shown
from memaudit.files import write_whole
from memaudit.recipe import (
    Examples,
    GeneratorRecipe,
    Membership,
    Observed,
    Population,
    Recipe,
    TextPopulation,
    load_recipe,
    member_counts,
    membership,
    save_target,
)
from memaudit.recipe.manifest import SCHEMA, manifest_of
from memaudit.recipe.members import Listed
from memaudit.recipe.populations import population
from memaudit.recipe.recipes import asking
from memaudit.signals import evaluate
from memaudit.signals.evaluate import loss_of
from memaudit.signals.observing import Observer, observer_of
from memaudit.signals.undisturbed import evaluating, undisturbed
from memaudit.stats import auc, auc_interval

if TYPE_CHECKING:
    from torch.nn import Module

Array = np.ndarray
Log = Callable[[dict[str, float]], Any]

_SEED = 0  # of the sample that is observed: the same examples in every epoch
_ROUNDING = 1e-6
_UNREAD = 0.01  # rows that may never have been read: expected number
log = logging.getLogger("memaudit")


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the model while it trains, on a sample of members and held-out examples.

    `auc` is the area under the ROC curve of the global threshold (Yeom et al. 2018), 0.5 = nothing, with its 95 %
    DeLong interval. Losses are in nats: the cross-entropy of an example, or the mean over a text's tokens. Of a
    regression, the loss is the absolute error in standard deviations of the labels. Of a generator, it is the mean of
    the recipe's `loss` over its levels; a generator without one is not observed.
    """

    epoch: float
    loss_members: float
    loss_nonmembers: float
    auc: float
    auc_low: float
    auc_high: float


class Watch:
    """Watches one training run from its first step to its audit; knows no trainer.

    Args:
        recipe: How the model is made, or where the recipe is (`recipe.py:recipe`).
        path: Where the trained model is saved, as by `save_target`.
        members: Who is trained on. By default those examples of the recipe that the trainer's rows are.
        audit: Arguments of `memaudit.audit` beside model and recipe, such as {"bank": "bank"}; {} audits without a
            bank, and None audits nothing.
        sample: Members, and as many held-out examples, that are observed after every epoch; 0 observes nothing.
        check: Whether the trainer's rows are read and compared with the examples, and all must be trained on.
        strict: Whether a failure to save or to audit is raised. It is logged in any case.
        then: Called with the finished audit, such as `memaudit.loggers.mlflow.log_audit`.
    """

    def __init__(
        self,
        recipe: Recipe | str,
        path: str | Path,
        members: Listed | None = None,
        *,
        audit: Mapping[str, Any] | None = None,
        sample: int = 500,
        check: bool = True,
        strict: bool = False,
        then: Callable[[Audit], Any] | None = None,
    ):
        self.recipe: Recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
        self.path, self.members, self.wanted = Path(path), members, audit
        self.sample, self.check, self.strict, self.then = sample, check, strict, then
        self.seen: Seen | None = None
        self.observations: list[Observation] = []
        self.audit: Audit | None = None
        self.error: Exception | None = None

    def begin(self, dataset: Any, unknown: str = "", dropped: float = 0.0, epochs: int | None = None) -> None:
        """Find out who the members are, before the first step.

        Where contents can be compared, `<path>.manifest.json` states what the trainer reads, and the audit compares
        the members with it.

        Args:
            dataset: The rows that the trainer reads in an epoch.
            unknown: Why it is not known which of them it reads.
            dropped: Share of the rows that are left out of each epoch, other ones each time.
            epochs: How often it will read them, if that is known.

        Raises:
            EvidenceError: The trainer reads other examples than the members, or it cannot be told who they are.
        """
        self._examples, self._dropped = population(self.recipe), dropped
        unknown = unknown if self.check else "check=False"
        self.seen = Seen(None, why=unknown) if unknown else look(dataset, self._examples)
        if self.members is None:
            if self.seen.ids is None:
                raise EvidenceError(f"The members are not known: {self.seen.why}; give members=...")
            self.members = list(self.seen.ids)
        known = membership(self.members, self._examples)
        self._require_same(known)
        self._places = _sampled(self._examples, known.counts, self.sample)
        self._observer: Observer | None = observer_of(self.recipe, self._examples)
        self._epochs = epochs
        if self.seen.ids is not None:
            stated = manifest_of(self._examples, member_counts(list(self.seen.ids), self._examples))
            content = json.dumps({"schema": SCHEMA, **stated._asdict()}, indent=2)
            write_whole(self.manifest, content.encode() + b"\n")

    @property
    def manifest(self) -> Path:
        """Where the manifest of the trainer's rows is written."""
        return self.path.with_name(f"{self.path.name}.manifest.json")

    def observe(self, network: Module, epoch: float) -> Observation | None:
        """Return what the model says about the sample now, or None, with a warning in the log, if it says nothing.

        The training goes on as if nobody had looked: modes and random generators are restored.
        """
        self._see(network, epoch)
        inside, outside = self._places
        if isinstance(self.recipe, GeneratorRecipe) and self.recipe.loss is None:
            return None
        if min(len(inside), len(outside)) < 2:
            return None
        try:
            with undisturbed(), evaluating(network):
                phi = _phi(network, self.recipe, self._examples, np.concatenate([inside, outside]))
        except Exception as error:
            log.warning("memaudit: the model could not be observed after epoch %g: %s", epoch, shown(error))
            return None
        found = _observation(epoch, phi[: len(inside)], phi[len(inside) :], loss_of(self._examples))
        self.observations.append(found)
        return found

    def _see(self, network: Module, epoch: float, end: bool = False) -> Observed | None:
        """Look at all examples, as the recipe's `observe` says; return what was seen if this is the end.

        After one failure this training is not looked at, and goes on.
        """
        try:
            if self._observer is not None and math.isfinite(epoch):  # it is infinite where a stream ends
                self._observer.see(network, epoch, self._epochs)
            return self._observer.of(network) if self._observer is not None and end else None
        except Exception as error:
            self._observer = None
            log.warning("memaudit: no observations are stored beside the model: %s", shown(error))
        return None

    def end(self, network: Module, epochs: float = math.inf) -> None:
        """Save the model with its members, and audit it if that was asked for.

        Args:
            network: The trained model.
            epochs: How often the trainer read its rows; after less than one epoch some members were never read.

        Raises:
            Exception: Saving or auditing failed, and `strict` is set.
        """
        try:
            assert self.members is not None
            self._require_read(epochs)
            seen = self._see(network, epochs, end=True)
            save_target(network, self.path, self.members, self._examples, observed=seen)
            if self.wanted is not None:
                stated = {"manifest": self.manifest} if self.seen and self.seen.ids is not None else {}
                self.audit = audit(self.path, self.recipe, **(stated | dict(self.wanted)))
                if self.then is not None:
                    self.then(self.audit)
        except Exception as error:
            self.error = error
            log.error("memaudit: the model of this training run was not audited: %s", shown(error))
            if self.strict:
                raise

    def _require_read(self, epochs: float) -> None:
        """Raise EvidenceError where the training ended before every row was read."""
        if self.check and epochs < 1 - _ROUNDING:
            raise EvidenceError(
                f"the training ended after {epochs:.2g} of an epoch, so some members were never read. Train for an "
                "epoch or more, or save the model with memaudit.save_target and list the members that were read"
            )
        rows = (self.seen.rows if self.seen else None) or len(self._examples.ids)
        unread = rows * self._dropped ** math.floor(epochs + _ROUNDING) if self._dropped else 0.0
        if self.check and unread > _UNREAD:
            raise EvidenceError(
                f"the loader leaves {self._dropped:.2g} of the rows out of each epoch (drop_last=True), so about "
                f"{unread:.2g} of them were never read, and nobody knows which. Use drop_last=False, or train for more "
                "epochs"
            )

    def _require_same(self, known: Membership) -> None:
        """Raise EvidenceError where the members are others than the trainer's rows; warn where nobody can tell."""
        assert self.seen is not None
        if self.seen.ids is None:
            log.warning("memaudit: the members are not compared with the trainer's data: %s", self.seen.why)
            if self.seen.rows not in (None, known.listed) and not isinstance(self._examples, TextPopulation):
                raise EvidenceError(
                    f"the trainer reads {self.seen.rows} rows, but {known.listed} members are listed; list all that "
                    "the model is trained on"
                )
            return
        read = member_counts(list(self.seen.ids), self._examples)
        missing, unlisted = int((known.counts > read).sum()), int((known.counts < read).sum())
        if missing or unlisted:
            raise EvidenceError(
                f"members: the trainer does not read {missing} of those listed as often as the list says, and reads "
                f"{unlisted} that are not listed, or more often. List exactly what the model is trained on, or leave "
                "members=... out"
            )


def _sampled(examples: Population, counts: Array, sample: int) -> tuple[Array, Array]:
    """Return the places of some members and some held-out examples, drawn at random, canaries left out."""
    if isinstance(examples, TextPopulation):
        outside = counts[: len(examples)] == 0
        inside = ~outside
    else:
        inside = counts > 0
        outside = ~(np.bincount(examples.unit_of, inside) > 0)[examples.unit_of]
    rng = np.random.default_rng(_SEED)
    first, second = (np.sort(rng.permutation(np.flatnonzero(mask))[:sample]) for mask in (inside, outside))
    return first, second


def _phi(network: Module, recipe: Recipe, examples: Population, places: Array) -> Array:
    """Return the signal of some examples or units, in nats; larger = more confident."""
    device = str(next((p.device for p in network.parameters()), "cpu"))
    if isinstance(recipe, GeneratorRecipe):
        from memaudit.signals.generator import measure_fit

        assert isinstance(examples, Examples)
        return measure_fit(network, examples.take(places).x, recipe, device)
    if not isinstance(examples, TextPopulation):
        asked = asking(recipe) | {"queries": ()}
        return evaluate(network, examples.take(places), device=device, **asked).phi[:, 0]
    from memaudit.signals.language import token_statistics

    tokens = token_statistics(network, [examples.representatives[unit] for unit in places], device)
    return tokens.means(tokens.logp)


def _observation(epoch: float, inside: Array, outside: Array, loss: Callable[[Array], Array]) -> Observation:
    first, second = (float(loss(phi).mean()) for phi in (inside, outside))
    return Observation(float(epoch), first, second, auc(inside, outside), *auc_interval(inside, outside))


def named(observation: Observation) -> dict[str, float]:
    """Return an observation as metrics of a logger: memaudit/auc and so on."""
    return {f"memaudit/{name}": value for name, value in asdict(observation).items() if name != "epoch"}
