"""De-duplication and scrubbing of a language model: exposure and extraction before and after.

    python -m benchmarks.whatif_text FOLDER [--models 8] [--docs /usr/share/doc]

Debian's changelogs are real texts with real names and e-mail addresses, and packages of one source share theirs, so
that entries are repeated as they are on the web: 80 entries, half of which occur four times. The recipe is a small
Llama with a tokenizer of its own, trained from scratch. De-duplication trains on one of each cluster; scrubbing
replaces every e-mail address by its kind. Each variant has the same training sets; changes are paired by model.

Exposure of canaries is −log₂ of their rank among 999 other numbers; that of addresses, of the rank among 99 decoys of
the same form, in models that have the address and in models that lack it. Extraction: greedy decoding continues 24
tokens of an entry by the next 12. All are raw, of each model by itself.

Source of what to expect: Lee et al. 2022 (ACL); Kandpal et al. 2022 (ICML).
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import memaudit as ma
from memaudit.bank import Bank
from memaudit.canaries import sampled_exposure
from memaudit.recipe import TextPopulation
from memaudit.training import population
from memaudit.whatif.measuring import difference, mean

Array = np.ndarray

ENTRIES, COPIES, VOCABULARY, CONTEXT = 80, 4, 512, 128
ADDRESS = re.compile(r"<([^<>@\s]+@[^<>\s]+)>")
_docs = [Path("/usr/share/doc")]


@cache
def entries() -> tuple[str, ...]:
    """Return the entries, half of them four times: one of each maintainer, of 150 to 260 characters."""
    files = sorted(_docs[0].glob("*/changelog.Debian.gz"))
    texts = (gzip.decompress(file.read_bytes()).decode("utf-8", "replace") for file in files)
    parts = chain.from_iterable(re.split(r"(?m)^(?=\S+ \([^)]+\) )", text) for text in texts)
    counted = Counter(part.strip() for part in parts if 150 <= len(part.strip()) <= 260)
    once, often, seen = list[str](), list[str](), set[str]()
    for entry, times in counted.items():
        address = ADDRESS.search(entry)
        wanted = often if times >= COPIES and len(often) < ENTRIES // 2 else once
        if address is None or address[1] in seen or (wanted is once and (times > 1 or len(once) == ENTRIES // 2)):
            continue
        seen.add(address[1])
        wanted.append(entry)
    return (*once, *(entry for entry in often for _ in range(COPIES)))


def documents() -> ma.Documents:
    return ma.Documents(entries())


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    learned = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    learned.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    learned.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    learned.train_from_iterator(sorted(set(entries())), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=learned, bos_token="<s>", eos_token="</s>")  # type: ignore[no-untyped-call]


def model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


recipe = ma.LanguageModelRecipe(
    documents,
    ma.Rendering(tokenizer, context=CONTEXT),
    model=model,
    epochs=12,
    batch_size=8,
    optimizer=ma.AdamW(lr=6e-3),
    probes=ma.Probes(
        canaries=16, doses=(1, 4, 16), references=999, suffix=12, contexts=(24,), secrets=16, decoys=99, watched=0,
        generated=0,
    ),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--docs", type=Path, default=_docs[0])
    arguments = parser.parse_args()
    _docs[0] = arguments.docs
    variants = [
        ma.Variant("deduplicated", ma.remedies.Deduplicated()),
        ma.Variant("scrubbed", ma.remedies.Scrubbed()),
    ]
    found = ma.compare_variants(recipe, variants, arguments.folder, shadows=arguments.models, fpr=0.05, device="cpu")
    examples = population(recipe)
    assert isinstance(examples, TextPopulation)
    sizes = f"{len(examples)} units, {len(examples.documents.texts)} documents, {len(examples.secrets)} addresses"
    print(f"\n{sizes}, {len(examples.canaries)} canaries; {arguments.models} models of each bank\n\n{found}\n")
    before = figures(Bank.open(arguments.folder / "baseline"), examples, arguments.models)
    for variant in variants:
        after = figures(Bank.open(arguments.folder / variant.name), examples, arguments.models)
        print(f"{variant.name}\n{'':<58}{'before':>9}{'after':>9}   change (95% CI over pairs of models)")
        for name, values in before.items():
            print(row(name, values, after[name]))
        print()


def row(name: str, before: Float[Array, " pairs"], after: Float[Array, " pairs"]) -> str:
    one, other, change = mean(before, 0.0), mean(after, 0.0), difference(before, after, 0.0)
    interval = f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    return f"  {name:<56}{one.value:>9.3f}{other.value:>9.3f}   {interval}"


def figures(bank: Bank, examples: TextPopulation, count: int) -> dict[str, Float[Array, " pairs"]]:
    """Return what each pair of models leaks on average, by name."""
    recordings = bank.recordings([m for pair in bank.pairs(count) for m in (pair, pair + 1)])
    members = recordings.members > 0
    found: dict[str, Array] = {"tokens predicted of entries not trained on": by_pair(recordings.correct, ~members)}
    doses, bits = recordings.stacked("doses"), canary_bits(recordings.stacked, examples)
    for dose in sorted(set(doses.ravel().tolist())):
        found[f"exposure of canaries planted {dose} times, bits"] = by_pair(bits, doses == dose)
    costs = recordings.stacked("secret_cost")
    exposed = np.asarray(sampled_exposure(costs[..., 0], costs[..., 1:]).bits)
    has = np.stack([members[:, probe.units].any(axis=1) for probe in examples.secrets], axis=1)
    found["exposure of addresses, models with them, bits"] = by_pair(exposed, has)
    found["exposure of addresses, models without them, bits"] = by_pair(exposed, ~has)
    wanted = np.array([window.ids[-examples.probes.suffix :] for window in examples.windows[0]])
    written = (recordings.stacked("written") == wanted).all(axis=2)
    inside, copies = members[:, examples.testable], examples.documents.copies[examples.testable]
    for what, which in (("that occur once", copies == 1), ("that are repeated", copies > 1)):
        found[f"extracted entries {what}, models with them"] = by_pair(written, inside & which)
        found[f"extracted entries {what}, models without them"] = by_pair(written, ~inside & which)
    return found


def canary_bits(stacked: Callable[[str], Array], examples: TextPopulation) -> Float[Array, "models canaries"]:
    """Return the exposure of every canary in every model."""
    own, others = stacked("canary_cost"), stacked("reference_cost")
    sizes = [
        space.size if of is None else len(of) for space, of in zip(examples.spaces, examples.references, strict=True)
    ]
    parts = np.split(others, np.cumsum(sizes)[:-1], axis=1)
    return np.stack([np.asarray(sampled_exposure(own[:, n], part).bits) for n, part in enumerate(parts)], axis=1)


def by_pair(values: Float[Array, "models some"], where: Array) -> Float[Array, " pairs"]:
    """Return the mean over each pair's models, where it is asked for."""
    own, there = (of.reshape(len(of) // 2, -1) for of in (values, where))
    return np.asarray((own * there).sum(axis=1) / there.sum(axis=1))


if __name__ == "__main__":
    main()
