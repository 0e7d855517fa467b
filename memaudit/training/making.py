"""Make the models of a bank one after another, or several at once where a pack of them is faster."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from memaudit.bank import Bank
from memaudit.design import training_seed
from memaudit.recipe import ClassifierRecipe, checkpoints_of, training
from memaudit.signals.observing import observer_of
from memaudit.training.machine import one_thread
from memaudit.training.model import Workshop, seeded

_PACK = 16  # models on a CPU: of 2, 4, 8 and 16 the fastest
_LONGEST = 600  # seconds that a pack takes at most, by the first model: whoever kills it loses as much


def make_missing(
    workshop: Workshop, bank: Bank, models: Iterable[int], told: Callable[[], None] = lambda: None
) -> None:
    """Make those of some models that a bank lacks; `told` is called after each that is there.

    Models that cannot be packed are trained alone. Where packs were asked for, whose numbers differ in rounding, the
    record of a model says how many were in its pack, or why it was trained alone.
    """
    from memaudit.training.packs import NotPackable, TooLarge

    waiting, packable = deque(models), _packable(workshop)
    size, why = (workshop.pack or 1, "") if packable else (1, "it is not trained by the loop for classifiers")
    with one_thread():
        while waiting:
            taken, started = _missing(bank, waiting, size), time.perf_counter()
            try:
                if len(taken) > 1:
                    _make_pack(workshop, bank, taken, told)
                elif taken:
                    workshop.make(bank, taken[0], {"alone": why} if why and workshop.pack else {})
                    if workshop.pack is None and not why:
                        size = max(1, min(_PACK, int(_LONGEST / (time.perf_counter() - started))))
            except NotPackable as reason:
                waiting.extendleft(reversed(taken))
                size, why = (len(taken) // 2 if isinstance(reason, TooLarge) else 1), str(reason)
            else:
                told()


def _missing(bank: Bank, waiting: deque[int], size: int) -> list[int]:
    """Take the next models from a queue, and return those that the bank lacks."""
    taken: list[int] = []
    while waiting and len(taken) < size:
        model = waiting.popleft()
        taken += [] if bank.has(model) else [model]
    return taken


def _packable(workshop: Workshop) -> bool:
    """Return whether models may be trained at once; without being asked to, only on a CPU, where bits stay."""
    recipe = workshop.recipe
    if type(workshop) is not Workshop or not isinstance(recipe, ClassifierRecipe):
        return False
    own_loop = recipe.privacy is None and recipe.federated is None
    return own_loop and (workshop.pack is not None or workshop.device == "cpu")


def _make_pack(workshop: Workshop, bank: Bank, models: list[int], told: Callable[[], None]) -> None:
    """Train some models at once and store them one by one.

    Raises:
        NotPackable: They have to be trained alone; none is stored.
        RecipeError: As for `Workshop.make`.
        BankError: As for `Workshop.make`.
    """
    from memaudit.training.packs import NotPackable, train_pack

    started, since = time.perf_counter(), time.time()
    shops = [workshop.for_model(model) for model in models]
    counts = [workshop.counts(model) for model in models]
    seeds = [training_seed(workshop.seed, model) for model in models]
    observers = [observer_of(workshop.recipe, workshop.measured) for _ in models]
    begin = [
        partial(shop.course, members, seed, observer)
        for shop, members, seed, observer in zip(shops, counts, seeds, observers, strict=True)
    ]
    with training(workshop.recipe):
        networks = seeded(seeds[0], lambda *_: train_pack(begin, workshop.pack is None), counts[0])
    if checkpoints_of(workshop.recipe):
        raise NotPackable("training writes checkpoints and reads them")
    seconds = (time.perf_counter() - started) / len(models)
    span = {"host": socket.gethostname(), "from": since, "to": time.time()}
    for number, (model, network) in enumerate(zip(models, networks, strict=True)):
        record = {"seed": seeds[number], "seconds": seconds} | ({"pack": len(models)} if workshop.pack else {})
        workshop.keep(bank, model, shops[number], counts[number], (network, {}, observers[number]), record, span)
        told()
