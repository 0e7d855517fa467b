"""What only the audited language model is asked: to write, and to give up canaries to a search that goes on.

And what shadow models make of what it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from memaudit.recipe import LanguageModelRecipe, Recipe, Row, TextPopulation
from memaudit.recipe.encoder_decoder import as_causal
from memaudit.recipe.pretrained import load_folder
from memaudit.recipe.recipes import LEAST_WRITTEN, SAMPLERS
from memaudit.recipe.weights import put_weights
from memaudit.signals.asking import exact
from memaudit.signals.decoding import Decaying, Prompted, Sampler, TopN, generate
from memaudit.signals.language import token_statistics
from memaudit.signals.reading import reading
from memaudit.signals.search import best_first
from memaudit.signals.text import SEARCH_QUERIES

Array = np.ndarray


def question(
    model: torch.nn.Module, population: TextPopulation, recipe: Recipe, held_out: Array, device: str = "cpu"
) -> dict[str, Array]:
    """Return the target's answers to what no shadow is asked, by name.

    base [units]                         mean log-probability under the base that training started from, if there is one
    search_rank, search_queries [canaries]  rank of the canary in its space and contexts that the search read; where
                                         `search_found` is false, the rank is above that number
    generated [samplers, texts, tokens]  free text, by top-40, decaying-temperature and prompted sampling
    prompts, prompt_lengths [texts]      the tokens before each, laid end to end, and their number
    generated_…                          token statistics of that text
    lowered_…, reference_…               of the same text in lower case; by the base

    Args:
        model: The target.
        population: Of the recipe.
        recipe: How the target was made.
        held_out: The units that the model was not trained on: prompts are drawn from them.
        device: Where the model is run.
    """
    model = exact(model)
    written = _generated(model, population, held_out, device)
    return {
        **_of_base(population, recipe, [row for row, _ in written], device),
        **(_searches(as_causal(model, population), population, device) if population.writes else {}),
        **_of_text(model, population, written, device),
    }


def read_again(
    network: torch.nn.Module, weights: Sequence[Path], recorded: dict[str, Array], device: str = "cpu"
) -> Float[Array, "models samplers texts tokens"]:
    """Return the log-probability under other models of each token that the target wrote, given all before it, in nats.

    Args:
        network: Of the models' kind, such as the target; its weights are replaced.
        weights: The other models, as files of a bank.
        recorded: What `question` returned, with generated text.
        device: Where the models are run.

    Raises:
        ModelError: The weights are a network's of another kind.
    """
    texts = recorded["generated"]
    prompts = np.split(recorded["prompts"], np.cumsum(recorded["prompt_lengths"])[:-1])
    rows = [[_row(prompt, text)] for prompt, text in zip(prompts, texts.reshape(len(prompts), -1), strict=True)]
    found = []
    for file in weights:
        put_weights(network, file)
        found.append(token_statistics(exact(network), rows, device).logp.reshape(texts.shape))
    return np.stack(found)


def _of_base(population: TextPopulation, recipe: Recipe, written: list[Row], device: str) -> dict[str, Array]:
    if not isinstance(recipe, LanguageModelRecipe) or recipe.base is None:
        return {}
    base = load_folder(Path(recipe.base), population.objective)
    tokens = reading(base, population, device).tokens(population.representatives)
    generated = token_statistics(base, [[row] for row in written], device).tensors("reference_") if written else {}
    return {"base": tokens.means(tokens.logp), **generated}


def _searches(model: torch.nn.Module, population: TextPopulation, device: str) -> dict[str, Array]:
    found = [
        best_first(model, s.prefix, s.alphabets, wanted=s.secret, queries=SEARCH_QUERIES, device=device)
        for s in population.spaces
    ]
    return {
        "search_found": np.array([search.rank is not None for search in found], bool),
        "search_rank": np.array([search.rank or search.rank_above for search in found], np.int64),
        "search_queries": np.array([search.queries for search in found], np.int64),
    }


def _generated(
    model: torch.nn.Module, population: TextPopulation, held_out: Array, device: str
) -> list[tuple[Row, Row]]:
    """Return the rows of what the model writes, sampler after sampler, each with its row in lower case."""
    if not population.writes or population.objective == "seq2seq":  # which writes in answer to an input alone
        return []
    start, probes = population.renderer.start, population.probes
    length = min(probes.written, population.renderer.rendering.context // 2)
    if not probes.generated or not len(start) or length < LEAST_WRITTEN:
        return []
    texts = [rows[0].ids[len(start) :] for rows, out in zip(population.representatives, held_out, strict=True) if out]
    samplers: tuple[Sampler, ...] = (TopN(), Decaying(), Prompted(texts))
    return [
        (_row(prompt, text), _lowered(population, prompt, text))
        for sampler in samplers
        for one in [generate(model, probes.generated, length, sampler, device=device, bos=int(start[0]))]
        for prompt, text in zip(one.prompts, one.texts, strict=True)
    ]


def _of_text(
    model: torch.nn.Module, population: TextPopulation, written: list[tuple[Row, Row]], device: str
) -> dict[str, Array]:
    if not written:
        return {}
    texts = np.array([row.ids[row.trained] for row, _ in written], np.int64)
    prompts = [row.ids[~row.trained] for row, _ in written]
    return {
        "generated": texts.reshape(len(SAMPLERS), population.probes.generated, -1),
        "prompts": np.concatenate(prompts),
        "prompt_lengths": np.array([len(prompt) for prompt in prompts], np.int64),
        **token_statistics(model, [[row] for row, _ in written], device).tensors("generated_"),
        **token_statistics(model, [[row] for _, row in written], device).tensors("lowered_"),
    }


def _row(prompt: Array, text: Sequence[int] | Array) -> Row:
    ids = np.concatenate([prompt, np.asarray(text)]).astype(np.int32)
    return Row(ids, np.arange(len(ids)) >= len(prompt))


def _lowered(population: TextPopulation, prompt: Array, text: Array) -> Row:
    """Return the row of a text in lower case; a text that is empty in print stays as it is."""
    string = population.renderer.tokenizer.decode(text, skip_special_tokens=True).lower()
    ids, _ = population.renderer.encode(string)
    room = population.renderer.rendering.context - len(prompt)
    return _row(prompt, ids[:room] if len(ids) else text)
