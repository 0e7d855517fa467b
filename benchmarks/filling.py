"""Speed of filling a bank: Location-30's 446-128-30 network, 40 epochs.

    python -m benchmarks.filling --data dataset_location.tgz [--models 32] [--workers N]

The obvious way trains the same models one after another with a torch DataLoader and a plain loop; it is timed on a few
models and extrapolated. The share of the machine's peak is the training's multiply-adds over what a large matrix
product reaches on the same cores in the same run.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import memaudit as ma
from benchmarks.location30_recipe import model, recipe
from memaudit.design import half


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    location = recipe(arguments.data)
    examples = location.examples()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        bank = ma.fill(folder, location, arguments.models, workers=arguments.workers, examples=examples)
        filled = time.perf_counter() - started
        training = [bank.record(m)["seconds"] for m in bank.models()]
    loop = plain_loop(examples) * arguments.models
    peak = matrix_product_rate() * 1e9
    work = sum(floating_point_operations(half(0, m, len(examples)).sum()) for m in range(arguments.models))
    print(f"{arguments.models} models with {arguments.workers} processes: {filled:.1f} s, starting them included")
    print(f"one model in its process: {np.median(training):.2f} s (median)")
    print(f"one after another with a DataLoader: {loop:.0f} s (extrapolated), {loop / filled:.1f} times as long")
    print(f"large matrix product on all cores: {peak / 1e9:.0f} GFLOP/s")
    print(f"reached while training: {work / filled / 1e9:.1f} GFLOP/s, {work / filled / peak:.0%} of that")


def plain_loop(examples: ma.Examples, models: int = 2, epochs: int = 4) -> float:
    """Return the seconds that one model takes the obvious way, on all cores, extrapolated from a few epochs."""
    data = TensorDataset(torch.as_tensor(examples.x), torch.as_tensor(examples.y))
    started = time.perf_counter()
    for index in range(models):
        network = model()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        members = Subset(data, np.flatnonzero(half(0, index, len(examples))).tolist())
        for _ in range(epochs):
            for x, y in DataLoader(members, batch_size=100, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
    return (time.perf_counter() - started) / models * 40 / epochs


def floating_point_operations(members: int) -> float:
    """Return the operations of one training's matrix products: forward, and both gradients but the first."""
    first, second = 446 * 128, 128 * 30
    return 40 * float(members) * 2 * (2 * first + 3 * second)


def matrix_product_rate(size: int = 2048, repeats: int = 10) -> float:
    """Return the rate of a large float32 matrix product on all cores, in GFLOP/s."""
    a = torch.randn(size, size)
    torch.mm(a, a)
    started = time.perf_counter()
    for _ in range(repeats):
        torch.mm(a, a)
    return repeats * 2 * math.pow(size, 3) / (time.perf_counter() - started) / 1e9


if __name__ == "__main__":
    main()
