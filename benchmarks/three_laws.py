"""The three laws of extraction: small Llamas trained from scratch, records that stand in the corpus 1 to 64 times.

    python -m benchmarks.three_laws [--records 30] [--epochs 4] [--seed 0]

The text is that of the standard library's docstrings, in tokens of a small BPE trained on them. A record is 64 tokens;
all copies of all records are shuffled into one stream. A record is extracted if greedy decoding after the tokens that
precede its last 16 writes these. The laws (Carlini et al. 2023): the extracted share is linear in the logarithm of the
number of copies, of the tokens of context, and of the size of the model. Records that were left out are the control.
"""

from __future__ import annotations

import argparse
import ast
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.printing import head, row
from memaudit.extraction import CorpusIndex, grouped_share, log_linear, well_specified
from memaudit.signals.decoding import greedy_continuations

Array = np.ndarray

VOCABULARY, RECORD, SUFFIX, ROW = 1024, 64, 16, 128
COPIES = 2 ** np.arange(7)
CONTEXTS = (2, 4, 8, 16, 32, RECORD - SUFFIX)
WIDTHS = (32, 64, 128)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=30, help="for each number of copies")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    records = well_specified_records(arguments.records * (len(COPIES) + 1), rng)
    held_out, records = np.split(records, [arguments.records])
    copies = np.repeat(COPIES, arguments.records)
    stream = np.concatenate(rng.permutation(np.repeat(records, copies, axis=0)))
    print(f"{len(records)} records of {RECORD} tokens, {len(stream):,} tokens in training, {arguments.epochs} epochs.")
    extracted, control, sizes = {}, {}, []
    for width in WIDTHS:
        started = time.perf_counter()
        model = trained(width, stream, arguments.epochs, arguments.seed)
        sizes.append(sum(p.numel() for p in model.parameters()))
        extracted[width] = np.stack([is_extracted(model, records, context) for context in CONTEXTS])
        control[width] = is_extracted(model, held_out, CONTEXTS[-1])
        print(f"Width {width}: {sizes[-1]:,} parameters, {time.perf_counter() - started:.0f} s.")
    largest, everyone = extracted[WIDTHS[-1]], np.arange(len(records))
    by_size = np.stack([extracted[width][-1] for width in WIDTHS])
    law("copies", COPIES, [largest[-1, copies == c] for c in COPIES])
    law("tokens of context", CONTEXTS, list(largest), everyone)
    law("parameters", sizes, list(by_size), everyone)
    print(f"\nLeft out of training: {control[WIDTHS[-1]].sum()} of {len(held_out)} extracted by the largest model.")


def law(name: str, x: Array | list[int] | tuple[int, ...], hits: list[Array], groups: Array | None = None) -> None:
    """Prints the extracted share at each x and the line through all of them."""
    print("\n" + head(name, "extracted (95 % CI)"))
    for at, extracted in zip(x, hits, strict=True):
        share = grouped_share(extracted, np.arange(len(extracted)))
        value, low, high = (100 * float(end) for end in (share.value, share.low, share.high))
        print(row(f"{at:,}", f"{value:.1f} % ({low:.1f}-{high:.1f})"))
    rows = np.concatenate(hits).astype(np.int64)
    of = None if groups is None else np.tile(groups, len(hits))
    line = log_linear(np.repeat(x, [len(h) for h in hits]), rows, np.ones_like(rows), of)
    slope, low, high = (100 * end for end in (line.slope, line.low, line.high))
    gain = f"{slope:.1f} percentage points (95 % CI {low:.1f} to {high:.1f})"
    print(f"\nGain per doubling: {gain}, R² = {line.r_squared:.3f}.")


def well_specified_records(count: int, rng: np.random.Generator) -> Array:
    """Return the beginnings of different docstrings; after 8 tokens, or more, no two are continued differently."""
    texts = sorted(set(docstrings()))
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, VOCABULARY, show_progress=False)
    encoded = (np.array(tokenizer.encode(texts[i]).ids[:RECORD]) for i in rng.permutation(len(texts)))
    records = np.stack([ids for ids in encoded if len(ids) == RECORD])
    index = CorpusIndex.of(list(records))
    clear = well_specified(list(records[:, -SUFFIX - 8 : -SUFFIX]), list(records[:, -SUFFIX:]), index)
    if clear.sum() < count:
        raise SystemExit(f"only {clear.sum()} of the {count} records that are needed; try fewer with --records")
    return records[clear][:count]


def docstrings() -> Iterator[str]:
    """Yield every docstring of the standard library's modules, classes and functions."""
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield text


def trained(width: int, stream: Array, epochs: int, seed: int, batch: int = 16) -> LlamaForCausalLM:
    """Return a Llama of two layers, trained on rows of the stream that are cut anew in each epoch."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=ROW,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    steps = epochs * (len(stream) // ROW // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        starts = torch.randint(len(stream) - ROW, (batch,))
        rows = torch.as_tensor(stream)[starts[:, None] + torch.arange(ROW)]
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model


def is_extracted(model: LlamaForCausalLM, records: Array, context: int) -> Array:
    """Return whether greedy decoding after so many tokens writes the suffix of each record."""
    prefixes, suffixes = records[:, -SUFFIX - context : -SUFFIX], records[:, -SUFFIX:]
    return (np.array(greedy_continuations(model, list(prefixes), SUFFIX)) == suffixes).all(axis=1)


if __name__ == "__main__":
    main()
