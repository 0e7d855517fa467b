"""Several models of a ClassifierRecipe trained at once, their networks as one batched network.

Each model keeps its own order, augmentation, learning rate and optimizer: a `Course`, as when it is trained alone. Its
parameters are views of the pack's, so that it can be looked at, take a step alone, and be stored at any time. Only full
batches are packed; the last, partial batch of a pass is a step that the model takes alone.

A plain stack of linear layers becomes products of batches of matrices. On a CPU these mostly have the sums of single
products, and such a model is bit for bit that of the training alone. Any other network goes through `torch.func.vmap`,
and its numbers agree within rounding. The gradients of the first batch show which it is: kernels are chosen by the
shapes of matrices, which stay. They are compared again after 1, 3, 7, … batches: a network may change on the way.
"""

from __future__ import annotations

import io
import pickle
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from memaudit.recipe.networks import answer_of, each, inputs_for, outputs_of
from memaudit.training.classifier import Course, losses, picked
from memaudit.training.products import Layers, layers_of, product

_EXACT = (nn.Linear, nn.Flatten, nn.ReLU, nn.LeakyReLU, nn.Identity)  # rounded alike at any place in memory
_SAME = 1e-2  # of a gradient's norm: rounding stays below, another computation does not
_TINY = 1e-6  # a norm that is rounding alone, as of a bias before a normalization

_MOST = 200_000  # parameters of a network that gains on a CPU: 1.2 times the speed with 180,000, 0.9 with 370,000


class NotPackable(Exception):
    """Why models cannot be trained as a pack."""


class TooLarge(NotPackable):
    """The device has no memory for so many models."""


def train_pack(begin: Sequence[Callable[[], Course]], same_bits: bool = False) -> list[nn.Module]:
    """Return trained networks: those that their courses have when each is trained alone.

    Args:
        begin: Each starts the course of one model, from its own seed.
        same_bits: Refuse networks whose numbers would differ in rounding, and those that gain nothing on a CPU.

    Raises:
        NotPackable: The networks cannot be packed, or a training failed; they must be trained alone.
    """
    try:
        first = begin[0]()
        if first.mixup is not None:
            raise NotPackable("mixup mixes the examples of a batch")
        layers = layers_of(first.network) if _is_plain(first) else None
        if same_bits:
            _require_faster(first, layers)
        with warnings.catch_warnings():  # of operations that vmap repeats model by model
            warnings.filterwarnings("ignore", "There is a performance drop")
            return _Pack([first, *(start() for start in begin[1:])], layers, same_bits).train()
    except NotPackable:
        raise
    except torch.OutOfMemoryError as error:
        raise TooLarge(f"the device has no memory for {len(begin)} models at once") from error
    except Exception as error:  # of the user's code, of vmap, of training: one that recurs is raised in training alone
        raise NotPackable(str(error).split("\n", maxsplit=1)[0] or type(error).__name__) from error


class _Pack:
    """The courses of several models, and the tensors that stack those of their networks."""

    def __init__(self, courses: list[Course], layers: Layers | None, same_bits: bool):
        self.courses, self.first, self.layers, self.same_bits = courses, courses[0], layers, same_bits
        _require_alike([course.network for course in courses])
        self.parameters = _stacked([dict(course.network.named_parameters()) for course in courses])
        self.buffers = _stacked([dict(course.network.named_buffers()) for course in courses])
        self.trained = [tensor for tensor in self.parameters.values() if tensor.requires_grad]
        self.own = [[p for p in course.parameters if p.requires_grad] for course in courses]

    def train(self) -> list[nn.Module]:
        """Return the networks after the whole training of each."""
        ways = [course.batches() for course in self.courses]
        before = self._state()
        for batch in count(1):
            if (due := self._full(ways)) is None:
                break
            self._step(due, self._inputs(due) if batch & (batch - 1) else self._require_same(due, before))
        self._require_kept(before)
        return [_freed(course.network).eval() for course in self.courses]

    def _full(self, ways: list[Iterator[Tensor]]) -> list[Tensor] | None:
        """Return the next full batch of each model, after it has taken the partial ones before it alone.

        Once a model has none left, all are trained to their ends alone, and it returns None.
        """
        due = [next(self._full_ones(*pair), None) for pair in zip(self.courses, ways, strict=True)]
        found = [batch for batch in due if batch is not None]
        if len(found) == len(due):
            return found
        for course, way, batch in zip(self.courses, ways, due, strict=True):
            for rest in chain([] if batch is None else [batch], way):
                course.step(rest)
        return None

    def _full_ones(self, course: Course, way: Iterator[Tensor]) -> Iterator[Tensor]:
        for batch in way:
            if len(batch) == course.recipe.batch_size:
                yield batch
            else:
                course.step(batch)

    def _inputs(self, due: list[Tensor]) -> Any:
        """Return the inputs of a batch of each model, `[models, batch, …]`, each augmented by its own generator."""
        if self.first.recipe.augment is None:
            inputs = inputs_for(self.first.network, picked(self.first.x, torch.cat(due)))
            return each(inputs, lambda part: part.view(len(due), -1, *part.shape[1:]))
        return _together([course.inputs(batch) for course, batch in zip(self.courses, due, strict=True)])

    def _gradients(self, due: list[Tensor], inputs: Any) -> tuple[Tensor, list[tuple[Tensor | None, ...]]]:
        """Return each model's mean loss, and its gradients in the order of its parameters."""
        labels = torch.cat([course.y.index_select(0, batch) for course, batch in zip(self.courses, due, strict=True)])
        logits = product(self.layers, self.parameters, inputs) if self.layers else self._mapped(inputs)
        by_example = losses(logits.flatten(0, 1), labels, self.first.recipe.label_smoothing)
        mean = by_example.view(len(due), -1).mean(dim=1)
        found = torch.autograd.grad(mean.sum(), self.trained, allow_unused=True)
        parts = [[None] * len(due) if gradient is None else gradient.contiguous().unbind() for gradient in found]
        return mean.detach(), list(zip(*parts, strict=True))

    def _step(self, due: list[Tensor], inputs: Any) -> None:
        mean, gradients = self._gradients(due, inputs)
        for course, own, found, loss in zip(self.courses, self.own, gradients, mean.unbind(), strict=True):
            for parameter, gradient in zip(own, found, strict=True):
                parameter.grad = gradient
            course.optimizer.step()
            course.losses.append(loss)

    def _mapped(self, inputs: Any) -> Tensor:
        """Return the logits `[models, batch, classes]` of any network."""
        network, output = self.first.network, self.first.recipe.output

        def one(tensors: dict[str, Tensor], given: Any) -> Tensor:
            return outputs_of(answer_of(lambda *a, **named: functional_call(network, tensors, a, named), given), output)

        return vmap(one)(self.parameters | self.buffers, inputs)

    def _require_same(self, due: list[Tensor], before: Any) -> Any:
        """Return the inputs of a batch of each model.

        Raises:
            NotPackable: Some model's gradient is another one when it is computed alone.
        """
        inputs, alone = self._inputs(due), []
        for number, (course, own) in enumerate(zip(self.courses, self.own, strict=True)):
            loss = course.loss(each(inputs, itemgetter(number)), due[number])
            alone.append(torch.autograd.grad(loss, own, allow_unused=True))
        self._require_kept(before)
        _, packed = self._gradients(due, inputs)
        for one, other in zip(chain(*alone), chain(*packed), strict=True):
            if (one is None) != (other is None):
                raise NotPackable("other parameters have a gradient in a pack")
            if one is None or other is None:
                continue
            if not (one - other).norm() <= _SAME * one.norm() + _TINY:
                raise NotPackable("a model's gradient in a pack is not the one that it has alone")
            if self.same_bits and not torch.equal(one, other):
                raise NotPackable("products of batches of matrices are rounded in another way than single ones here")
        return inputs

    def _state(self) -> list[Any]:
        """Return what must not change while a pack trains: global randomness, buffers, attributes, what is trained and
        where it is in memory.
        """
        place = [part.data_ptr() for tensor in self.parameters.values() for part in tensor.unbind()]
        own = [p.data_ptr() for name in self.parameters for c in self.courses for p in [c.network.get_parameter(name)]]
        trained = [p.requires_grad for course in self.courses for p in course.network.parameters()]
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        return [_random(), buffers, _attributes(self.first.network), own == place, trained]

    def _require_kept(self, before: list[Any]) -> None:
        """Raise NotPackable if training does more than to move parameters by their gradients."""
        drawn, buffers, kept, placed, trained = self._state()
        if drawn != before[0]:
            raise NotPackable("the network or its augmentation draws random numbers of its own, such as dropout")
        if not all(torch.equal(buffer, buffers[name]) for name, buffer in before[1].items()):
            raise NotPackable("training changes buffers of the network, such as the statistics of batch normalization")
        if kept != before[2]:
            raise NotPackable("the network changes attributes of its modules when it is called")
        if not placed:
            raise NotPackable("the optimizer replaces the tensors of parameters")
        if trained != before[4]:
            raise NotPackable("training freezes or thaws parameters on the way")


def _is_plain(course: Course) -> bool:
    """Return whether a network takes one tensor and returns nothing but logits."""
    return course.recipe.output is None and isinstance(course.x, Tensor)


def _require_faster(course: Course, layers: Layers | None) -> None:
    """Raise NotPackable unless a pack on a CPU is known to be faster, and not known to change a bit."""
    if layers is None:
        raise NotPackable("the network is no plain stack of linear layers")
    if (size := sum(parameter.numel() for parameter in course.parameters)) > _MOST:
        raise NotPackable(f"the network has {size:,} parameters, and products of more than {_MOST:,} gain nothing")
    linear = [layer for _, layer in layers if isinstance(layer, nn.Linear)]
    sigmoid = course.y.ndim == 2 or (not course.y.is_floating_point() and linear[-1].out_features == 1)
    if sigmoid or not all(type(layer) in _EXACT for _, layer in layers):
        raise NotPackable("a function such as tanh or a sigmoid is rounded by the place of a number in memory")


def _require_alike(networks: list[nn.Module]) -> None:
    """Raise NotPackable unless all networks have the same tensors, of a type that can be compared."""
    for tensor in networks[0].parameters():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise NotPackable(f"parameters are of {tensor.dtype}")
        if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
            raise NotPackable("a parameter has a hook")
    if any(module._backward_hooks or module._backward_pre_hooks for module in networks[0].modules()):
        raise NotPackable("a module has a backward hook")
    if len({(str(network), _shapes(network)) for network in networks}) > 1:
        raise NotPackable("model() builds networks that differ in their layers")


def _shapes(network: nn.Module) -> tuple[Any, ...]:
    named = chain(network.named_parameters(), network.named_buffers())
    return tuple((name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in named)


def _stacked(networks: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors `[models, …]`; those of the networks become views of them."""
    found = {}
    for name, tensor in networks[0].items():
        stack = torch.stack([tensors[name].detach() for tensors in networks])
        for tensors, part in zip(networks, stack.unbind(), strict=True):
            tensors[name].data = part
        found[name] = stack.requires_grad_(tensor.requires_grad)
    return found


def _freed(network: nn.Module) -> nn.Module:
    """Return a network whose tensors no longer keep the pack's."""
    for tensor in chain(network.parameters(), network.buffers()):
        tensor.data, tensor.grad = tensor.data.clone(), None
    return network


def _together(parts: list[Any]) -> Any:
    """Return the inputs of several models stacked, by name or position if there are several."""
    if isinstance(parts[0], dict):
        return {name: _together([part[name] for part in parts]) for name in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(map(_together, map(list, zip(*parts, strict=True))))
    return torch.stack(parts)


class _Written(pickle.Pickler):
    """Writes objects as they are now: modules and functions by who they are, tensors by how often they were changed."""

    def persistent_id(self, given: Any) -> Any:
        if isinstance(given, Tensor) and not isinstance(given, nn.Parameter):
            return id(given), given._version
        return id(given) if isinstance(given, nn.Parameter) or callable(given) else None


def _attributes(network: nn.Module) -> bytes:
    """Return the attributes of a network's modules as bytes, with the contents of lists and the like.

    Raises:
        NotPackable: An attribute has contents that cannot be read.
    """
    modules = [{k: v for k, v in vars(m).items() if k not in ("_parameters", "_buffers")} for m in network.modules()]
    try:
        _Written(found := io.BytesIO()).dump(modules)
    except Exception as error:  # of the user's classes
        raise NotPackable("a module has an attribute that cannot be compared, such as a lock") from error
    return found.getvalue()


def _random() -> Any:
    """Return the states of all global random generators."""
    devices = [torch.cuda.get_rng_state(number) for number in range(torch.cuda.device_count())]
    states = [bytes(state.numpy()) for state in (torch.get_rng_state(), *devices)]
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  # what users' functions draw from
    return states, random.getstate(), name, bytes(np.asarray(keys)), rest
