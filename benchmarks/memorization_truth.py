"""How well do estimates and proxies agree with leave-one-out memorization, which is the truth?

    OMP_NUM_THREADS=1 python -m benchmarks.memorization_truth --data DIR --banks DIR [--only TASK] [--quick]

DIR of the data contains one folder per data set, as for benchmarks.banks: `location30`, `fashion-mnist`, `gutenberg`.
The truth comes from models on everything and models without each chosen example; everything else from other models.
Examples are drawn at random within strata of memorization, estimated by a bank that is used for nothing else; half of
them are candidates of pLOO_improved: the fifth with the lowest accuracy per batch in one run, which serves for nothing
else. An interrupted run resumes. Intervals are bootstrap intervals over the chosen examples.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.truth_banks import NEVER, TASKS, Banks, quick
from benchmarks.truth_scores import Estimate, Scores, estimates, proxies
from memaudit.memorization import Agreement, LeaveOneOut, agreement, leave_one_out
from memaudit.memorization.leave_one_out import split_half
from memaudit.memorization.proxies import Of
from memaudit.training import population

Array = np.ndarray

_DRAWS = 2000
_ESTIMATES = (
    "| estimate | models | examples | RMSE | RMSE without noise | bias | Pearson | … without noise | Spearman |\n"
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: |"
)
_PROXIES = (
    "| proxy | one run: Pearson | one run: Spearman | from | mean over runs: Pearson | … truth without noise "
    "| Spearman |\n| --- | --: | --: | --: | --: | --: | --: |"
)


def main() -> None:
    """Fill what is missing and print a section for each data set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--banks", type=Path, required=True)
    parser.add_argument("--only", choices=TASKS, action="append", help="a data set; default: all")
    parser.add_argument("--quick", action="store_true", help="few models, in a folder of their own")
    parser.add_argument("--without", type=int, help="models without each chosen example; default: by data set")
    parser.add_argument("--estimate", type=int, help="models that estimate pLOO; default: by data set")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    for name in arguments.only or TASKS:
        task = quick(TASKS[name]) if arguments.quick else TASKS[name]
        task = replace(task, without=arguments.without or task.without, estimate=arguments.estimate or task.estimate)
        folder = arguments.banks / (f"{name}-quick" if arguments.quick else name)
        started, used = time.perf_counter(), processor_seconds()
        banks = Banks(task, arguments.data, folder, arguments.workers)
        banks.fill()
        filled, used = time.perf_counter() - started, processor_seconds() - used
        print(f"\n### {name}\n")
        for line in section(banks):
            print(line, flush=True)
        print(
            f"\n{filled:.0f} s ({used:.0f} s of processor time) for the models that were missing; "
            f"{banks.seconds():.0f} s of training in all; {time.perf_counter() - started:.0f} s with the tables."
        )


def processor_seconds() -> float:
    """Return the processor time of this process and of its workers that have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(of.ru_utime + of.ru_stime for of in used)


def section(banks: Banks) -> Iterator[str]:
    """Yield the section of a data set, in Markdown."""
    examples = population(banks.task.recipe(banks.data, NEVER))
    truth = leave_one_out(banks.left_out.correct, banks.left_out.members, banks.chosen)
    within = banks.left_out.correct[(banks.left_out.members > 0).all(axis=1)].astype(float)
    noise = truth.variance.mean()
    share = max(1 - noise / truth.value.var(ddof=1), 0)
    found = list(estimates(banks, examples))
    reliability = split_half(truth, np.random.default_rng(0))
    yield (
        f"{len(truth.value)} of {within.shape[1]} examples, {banks.task.without} models without each and as many on "
        f"everything; training accuracy {100 * within.mean():.1f} %. Leave-one-out memorization: mean "
        f"{truth.value.mean():.3f}, standard deviation {truth.value.std(ddof=1):.3f}, standard error of a score "
        f"{np.sqrt(noise):.3f}. The truth's own noise limits every score to a Pearson correlation of "
        f"{np.sqrt(share):.3f} and a Spearman correlation of {np.sqrt(reliability):.3f} (split-half reliability "
        f"{reliability:.3f}).\n"
    )
    yield _ESTIMATES
    for estimate in found:
        yield _row_of_estimate(estimate, truth)
    yield ""
    yield from _claims(found, truth)
    yield ""
    yield _PROXIES
    means = [(scores, agreement(scores.value.mean(axis=0), truth)) for scores in proxies(banks, examples)]
    for scores, mean in sorted(means, key=lambda one: -one[1].pearson[0]):
        yield _row_of_proxy(scores, mean, truth)


def some(truth: LeaveOneOut, at: Array) -> LeaveOneOut:
    """Return the truth of some of the chosen examples."""
    outside = tuple(truth.outside[i] for i in at)
    return LeaveOneOut(truth.value[at], truth.variance[at], truth.low[at], truth.high[at], truth.inside[:, at], outside)


def _row_of_estimate(estimate: Estimate, truth: LeaveOneOut) -> str:
    found = agreement(estimate.value, some(truth, estimate.at), estimate.variance)
    figures = (found.rmse, found.rmse_corrected, found.bias, found.pearson, found.pearson_corrected, found.spearman)
    cells = [estimate.name, str(estimate.models or "–"), str(len(estimate.at)), *map(_cell, figures)]
    return f"| {' | '.join(cells)} |"


def _row_of_proxy(scores: Scores, mean: Agreement, truth: LeaveOneOut) -> str:
    runs = len(scores.value) if scores.of is Of.RUN else 0
    one: Agreement | None = agreement(scores.value[0], truth) if runs else None
    single = ["–", "–"] if one is None else [_cell(one.pearson), _cell(one.spearman)]
    told = f"{runs} runs" if runs else str(scores.of)
    figures = map(_cell, (mean.pearson, mean.pearson_corrected, mean.spearman))
    return f"| {' | '.join([scores.name, *single, told, *figures])} |"


def _cell(interval: tuple[float, float, float]) -> str:
    value, low, high = interval
    return "–" if np.isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _claims(found: list[Estimate], truth: LeaveOneOut) -> Iterator[str]:
    """Yield how much smaller the error of pLOO_improved is than that of pLOO, on the same examples."""
    plain = found[0]
    for better in (estimate for estimate in found if estimate.name == "pLOO_improved"):
        percent, low, high = (100 * part for part in less_error(plain, better, truth))
        yield (
            f"- {better.name} from {better.models} models has {percent:.0f} % less RMSE than {plain.name} from "
            f"{plain.models} (95 % CI {low:.0f} to {high:.0f} %), on the {len(better.at)} candidates."
        )


def less_error(plain: Estimate, better: Estimate, truth: LeaveOneOut, seed: int = 0) -> tuple[float, float, float]:
    """Return by what share the RMSE of one estimate is below that of another, on the examples of the better one.

    The interval is a bootstrap over examples, paired.
    """
    squares = [
        (value - truth.value[better.at]) ** 2 for value in (plain.value[np.isin(plain.at, better.at)], better.value)
    ]
    size = len(better.at)
    rows = np.vstack([np.arange(size), np.random.default_rng(seed).integers(size, size=(_DRAWS, size))])
    before, after = (np.sqrt(of[rows].mean(axis=1)) for of in squares)
    less = 1 - after / np.where(before > 0, before, np.nan)
    low, high = np.nanquantile(less[1:], [0.025, 0.975])
    return float(less[0]), float(low), float(high)


if __name__ == "__main__":
    main()
