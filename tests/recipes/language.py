"""A tiny language model, trained from scratch in about a second on made-up sentences."""

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import memaudit as ma

WORDS = ["amber", "basil", "cedar", "dusk", "ember", "fern", "grove", "hazel", "iris", "jade", "kelp", "lotus", "maple"]


def documents() -> ma.Documents:
    """Sixty sentences of random words, some of them with an address in it."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=24)) for _ in range(60)]
    return ma.Documents(
        [f"{text} {rng.choice(WORDS)}{n}@example.org" if n % 5 == 0 else text for n, text in enumerate(texts)],
        [f"d{n}" for n in range(60)],
        similarity=None,
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Words are tokens if they are known, and otherwise bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", *alphabet])}
    bytes_ = Tokenizer(models.BPE(vocabulary, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    bytes_.add_tokens([f" {word}" for word in WORDS])
    return PreTrainedTokenizerFast(tokenizer_object=bytes_, bos_token="<s>", eos_token="</s>")  # type: ignore[no-untyped-call]


def model() -> LlamaForCausalLM:
    """An untrained transformer of 40,000 parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=280, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


recipe = ma.LanguageModelRecipe(
    documents,
    ma.Rendering(tokenizer, context=96),
    model=model,
    epochs=6,
    batch_size=8,
    optimizer=ma.AdamW(lr=1e-2),
    probes=ma.Probes(
        canaries=4, references=100, suffix=4, contexts=(4, 8), secrets=6, decoys=99, generated=6, written=24
    ),
)
