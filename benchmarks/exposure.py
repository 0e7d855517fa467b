"""Speed of exact exposure: canaries of six digits, each ranked among all 10^6 secrets of its space.

    python -m benchmarks.exposure [--canaries 20] [--digits 6] [--batch 512]

The model is a Llama of a million parameters with random weights, trained for some seconds on the first half of the
canaries and nothing else: these are memorized, the others unknown. Prefixes have 20 tokens. The obvious way scores
every candidate by a full forward pass over prefix and secret, with logits of the secret's positions only; it is timed
on a slice, in the best of three batch sizes, and extrapolated.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.printing import head, row
from memaudit.signals.search import best_first
from memaudit.signals.secrets import exact_rank, space_costs

Array = np.ndarray

VOCABULARY, PREFIX = 256, 20
DIGITS = np.arange(48, 58)  # token ids


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--canaries", type=int, default=20)
    parser.add_argument("--digits", type=int, default=6)
    parser.add_argument("--batch", type=int, default=512)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    prefixes = rng.integers(0, VOCABULARY, (arguments.canaries, PREFIX))
    secrets = rng.integers(0, 10, (arguments.canaries, arguments.digits))
    known = arguments.canaries // 2
    model = memorizing(np.hstack([prefixes, DIGITS[secrets]])[:known])
    print(f"{len(secrets)} canaries, {10**arguments.digits:,} secrets each, {model.num_parameters():,} parameters, ")
    print(f"batches of {arguments.batch}, threads: {torch.get_num_threads()}.\n")
    whole_spaces(model, prefixes, arguments.digits, arguments.batch)
    print(head("one canary (medians)", "rank", "exact_rank, s", "best_first, s", "queries", "rank above"))
    ranks("memorized", model, prefixes[:known], secrets[:known], arguments.batch)
    ranks("unknown", model, prefixes[known:], secrets[known:], arguments.batch)


def memorizing(texts: Int[Array, "texts length"], steps: int = 150) -> LlamaForCausalLM:
    """Return a model that was trained on these texts and nothing else."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4
    )
    model, ids = LlamaForCausalLM(config), torch.tensor(texts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model


def whole_spaces(model: LlamaForCausalLM, prefixes: Int[Array, "canaries length"], digits: int, batch: int) -> None:
    started = time.perf_counter()
    for prefix in prefixes:
        costs = space_costs(model, prefix, [DIGITS] * digits, batch=batch)
    walk = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    slices = [slow_costs(model, prefixes[-1], digits, size) for size in (64, 256, 1024)]
    loop = min(seconds for seconds, _ in slices) * 10**digits * len(prefixes)
    furthest = max(np.abs(slow - costs[: len(slow)]).max() for _, slow in slices)
    print(
        head(
            "costs of all secrets, s", "by full forward passes, s", "ratio", "furthest apart, nats", "peak memory, GiB"
        )
    )
    print(row(f"{walk:.1f}", f"{loop:,.0f}", f"{loop / walk:.0f}×", f"{furthest:.0e}", f"{peak:.2f}") + "\n")


def slow_costs(
    model: LlamaForCausalLM, prefix: Int[Array, " length"], digits: int, batch: int, candidates: int = 2048
) -> tuple[float, Float[Array, " candidates"]]:
    """Return the seconds that one candidate takes by a full forward pass, and the costs of the first candidates."""
    secrets = np.stack(np.unravel_index(np.arange(candidates), (10,) * digits), axis=1)
    texts = torch.tensor(np.hstack([np.tile(prefix, (candidates, 1)), DIGITS[secrets]]))
    costs, started = [], time.perf_counter()
    with torch.inference_mode():
        for part in torch.split(texts, batch):
            logits = model(input_ids=part[:, :-1], logits_to_keep=digits, use_cache=False).logits
            log_p = torch.log_softmax(logits, dim=-1).gather(2, part[:, -digits:, None])
            costs.append(-log_p[:, :, 0].double().sum(dim=1))
    return (time.perf_counter() - started) / candidates, torch.cat(costs).numpy()


def ranks(
    name: str,
    model: LlamaForCausalLM,
    prefixes: Int[Array, "canaries length"],
    secrets: Int[Array, "canaries digits"],
    batch: int,
    queries: int = 5000,
) -> None:
    """Prints the medians over some canaries: rank, time of the pruned walk, and what the search takes and certifies."""
    rows = []
    for prefix, secret in zip(prefixes, secrets, strict=True):
        started = time.perf_counter()
        rank = exact_rank(model, prefix, [DIGITS] * len(secret), secret, batch=batch)
        walked = time.perf_counter()
        search = best_first(model, prefix, [DIGITS] * len(secret), wanted=secret, queries=queries)
        rows.append((rank, walked - started, time.perf_counter() - walked, search.queries, search.rank_above))
    rank, walk, searched, spent, above = np.median(rows, axis=0)
    print(row(name, f"{rank:,.0f}", f"{walk:.2f}", f"{searched:.2f}", f"{spent:,.0f}", f"{above:,.0f}"))


if __name__ == "__main__":
    main()
