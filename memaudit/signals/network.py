"""Running a torch network over a population; the only place here that needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped

from memaudit.recipe.blame import blame

Array = np.ndarray


def network_logits(
    network: torch.nn.Module,
    x: Shaped[Array, "examples ..."] | torch.Tensor,
    queries: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    device: str,
    batch: int,
) -> Iterator[Float[Array, "examples classes"]]:
    """Yields the logits of the plain view and of each query, in evaluation mode and batches of fixed size."""
    inputs = torch.as_tensor(x)
    if inputs.is_floating_point():  # NumPy's float64 meets float32 weights
        inputs = inputs.to(next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32))
    network = network.to(device).eval()
    for view in (lambda batch: batch, *queries):
        with torch.no_grad(), blame("evaluating the model"):
            parts = [network(view(part.to(device))).float().cpu() for part in torch.split(inputs, batch)]
        logits = torch.cat(parts)
        yield (logits[:, None] if logits.ndim == 1 else logits).numpy()
