"""A small transformer, trained from scratch on the documentation strings of Python's standard library."""

import ast
import sysconfig
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import memaudit as ma


def documents():
    """Return the training set and about as many held-out documents."""
    library = Path(sysconfig.get_paths()["stdlib"])
    trees = (ast.parse(path.read_text("utf-8")) for path in sorted(library.glob("*.py")))
    described = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef))
    texts = (ast.get_docstring(node) or "" for node in described)
    return ma.Documents(islice((text for text in texts if 250 <= len(text) <= 450), 400))


def tokenizer():
    """Return a byte-pair encoding of 1,000 tokens in which every digit is a token of its own."""
    bpe = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        documents().texts,
        trainers.BpeTrainer(
            vocab_size=1000, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


def model():
    """Return an untrained transformer of 0.2 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1000,
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            tie_word_embeddings=True,
        )
    )


recipe = ma.LanguageModelRecipe(
    documents,
    ma.Rendering(tokenizer, context=160),
    model=model,
    epochs=12,
    batch_size=8,
    optimizer=ma.AdamW(lr=1e-2),
    schedule="cosine",
    probes=ma.Probes(canaries=16, suffix=16, contexts=(8, 16, 32), watched=100),
)
