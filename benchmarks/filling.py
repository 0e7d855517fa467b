"""Speed of filling a bank: Location-30's 446-128-30 network, 40 epochs; and of a small network for Fashion-MNIST.

    python -m benchmarks.filling --data dataset_location.tgz [--models 32] [--workers N]
    python -m benchmarks.filling --data dataset_location.tgz --packs [--rounds 5]

Without --packs: a whole fill by the clock. The obvious way trains the same models one after another with a torch
DataLoader and a plain loop; it is timed on a few models and extrapolated. The share of the machine's peak is the
training's multiply-adds over what a large matrix product reaches on the same cores in the same run.

With --packs: models trained alone and in packs of several sizes, by processor time on one thread, interleaved, as
ratios; with their equality, the peak memory, and the share of the floor, which is that of one core's matrix products.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import memaudit as ma
from benchmarks.location30_recipe import model, recipe
from benchmarks.printing import head, row
from memaudit.design import half
from memaudit.training.classifier import Course, train_classifier
from memaudit.training.model import reseed
from memaudit.training.packs import train_pack

PACKS = (2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--packs", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.packs:
        compare_packs(recipe(arguments.data), arguments.rounds)
    else:
        whole_fill(recipe(arguments.data), arguments.models, arguments.workers)


def whole_fill(location: ma.ClassifierRecipe, models: int, workers: int) -> None:
    """Print how long a fill takes, beside the obvious way and the machine's peak."""
    examples = location.examples()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        bank = ma.fill(folder, location, models, workers=workers, examples=examples)
        filled = time.perf_counter() - started
        training = [bank.record(m)["seconds"] for m in bank.models()]
    loop = plain_loop(examples) * models
    peak = matrix_product_rate() * 1e9
    work = sum(floating_point_operations(half(0, m, len(examples)).sum()) for m in range(models))
    print(head(f"{models} models of Location-30", "Value"))
    rows = (
        (f"With {workers} processes, starting them included", f"{filled:.1f} s"),
        ("One model in its process (median)", f"{np.median(training):.2f} s"),
        ("One after another with a DataLoader (extrapolated)", f"{loop:.0f} s, {loop / filled:.1f} times as long"),
        ("Large matrix product on all cores", f"{peak / 1e9:.0f} GFLOP/s"),
        ("Reached while training", f"{work / filled / 1e9:.1f} GFLOP/s, {work / filled / peak:.0%} of that"),
    )
    print("\n".join(row(*cells) for cells in rows))


def compare_packs(location: ma.ClassifierRecipe, rounds: int, epochs: int = 10) -> None:
    """Print the speed of packs of Location-30 models and of small convolutional networks, relative to models alone."""
    torch.set_num_threads(1)
    examples = location.examples()
    table = torch.as_tensor(examples.x), torch.as_tensor(examples.y)
    columns = ("Speed (range)", "Time of a model", "Largest difference of a weight", "Of the floor", "Peak memory")
    print(head(f"Location-30, {epochs} epochs: pack", *columns))
    speed_ups(replace(location, epochs=epochs), *table, rounds, lambda n: epochs / 40 * floating_point_operations(n))
    images = torch.rand(2000, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(2000) % 10
    print()
    print(head("Convolutional network, random images of 28 × 28, 2 epochs, through vmap: pack", *columns))
    fashion = ma.ClassifierRecipe(
        location.examples, convolutional, 2, 100, ma.SGD(0.02, 0.9), "cosine", augment=ma.flip
    )
    speed_ups(fashion, *images, min(rounds, 2), None)


def convolutional() -> nn.Module:
    block = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
    )
    return nn.Sequential(block, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10))


def speed_ups(of: ma.ClassifierRecipe, x: Any, y: Any, rounds: int, work: Callable[[int], float] | None) -> None:
    """Print the median ratio of processor times and its range, over rounds of alone, pack, alone, pack, …"""
    members = [half(0, m, len(y)).astype(np.uint8) for m in range(max(PACKS))]

    def begin(m: int) -> Course:
        reseed(m)
        return Course(of, x, y, members[m], m)

    def alone(models: int) -> list[nn.Module]:
        return [train_classifier(of, x, y, members[m], m) for m in range(models)]

    def packed(models: int) -> list[nn.Module]:
        return train_pack([partial(begin, m) for m in range(models)])

    alone(1), packed(2)  # what is imported at the first use
    for size in PACKS:
        times, seconds = [], []
        for _ in range(rounds):
            one, first = clocked(partial(alone, min(size, 4)))
            many, second = clocked(partial(packed, size))
            times.append(one / min(size, 4) / (many / size))
            seconds.append((one / min(size, 4), many / size))
        apart = max(map(difference, first, second))
        one_alone, one_packed = (float(np.median(of)) for of in zip(*seconds, strict=True))
        reached = "–"
        if work is not None:
            floor = np.mean([work(int(m.sum())) for m in members]) / (
                matrix_product_rate(clock=time.process_time) * 1e9
            )
            reached = f"{floor / one_packed:.0%} ({floor / one_alone:.0%} alone)"
        speed = f"{np.median(times):.2f} × ({min(times):.2f}-{max(times):.2f})"
        memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
        print(row(str(size), speed, f"{one_packed:.3f} s", f"{apart:.1g}", reached, memory), flush=True)


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    done = work()
    return time.process_time() - started, done


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


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


def matrix_product_rate(size: int = 2048, repeats: int = 10, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the rate of a large float32 matrix product on all cores of the process, in GFLOP/s."""
    a = torch.randn(size, size)
    torch.mm(a, a)
    started = clock()
    for _ in range(repeats):
        torch.mm(a, a)
    return repeats * 2 * math.pow(size, 3) / (clock() - started) / 1e9


if __name__ == "__main__":
    main()
