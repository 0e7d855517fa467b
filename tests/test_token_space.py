"""A canary's space in tokens: every secret's text is cut into the very tokens that the space puts together."""

import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import chi2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from memaudit.canaries import Canary, make
from memaudit.canaries.space import Space
from memaudit.errors import RecipeError
from memaudit.recipe import Documents, Probes, Rendering, TextPopulation
from memaudit.recipe.rendering import Renderer
from memaudit.recipe.shapes import Text
from memaudit.recipe.spaces import TokenSpace, token_space

Made = Callable[[], PreTrainedTokenizerFast]
Shape = Callable[[str, str], Text]

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SHAPES: dict[str, Shape] = {
    "text": lambda before, after: before + after,
    "completion": lambda before, after: {"prompt": before, "completion": after},
    "chat": lambda before, after: {
        "messages": [{"role": "user", "content": before}, {"role": "assistant", "content": after}]
    },
}


def fast(backend: Tokenizer) -> PreTrainedTokenizerFast:
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = TEMPLATE
    return made


def like_gpt2(merges: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE with these merges; a space belongs to the word that follows."""
    tokens = ["<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    backend = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return fast(backend)


def with_spaced_digits() -> PreTrainedTokenizerFast:
    """As GPT-2, in which " 7" is one token."""
    return like_gpt2([("Ġ", digit) for digit in string.digits])


def trained_on_numbers() -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE that was trained on numbers, so that digits are merged."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", "<unk>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([str(number) for number in range(1000, 9999, 7)], trainer)
    return fast(backend)


def like_llama(prepend: bool = True) -> PreTrainedTokenizerFast:
    """Returns a BPE over ▁ for spaces, one of which is put before every text; digits are tokens of their own."""
    characters = ["▁", *string.ascii_letters, *string.digits, *".:,\"'<>[]@/-"]
    merges = [("i", "s"), ("▁", "is"), ("o", "f"), ("▁", "of"), ("▁", "a"), ("▁", "T"), ("h", "e"), ("▁T", "he")]
    tokens = ["<unk>", "<s>", "</s>", *characters, *(a + b for a, b in merges)]
    backend = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges, unk_token="<unk>"))
    steps: list[normalizers.Normalizer] = [normalizers.Prepend("▁")] if prepend else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " ")])
    return fast(backend)


def like_newer_llama() -> PreTrainedTokenizerFast:
    """As `like_llama`, but ▁ comes from the pre-tokenizer, and before the first word of a text alone."""
    made = like_llama(prepend=False)
    made.backend_tokenizer.normalizer = None
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return made


TOKENIZERS: dict[str, Made] = {
    "bytes": like_gpt2,
    "like GPT-2": with_spaced_digits,
    "like Llama": like_llama,
    "like a newer Llama": like_newer_llama,
}


def renderer(made: Made, context: int = 256) -> Renderer:
    return Renderer(Rendering(made, context=context))


def canary(alphabets: Sequence[Sequence[str]], prefix: str = "The code of Ada is ", suffix: str = ".") -> Canary:
    """Returns a canary whose secret has the last symbol of every alphabet."""
    space = Space(tuple(map(tuple, alphabets)))
    return Canary("Ada", "own", prefix, tuple(len(symbols) - 1 for symbols in alphabets), space, suffix)


def put_together(space: TokenSpace, secret: Sequence[int]) -> list[int]:
    return np.concatenate([space.prefix, space.tokens(np.array(secret)), space.suffix]).tolist()


# --- Round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spaced", [False, True], ids=["bare", "spaced"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("made", TOKENIZERS.values(), ids=TOKENIZERS)
def test_every_secret_is_the_tokens_of_its_text(made: Made, shape: Shape, spaced: bool) -> None:
    """All hundred secrets of two digits, each choice of the token space against the same choice of the text's."""
    one = renderer(made)
    (planted,) = make(1, family="numeric", length=2, spaced=spaced, seed=5)
    space = token_space(one, planted, shape)
    varying = [step for step, alphabet in enumerate(space.alphabets) if len(alphabet) > 1]
    assert (len(varying), space.size) == (2, 100)
    assert space.secret[varying].tolist() == list(planted.secret)
    for digits in product(range(10), repeat=2):
        choice = np.zeros(len(space.alphabets), int)
        choice[varying] = digits
        (row,) = one.rows(shape(planted.prefix, planted.space.text(digits) + planted.suffix))
        assert row.ids.tolist() == put_together(space, choice.tolist())


def test_the_span_begins_and_ends_with_a_digit() -> None:
    """Between spaced digits stands the mark of a space; what is before the first and behind the last is not secret."""
    one = renderer(like_llama)
    (planted,) = make(1, family="numeric", length=3, spaced=True, seed=5)
    space = token_space(one, planted, SHAPES["text"])
    assert [len(alphabet) for alphabet in space.alphabets] == [10, 1, 10, 1, 10]
    assert one.tokenizer.convert_ids_to_tokens(space.prefix[[0, -1]].tolist()) == ["<s>", "▁"]
    assert one.tokenizer.convert_ids_to_tokens(space.suffix.tolist()) == [".", "</s>"]
    assert one.tokenizer.convert_ids_to_tokens(space.alphabets[0].tolist()) == list(string.digits)


def test_a_spaced_digit_is_one_token_where_the_tokenizer_has_it() -> None:
    one = renderer(with_spaced_digits)
    (planted,) = make(1, family="numeric", length=3, spaced=True, seed=5)
    space = token_space(one, planted, SHAPES["text"])
    assert [one.tokenizer.convert_ids_to_tokens(a.tolist()) for a in space.alphabets] == [
        [f"Ġ{digit}" for digit in string.digits]
    ] * 3


def test_fixed_text_within_a_secret_is_a_step_of_one_token_each() -> None:
    one = renderer(like_gpt2)
    space = token_space(one, canary(["ab", ["-x-"], "cde", ["@"]]), SHAPES["text"])
    assert [len(alphabet) for alphabet in space.alphabets] == [2, 1, 1, 1, 3]
    assert one.tokenizer.decode(space.tokens(space.secret)) == "b-x-e"
    assert one.tokenizer.decode(space.suffix) == "@.</s>"


def test_draws_are_uniform_over_the_space() -> None:
    """χ² over 12 secrets; a false alarm comes once in 10⁶ seeds."""
    space = token_space(renderer(like_gpt2), canary(["abc", ["-"], "defg"]), SHAPES["text"])
    drawn = space.draw(np.random.default_rng(0), 12_000)
    assert drawn.shape == (12_000, 3)
    counts = np.bincount(np.ravel_multi_index(tuple(drawn.T), (3, 1, 4)), minlength=12)
    assert ((counts - 1000) ** 2 / 1000).sum() < chi2.isf(1e-6, 11)


def test_the_size_of_a_large_space_is_exact() -> None:
    space = token_space(renderer(like_gpt2), canary([string.printable[:62]] * 12), SHAPES["text"])
    assert space.size == 62**12  # more than 2⁶³


# --- Refusals -------------------------------------------------------------------------------------------------------


def in_the_prompt(before: str, after: str) -> Text:
    return {"prompt": before + after, "completion": "Thanks."}


def lowering() -> PreTrainedTokenizerFast:
    made = like_gpt2()
    made.backend_tokenizer.normalizer = normalizers.Lowercase()
    return made


def of_words() -> PreTrainedTokenizerFast:
    """Returns a tokenizer of whole words that knows no digit."""
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "code": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return fast(backend)


DIGITS = [string.digits] * 4
REFUSED: dict[str, tuple[Made, Canary, Shape, str]] = {
    "symbols of two tokens each": (like_gpt2, canary([["ab", "cd"]]), SHAPES["text"], "one symbol is not one token"),
    "symbols of one and two tokens": (like_gpt2, canary([["a", "bc"]]), SHAPES["text"], "another number of tokens"),
    "digits that merge": (trained_on_numbers, canary(DIGITS), SHAPES["text"], "'Ada' cannot be ranked"),
    "two symbols of one token": (lowering, canary([["a", "A", "b"]]), SHAPES["text"], "one symbol is not one token"),
    "symbols that are unknown": (of_words, canary([[" 1", " 2"]]), SHAPES["text"], "one symbol is not one token"),
    "a symbol that joins the prefix": (
        lambda: like_gpt2([("x", "a")]),
        canary([["a", "b"]], prefix="Ada is x"),
        SHAPES["text"],
        "another number of tokens",
    ),
    "a symbol that joins the suffix": (
        lambda: like_gpt2([("a", "x")]),
        canary([["a", "b"]], suffix="x"),
        SHAPES["text"],
        "another number of tokens",
    ),
    "masked from the loss": (like_gpt2, canary(DIGITS), in_the_prompt, "'Ada' is masked from the loss"),
    "at the beginning of a row": (
        like_gpt2,
        canary(DIGITS, prefix=""),
        lambda before, after: {"prompt": "", "completion": before + after},
        "masked from the loss",
    ),
}


@pytest.mark.parametrize(("made", "planted", "shape", "message"), REFUSED.values(), ids=REFUSED)
def test_a_canary_that_cannot_be_ranked_is_refused(made: Made, planted: Canary, shape: Shape, message: str) -> None:
    one = Renderer(Rendering(made, bos=bool(planted.prefix)))
    with pytest.raises(RecipeError, match=message):
        token_space(one, planted, shape)


@pytest.mark.parametrize("pair", range(0, 100, 7))
def test_a_single_pair_of_digits_that_merges_is_found(pair: int) -> None:
    """Of four digits, one secret in thirty-three has the pair: the canary's own has not, as a rule."""
    first, second = divmod(pair, 10)
    one = renderer(lambda: like_gpt2([(str(first), str(second))]))
    secret = tuple(digit for digit in range(10) if digit not in (first, second))[:4]
    with pytest.raises(RecipeError, match="cannot be ranked with this tokenizer"):
        token_space(one, replace(canary(DIGITS), secret=secret), SHAPES["text"])


def test_a_canary_that_the_context_cuts_off_is_refused() -> None:
    """The row has BOS, 19 characters of prefix, 4 digits, a full stop and EOS: 26 tokens."""
    assert len(token_space(renderer(like_gpt2, context=26), canary(DIGITS), SHAPES["text"]).suffix) == 2
    with pytest.raises(RecipeError, match="'Ada' has 26 tokens and is cut off at the context of 25; make it shorter"):
        token_space(renderer(like_gpt2, context=25), canary(DIGITS), SHAPES["text"])


# --- The canaries that a recipe asks for by number ------------------------------------------------------------------


def population(made: Made, texts: Sequence[Text], context: int = 256) -> TextPopulation:
    return TextPopulation(Documents(texts, similarity=None), Rendering(made, context=context), Probes(canaries=3))


@pytest.mark.parametrize(
    ("made", "spaced"),
    [(like_gpt2, False), (like_llama, False), (trained_on_numbers, True)],
    ids=["bytes", "like Llama", "trained on numbers"],
)
def test_canaries_have_bare_digits_or_spaced_ones_where_bare_ones_merge(made: Made, spaced: bool) -> None:
    canaries = population(made, ["a", "b", "c", "d"]).canaries
    assert canaries == make(3, family="numeric", spaced=spaced, seed=0)


def test_no_canary_is_made_of_digits_that_are_unknown() -> None:
    with pytest.raises(RecipeError, match=r"no numeric canary suits this tokenizer: .*one symbol is not one token"):
        _ = population(of_words, ["a", "b", "c", "d"]).canaries


def of_known_words(*more: str) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of whole words: digits, the words of a canary, and some more; all others are unknown."""
    known = [*string.digits, *["The", "access", "code", "of", "is", "."], "name", ":", *more]
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", "<unk>", *known])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return fast(backend)


def test_canaries_whose_invented_names_are_unknown_are_named_by_words_of_the_vocabulary() -> None:
    names = {"amber", "basil", "cedar", "dusk"}
    people = population(lambda: of_known_words(*names), ["1", "2", "3", "4"])
    assert all(canary.prefix.split()[4] in {*names, "The", "access", "code", "name"} for canary in people.canaries)
    assert len({canary.name for canary in people.canaries}) == 3
    assert len({space.prefix.tobytes() for space in people.spaces}) == 3


def test_canaries_without_words_that_are_known_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"no numeric canary suits this tokenizer: .* have the same prefix in tokens"):
        _ = TextPopulation(
            Documents(["1", "2", "3", "4"], similarity=None), Rendering(of_known_words), Probes(canaries=30)
        ).canaries


@pytest.mark.parametrize(
    ("made", "prefixes"),
    [
        (lowering, ("The code of Ada is ", "The code of ADA is ")),
        (lambda: of_known_words("Ada"), ("The code of Bob is", "The code of Cyd is")),
        (like_gpt2, ("The code is ", "The code is ")),
    ],
    ids=["case", "unknown words", "the very same"],
)
def test_canaries_that_a_tokenizer_does_not_tell_apart_are_refused_before_training(
    made: Made, prefixes: tuple[str, str]
) -> None:
    symbols = [" 1", " 2"] if prefixes[0].endswith("s") else ["1", "2"]
    pair = tuple(replace(canary([symbols] * 4, prefix), name=name) for name, prefix in zip("ab", prefixes, strict=True))
    people = TextPopulation(Documents(list("1234"), similarity=None), Rendering(made), Probes(canaries=pair))
    with pytest.raises(RecipeError, match="canaries 'a' and 'b' have the same prefix in tokens"):
        people.digest()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_canaries_take_the_form_of_the_documents(shape: Shape) -> None:
    """What is planted is what the space says: the row of the canary's own secret."""
    people = population(like_llama, [shape(f"ask {name}", f"say {name}") for name in "abcd"])
    counts = np.zeros(len(people.ids), np.uint8)
    counts[4:] = 1
    rows, owners = people.training_rows(counts)
    assert owners.tolist() == [4, 5, 6]
    for row, space, text in zip(rows, people.spaces, people.texts(counts), strict=True):
        assert row.ids.tolist() == put_together(space, space.secret.tolist())
        assert row.trained[len(space.prefix) : len(space.prefix) + len(space.alphabets)].all()
        assert type(text) is type(people.documents.texts[0])
