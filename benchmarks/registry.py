"""Every benchmark whose figures RESULTS.md shows: one line, and one block of the page, each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.blocks import section
from benchmarks.printing import head, row


@dataclass(frozen=True)
class Benchmark:
    """A command and the block that shows what it prints.

    Args:
        name: The block's.
        command: What follows `python -m benchmarks.`; DIR, BANKS and PEERS stand for folders, DEVICE for a device.
        minutes: About how long it takes on two cores, or on a GPU.
        needs: Files and folders in DIR.
        packages: Optional packages.
        gpu: Whether it needs a GPU.
        peers: Whether it needs the peers.
        limit: Seconds after which it is stopped; what it has printed by then is kept.
        threads: OMP_NUM_THREADS, where the figures depend on it.
        toy: More of the command, which makes it small enough for a test.
    """

    name: str
    command: str
    minutes: float
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    gpu: bool = False
    peers: bool = False
    limit: float | None = None
    threads: int | None = None
    toy: str = ""

    @property
    def argv(self) -> list[str]:
        """What follows `python`."""
        return ["-m", *shlex.split(f"benchmarks.{self.command}")]


_LOCATION = "location30/dataset_location.tgz"
_CIFAR, _CSCORES = "cifar10/cifar10.npz", "cscores/cifar10-cscores-orig-order.npz"
_CIFAR_N = "cifar10n/cifar10n_human_labels.npz"
_FASHION, _ADULT, _BOOKS, _STORIES = "fashion-mnist", "adult/adult.data.gz", "gutenberg", "stories15m"
_TASKS = "location30 fashion-mlp fashion-cnn forest-adult language-short"

BENCHMARKS = (
    Benchmark("gpu-tests", "gpu_tests", 1.5, gpu=True, limit=100),
    Benchmark(
        "gpu-location30",
        f"location30 --data DIR/{_LOCATION} --device DEVICE --workers 1 --seconds 45",
        1,
        (_LOCATION,),
        gpu=True,
        limit=75,
        toy="--models 8 --seconds 9999",
    ),
    Benchmark(
        "gpu-lora",
        "lora --data DIR --device DEVICE --seconds 60",
        1.5,
        (_STORIES, _BOOKS),
        ("peft",),
        gpu=True,
        limit=90,
        toy="--models 6 --documents 40 --epochs 1 --seconds 9999",
    ),
    Benchmark(
        "gpu-cifar10",
        f"cifar10 --data DIR/{_CIFAR} --cscores DIR/{_CSCORES} --device DEVICE --seconds 200",
        5,
        (_CIFAR, _CSCORES),
        gpu=True,
        limit=305,
        toy="--models 6 --images 200 --epochs 1 --seconds 9999",
    ),
    Benchmark(
        "attack-power", f"attack_power --data DIR --banks BANKS {_TASKS}", 120, (_LOCATION, _FASHION, _ADULT, _BOOKS)
    ),
    Benchmark("gates", "operating_characteristics --simulate", 90),
    Benchmark(
        "gates-slira",
        "operating_characteristics --simulate --attack slira --shadows 6 16 --repetitions 160 --controls 4",
        120,
    ),
    Benchmark("gates-command-line", "command_line --audits 120", 60),
    Benchmark("location30", f"location30 --data DIR/{_LOCATION} --workers 1", 12, (_LOCATION,)),
    Benchmark(
        "memorization-truth",
        "memorization_truth --data DIR --banks BANKS",
        30,
        (_LOCATION, _FASHION, _BOOKS),
        threads=1,
    ),
    Benchmark(
        "noisy-labels",
        f"noisy_labels --images DIR/{_CIFAR} --labels DIR/{_CIFAR_N}",
        20,
        (_CIFAR, _CIFAR_N),
        ("cleanlab",),
    ),
    Benchmark("cscores", f"cscores --images DIR/{_CIFAR} --scores DIR/{_CSCORES}", 17, (_CIFAR, _CSCORES), threads=1),
    Benchmark("audit-phase", "audit_phase", 3, threads=1),
    Benchmark("paired-errors", "paired_errors", 2),
    Benchmark("peers", "peers --peers PEERS", 5, peers=True, threads=1),
    Benchmark("scoring", "scoring", 1, threads=1),
    Benchmark("filling", f"filling --data DIR/{_LOCATION}", 2, (_LOCATION,)),
    Benchmark("filling-packs", f"filling --data DIR/{_LOCATION} --packs", 5, (_LOCATION,), threads=1),
    Benchmark("packs", f"packs --data DIR/{_LOCATION}", 30, (_LOCATION,), threads=1),
    Benchmark("start-up", "start_up", 3, threads=1),
    Benchmark("scale", "scale", 30, threads=1),
    Benchmark("exposure", "exposure", 15, threads=1),
    Benchmark("secret-sharer", f"secret_sharer DIR/{_BOOKS}/austen-emma.txt", 30, (_BOOKS,), threads=1),
    Benchmark("three-laws", "three_laws", 15, threads=1),
    Benchmark("stories", "examples stories --data DIR", 30, (_STORIES, _BOOKS), ("peft",)),
    Benchmark("memguard", "memguard DIR/memguard", 1, ("memguard",)),
    Benchmark("couples", "couples", 20),
    Benchmark("unpaired", "unpaired --models 16 24 --repetitions 300", 20),
    Benchmark("shares", "shares --learner logistic --repetitions 200 --shares 0.8 0.95 0.2 0.5", 40),
    Benchmark("task-signals", "task_signals", 3),
    Benchmark("few-shadows", "few_shadows --shadows 4 --repetitions 120", 40),
    Benchmark(
        "rung0-stories",
        f"rung0_stories DIR/{_STORIES} DIR/{_BOOKS}/bryant-stories.txt --documents 40 --epochs 2",
        4,
        (_STORIES, _BOOKS),
    ),
    Benchmark("influence", "influence", 2),
    Benchmark("onion", "representations onion", 6),
    Benchmark("layers", "representations layers", 6),
    Benchmark("near-copies", "near_copies --repetitions 200 --first 1000", 15),
    Benchmark("observing", "observing", 8, threads=1),
    Benchmark("access-location30", "access_table --data DIR --banks BANKS --shadows 24 location30", 7, (_LOCATION,)),
    Benchmark("access-fashion-mlp", "access_table --data DIR --banks BANKS --shadows 16 fashion-mlp", 5, (_FASHION,)),
    Benchmark(
        "access-boundary",
        "access_table --data DIR --search --shadows 12 fashion-small",
        10,
        (_FASHION,),
        ("art",),
    ),
    Benchmark(
        "white-box", "white_box --data DIR --banks BANKS --shadows 32 --poisoned 16 --outputs-only", 8, (_LOCATION,)
    ),
    Benchmark("dp", "examples dp", 4, packages=("opacus",)),
    Benchmark("people", "examples adult --data DIR", 6, (_ADULT,)),
    Benchmark("generative", "generative BANKS/generative --shadows 12", 6),
    Benchmark("gradient-inversion", "examples gradient_inversion", 1),
    Benchmark("reconstruction", "examples reconstruction", 2),
    Benchmark("whatif-images", "whatif_images --data DIR --folder BANKS --models 8", 20, (_FASHION,), ("opacus",)),
    Benchmark("whatif-text", "whatif_text BANKS", 30, packages=("transformers",)),
    Benchmark("unlearning", "unlearning --data DIR --folder BANKS --models 12 --images 3000", 15, (_FASHION,)),
    Benchmark("federated", "federated BANKS --data DIR/location30", 30, (_LOCATION,)),
)


def small(benchmark: Benchmark) -> Benchmark:
    """Return a benchmark at toy size, with time for a CPU; as it is if it has none."""
    return replace(benchmark, command=f"{benchmark.command} {benchmark.toy}", limit=600) if benchmark.toy else benchmark


def chosen(asked: Sequence[str]) -> list[Benchmark]:
    """Return the benchmarks of these names or beginnings, in the order of the page; without any, all.

    Raises:
        ValueError: No benchmark has such a name.
    """
    names = [benchmark.name for benchmark in BENCHMARKS]
    matching: set[str] = set(() if asked else names)
    for name in asked:
        found = [name] if name in names else [known for known in names if known.startswith(f"{name}-")]
        if not found:
            raise ValueError(f"there is no benchmark {name}; there are {', '.join(names)}")
        matching |= set(found)
    return [benchmark for benchmark in BENCHMARKS if benchmark.name in matching]


def listed(benchmarks: Sequence[Benchmark], page: str) -> str:
    """Return a table of benchmarks: how long each takes, what it needs, and its section of the page."""
    lines = [head("benchmark", "minutes", "needs", "section")]
    for benchmark in benchmarks:
        needs = [*benchmark.needs, *benchmark.packages, *["a GPU"] * benchmark.gpu, *["the peers"] * benchmark.peers]
        lines.append(row(benchmark.name, f"{benchmark.minutes:g}", ", ".join(needs), section(page, benchmark.name)))
    return "\n".join(lines)
