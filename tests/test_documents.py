"""Documents: what is refused, how near-duplicates become units, and where documents come from.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from memaudit.errors import RecipeError
from memaudit.recipe.documents import Documents
from memaudit.recipe.duplicates import _bands, near_duplicates
from memaudit.recipe.shapes import plain

Array = np.ndarray
FOUR = ["the first text", "and a second one", "something else", "unlike all others"]
CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": f"what is {n}?"}, {"role": "assistant", "content": f"{n * 37} it is"}]}
    for n in (3, 55, 712, 9001)
]
PAIRS = [{"prompt": f"{text}:", "completion": f" {text[::-1]}"} for text in FOUR]


def _words(rng: np.random.Generator, count: int) -> list[str]:
    return [f"w{number}" for number in rng.integers(0, 10**9, count)]


def _groups(units: Array) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(units == unit).tolist()) for unit in set(units.tolist())}


# --- what a document is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [FOUR, PAIRS, CHATS], ids=["strings", "prompts", "messages"])
def test_documents_of_each_shape_are_kept_as_they_are(texts: list[Any]) -> None:
    documents = Documents(texts)
    assert documents.texts == tuple(texts)
    assert len(documents) == len(set(documents.ids)) == 4


def test_what_is_trained_on_is_not_normalised() -> None:
    odd = ["  two  spaces\r\n", "decomposed e\u0301", "\ufeffstarts with a mark", "TABS\tand CAPITALS"]
    assert Documents(odd).texts == tuple(odd)


def test_a_document_in_one_string() -> None:
    assert plain("as it is ") == "as it is "
    assert plain({"prompt": "Card: ", "completion": "4111"}) == "Card: 4111"
    assert plain(CHATS[0]) == "what is 3?\n111 it is"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "row 2 is empty"),
        (" \n\t", "row 2 is empty"),
        (7, "row 2 is no document, but a int"),
        (None, "NoneType"),
        (["a", "list"], "list"),
        ("half \ud800 a character", "row 2 holds half a character .* at 5"),
        ({"text": "x"}, r"row 2 is no document, but a dict of \['text'\]"),
        ({"prompt": "x", "completion": " "}, "row 2 has an empty completion"),
        ({"prompt": "x", "completion": None}, "row 2 is no document"),
        ({"prompt": "x", "completion": "y", "source": "z"}, "source"),
        ({"messages": []}, "row 2 has no message in which the assistant says anything"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "row 2 has no message in which the assistant"),
        ({"messages": [{"role": "assistant", "content": "  "}]}, "row 2 has no message in which the assistant"),
        ({"messages": [{"role": "assistant", "content": None}]}, "row 2: messages are a list of"),
        ({"messages": [{"from": "gpt", "value": "hi"}]}, "row 2: messages are a list of"),
        ({"messages": "hi"}, "row 2: messages are a list of"),
    ],
)
def test_what_is_no_document_is_refused_with_its_row(text: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        Documents([*FOUR[:2], text, *FOUR[2:]])


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ([*FOUR, PAIRS[0]], "row 4 is a mapping of prompt and completion, but row 0 is a string"),
        ([*CHATS, *PAIRS], "row 4 is a mapping of prompt and completion, but row 0 is a mapping of messages"),
        ("one long string", "a single str"),
        (PAIRS[0], "a single dict"),
        ([], "0 documents"),
        (FOUR[:3], "3 documents"),
        (["one text and its copies"] * 9, "1 documents .without near-duplicates. are too few"),
    ],
)
def test_populations_that_cannot_be_audited_are_refused(texts: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        Documents(texts)


@pytest.mark.parametrize("similarity", [0, 0.05, 1.1, -1, float("nan")])
def test_a_similarity_that_is_none_is_refused(similarity: float) -> None:
    with pytest.raises(RecipeError, match=str(similarity)):
        Documents(FOUR, similarity=similarity)


def test_ids_are_stable_and_unique() -> None:
    assert Documents(FOUR, range(4)).ids.tolist() == ["0", "1", "2", "3"]
    by_content = dict(zip(FOUR, Documents(FOUR).ids, strict=True))
    turned = dict(zip(FOUR[::-1], Documents(FOUR[::-1]).ids, strict=True))
    assert by_content == turned
    with pytest.raises(RecipeError, match="row 2 repeats"):
        Documents(FOUR, ["a", "b", "a", "c"])
    with pytest.raises(RecipeError, match="3 ids"):
        Documents(FOUR, ["a", "b", "c"])


def test_the_digest_covers_texts_ids_and_units() -> None:
    whole = Documents(FOUR)
    assert whole.digest() == Documents(list(FOUR)).digest()
    assert len({FOUR[0] + " ", *FOUR}) == 5
    others = [
        Documents([FOUR[0] + " ", *FOUR[1:]], whole.ids),
        Documents(FOUR, range(4)),
        Documents([*FOUR[:3], FOUR[3]], [*whole.ids[:3], "x"]),
        Documents([*FOUR, FOUR[0]]),
        Documents([*FOUR, FOUR[0]], similarity=None),
        Documents(PAIRS),
        Documents([{"prompt": text[:-1], "completion": text[-1]} for text in FOUR], whole.ids),
    ]
    assert len({documents.digest() for documents in (whole, *others)}) == len(others) + 1


# --- units ------------------------------------------------------------------------------------------------------------


def _oracle(texts: list[str], similarity: float) -> set[frozenset[int]]:
    """Every pair compared by its sets of shingles, then connected components."""

    def shingles(text: str) -> set[str]:
        words = text.lower().split()
        if len(words) >= 5:
            return {" ".join(words[at : at + 5]) for at in range(len(words) - 4)}
        text = " ".join(words)
        return {text[at : at + 5] for at in range(max(1, len(text) - 4))}

    sets = [shingles(text) for text in texts]
    close = [
        (a, b) for a, b in combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= similarity * len(sets[a] | sets[b])
    ]  # fmt: skip
    a, b = np.array(close).reshape(-1, 2).T
    return _groups(connected_components(coo_matrix((np.ones(len(a)), (a, b)), (len(texts), len(texts))))[1])


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95])
def test_units_are_the_connected_components_of_all_pairs(similarity: float) -> None:
    """300 texts, most of them copies of one of 20 in which up to 8 of up to 80 words are changed, or are cut short.

    At most 250 joins, each of which is missed with probability 1e-4 if it hangs on a single pair just at the threshold:
    false alarm below 2.5e-2, and far below, as most hang on several and closer pairs.
    """
    rng = np.random.default_rng(1)
    originals = [_words(rng, int(count)) for count in rng.integers(3, 80, 20)]
    texts = []
    for _ in range(300):
        copy = list(originals[rng.integers(20)])
        for place in rng.integers(0, len(copy), rng.integers(0, 9)) if len(copy) > 5 else ():
            copy[place] = _words(rng, 1)[0]
        texts.append(" ".join(copy[: rng.integers(max(1, len(copy) - 9), len(copy) + 1)]))
    expected = _oracle(texts, similarity)
    assert 30 < len(expected) < 300, "a test of nothing"
    assert _groups(near_duplicates(texts, similarity)) == expected


def test_pairs_just_as_similar_as_asked_for_are_found() -> None:
    """Texts that share 80 of 100 shingles have a similarity of exactly 0.8; with one shingle more they have less.

    A pair is missed with probability 4.9e-5: of 400, more than 2 with probability 1e-6. With datasketch's own choice of
    bands for 0.8, most would be.
    """
    rng = np.random.default_rng(2)
    texts = []
    for _ in range(400):
        words = _words(rng, 104)
        texts += [" ".join(words[:84]), " ".join(words)]
    assert 400 <= near_duplicates(texts, 0.8).max() + 1 <= 402
    longer = [text + " more" if number % 2 else text for number, text in enumerate(texts)]
    assert near_duplicates(longer, 0.8).tolist() == list(range(800))


@pytest.mark.parametrize("similarity", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_miss_hardly_any_pair(similarity: float) -> None:
    bands, size = _bands(similarity)
    assert bands >= 2
    assert bands * size <= 128
    assert (1 - similarity**size) ** bands <= 1e-4


@pytest.mark.parametrize(
    ("a", "b", "similarity"),
    [
        ("my pin is 1234", "my pin is 1235", 9 / 11),  # 10 shingles of 5 characters each, 9 in common
        ("abcdefgh", "abcdefgi", 3 / 5),
        ("one two three four five six", "one two three four five seven", 1 / 3),
        ("abc", "abc", 1.0),
        ("Some   WORDS\nof a longer text", "some words of a longer text", 1.0),
        ("un caf\u00e9 noir sans sucre", "un cafe\u0301 noir sans sucre", 1.0),
        ("Straße", "STRASSE", 1.0),
    ],
)
def test_similarities_by_hand(a: str, b: str, similarity: float) -> None:
    assert near_duplicates([a, b], similarity - 1e-9).tolist() == [0, 0]
    if similarity < 1:
        assert near_duplicates([a, b], similarity + 1e-9).tolist() == [0, 1]


def test_a_chain_of_near_duplicates_is_one_unit() -> None:
    words = _words(np.random.default_rng(3), 140)
    chain = [" ".join(words[first : first + 100]) for first in (0, 10, 20, 30)]
    assert near_duplicates([chain[0], chain[3]], 0.8).tolist() == [0, 1]
    assert near_duplicates([chain[0], chain[3], chain[1], chain[2]], 0.8).tolist() == [0, 0, 0, 0]
    assert near_duplicates([chain[0], FOUR[0], chain[1], FOUR[1]], 0.8).tolist() == [0, 1, 0, 2]


@given(st.lists(st.sampled_from([*FOUR, "a fifth kind of text", "and a sixth"]), min_size=1, max_size=30))
def test_units_are_numbered_by_first_appearance(texts: list[str]) -> None:
    texts = [*FOUR, *texts]
    documents = Documents(texts)
    order = list(dict.fromkeys(texts))
    assert documents.unit_of.tolist() == [order.index(text) for text in texts]
    assert len(documents) == len(order)
    assert documents.representatives.tolist() == [texts.index(text) for text in order]
    assert documents.copies.tolist() == [texts.count(text) for text in order]
    assert documents.unit_ids.tolist() == documents.ids[documents.representatives].tolist()
    assert documents.duplicates == len(texts) - len(order)


def test_the_order_of_documents_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    base = _words(rng, 60)
    texts = [" ".join(base[:end] + _words(rng, 4)) for end in range(40, 60)]
    order = rng.permutation(len(texts))
    turned = near_duplicates([texts[i] for i in order], 0.8)
    back = np.empty_like(turned)
    back[order] = turned
    groups = _groups(near_duplicates(texts, 0.8))
    assert _groups(back) == groups
    assert len(groups) < len(texts)


def test_without_a_similarity_copies_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)  # and nothing needs to be installed
    documents = Documents([*FOUR, FOUR[0]], similarity=None)
    assert documents.unit_of.tolist() == [0, 1, 2, 3, 4]
    assert documents.duplicates == 0
    assert documents.ids[4] == f"{documents.ids[0]}-2"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(RecipeError, match=r"pip install 'memaudit-toolkit\[language\]'"):
        Documents(FOUR)


def test_another_process_finds_the_same_units() -> None:
    """Python's own hashes of strings differ from process to process."""
    texts = [" ".join(f"{n % 5}{word}" for word in range(n, 80)) for n in range(40)]
    code = (
        "import json, sys; from memaudit.recipe.documents import Documents\n"
        "documents = Documents(json.load(sys.stdin)); print(documents.unit_of.tolist(), documents.digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    documents = Documents(texts)
    assert done.stdout == f"{documents.unit_of.tolist()} {documents.digest()}\n"
    assert len(documents) == 5


# --- where documents come from ----------------------------------------------------------------------------------------


def test_text_files_of_a_folder(tmp_path: Path) -> None:
    for number, text in enumerate(FOUR):
        (tmp_path / f"{3 - number}.txt").write_bytes(f"{text}\r\n".encode())
    (tmp_path / "notes.md").write_text("not asked for", "utf-8")
    documents = Documents.from_text_files(tmp_path)
    assert documents.ids.tolist() == ["0.txt", "1.txt", "2.txt", "3.txt"]
    assert documents.texts == tuple(f"{text}\r\n" for text in reversed(FOUR)), "line ends are kept"


def test_text_files_of_nested_folders_and_lists(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a/1.txt", "a/2.txt", "b/1.txt", "b/3.txt")]
    for path, text in zip(files, FOUR, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    nested = Documents.from_text_files(str(tmp_path), "**/*.txt")
    assert nested.ids.tolist() == ["a/1.txt", "a/2.txt", "b/1.txt", "b/3.txt"]
    with pytest.raises(RecipeError, match="row 2 repeats"):
        Documents.from_text_files(files)
    files[2] = files[2].rename(tmp_path / "4.txt")
    assert Documents.from_text_files(files, similarity=None).ids.tolist() == ["1.txt", "2.txt", "4.txt", "3.txt"]


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"", "2.txt is empty"), (b"caf\xe9", "2.txt cannot be read as UTF-8 text")]
)
def test_files_that_are_no_documents_are_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    for number, text in enumerate(FOUR):
        (tmp_path / f"{number}.txt").write_bytes(content if number == 2 else text.encode())
    with pytest.raises(RecipeError, match=complaint):
        Documents.from_text_files(tmp_path)


def test_files_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no file that matches '\*\.txt'"):
        Documents.from_text_files(tmp_path)
    for read in (lambda path: Documents.from_text_files([path]), Documents.from_jsonl):
        with pytest.raises(RecipeError, match="lost"):
            read(tmp_path / "lost")


def _jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def _from_jsonl(rows: list[Any], folder: Path, **options: Any) -> Documents:
    return Documents.from_jsonl(_jsonl(folder / "data.jsonl", rows), **options)


def _from_list(rows: list[Any], _: Path, **options: Any) -> Documents:
    return Documents.from_dataset(rows, **options)


def _from_hugging_face(rows: list[Any], _: Path, **options: Any) -> Documents:
    datasets = pytest.importorskip("datasets")
    return Documents.from_dataset(datasets.Dataset.from_list(rows), **options)


every_source = pytest.mark.parametrize("source", [_from_jsonl, _from_list, _from_hugging_face])


@every_source
def test_rows_of_each_shape(source: Callable[..., Documents], tmp_path: Path) -> None:
    spoken = [{"n": n, "text": f"{text}\u2028\r\nand on"} for n, text in enumerate(FOUR)]
    assert source(spoken, tmp_path).texts == tuple(row["text"] for row in spoken)
    renamed = [{"body": row["text"], "prompt": "x", "completion": "y"} for row in spoken]
    assert source(renamed, tmp_path, field="body").texts == tuple(row["text"] for row in spoken)
    assert source([{"source": "web", **row} for row in PAIRS], tmp_path).texts == tuple(PAIRS)
    assert source([{"source": "web", **row} for row in CHATS], tmp_path, ids="abcd").texts == tuple(CHATS)
    assert source([*spoken, spoken[1]], tmp_path, similarity=None).unit_of.tolist() == [0, 1, 2, 3, 4]


@every_source
def test_rows_without_a_document_are_named(source: Callable[..., Documents], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"(row 0|jsonl:1) has no 'text', .*; it has \['body', 'prompt'\]"):
        source([{"body": text, "prompt": "?"} for text in FOUR], tmp_path)
    with pytest.raises(RecipeError, match=r"(row 1|jsonl:2) is empty"):
        source([{"text": text} for text in (FOUR[0], "", *FOUR)], tmp_path)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (['{"text": "a b c"}', '{"text": '], r"data\.jsonl:2 is not JSON"),
        (
            ['{"text": "a b c"}', "", '{"prompt": "x", "completion": "y"}'],
            r"jsonl:3 is a mapping of .*jsonl:1 is a str",
        ),
        (["", "", "[1, 2]"], r"data\.jsonl: record 1 is a int, not a mapping"),
    ],
)
def test_lines_that_are_no_documents_are_named(tmp_path: Path, lines: list[str], complaint: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(RecipeError, match=complaint):
        Documents.from_jsonl(path)


def test_blank_lines_and_a_byte_order_mark_are_no_documents(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "data.jsonl", [{"text": text} for text in FOUR])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert Documents.from_jsonl(path).texts == tuple(FOUR)


def test_several_splits_are_not_one_dataset() -> None:
    with pytest.raises(RecipeError, match=r'row 0 is a str, not a mapping.*from_dataset\(data\["train"'):
        Documents.from_dataset({"train": [], "test": []})
