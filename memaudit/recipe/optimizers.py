"""Torch's optimizers without torch's compiler, which their methods import at the first call: a second, and 150 MB.

The methods are wrapped for the sake of compiled code alone, and a recipe's optimizer steps outside of it. The functions
inside are the same, and so are the numbers, bit for bit.
"""

from __future__ import annotations

from inspect import unwrap
from typing import TypeVar

import torch

Kind = TypeVar("Kind", bound=type[torch.optim.Optimizer])

_WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def _uncompiled(kind: Kind) -> Kind:
    """Return an optimizer's class with the functions inside its wrapped methods."""
    for name in _WRAPPED:
        setattr(kind, name, unwrap(getattr(kind, name)))
    kind.step = torch.no_grad()(unwrap(kind.step))  # type: ignore[method-assign]
    return kind


@_uncompiled
class SGD(torch.optim.SGD):
    """`torch.optim.SGD`."""


@_uncompiled
class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`."""
