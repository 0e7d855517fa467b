"""From text to rows: begin and end, loss masks, rows that go on, packing; and what cannot be rendered is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from memaudit.errors import RecipeError
from memaudit.recipe import Documents, Probes, Rendering, TextPopulation, packed
from memaudit.recipe.rendering import Renderer
from memaudit.recipe.shapes import Text

BOS, EOS = 0, 1
# Every message is "[role]content.", and an answer is announced as "[assistant]".
KNOWS_NONE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}.{% endfor %}"
KNOWS_PROMPTS = KNOWS_NONE + "{% if add_generation_prompt %}[assistant]{% endif %}"
CHAT = {
    "messages": [
        {"role": "user", "content": "who?"},
        {"role": "assistant", "content": "me"},
        {"role": "user", "content": "me?"},
        {"role": "assistant", "content": "yes"},
    ]
}


def tokenizer(merges: tuple[str, ...] = (), template: str | None = None, **special: str) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE: <s>, </s>, every byte, and what pairs of characters are merged into."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", *alphabet, *merges])}
    backend = Tokenizer(models.BPE(vocabulary, [(merge[0], merge[1]) for merge in merges]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, **(special or {"bos_token": "<s>", "eos_token": "</s>"})
    )
    made.chat_template = template
    return made


def renderer(template: str | None = None, merges: tuple[str, ...] = (), **settings: Any) -> Renderer:
    return Renderer(Rendering(lambda: tokenizer(merges, template), **settings))


def counted(one: Renderer, text: Text) -> str:
    """Returns what the loss counts of a text, as a string."""
    whole = one.whole(text)
    return str(one.tokenizer.decode(whole.ids[whole.trained]))


# --- One text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bos", "eos"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_text_stands_between_bos_and_eos_and_all_but_the_first_token_is_trained(bos: bool, eos: bool) -> None:
    one = renderer(bos=bos, eos=eos)
    (row,) = one.rows("grüße 7")
    text = one.tokenizer.encode("grüße 7", add_special_tokens=False)
    assert row.ids.tolist() == [BOS] * bos + text + [EOS] * eos
    assert row.trained.tolist() == [False] + [True] * (len(row.ids) - 1)


def test_special_tokens_that_the_tokenizer_would_add_are_not_doubled() -> None:
    from tokenizers.processors import TemplateProcessing

    made = tokenizer()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    assert made.encode("ab")[0] == BOS
    assert Renderer(Rendering(lambda: made)).rows("ab")[0].ids.tolist()[:2] != [BOS, BOS]
    assert len(Renderer(Rendering(lambda: made)).rows("ab")[0].ids) == 4


def test_offsets_say_which_characters_a_token_stands_for() -> None:
    one = renderer(merges=("ab",))
    whole = one.whole({"prompt": "xab", "completion": "aby"})
    assert whole.string == "xababy"
    assert [whole.string[first:last] for first, last in whole.offsets] == ["", "x", "ab", "ab", "y", ""]


def test_of_a_prompt_and_its_completion_the_completion_alone_is_trained() -> None:
    one = renderer()
    text = {"prompt": "ask ", "completion": "answer"}
    assert counted(one, text) == "answer</s>"
    assert one.tokenizer.decode(one.whole(text).ids) == "<s>ask answer</s>"


def test_a_prompt_and_its_completion_are_cut_into_tokens_each_by_itself() -> None:
    """Else the first token of a completion would depend on whether the prompt is known to the tokenizer."""
    one = renderer(merges=("ab",), bos=False, eos=False)
    assert len(one.whole("ab").ids) == 1
    assert len(one.whole({"prompt": "a", "completion": "b"}).ids) == 2


# --- Conversations --------------------------------------------------------------------------------------------------


def test_of_messages_what_the_assistant_says_is_trained_and_not_who_says_it() -> None:
    assert counted(renderer(KNOWS_PROMPTS), CHAT) == "me.yes."


def test_a_template_that_announces_no_answer_trains_its_announcement_as_well() -> None:
    assert counted(renderer(KNOWS_NONE), CHAT) == "[assistant]me.[assistant]yes."


def test_a_template_that_announces_more_than_an_answer_begins_with() -> None:
    """Some announce an answer by an empty thought that the conversation itself does not show."""
    thoughtful = KNOWS_PROMPTS.replace("[assistant]{%", "[assistant]<think></think>{%")
    assert counted(renderer(thoughtful), CHAT) == "[assistant]me.[assistant]yes."


def test_messages_get_no_bos_but_the_templates_own() -> None:
    one = renderer("{{ bos_token }}" + KNOWS_PROMPTS)
    ids = one.whole(CHAT).ids
    assert ids[0] == BOS
    assert (ids == BOS).sum() == 1
    assert BOS not in renderer(KNOWS_PROMPTS).whole(CHAT).ids


def test_an_assistant_who_speaks_first_is_trained() -> None:
    text = {"messages": [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "ho"}]}
    assert counted(renderer(KNOWS_PROMPTS), text) == "[assistant]hi."


def test_a_token_across_the_beginning_of_an_answer_is_trained() -> None:
    spaced = KNOWS_PROMPTS.replace("]", "] ")
    assert counted(renderer(spaced), CHAT) == "me.yes."
    assert counted(renderer(spaced, merges=("Ġm",)), CHAT) == " me.yes."


def test_a_template_that_renders_no_instruction_without_a_question_will_do() -> None:
    """Several refuse a conversation without a user; the loss mask does not need one."""
    strict = "{% if messages|selectattr('role', 'eq', 'user')|list == [] %}{{ raise_exception('ask') }}{% endif %}"
    text = {"messages": [{"role": "system", "content": "be brief"}, *CHAT["messages"]]}
    assert counted(renderer(strict + KNOWS_PROMPTS), text) == "me.yes."


FORGETFUL = "{% for m in messages %}[{{ m.role }}]{% if loop.last %}{{ m.content }}{% endif %}.{% endfor %}"
COUNTING = "{{ messages|length }}" + KNOWS_PROMPTS
BAD_TEMPLATES = {
    "none at all": (None, "the tokenizer has no chat template"),
    "forgets earlier messages": (FORGETFUL, "changes earlier messages"),
    "begins with their number": (COUNTING, "changes earlier messages"),
    "raises": ("{{ raise_exception('roles must alternate') }}", "the chat template failed: .*roles must alternate"),
    "is no template": ("{% for %}", "the chat template failed: TemplateSyntaxError"),
}


@pytest.mark.parametrize(("template", "message"), BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
def test_a_template_of_which_the_loss_mask_is_unclear_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        renderer(template).rows(CHAT)


DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}"
)
UNDATED_UNLESS_TOOLS = "{% if tools %}{{ strftime_now('%d') }}{% endif %}" + KNOWS_PROMPTS


def test_a_template_that_writes_todays_date_needs_a_date() -> None:
    """sgl-project/sglang#3296: the template writes today's date into each conversation."""
    with pytest.raises(RecipeError, match=r"writes today's date.*Rendering\(.*date=\"2026-01-31\"\)"):
        renderer(DATED + KNOWS_PROMPTS).rows(CHAT)
    one = renderer(DATED + KNOWS_PROMPTS, date="2024-07-26")
    assert one.whole(CHAT).string == "26 Jul 2024" + renderer(KNOWS_PROMPTS).whole(CHAT).string
    assert counted(one, CHAT) == counted(renderer(KNOWS_PROMPTS), CHAT)


def test_a_template_that_could_write_the_date_and_does_not_needs_none() -> None:
    assert renderer(UNDATED_UNLESS_TOOLS).whole(CHAT).string == renderer(KNOWS_PROMPTS).whole(CHAT).string


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="date is written as"):
        Rendering("folder", date="26 Jul 2024")


def test_a_rendering_that_changes_when_it_is_repeated_is_refused() -> None:
    """As with a tokenizer whose own code writes the date, and midnight passes."""
    texts: list[Text] = [{"messages": [{"role": "assistant", "content": f"number {n}"}]} for n in range(40)]
    calls = iter(range(10_000))

    def at_midnight() -> PreTrainedTokenizerFast:
        made = tokenizer(template=KNOWS_NONE)
        plain = made.apply_chat_template
        made.apply_chat_template = lambda *a, **k: f"{next(calls) < 100}{plain(*a, **k)}"  # type: ignore[method-assign]
        return made

    with pytest.raises(RecipeError, match=r"document \d+ has other tokens when it is rendered again"):
        TextPopulation(Documents(texts), Rendering(at_midnight), Probes(canaries=0))


# --- Rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("characters", [1, 7, 8, 9, 14, 15, 16, 17, 40])
@pytest.mark.parametrize("eos", [True, False])
def test_a_long_text_goes_on_in_further_rows_of_which_the_first_token_is_never_trained(
    characters: int, eos: bool
) -> None:
    one = renderer(context=8, eos=eos)
    text = "abcdefghij" * 4
    rows, whole = one.rows(text[:characters]), one.whole(text[:characters])
    assert np.concatenate([row.ids for row in rows]).tolist() == whole.ids.tolist()
    assert all(len(row.ids) == 8 for row in rows[:-1])
    assert 1 <= len(rows[-1].ids) <= 8
    expected = whole.trained.copy()
    expected[::8] = False
    assert np.concatenate([row.trained for row in rows]).tolist() == expected.tolist()


def test_a_prompt_that_fills_rows_leaves_them_untrained() -> None:
    rows = renderer(context=8).rows({"prompt": "x" * 19, "completion": "yes"})
    assert [row.trained.sum() for row in rows] == [0, 0, 4]


@pytest.mark.parametrize("text", ["", {"prompt": "x", "completion": ""}], ids=["empty", "no completion"])
def test_a_text_of_which_nothing_is_trained_is_refused(text: Text) -> None:
    with pytest.raises(RecipeError, match="no token that is trained on"):
        renderer(eos=False).rows(text)


def test_a_text_of_one_token_is_refused_where_nothing_stands_before_it() -> None:
    assert len(renderer(eos=False).rows("a")) == 1
    with pytest.raises(RecipeError, match=r"no token that is trained on: .*one token long"):
        renderer(bos=False, eos=False).rows("a")


def test_an_answer_that_a_template_swallows_is_refused() -> None:
    with pytest.raises(RecipeError, match="no token that is trained on"):
        renderer("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}").rows(CHAT)


@given(st.lists(st.integers(1, 20), max_size=40), st.integers(20, 50))
@settings(max_examples=200, deadline=None)
def test_packing_keeps_every_row_whole_and_in_order_and_loses_none(lengths: list[int], context: int) -> None:
    groups = packed(lengths, context)
    filled = [sum(lengths[i] for i in group) for group in groups]
    assert [i for group in groups for i in group] == list(range(len(lengths)))
    assert all(0 < tokens <= context for tokens in filled)
    # No row would have fitted into the group before.
    assert all(filled[n] + lengths[groups[n + 1][0]] > context for n in range(len(groups) - 1))


# --- The tokenizer --------------------------------------------------------------------------------------------------


def test_a_tokenizer_is_the_same_from_a_folder_as_from_a_function(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    here, there = Renderer(Rendering(tokenizer)), Renderer(Rendering(tmp_path))
    assert here.whole("grüße 7").ids.tolist() == there.whole("grüße 7").ids.tolist()
    assert here.vocabulary == there.vocabulary == 258


def test_the_vocabulary_counts_tokens_that_were_added() -> None:
    made = tokenizer()
    made.add_tokens(["secret"])
    assert Renderer(Rendering(lambda: made)).vocabulary == 259


CHANGES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "a merge": lambda: tokenizer(("ab",)),
    "a chat template": lambda: tokenizer(template=KNOWS_NONE),
    "another EOS": lambda: tokenizer(bos_token="<s>", eos_token="a"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_changes_with_all_that_decides_tokens(change: Callable[[], PreTrainedTokenizerFast]) -> None:
    assert Renderer(Rendering(change)).digest() != Renderer(Rendering(tokenizer)).digest()


def test_the_digest_does_not_change_with_use() -> None:
    one = renderer()
    before = one.digest()
    one.rows("some text")
    one.tokenizer.decode([5, 6])
    assert one.digest() == before == renderer().digest()


def test_a_tokenizer_that_was_saved_with_truncation_and_padding_does_neither(tmp_path: Path) -> None:
    made = tokenizer()
    made.backend_tokenizer.enable_truncation(4)
    made.backend_tokenizer.enable_padding(length=64)
    made.save_pretrained(tmp_path)
    assert '"max_length": 4' in (tmp_path / "tokenizer.json").read_text("utf-8")
    assert len(Renderer(Rendering(tmp_path)).rows("a" * 20)[0].ids) == 22


def _without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("a\nb\n", "utf-8")


def _settings(**settings: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | settings), "utf-8")

    return change


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer.json": (_without_tokenizer, "holds no tokenizer.json; save a fast tokenizer"),
    "half a tokenizer.json": (lambda f: os.truncate(f / "tokenizer.json", 300), "cannot be read: JSONDecodeError"),
    "another tokenizer.json": (lambda f: (f / "tokenizer.json").write_text("{}", "utf-8"), "cannot be read"),
    "half its settings": (lambda f: os.truncate(f / "tokenizer_config.json", 20), "cannot be read"),
    "a list of settings": (lambda f: (f / "tokenizer_config.json").write_text("[]", "utf-8"), "cannot be read"),
    "a slow class": (_settings(tokenizer_class="CTRLTokenizer"), "cannot be read: TypeError"),
    "code of its own": (_settings(auto_map={"AutoTokenizer": ["trap.Trap", "trap.Trap"]}), "needs trust_remote_code"),
    "no BOS": (_settings(bos_token=None), "has no BOS token; give it one, or set bos=False"),
    "no EOS": (_settings(eos_token=None), "has no EOS token; give it one, or set eos=False"),
    "no settings": (lambda f: (f / "tokenizer_config.json").unlink(), "has no BOS token"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_a_folder_without_a_usable_tokenizer_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n", "utf-8")
    spoil(tmp_path)
    with pytest.raises(RecipeError, match=message):
        Renderer(Rendering(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_no_folder_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no tokenizer"):
        Renderer(Rendering(tmp_path / "nowhere"))


BAD_FUNCTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "slow": (ByT5Tokenizer, "the tokenizer is a ByT5Tokenizer; a fast one is needed"),
    "a backend": (lambda: tokenizer().backend_tokenizer, "the tokenizer is a Tokenizer; a fast one is needed"),
    "nothing": (lambda: None, "the tokenizer is a NoneType; a fast one"),
    "an error": (lambda: 1 / 0, r"test_rendering.py:\d+: tokenizer\(\) failed: ZeroDivisionError"),
    "no BOS": (lambda: tokenizer(eos_token="</s>"), "has no BOS token"),
}


@pytest.mark.parametrize(("function", "message"), BAD_FUNCTIONS.values(), ids=BAD_FUNCTIONS)
def test_a_function_that_returns_no_fast_tokenizer_is_refused(function: Callable[[], Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Renderer(Rendering(function))


def test_a_tokenizer_without_bos_will_do_where_none_is_asked_for() -> None:
    one = Renderer(Rendering(lambda: tokenizer(eos_token="</s>"), bos=False))
    assert len(one.start) == 0
    assert one.rows("ab")[0].trained.tolist() == [False, True, True]


@pytest.mark.parametrize("context", [-1, 0, 7])
def test_a_context_that_holds_no_text_is_refused(context: int) -> None:
    with pytest.raises(RecipeError, match=f"context = {context}: a row holds at least 8 tokens"):
        Rendering(tokenizer, context=context)
