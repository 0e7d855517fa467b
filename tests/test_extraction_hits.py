"""Texts that a model has learned by heart: what is reported as extracted is what the library's own decoding writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES, unregistered

import memaudit as ma
from memaudit.attacks import zlib_bytes
from memaudit.checks.text import _trained_pieces
from memaudit.extraction import CorpusIndex, greedy
from memaudit.recipe import TextPopulation
from memaudit.signals import measure
from memaudit.tokens import TokenStatistics
from memaudit.training import population

Array = np.ndarray

SUFFIX, CONTEXTS = 5, (4, 6)


loops = unregistered(RECIPES / "own_loop.py")


def chat_tokenizer() -> Any:
    found = loops.LANGUAGE.tokenizer()
    found.chat_template = (
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}a:{% endif %}"
    )
    return found


def conversations() -> ma.Documents:
    texts = [text.split(" ") for text in loops.documents().texts]
    return ma.Documents(
        [
            {
                "messages": [
                    {"role": "user", "content": " " + " ".join(words[:6])},
                    {"role": "assistant", "content": " " + " ".join(words[6:])},
                ]
            }
            for words in texts
        ],
        similarity=None,
    )


PROBES = replace(loops.PROBES, suffix=SUFFIX, contexts=CONTEXTS, secrets=0, canaries=0)
FORMS: dict[str, ma.CallableRecipe] = {
    "texts": loops.own(probes=PROBES),
    "conversations": loops.own(
        examples=conversations, probes=PROBES, rendering=ma.Rendering(chat_tokenizer, context=96)
    ),
}


@pytest.fixture(scope="module", params=FORMS)
def learned(request: pytest.FixtureRequest) -> tuple[Any, TextPopulation, Array]:
    """Returns a transformer that has learned a fifth of the documents by heart, all documents, and which these are."""
    recipe = FORMS[request.param]
    people = population(recipe)
    assert isinstance(people, TextPopulation)
    members = np.arange(len(people)) % 5 == 0
    train = loops.loop(loops.gpt2, recipe.rendering, epochs=60)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = train(people.texts(members.astype(np.uint8)), seed=0, device="cpu")
    return model.eval(), people, members


def by_the_library(model: Any, prompts: list[Array]) -> Array:
    """Returns what `generate` writes greedily after prompts in one batch, padded on the left, with its cache."""
    width = max(map(len, prompts))
    ids, mask = torch.full((len(prompts), width), 1), torch.zeros(len(prompts), width, dtype=torch.long)
    for n, prompt in enumerate(prompts):
        ids[n, width - len(prompt) :], mask[n, width - len(prompt) :] = torch.as_tensor(prompt).long(), 1
    written = model.generate(
        ids, attention_mask=mask, do_sample=False, min_new_tokens=SUFFIX, max_new_tokens=SUFFIX, use_cache=True,
        pad_token_id=1, eos_token_id=None,
    )  # fmt: skip
    return np.asarray(written[:, width:])


def test_what_counts_as_extracted_is_what_generate_writes(learned: tuple[Any, TextPopulation, Array]) -> None:
    model, people, members = learned
    recorded = measure(model, people)
    windows = [row for rows in people.windows for row in rows]
    extracted = greedy(TokenStatistics.of_tensors(recorded, "suffix_"))
    written = by_the_library(model, [row.ids[:-SUFFIX] for row in windows])
    hit = (written == np.stack([row.ids[-SUFFIX:] for row in windows])).all(axis=1)
    assert extracted.tolist() == hit.tolist()
    longest = slice(len(people.testable) * people.probes.longest, None)
    own = members[people.testable]
    assert hit[longest][own].mean() > 0.5, "there is something to find"
    assert hit[longest][~own].mean() < 0.1
    assert recorded["written"].tolist() == written[longest].tolist()


def test_the_answers_of_conversations_are_tested_and_not_the_questions() -> None:
    people = population(FORMS["conversations"])
    assert isinstance(people, TextPopulation)
    assert len(people.testable) == len(people)
    for unit, window in zip(people.testable, people.windows[0], strict=True):
        row = people.representatives[unit][0]
        places = [
            at for at in range(len(row.ids)) if row.ids[at : at + SUFFIX].tolist() == window.ids[-SUFFIX:].tolist()
        ]
        assert any(row.trained[at : at + SUFFIX].all() for at in places)


def test_a_question_that_is_written_is_no_training_text_and_an_answer_is() -> None:
    people = population(FORMS["conversations"])
    assert isinstance(people, TextPopulation)
    pieces = [_trained_pieces(rows) for rows in people.rows]
    owners = np.repeat(np.arange(len(pieces)), [len(own) for own in pieces])
    index = CorpusIndex.of([piece for own in pieces for piece in own], owners)
    for number, document in enumerate(people.documents.texts[:5]):
        assert isinstance(document, dict)
        question, answer = (people.renderer.encode(m["content"])[0] for m in document["messages"])
        assert index.count(question) == 0
        assert index.documents(answer).tolist() == [number]


def test_the_loss_and_the_compressed_size_are_of_the_same_text() -> None:
    """A prompt of random letters, which no zlib compresses, changes neither."""
    texts = [{"prompt": "x" * 5, "completion": f" amber basil {n}"} for n in range(8)]
    longer = [{"prompt": "".join(map(chr, range(97, 122))) + "x" * 5, "completion": t["completion"]} for t in texts]
    sizes = []
    for some in (texts, longer):
        people = population(loops.own(examples=lambda some=some: ma.Documents(some, similarity=None), probes=PROBES))
        assert isinstance(people, TextPopulation)
        sizes.append(zlib_bytes([people.trained_string(n) for n in range(8)]).tolist())
    assert sizes[0] == sizes[1] == zlib_bytes([t["completion"] for t in texts]).tolist()
