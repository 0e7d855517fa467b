"""What a network's representations say of memorization: benign or not, dilation, depth, gradients along training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from memaudit.errors import EvidenceError, SettingsError
from memaudit.memorization import BenignMemorization, Dilation, nearest_labels, standardized_by_class
from memaudit.memorization import benign_memorization as _benign_memorization
from memaudit.memorization import dilation as _dilation
from memaudit.memorization import prediction_depth as _prediction_depth
from memaudit.recipe import Examples
from memaudit.recipe.labels import Task
from memaudit.recipe.recipes import Output, Outputs

Array = np.ndarray

NEIGHBOURS = 30


def benign_memorization(
    model: Any,
    initial: Any,
    layer: str,
    trained: Examples,
    clean: Any,
    test: Examples,
    *,
    neighbours: int = NEIGHBOURS,
    outputs: Outputs | None = None,
    output: Output | None = None,
) -> BenignMemorization:
    """Return whether a network that was trained on random labels learned a better representation all the same.

    A nearest-neighbour probe with clean labels is asked about test examples, on the trained network's features and on
    those of the same network before training.

    Args:
        model: The trained network.
        initial: The same network at initialization.
        layer: The encoder's last layer, as for `features`.
        trained: The training set, with its random labels.
        clean: The clean labels of the training set, `[examples]`.
        test: Other examples, with clean labels.
        neighbours: Of the probe.
        outputs: What the network's outputs are, as in a recipe.
        output: Which part of what the network returns they are.

    Raises:
        EvidenceError: The labels are no classes of these examples, or a test example is in the training set.
        ModelError: There is no such layer, or its features cannot be used.

    Source: Anagnostidis et al. 2023 (ICLR); Wei et al. 2025 (ACM CSUR 58(4):98), Definition 4 and Equation 4.
    """
    from memaudit.signals.representation import features, predictions

    clean = _clean(clean, trained, test)
    right = []
    for network in (model, initial):
        known, asked = (features(network, of, layer) for of in (trained, test))
        right.append(_probe(known, clean, asked, neighbours) == test.y)
    return _benign_memorization(predictions(model, trained, outputs, output) == trained.y, *right)


def memorization_dilation(model: Any, layer: str, trained: Examples, clean: Any, test: Examples) -> Dilation:
    """Return how far a network's features of wrongly labeled training examples are from those of their true class.

    Args:
        model: The trained network.
        layer: The layer whose output is classified linearly, as for `features`.
        trained: The training set, with the labels that it was trained with.
        clean: The true labels of the training set, `[examples]`.
        test: Other examples, with true labels.

    Raises:
        EvidenceError: The labels are no classes of these examples, a test example is in the training set, or there are
            too few wrong labels or test examples.
        ModelError: There is no such layer, or its features cannot be used.

    Source: Nguyen et al. 2023 (ICLR); Wei et al. 2025 (ACM CSUR 58(4):98), Definition 5 and Equation 5.
    """
    from memaudit.signals.representation import features

    clean = _clean(clean, trained, test)
    wrong = np.flatnonzero(trained.y != clean)
    try:
        found = features(model, trained, layer)[wrong]
        return _dilation(found, clean[wrong], features(model, test, layer), test.y)
    except ValueError as error:
        raise EvidenceError(str(error)) from error


def prediction_depth(
    model: Any,
    examples: Examples,
    members: UInt8[Array, " examples"] | Bool[Array, " examples"],
    layers: Sequence[str] | None = None,
    *,
    neighbours: int = NEIGHBOURS,
    outputs: Outputs | None = None,
    output: Output | None = None,
) -> Int[Array, " examples"]:
    """Return the number of the last layer whose probe contradicts a network's prediction; larger = decided later.

    0: the probes of all layers agree with the network; the number of layers: even the last one's does not. Probes are
    nearest neighbours among the training examples, with the labels that these have in `examples`. No example votes on
    its own unit. Depths of networks with other layers cannot be compared.

    Args:
        model: The trained network.
        examples: The examples that are asked about, members and others.
        members: Which of them the network was trained on, as `draw_members` returns them.
        layers: Names of layers as for `features`, in the order in which they run; by default all leaf modules.
        neighbours: Of the probe; 30 in the paper.
        outputs: What the network's outputs are, as in a recipe.
        output: Which part of what the network returns they are.

    Raises:
        EvidenceError: There are too few members.
        ModelError: There is no such layer, or its features cannot be used.

    Source: Baldock, Maennel & Neyshabur 2021 (NeurIPS), section 2.
    """
    from memaudit.signals.representation import features, predictions
    from memaudit.signals.representation import layers as all_layers

    _require_classes(examples)
    members = np.asarray(members) > 0
    if members.shape != (len(examples),):
        raise EvidenceError(f"members have shape {list(members.shape)}; give one for each of {len(examples)} examples")
    names = all_layers(model, examples) if layers is None else list(layers)
    if not names:
        raise SettingsError("name at least one layer")
    units, probed = (examples.unit_of[members], examples.unit_of), []
    for layer in names:
        known = features(model, examples, layer)
        probed.append(_probe(known[members], examples.y[members], known, neighbours, units))
    return _prediction_depth(np.stack(probed), predictions(model, examples, outputs, output))


def variance_of_gradients(
    checkpoints: Iterable[Any], examples: Examples, *, output: Output | None = None
) -> Float[Array, " examples"]:
    """Return the variance of gradients (VoG) of every example, relative to its class; larger = harder, in the paper.

    It is the standard deviation over checkpoints of the gradient of the label's logit in each pixel, its mean over
    pixels, less the mean of its class, in standard deviations of the class.
    Where networks come to fit wrong labels, these can have the smallest values: check the direction on your data.

    Args:
        checkpoints: The network at several times of its training; a generator may load them one at a time.
        examples: The examples, with floating-point inputs and one class each.
        output: Which part of what the network returns are its logits.

    Raises:
        ModelError: There are fewer than two checkpoints, or the logits cannot be differentiated in the input.

    Source: Agarwal, D'souza & Hooker 2022 (CVPR).
    """
    from memaudit.signals.gradient_spread import gradient_spread

    return standardized_by_class(gradient_spread(checkpoints, examples, output), examples.y)


def _probe(*given: Any) -> Int[Array, " queries"]:
    try:
        return nearest_labels(*given)
    except ValueError as error:
        raise EvidenceError(str(error)) from error


def _clean(clean: Any, trained: Examples, test: Examples) -> Int[Array, " examples"]:
    """Return the clean labels of a training set, after checking that they and the test examples fit it."""
    _require_classes(trained)
    _require_classes(test)
    clean = np.asarray(clean)
    if clean.shape != trained.y.shape or clean.dtype.kind not in "iu" or clean.min() < 0:
        raise EvidenceError(f"give the clean label of each of the {len(trained)} training examples, from 0")
    if trained.class_names or test.class_names:
        raise EvidenceError("give labels as whole numbers from 0, the same for training and test examples")
    if shared := set(trained.inputs.contents()) & set(test.inputs.contents()):
        raise EvidenceError(f"{len(shared)} of the test examples are in the training set; give others")
    return clean


def _require_classes(examples: Examples) -> None:
    if not isinstance(examples, Examples) or examples.task is not Task.CLASSIFICATION:
        raise EvidenceError("nearest-neighbour probes are for examples with one class each")
