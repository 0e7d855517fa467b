"""What can be done to training data beforehand: near-duplicates removed, secrets replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from memaudit.canaries.formats import Forms, recognised
from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import Examples, Population, Secrets, TextPopulation, near_copies
from memaudit.recipe.duplicates import near_duplicates
from memaudit.recipe.shapes import plain

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Train on one of each cluster of near-duplicates that is in a training set: the first, whatever its label.

    A unit whose examples are all near-duplicates of earlier ones is a member still, as it was in the data. A canary
    that is planted several times is trained on once: its copies are duplicates.

    Args:
        within: Of arrays, images and tables: as for `near_copies`.
        similarity: Of texts: the Jaccard similarity of their 5-word shingles, as for `Documents`.

    Source: Lee et al. 2022 (ACL), "Deduplicating Training Data Makes Language Models Better"; Kandpal et al. 2022
    (ICML), "Deduplicating Training Data Mitigates Privacy Risks in Language Models".
    """

    within: float = 0.1
    similarity: float = 0.8

    def of(self, examples: Population) -> Clusters:
        """Return the clusters of the examples.

        Raises:
            SettingsError: There are no near-duplicates.
        """
        texts = _texts(examples)
        if texts is not None:
            found = near_duplicates(texts, self.similarity)
        else:
            assert isinstance(examples, Examples)
            found = near_copies(examples.x, self.within)
        repeated = isinstance(examples, TextPopulation) and examples.canaries and max(examples.probes.doses) > 1
        if len(np.unique(found)) == len(found) and not repeated:
            raise SettingsError(
                f"no two of the {len(found)} examples are near-duplicates: de-duplication changes nothing. Raise "
                "`within`, or lower `similarity`, or leave this variant out"
            )
        return Clusters(examples, found)


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Examples and the cluster of near-duplicates of each."""

    examples: Population
    cluster_of: Int[Array, " examples"]

    def training_set(self, counts: UInt8[Array, " ids"]) -> tuple[Population, UInt8[Array, " ids"]]:
        """Return the training set with the first example of each of its clusters alone."""
        if not isinstance(self.examples, TextPopulation):
            return self.examples, self._first(counts > 0).astype(np.uint8)
        there = counts[: len(self.examples)][self.examples.documents.unit_of] > 0
        dropped = np.flatnonzero(there & ~self._first(there))
        return self.examples.trained_on(left_out=map(int, dropped)), np.minimum(counts, 1)

    def _first(self, there: Array) -> Array:
        """Return which of the examples of a training set are the first of their cluster in it."""
        rows = np.flatnonzero(there)
        kept = np.zeros(len(there), bool)
        kept[rows[np.unique(self.cluster_of[rows], return_index=True)[1]]] = True
        return kept


@dataclass(frozen=True, slots=True)
class Scrub:
    """Train on texts in which secrets are replaced by their kind, such as "[e-mail]".

    Canaries are planted afterwards: they show what a secret that is not recognised risks.

    Args:
        secrets: What is recognised, as for `Probes(secrets=...)`; by default what the recipe's probes seek.
        by: A function of your own that returns the scrubbed text; `secrets` is not used then.
    """

    secrets: Any = None
    by: Callable[[str], str] | None = None

    def of(self, examples: Population) -> Scrubbed:
        """Return the population whose texts are scrubbed.

        Raises:
            SettingsError: There is nothing to replace.
            RecipeError: The inputs are no texts.
        """
        change = self.by or Replacing(self._forms(examples)).scrubbed
        if isinstance(examples, TextPopulation):
            before: Sequence[Any] = examples.documents.texts
        elif examples.inputs.texts is None:
            raise RecipeError("inputs are no texts, so there is nothing to scrub; this remedy is for texts")
        else:
            before = examples.inputs.texts
        after = [_changed(text, change) for text in before]
        if all(one == other for one, other in zip(before, after, strict=True)):
            raise SettingsError(
                f"nothing in the {len(after)} texts is replaced: scrubbing changes nothing. Name secrets "
                "(secrets=memaudit.Secrets(...)), or leave this variant out"
            )
        if isinstance(examples, TextPopulation):
            return Scrubbed(examples.trained_on(after))
        return Scrubbed(examples.with_inputs(after))

    def _forms(self, examples: Population) -> Forms:
        if self.secrets is not None:
            return Secrets.of(self.secrets).forms
        return examples.probes.sought.forms if isinstance(examples, TextPopulation) else Forms()


@dataclass(frozen=True, slots=True)
class Replacing:
    """Replaces what is recognised by its kind."""

    forms: Forms

    def scrubbed(self, text: str) -> str:
        """Return the text without its secrets."""
        for kind, start, end in sorted(recognised(text, self.forms), key=lambda found: -found[1]):
            text = f"{text[:start]}[{kind}]{text[end:]}"
        return text


@dataclass(frozen=True, slots=True, eq=False)
class Scrubbed:
    """A population of scrubbed texts."""

    examples: Population

    def training_set(self, counts: UInt8[Array, " ids"]) -> tuple[Population, UInt8[Array, " ids"]]:
        """Return the scrubbed texts, as often as the texts themselves."""
        return self.examples, counts


def _texts(examples: Population) -> Sequence[str] | None:
    if isinstance(examples, TextPopulation):
        return [plain(text) for text in examples.documents.texts]
    return examples.inputs.texts


def _changed(text: Any, change: Callable[[str], str]) -> Any:
    """Return a document with each of its strings changed; the roles of messages are none."""
    if isinstance(text, str):
        return change(text)
    if isinstance(text, Mapping):
        return {key: value if key == "role" else _changed(value, change) for key, value in text.items()}
    return [_changed(value, change) for value in text] if isinstance(text, Sequence) else text
