"""Quantization: every weight is rounded to one of few levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memaudit.errors import SettingsError
from memaudit.recipe.recipes import Step


@dataclass(frozen=True, slots=True)
class Quantize(Step):
    """Round the weights of each tensor to 2^bits − 1 levels that are symmetric about 0; no training follows.

    A weight w becomes s · round(w / s) with s = max|w| / (2^(bits − 1) − 1). The child computes in floating point with
    the rounded weights. Weights are the parameters of two dimensions or more.

    Args:
        bits: From 2 to 16.

    Source: Jacob et al. 2018 (CVPR); Krishnamoorthi 2018 (arXiv 1806.08342), symmetric quantization per tensor.
    """

    bits: int

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not 2 <= self.bits <= 16:
            raise SettingsError(f"bits = {self.bits}: quantize to a whole number of bits, from 2 to 16")

    def __call__(self, model: Any, dataset: Any, *, seed: int, device: str) -> Any:
        """Return the network with rounded weights."""
        import torch

        levels = 2 ** (self.bits - 1) - 1
        with torch.no_grad():
            for weight in (parameter for parameter in model.parameters() if parameter.ndim >= 2):
                scale = weight.abs().max() / levels
                if scale > 0:
                    weight.copy_((weight / scale).round() * scale)
        return model
