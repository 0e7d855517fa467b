"""How large the lower bounds on ε are, and how often they are wrong: mechanisms whose ε is known.

    python -m benchmarks.dp_floors [--runs 400] [--seed 0]

Each candidate is a member with probability 1/2, and a mechanism of known ε answers about each. Printed are, for one
run and for several, the mean bound at 95 % confidence, the share of the bounds that exceed the truth, and the bound
that guesses which are all right would give. A sound bound exceeds the truth in 5 % of the cases at most.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from memaudit import privacy

Array = np.ndarray
ALPHA, DELTA = 0.05, 1e-5
SIZES = ((1, 10), (1, 100), (1, 1000), (1, 10_000), (16, 100), (16, 1000))  # (runs, candidates)


def randomized_response(epsilon: float) -> Callable[[np.random.Generator, Array], Array]:
    """Return the mechanism that reveals each membership with probability e^ε/(1 + e^ε)."""
    keep = math.exp(epsilon) / (1 + math.exp(epsilon))

    def scores(rng: np.random.Generator, members: Array) -> Array:
        revealed = np.where(rng.random(members.shape) < keep, members, ~members)
        return revealed + 0.1 * rng.random(members.shape)

    return scores


def gaussian(mu: float) -> Callable[[np.random.Generator, Array], Array]:
    """Return the mechanism that answers with the membership and noise of standard deviation 1/μ."""
    return lambda rng, members: members + rng.normal(0, 1 / mu, members.shape)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    mechanisms = [(f"randomized response, ε = {e:g}", randomized_response(e), e, 0.0) for e in (0.0, 1.0, 2.0, 4.0)]
    mechanisms += [
        (f"Gaussian noise, μ = {mu:g}", gaussian(mu), privacy.epsilon_of_gaussian(mu, DELTA), DELTA)
        for mu in (0.5, 1.0, 2.0)
    ]
    print("| mechanism | ε | runs × candidates | mean bound | wrong | if all were right | ms |")
    print("|---|---|---|---|---|---|---|")
    for name, mechanism, truth, delta in mechanisms:
        for runs, candidates in SIZES:
            rng = np.random.default_rng((arguments.seed, runs, candidates))
            started, bounds = time.perf_counter(), []
            for _ in range(arguments.runs):
                members = rng.random((runs, candidates)) < 0.5
                bounds.append(privacy.lower_bound(mechanism(rng, members), members, ALPHA, delta))
            spent = 1000 * (time.perf_counter() - started) / arguments.runs
            wrong = np.mean(np.array(bounds) > truth)
            most = privacy.most_shown(runs * candidates, ALPHA, delta)
            print(
                f"| {name} | {truth:.2f} | {runs} × {candidates:,} | {np.mean(bounds):.2f} | {100 * wrong:.1f} % | "
                f"{most:.2f} | {spent:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
