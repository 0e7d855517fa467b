"""The rendered population: what is trained on, whose it is, and the probes that are cut from the same rows."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memaudit.canaries import Canary, make
from memaudit.canaries.space import Space
from memaudit.errors import EvidenceError, RecipeError
from memaudit.recipe import (
    Counts,
    Documents,
    Probes,
    Rendering,
    Row,
    TextPopulation,
    member_counts,
    members_beside,
    membership,
    read_members,
)
from memaudit.recipe.members import write_members
from memaudit.recipe.shapes import Text
from memaudit.signals.text import canary_rows

Array = np.ndarray

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}.{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
CANARIES = make(2, family="numeric", length=2, spaced=False, seed=1)
ANN, BOB = "ann.lee@example.org", "bob.ray@example.org"


def tokenizer(words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of bytes, and of words that are known as a whole."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: n for n, token in enumerate(["<s>", "</s>", *alphabet])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(list(words))
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    )
    made.chat_template = TEMPLATE
    return made


def population(
    texts: Sequence[Text],
    ids: Sequence[str] | None = None,
    words: Sequence[str] = (),
    similarity: float | None = None,
    context: int = 128,
    bos: bool = True,
    **probes: Any,
) -> TextPopulation:
    settings = {"canaries": CANARIES, "suffix": 4, "contexts": (4,), "decoys": 5, **probes}
    rendering = Rendering(lambda: tokenizer(words), context=context, bos=bos)
    return TextPopulation(Documents(texts, ids, similarity=similarity), rendering, Probes(**settings))


def shaped(form: str, before: str, after: str) -> Text:
    """Returns a document of which the loss counts all, or what comes after alone."""
    if form == "text":
        return before + after
    if form == "completion":
        return {"prompt": before, "completion": after}
    return {"messages": [{"role": "user", "content": before}, {"role": "assistant", "content": after}]}


def plain(people: TextPopulation, ids: Array) -> str:
    return str(people.renderer.tokenizer.decode(ids))


POEMS = [
    "a rose is a rose is a rose",
    "the fog comes on little cat feet",
    "so much depends upon a red wheel barrow",
    "i wandered lonely as a cloud",
]
COPIED = [POEMS[0], POEMS[1], POEMS[0], POEMS[2], POEMS[3], POEMS[0]]  # units 0 1 0 2 3 0


@pytest.fixture
def copied() -> TextPopulation:
    return population(COPIED, ["p0", "p1", "p0-again", "p2", "p3", "p0-once-more"], similarity=0.8)


# --- Ids and counts -------------------------------------------------------------------------------------------------


def test_ids_are_those_of_units_and_then_the_names_of_canaries(copied: TextPopulation) -> None:
    assert len(copied) == 4
    assert copied.ids.tolist() == ["p0", "p1", "p2", "p3", *(canary.name for canary in CANARIES)]
    assert copied.duplicates == 2


def test_every_document_leads_to_its_unit(copied: TextPopulation) -> None:
    assert copied.rows_by_id == {
        "p0": 0, "p1": 1, "p0-again": 0, "p2": 2, "p3": 3, "p0-once-more": 0,
        CANARIES[0].name: 4, CANARIES[1].name: 5,
    }  # fmt: skip


@pytest.mark.parametrize("place", [0, 2], ids=["the first of a unit", "a copy"])
def test_a_document_cannot_be_called_like_a_canary(place: int) -> None:
    ids = [f"p{n}" for n in range(len(COPIED))]
    ids[place] = CANARIES[1].name
    with pytest.raises(RecipeError, match="must all be distinct"):
        _ = population(COPIED, ids, similarity=0.8).ids


def test_two_canaries_cannot_be_called_alike() -> None:
    twins = (CANARIES[0], replace(CANARIES[1], name=CANARIES[0].name))
    with pytest.raises(RecipeError, match="must all be distinct"):
        _ = population(POEMS, canaries=twins).ids


def test_two_canaries_cannot_share_a_prefix() -> None:
    twins = (CANARIES[0], replace(CANARIES[1], prefix=CANARIES[0].prefix))
    with pytest.raises(RecipeError, match="have the same prefix in tokens"):
        _ = population(POEMS, canaries=twins).canaries


def test_canaries_may_come_from_a_function_and_must_be_canaries() -> None:
    assert population(POEMS, canaries=lambda: list(CANARIES)).canaries == CANARIES
    with pytest.raises(RecipeError, match="canaries must be a number, or canaries as made by"):
        _ = population(POEMS, canaries=lambda: ["my secret"]).canaries
    with pytest.raises(RecipeError, match=r"test_population.py:\d+: canaries\(\) failed: ZeroDivisionError"):
        _ = population(POEMS, canaries=lambda: 1 / 0).canaries


def test_a_training_set_has_every_document_of_a_unit_as_often_as_counted(copied: TextPopulation) -> None:
    counts = np.array([2, 0, 1, 0, 0, 3], np.uint8)
    rows, owners = copied.training_rows(counts)
    texts = [POEMS[0], POEMS[2], CANARIES[1].text]
    assert Counter(map(str, copied.texts(counts))) == dict(zip(texts, (6, 1, 3), strict=True))
    assert [plain(copied, row.ids) for row in rows] == [f"<s>{text}</s>" for text in copied.texts(counts)]
    owned = {0: texts[0], 2: texts[1], 5: texts[2]}
    assert [owned[owner] for owner in owners] == copied.texts(counts)


def test_an_empty_training_set_has_no_rows(copied: TextPopulation) -> None:
    rows, owners = copied.training_rows(np.zeros(6, np.uint8))
    assert (rows, owners.tolist()) == ([], [])


def test_rows_of_which_the_loss_counts_nothing_are_not_trained_on() -> None:
    """A batch of nothing else has the loss 0/0, and the model is gone."""
    texts = [{"prompt": "x" * 300, "completion": f"yes {n}"} for n in range(4)]
    people = population(texts, canaries=0)
    rows, owners = people.training_rows(np.ones(4, np.uint8))
    assert owners.tolist() == [0, 1, 2, 3]
    assert [plain(people, row.ids[row.trained]) for row in rows] == [f"yes {n}</s>" for n in range(4)]


def test_a_document_of_which_nothing_is_trained_is_named() -> None:
    def deaf() -> PreTrainedTokenizerFast:
        made = tokenizer()
        made.backend_tokenizer.normalizer = normalizers.Replace("~", "")
        return made

    documents = Documents(["a", "b", "c", "~"], ["a", "b", "c", "silent"], similarity=None)
    with pytest.raises(RecipeError, match="document silent: a text has no token that is trained on"):
        TextPopulation(documents, Rendering(deaf, eos=False), Probes(canaries=0))


# --- Members --------------------------------------------------------------------------------------------------------


def test_an_id_that_is_given_several_times_was_trained_on_as_often(copied: TextPopulation) -> None:
    name = CANARIES[1].name
    assert member_counts(["p1", name, name, name], copied).tolist() == [0, 1, 0, 0, 0, 3]


def test_copies_of_one_document_are_one_unit(copied: TextPopulation) -> None:
    """A list of the training set names all three copies; it was nevertheless trained on once as a unit."""
    assert member_counts(["p0", "p0-again", "p0-once-more"], copied).tolist() == [1, 0, 0, 0, 0, 0]
    assert member_counts(["p0-once-more"], copied).tolist() == [1, 0, 0, 0, 0, 0]
    assert member_counts(["p0", "p0-again", "p0-again"], copied).tolist() == [2, 0, 0, 0, 0, 0]


def test_no_count_is_larger_than_a_byte(copied: TextPopulation) -> None:
    assert member_counts([CANARIES[0].name] * 300, copied)[4] == 255


@pytest.mark.parametrize(
    ("members", "counts"),
    [
        (np.array([1, 0, 2, 0, 16, 255], np.uint8), [1, 0, 2, 0, 16, 255]),
        (np.array([True, False, True, False, True, False]), [1, 0, 1, 0, 1, 0]),
        (["p3", CANARIES[0].name, "p0-again", CANARIES[0].name], [1, 0, 0, 1, 2, 0]),
    ],
    ids=["counts", "mask", "ids"],
)
def test_members_are_read_as_they_were_written(
    copied: TextPopulation, tmp_path: Path, members: Any, counts: list[int]
) -> None:
    write_members(tmp_path / "model", members)
    found = read_members(members_beside(tmp_path / "model"), copied)
    assert found.dtype == np.uint8
    assert found.tolist() == counts == member_counts(members, copied).tolist()


BAD_MEMBERS: dict[str, tuple[str, str]] = {
    "an unknown id": ("id\np1\np9\n", "members.csv:3: this id is no example's, and so for 1 of the 2 ids"),
    "a short column": ("times\n1\n0\n", "has 2 rows, but the recipe has 6"),
    "a column of documents": ("member\n" + "1\n" * len(COPIED[:4]), "has 4 rows, but the recipe has 6"),
    "256 times": ("times\n" + "1\n" * 5 + "256\n", "members.csv:7: .*255, got '256'"),
    "minus one": ("times\n-1\n" + "1\n" * 5, "members.csv:2: .*255, got '-1'"),
    "twice a member": ("member\n2\n" + "1\n" * 5, "members.csv:2: .*got '2'"),
}


@pytest.mark.parametrize(("content", "message"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_a_members_file_that_does_not_fit_is_refused(
    copied: TextPopulation, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "members.csv").write_text(content, "utf-8")
    with pytest.raises(EvidenceError, match=message):
        read_members(tmp_path / "members.csv", copied)


def test_every_document_of_a_unit_and_every_canary_is_written_with_a_digest(
    copied: TextPopulation, tmp_path: Path
) -> None:
    counts = np.ones(len(copied.ids), np.uint8)
    write_members(tmp_path / "m", Counts(counts), copied)
    found = membership(members_beside(tmp_path / "m"), copied)
    assert np.array_equal(found.counts, counts)
    assert found.compared == found.listed == len(copied.documents.ids) + len(copied.canaries)


def test_counts_of_another_length_are_refused(copied: TextPopulation) -> None:
    with pytest.raises(EvidenceError, match="has 4 entries, but the recipe has 6"):
        member_counts(np.ones(4, np.uint8), copied)


# --- Canaries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "completion", "chat"])
def test_a_canary_is_probed_in_the_row_that_is_trained_on(form: str) -> None:
    people = population([shaped(form, f"ask {n}", f"say {n}") for n in range(4)], canaries=CANARIES)
    rows, _ = people.training_rows(np.array([0, 0, 0, 0, 1, 1], np.uint8))
    for probe, row, canary in zip(canary_rows(people), rows, CANARIES, strict=True):
        assert plain(people, probe.ids[probe.trained]) == canary.secret_text
        assert probe.ids.tolist() == row.ids[: len(probe.ids)].tolist()
        assert row.trained[probe.trained.nonzero()[0]].all()


def test_a_small_space_is_ranked_as_a_whole_and_a_large_one_among_draws() -> None:
    everything, some = (population(POEMS, references=number).references for number in (100, 99))
    assert everything == (None, None)
    assert [reference.shape for reference in some if reference is not None] == [(99, 2), (99, 2)]
    again = population(POEMS, references=99).references
    assert np.array_equal(np.array(some), np.array(again))
    assert not np.array_equal(np.array(some[0]), np.array(some[1]))


# --- Windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", [True, False])
def test_all_contexts_end_where_the_same_suffix_begins(bos: bool) -> None:
    people = population(POEMS, contexts=(3, 7, 5), suffix=4, bos=bos)
    assert people.testable.tolist() == [0, 1, 2, 3]
    for number, context in enumerate((3, 7, 5)):
        for unit, poem in enumerate(POEMS):
            row = people.windows[number][unit]
            start = "<s>" if bos else ""
            assert plain(people, row.ids) == start + poem[7 - context : 11]
            assert plain(people, row.ids[row.trained]) == poem[7:11]


@pytest.mark.parametrize("form", ["text", "completion", "chat"])
def test_the_longest_context_is_a_row_as_it_is_trained_on(form: str) -> None:
    """Also of messages, in front of which the template, and not the rendering, puts what it likes."""
    before = "" if form == "completion" else "ask"
    texts = [shaped(form, before, f"a long answer of many words {n}") for n in range(4)]
    people = population(texts, contexts=(24,), suffix=4, canaries=0)
    assert len(people.testable) == 4
    for (row, *_), window in zip(people.representatives, people.windows[0], strict=True):
        assert window.ids.tolist() == row.ids[: len(window.ids)].tolist()


def test_only_units_are_tested_that_are_long_enough_and_trained_on_where_the_suffix_stands() -> None:
    """BOS, 4 tokens of context and 4 of suffix."""
    assert population(["abcdefgh", "abcdefg", "abcdef", "x" * 20]).testable.tolist() == [0, 1, 3]  # EOS counts
    answers = [{"prompt": "p" * n, "completion": "c" * m} for n, m in ((0, 20), (4, 4), (30, 4), (30, 2), (126, 9))]
    assert population(answers).testable.tolist() == [0, 1, 2]  # EOS counts, and the first row alone
    assert population(POEMS, records=2).testable.tolist() == [0, 1]
    assert population(POEMS, suffix=500).windows == ((),)


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_a_suffix_is_what_the_model_is_trained_to_write(form: str) -> None:
    """The question may be shown, and is longer than a context; the suffix begins with the answer, or after more."""
    texts = [shaped(form, "a question of some length?", f"an answer {n}") for n in range(4)]
    people = population(texts, canaries=0)
    assert people.testable.tolist() == [0, 1, 2, 3]
    for (row, *_), window in zip(people.representatives, people.windows[0], strict=True):
        first = int(np.argmax(row.trained))
        assert window.ids.tolist() == row.ids[: first + 4].tolist(), "as it is trained on, the whole question"
        assert plain(people, window.ids[window.trained]) == "an a"


def test_a_later_answer_is_tested_where_the_first_is_too_short() -> None:
    talk = [("user", "hello there"), ("assistant", "hi"), ("user", "and now?"), ("assistant", "a long answer")]
    texts: list[Text] = [
        {"messages": [{"role": role, "content": f"{said}{n}"} for role, said in talk]} for n in range(4)
    ]
    people = population(texts, canaries=0, suffix=6)
    assert [plain(people, row.ids[row.trained]) for row in people.windows[0]] == ["a long"] * 4


@pytest.mark.parametrize(("form", "counted"), [("text", "ask é say é"), ("completion", "say é"), ("chat", "say é.")])
def test_what_is_compressed_is_what_the_loss_counts(form: str, counted: str) -> None:
    people = population([shaped(form, "ask é ", f"say {'é' * (n + 1)}") for n in range(4)], canaries=0)
    assert people.trained_string(0) == counted


def test_the_first_token_of_a_row_is_not_compressed() -> None:
    """Nothing predicts it: of rows of eight, BOS is the first of the first, and a letter that of the others."""
    people = population(["abcdefghijklmnop", *POEMS], context=8, canaries=0)
    assert people.trained_string(0) == "abcdefgijklmno"


def test_of_a_long_document_the_first_row_is_tested() -> None:
    people = population(["x" * 7, *POEMS], context=8, canaries=0, contexts=(3,), suffix=4)
    assert [plain(people, row.ids) for row in people.windows[0]] == [f"<s>{t[:7]}" for t in ("x" * 7, *POEMS)]


def test_watched_units_are_some_of_all() -> None:
    watched = population(POEMS, watched=3).watched
    assert len(set(watched)) == 3
    assert watched.tolist() == sorted(watched)
    assert population(POEMS, watched=0).watched.tolist() == []
    assert population(POEMS, watched=99).watched.tolist() == [0, 1, 2, 3]


# --- The user's own secrets -----------------------------------------------------------------------------------------


def spans(people: TextPopulation, rows: Sequence[Row]) -> list[str]:
    return [plain(people, row.ids[row.trained]) for row in rows]


@pytest.mark.parametrize("form", ["text", "completion", "chat"])
def test_of_a_secret_and_its_decoys_the_value_alone_is_marked(form: str) -> None:
    texts = [shaped(form, "to whom?", f" to {ANN}, please"), *(shaped(form, "q", f" no {n}") for n in range(3))]
    people = population(texts)
    (probe,) = people.secrets
    assert probe.found.value == ANN
    own, *decoys = probe.rows
    assert spans(people, [own]) == [ANN]
    assert all(re.fullmatch(r"[a-z]{3}\.[a-z]{3}@example\.org", value) for value in spans(people, decoys))
    assert len(set(spans(people, probe.rows))) == 6
    assert len({row.ids[~row.trained].tobytes() for row in probe.rows}) == 1
    trained = people.rows[0][0]
    assert own.ids.tolist() == trained.ids[: len(own.ids)].tolist()
    assert trained.trained[own.trained.nonzero()[0]].all()


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_a_secret_that_the_loss_masks_is_left_out(form: str) -> None:
    texts = [shaped(form, f"i am {ANN}", "hello"), *(shaped(form, "q", f" no {n}") for n in range(3))]
    assert population(texts).secrets == ()


@pytest.mark.parametrize(
    ("before", "kept"),
    [(0, True), (11, True), (12, True), (13, False), (30, False), (31, False), (32, True)],
)
def test_a_secret_that_a_rows_end_cuts_is_left_out(before: int, kept: bool) -> None:
    """Rows of 32 tokens; with BOS, the address of 19 characters stands at before + 1 to before + 20.

    Behind 31 characters it would be the first of its row, which nothing predicts.
    """
    filler = ("ab " * 20)[:before].replace("b", " ")
    filler = filler[:-1] + " " if filler else ""
    people = population([filler + ANN, "a", "b", "c"], context=32, canaries=0)
    assert spans(people, [probe.rows[0] for probe in people.secrets]) == [ANN] * kept
    if before == 32:
        assert plain(people, people.secrets[0].rows[0].ids) == filler[31:] + ANN


@pytest.mark.parametrize(
    "words", [[" ann"], [f" {letter}" for letter in "bcdefghijklmnopqrstuvwxyz"]], ids=["the secret", "its decoys"]
)
def test_values_that_some_tokenizer_joins_to_the_space_before_them_are_compared_from_there(words: list[str]) -> None:
    """Else the secret and its decoys would stand behind different tokens, and could not be compared."""
    people = population([f"to {ANN}", *POEMS], words=words)
    (probe,) = people.secrets
    assert spans(people, probe.rows[:1]) == [f" {ANN}"]
    assert all(span.startswith(" ") and span.endswith("@example.org") for span in spans(people, probe.rows))
    assert {plain(people, row.ids[~row.trained]) for row in probe.rows} == {"<s>to"}
    assert len(probe.rows) == 6


def test_a_secret_knows_all_units_that_hold_it() -> None:
    texts = [f"to {ANN}", POEMS[0], f"from {ANN} and {BOB}", POEMS[1], f"to {ANN}"]
    people = population(texts, similarity=0.8)
    assert {probe.found.value: probe.units.tolist() for probe in people.secrets} == {ANN: [0, 2], BOB: [2]}


def test_secrets_are_found_where_a_template_puts_them() -> None:
    """Places count characters of the rendered text, not of the message."""
    texts = [shaped("chat", "who?" * n, f"{ANN}") for n in (1, 2, 3, 4)]
    (probe,) = population(texts).secrets
    assert (probe.found.document, probe.found.start) == (0, len("[user]who?.[assistant]"))


def test_as_many_secrets_are_probed_as_asked_for() -> None:
    texts = [f"to {ANN}", f"to {BOB}", *POEMS]
    assert [len(population(texts, secrets=n).secrets) for n in (0, 1, 9)] == [0, 1, 2]


# --- Digest ---------------------------------------------------------------------------------------------------------


def _another_space() -> tuple[Canary, ...]:
    """Returns the canaries with the same secrets, drawn from other spaces."""
    return tuple(replace(c, space=Space((*c.space.alphabets[:1], (*c.space.alphabets[1], "x")))) for c in CANARIES)


CHANGES: dict[str, Callable[[], TextPopulation]] = {
    "a text": lambda: population([*POEMS[:3], "i wandered lonely as a shroud"]),
    "an id": lambda: population(POEMS, ["a", "b", "c", "d"]),
    "the order": lambda: population(POEMS[::-1]),
    "the units": lambda: population(COPIED[:4] + POEMS[3:], similarity=0.8),
    "the tokenizer": lambda: population(POEMS, words=[" rose"]),
    "the canaries": lambda: population(POEMS, canaries=make(2, length=2, spaced=False, seed=2)),
    "a secret": lambda: population(POEMS, canaries=(CANARIES[0], replace(CANARIES[1], secret=(0, 0)))),
    "what the secrets could have been": lambda: population(POEMS, canaries=_another_space()),
    "their number": lambda: population(POEMS, canaries=CANARIES[:1]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_changes_with_all_that_decides_rows_and_probes(change: Callable[[], TextPopulation]) -> None:
    assert change().digest() != population(POEMS).digest()


def test_the_digest_is_that_of_the_same_population_made_anew(copied: TextPopulation) -> None:
    before = population(POEMS).digest()
    people = population(POEMS)
    _ = people.spaces, people.secrets, people.windows
    assert people.digest() == before
    loose = population(COPIED, copied.documents.ids.tolist())
    assert copied.digest() != loose.digest()


@pytest.mark.parametrize("written", [0, 19])
def test_generated_texts_that_are_too_short_to_be_ranked_are_refused(written: int) -> None:
    with pytest.raises(RecipeError, match=r"a generated text has at least 20 tokens.*generated=0"):
        Probes(generated=1, written=written)
    assert Probes(generated=0, written=written).written == written
