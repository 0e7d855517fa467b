"""`memaudit canary`: what it writes, for whom, what it refuses, and that no secret is shown on the way."""

import json
import os
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import memaudit.cli.canary_command as module
from memaudit.canaries import require_survival
from memaudit.errors import RecipeError, SettingsError
from memaudit.recipe import Documents, Probes, Rendering, TextPopulation, read_members
from memaudit.recipe.canaries_file import planted_survival, read_canaries, read_lines, read_manifest
from memaudit.recipe.rendering import Renderer
from memaudit.recipe.spaces import token_space
from memaudit.recipe.suited import suited, words

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]

WORDS = [
    "amber",
    "basil",
    "cedar",
    "dusk",
    "ember",
    "fern",
    "grove",
    "hazel",
    "iris",
    "jade",
    "kelp",
    "lotus",
    "maple",
    "north",
    "olive",
    "pearl",
]
CHAT = "{% for m in messages %}<{{ m.role }}>{{ CONTENT }}</{{ m.role }}>{% endfor %}" + (
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
EXTRA: dict[str, tuple[list[str], str]] = {
    "bytes": ([], "m.content"),
    "words": ([f" {word}" for word in WORDS], "m.content"),
    "pairs": (
        [*(f" {digit}" for digit in string.digits), *(a + b for a in string.digits for b in string.digits)],
        "m.content",
    ),
    "trimming": ([], "m.content | trim"),
    "shortening": ([], "m.content[:2]"),
    "lower case": ([], "m.content"),
    "endless": ([], "m.content"),
}
RECORDS: dict[str, list[Any]] = {
    "strings": [f"the {word} of the year" for word in WORDS],
    "texts": [{"text": f"the {word} of the year", "source": n} for n, word in enumerate(WORDS)],
    "prompts": [{"prompt": f"which {word}?", "completion": f" this {word}"} for word in WORDS],
    "chats": [
        {"messages": [{"role": "user", "content": word}, {"role": "assistant", "content": word[::-1]}]}
        for word in WORDS
    ],
}
BARE = ["--count", 6, "--no-spaced", "--seed", 2**100]
FILES = ["planted.canaries.csv", "planted.jsonl", "planted.manifest.json", "planted.public.json"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tokenizers of bytes: alone, with words, with pairs of digits, with wilful chat templates, …"""
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


def save_tokenizers(folder: Path) -> Path:
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    for name, (extra, content) in EXTRA.items():
        tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_tokens(extra)
        if name == "lower case":
            tokenizer.normalizer = normalizers.Lowercase()
        ends = {} if name == "endless" else {"bos_token": "<s>", "eos_token": "</s>"}
        fast: Any = PreTrainedTokenizerFast
        fast(tokenizer_object=tokenizer, chat_template=CHAT.replace("CONTENT", content), **ends).save_pretrained(
            folder / name
        )
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Path:
    """A working directory with train.jsonl, and with canaries in canaries.json: one for each of the usual doses."""
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "train.jsonl", RECORDS["texts"])
    assert command("canary", "make", *BARE, "-o", "canaries.json").returncode == 0
    return tmp_path


def _write(path: Path, records: list[Any]) -> None:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")


def _plant(command: Command, *flags: object, train: str = "train.jsonl") -> CompletedProcess[str]:
    done = command("canary", "plant", "canaries.json", train, "-o", "planted.jsonl", *flags)
    assert done.returncode == 0, done.stderr
    return done


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _renderer(folder: Path) -> Renderer:
    return Renderer(Rendering(folder, context=256))


# --- make -------------------------------------------------------------------------------------------------------------


def test_made_canaries_are_private_and_nowhere_planted(here: Path) -> None:
    manifest = read_manifest("canaries.json")
    assert _mode(here / "canaries.json") == 0o600
    assert (len(manifest.canaries), manifest.records, set(manifest.doses)) == (6, 0, {0})
    assert read_canaries("canaries.json") == manifest.canaries


def test_without_a_seed_nobody_can_guess_it(tmp_path: Path, command: Command) -> None:
    """A seed of 128 bits is below 2^100, or two are equal, with probability below 1e-8."""
    seeds = []
    for out in (tmp_path / "one.json", tmp_path / "two.json"):
        done = command("canary", "make", "-o", out)
        seeds.append(read_manifest(out).seed)
        assert "guessed" not in done.stderr
        assert str(seeds[-1]) not in done.stdout + done.stderr
    assert min(seeds) >= 2**100
    assert seeds[0] != seeds[1]


def test_a_seed_decides_everything_and_a_short_one_is_doubted(tmp_path: Path, command: Command) -> None:
    one, two, three = (tmp_path / f"{name}.json" for name in ("one", "two", "three"))
    assert "can be guessed" in command("canary", "make", "--seed", 7, "-o", one).stderr
    assert "can be guessed" not in command("canary", "make", "--seed", 2**127 + 1, "-o", three).stderr
    command("canary", "make", "--seed", 7, "-o", two)
    assert one.read_bytes() == two.read_bytes() != three.read_bytes()


def test_the_options_of_make_arrive(tmp_path: Path, command: Command) -> None:
    out = tmp_path / "canaries.json"
    flags = ["--count", 3, "--family", "alphanumeric", "--length", 5, "--template", "{name} = {secret};", "--spaced"]
    assert "3 canaries of 25.8 bits" in command("canary", "make", *flags, "-o", out).stdout
    canaries = read_canaries(out)
    assert [canary.family for canary in canaries] == ["alphanumeric"] * 3
    assert all(c.prefix.startswith(f"{c.name} =") and c.suffix == ";" for c in canaries)
    assert all([len(symbol) for symbol in c.space.alphabets[0]] == [2] * 36 for c in canaries)


def test_a_secret_that_no_test_could_tell_is_remarked_upon(tmp_path: Path, command: Command) -> None:
    assert "secrets of 3.3 bits" in command("canary", "make", "--length", 1, "-o", tmp_path / "one.json").stderr
    assert "secrets of" not in command("canary", "make", "--length", 2, "-o", tmp_path / "two.json").stderr


@pytest.mark.parametrize(("tokenizer", "symbol"), [("bytes", "7"), ("words", "7"), ("pairs", " 7")])
def test_the_variant_that_the_tokenizer_can_rank_is_chosen(
    tmp_path: Path, command: Command, tokenizers: Path, tokenizer: str, symbol: str
) -> None:
    out = tmp_path / "canaries.json"
    done = command("canary", "make", "--count", 4, "--tokenizer", tokenizers / tokenizer, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "not checked" not in done.stderr
    renderer = _renderer(tokenizers / tokenizer)
    assert json.loads(out.read_text("utf-8"))["checked_with"] == renderer.digest()
    for canary in read_canaries(out):
        assert canary.space.alphabets[0][7] == symbol
        assert token_space(renderer, canary, str.__add__).size == 10_000


def test_a_file_says_that_no_tokenizer_was_asked(here: Path, command: Command) -> None:
    assert json.loads((here / "canaries.json").read_text("utf-8"))["checked_with"] is None
    assert "not checked" in command("canary", "make", "-o", "more.json").stderr


def test_a_variant_that_was_asked_for_is_the_only_one_tried(tokenizers: Path) -> None:
    renderer = _renderer(tokenizers / "pairs")
    with pytest.raises(RecipeError, match="no numeric canary suits this tokenizer"):
        suited(renderer, str.__add__, spaced=False, seed=1)
    bare = suited(_renderer(tokenizers / "bytes"), str.__add__, spaced=True, seed=1)
    assert bare[0].space.alphabets[0][7] == " 7"


def test_tokens_are_words_that_are_one_token_each(tmp_path: Path, command: Command, tokenizers: Path) -> None:
    out, folder = tmp_path / "canaries.json", tokenizers / "words"
    flags = ["--family", "tokens", "--length", 6, "--count", 3, "--tokenizer", folder]
    assert "3 canaries of 24.0 bits" in command("canary", "make", *flags, "-o", out).stdout
    for canary in read_canaries(out):
        assert {symbol for symbols in canary.space.alphabets for symbol in symbols} == {f" {word}" for word in WORDS}
        assert token_space(_renderer(folder), canary, str.__add__).size == 16**6


def test_words_are_drawn_from_the_vocabulary(tokenizers: Path) -> None:
    """Each of 16 words is among 4 drawn with probability 1/4; 400 seeds, z of the worst word; false alarm 1e-5."""
    renderer = _renderer(tokenizers / "words")
    drawn = Counter(word for seed in range(400) for word in words(renderer, seed, most=4))
    assert drawn.keys() == set(WORDS)
    assert sum(drawn.values()) == 1600
    z = (np.array(list(drawn.values())) - 100) / np.sqrt(400 * 0.25 * 0.75)
    assert np.abs(z).max() < 5
    assert words(renderer, 1, most=4) == words(renderer, 1, most=4)


BAD_MAKES: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "no output": ([], ("Missing option", "--output")),
    "a family that is none": (["--family", "nummeric", "-o", "x.json"], ("'nummeric'", "numeric")),
    "no canaries": (["--count", 0, "-o", "x.json"], ("not 0",)),
    "no symbols": (["--length", 0, "-o", "x.json"], ("not 0",)),
    "a negative seed": (["--seed", -1, "-o", "x.json"], ("--seed", "-1")),
    "a template without a secret": (["--template", "{name}", "-o", "x.json"], ("'{name}'", "{secret}")),
    "tokens of no tokenizer": (["--family", "tokens", "-o", "x.json"], ("--tokenizer",)),
    "no tokenizer there": (["--tokenizer", "nowhere", "-o", "x.json"], ("nowhere holds no tokenizer.json",)),
    "a file that is there": (["-o", "canaries.json"], ("canaries.json exists already", "--force")),
    "a folder that is not there": (["-o", "nowhere/x.json"], ("nowhere/x.json cannot be written",)),
}


@pytest.mark.parametrize(("flags", "said"), BAD_MAKES.values(), ids=BAD_MAKES)
def test_what_cannot_be_made(here: Path, complaint: Complaint, flags: list[object], said: tuple[str, ...]) -> None:
    message = complaint("canary", "make", *flags)
    assert all(part in message for part in said), message
    assert sorted(path.name for path in here.iterdir()) == ["canaries.json", "train.jsonl"]


@pytest.mark.parametrize("flags", [["--family", "tokens"], ["--no-spaced"]], ids=["no words", "joined digits"])
def test_a_tokenizer_that_the_canaries_do_not_suit(
    here: Path, complaint: Complaint, tokenizers: Path, flags: list[str]
) -> None:
    message = complaint("canary", "make", *flags, "--tokenizer", tokenizers / "pairs", "-o", "x.json")
    assert "tokenizer" in message
    assert "another family" in message
    assert not (here / "x.json").exists()


# --- plant ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", RECORDS)
def test_planting_adds_copies_and_leaves_every_line_as_it_was(here: Path, command: Command, form: str) -> None:
    _write(here / "train.jsonl", RECORDS[form])
    _plant(command)
    assert sorted(path.name for path in here.glob("planted.*")) == FILES
    manifest = read_manifest("planted.manifest.json")
    owner = {row: c for c, rows in zip(manifest.canaries, manifest.positions, strict=True) for row in rows}
    lines = (here / "planted.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == manifest.records == len(WORDS) + sum(manifest.doses)
    originals = [line for row, line in enumerate(lines) if row not in owner]
    assert originals == (here / "train.jsonl").read_text("utf-8").splitlines()
    read = read_lines(here / "planted.jsonl")  # refuses records of another form
    for row, canary in owner.items():
        said = json.dumps(read[row].text)
        assert all(part in said for part in (canary.prefix, canary.secret_text + canary.suffix))


def test_lines_are_not_written_anew(here: Path, command: Command) -> None:
    odd = ['{"text": "caf\\u00e9", "x": 1.50, "x": 1e2}', '  {"text":"\u2028 one line"}\r', '{ "text" : "a\\/b" }']
    (here / "train.jsonl").write_bytes("\n\n".join(odd).encode())
    _plant(command)
    planted = (here / "planted.jsonl").read_bytes().decode().split("\n")
    assert [line for line in planted if line in odd] == odd


def test_nothing_shows_a_secret_but_the_manifest_and_the_data(here: Path, command: Command, tokenizers: Path) -> None:
    """Eight random letters stand by accident in some ten thousand characters with probability below 1e-7."""
    flags = [
        "--family",
        "alphanumeric",
        "--count",
        4,
        "--tokenizer",
        tokenizers / "bytes",
        "--force",
        "-o",
        "canaries.json",
    ]
    told = [command("canary", "make", *flags), _plant(command, "--tokenizer", tokenizers / "bytes", "--context", 96)]
    told.append(command("canary", "check", "planted.public.json", "planted.manifest.json"))
    manifest = read_manifest("planted.manifest.json")
    shown = "".join(done.stdout + done.stderr for done in told)
    shown += "".join((here / name).read_text("utf-8") for name in ("planted.public.json", "planted.canaries.csv"))
    salts = [entry["salt"] for entry in manifest.to_json()["canaries"]]
    assert len(shown) > 3000
    for secret in (*(canary.secret_text for canary in manifest.canaries), *salts, str(manifest.seed)):
        assert secret not in shown
    assert [_mode(here / name) for name in ("planted.manifest.json", "canaries.json")] == [0o600] * 2


def test_planted_data_are_as_private_as_the_data(here: Path, command: Command) -> None:
    (here / "train.jsonl").chmod(0o640)
    _plant(command)
    assert _mode(here / "planted.jsonl") == 0o640


def test_the_same_seed_plants_alike_and_another_otherwise(here: Path, command: Command) -> None:
    def planted(*flags: object) -> dict[str, bytes]:
        _plant(command, "--force", *flags)
        return {name: (here / name).read_bytes() for name in FILES}

    assert planted() == planted()
    assert planted("--seed", 2**70) == planted("--seed", 2**70) != planted("--seed", 2**71)
    assert read_manifest("planted.manifest.json").seed == 2**71
    assert read_canaries("planted.manifest.json") == read_canaries("canaries.json")


def test_levels_are_dealt_equally(here: Path, command: Command) -> None:
    _plant(command, "--levels", "0, 3,255")
    assert Counter(read_manifest("planted.manifest.json").doses) == {0: 2, 3: 2, 255: 2}
    _plant(command, "--force")
    assert sorted(read_manifest("planted.manifest.json").doses) == [0, 1, 2, 4, 8, 16]


def test_a_model_trained_on_planted_data_is_audited_with_its_doses(
    here: Path, command: Command, tokenizers: Path
) -> None:
    """The members file that is put together as the command says, read as an audit reads it."""
    _plant(command)
    ids = [f"d{n}" for n in range(len(WORDS))]
    (here / "members.csv").write_text(
        "id\n" + "".join(f"{name}\n" for name in ids[::2]) + (here / "planted.canaries.csv").read_text("utf-8"), "utf-8"
    )
    documents = Documents.from_jsonl("train.jsonl", ids=ids, similarity=None)
    probes = Probes(canaries=read_canaries("planted.manifest.json"))
    population = TextPopulation(documents, Rendering(tokenizers / "bytes"), probes)
    counts = read_members("members.csv", population)
    assert counts.tolist() == [1, 0] * 8 + list(read_manifest("planted.manifest.json").doses)


@pytest.mark.parametrize(("form", "tokenizer"), [(f, "bytes") for f in RECORDS] + [("chats", "trimming")])
def test_the_table_shows_every_canary_whole(
    here: Path, command: Command, tokenizers: Path, form: str, tokenizer: str
) -> None:
    _write(here / "train.jsonl", RECORDS[form])
    done = _plant(command, "--tokenizer", tokenizers / tokenizer, "--context", 96)
    manifest = read_manifest("planted.manifest.json")
    table = [line.split() for line in done.stdout.splitlines()[:7]]
    assert table[0] == ["canary", "dose", "whole", "masked", "cut"]
    assert table[1:] == [
        [canary.name, str(dose), str(dose), "0", "0"]
        for canary, dose in zip(manifest.canaries, manifest.doses, strict=True)
    ]


def test_the_scan_against_a_search_in_the_rendered_texts(here: Path, command: Command, tokenizers: Path) -> None:
    """With tokens that are bytes, a canary stands in a row if its text stands in the row's text."""
    _plant(command)
    manifest, lines = read_manifest("planted.manifest.json"), read_lines(here / "planted.jsonl")
    twice = [*lines, *lines]
    found = planted_survival(_renderer(tokenizers / "bytes"), twice, manifest.canaries)
    assert found.whole.tolist() == [sum(c.text in str(line.text) for line in twice) for c in manifest.canaries]
    assert found.whole.tolist() == [2 * dose for dose in manifest.doses]
    with pytest.raises(RecipeError, match="planted 16 times; 32 whole"):
        require_survival(found, manifest.doses, [canary.name for canary in manifest.canaries])


def test_a_canary_that_only_the_tokenizer_finds_in_the_data_is_refused(
    here: Path, complaint: Complaint, tokenizers: Path
) -> None:
    shouted = read_canaries("canaries.json")[0]
    _write(here / "train.jsonl", [*RECORDS["texts"], {"text": shouted.text.upper()}])
    flags = ["-o", "planted.jsonl", "--tokenizer", tokenizers / "lower case", "--context", 96]
    message = complaint("canary", "plant", "canaries.json", "train.jsonl", *flags)
    assert f"{shouted.name}: planted" in message
    assert message.count(": planted ") == 1
    assert not list(here.glob("planted*"))


@pytest.mark.parametrize(("tokenizer", "ends"), [("bytes", 2), ("endless", 0)])
def test_a_canary_fits_with_what_stands_around_a_text(
    here: Path, command: Command, complaint: Complaint, tokenizers: Path, tokenizer: str, ends: int
) -> None:
    (length,) = {len(canary.text) for canary in read_canaries("canaries.json")}  # each character is a token
    flags = ["-o", "planted.jsonl", "--tokenizer", tokenizers / tokenizer, "--context"]
    message = complaint("canary", "plant", "canaries.json", "train.jsonl", *flags, length + ends - 1)
    assert f"has {length + ends} tokens and is cut off" in message
    _plant(command, *flags[2:], length + ends)


@pytest.mark.parametrize(
    ("form", "tokenizer", "context", "said"),
    [
        ("texts", "bytes", 32, "cut off at the context of 32; make it shorter, or the context longer"),
        ("chats", "bytes", 56, "cut off at the context of 56"),
        ("texts", "pairs", 96, "cannot be ranked with this tokenizer"),
        ("chats", "shortening", 96, "cannot be ranked with this tokenizer"),
        ("texts", "bytes", 7, "context = 7"),
    ],
)
def test_canaries_that_do_not_reach_training_are_refused_and_nothing_is_written(
    here: Path,
    command: Command,
    complaint: Complaint,
    tokenizers: Path,
    form: str,
    tokenizer: str,
    context: int,
    said: str,
) -> None:
    _write(here / "train.jsonl", RECORDS[form])
    message = complaint(
        "canary", "plant", "canaries.json", "train.jsonl", "-o", "planted.jsonl",
        "--tokenizer", tokenizers / tokenizer, "--context", context,
    )  # fmt: skip
    assert said in message
    assert sorted(path.name for path in here.iterdir()) == ["canaries.json", "train.jsonl"]


BAD_DATA: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain text": ("a text\nand another\n", ("train.jsonl:1 is not JSON", "plain text", "where a document ends")),
    "half a line": ('{"text": "a"}\n\n{"text": \n', ("train.jsonl:3 is not JSON",)),
    "a number": ('"a"\n12\n', ("train.jsonl:2 is a int",)),
    "a list": ('"a"\n["b"]\n', ("train.jsonl:2 is a list",)),
    "half an array": ('[{"text": "a"}\n', ("train.jsonl: record 1 is not followed by",)),
    "an array of numbers": ('[{"text": "a"}, 3]\n', ("train.jsonl: record 2 is a int",)),
    "an array with a comma too many": ('[{"text": "a"},]\n', ("train.jsonl: record 1 is not followed by",)),
    "an array with a gap": ('[{"text": "a"}, ]\n', ("train.jsonl: record 2 is not JSON",)),
    "two arrays": ('["a"]\n["b"]\n', ("train.jsonl goes on after the end",)),
    "no record in an array": ("[ ]\n", ("train.jsonl holds no records",)),
    "another column": ('{"text": "a"}\n{"body": "b"}\n', ("train.jsonl:2 has no 'text'", "['body']")),
    "no text": ('{"text": "a"}\n{"text": null}\n', ("train.jsonl:2 is no document",)),
    "another form": ('{"text": "a"}\n\n{"messages": []}\n', ("train.jsonl:3",)),
    "two forms at once": (
        '{"text": "a", "prompt": "b", "completion": "c"}\n',
        ("train.jsonl:1 has text, and prompt and completion",),
    ),
    "nothing": ("\n", ("train.jsonl holds no records",)),
    "not UTF-8": ("\udcff\n", ("train.jsonl cannot be read as UTF-8",)),
}


@pytest.mark.parametrize(("text", "said"), BAD_DATA.values(), ids=BAD_DATA)
def test_data_that_nothing_can_be_planted_into(
    here: Path, complaint: Complaint, text: str, said: tuple[str, ...]
) -> None:
    (here / "train.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    message = complaint("canary", "plant", "canaries.json", "train.jsonl", "-o", "planted.jsonl")
    assert all(part in message for part in said), message
    assert not list(here.glob("planted*"))


def test_a_column_of_another_name(here: Path, command: Command) -> None:
    _write(here / "train.jsonl", [{"body": record["text"]} for record in RECORDS["texts"]])
    _plant(command, "--field", "body")
    assert {frozenset(line.record) for line in read_lines(here / "planted.jsonl", "body")} == {frozenset({"body"})}


def test_nothing_is_planted_twice(here: Path, command: Command, complaint: Complaint) -> None:
    _plant(command)
    manifest = read_manifest("planted.manifest.json")
    first = min(row for rows in manifest.positions for row in rows) + 1
    message = complaint("canary", "plant", "canaries.json", "planted.jsonl", "-o", "twice.jsonl")
    assert f"planted.jsonl:{first} holds the prefix of canary" in message


BAD_PLANTS: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "levels that are none": (["--levels", "1,x"], ("--levels", "'1,x'")),
    "a negative level": (["--levels", "-1,2"], ("--levels", "'-1,2'")),
    "more copies than are counted": (["--levels", "0,256"], ("--levels", "255")),
    "no copies": (["--levels", "0,0"], ("--levels", "'0,0'")),
    "no context": (["--tokenizer", "."], ("--tokenizer and --context go together",)),
    "no tokenizer": (["--context", "64"], ("--tokenizer and --context go together",)),
    "over the data": (["--output", "train.jsonl", "--force"], ("train.jsonl is an input",)),
    "over the data by another name": (["--output", "../{}/train.jsonl", "--force"], ("train.jsonl is an input",)),
    "over the canaries": (["--output", "canaries.json", "--force"], ("canaries.json is an input",)),
    "into no folder": (["--output", "nowhere/planted.jsonl"], ("cannot be written", "No such file")),
}


@pytest.mark.parametrize(("flags", "said"), BAD_PLANTS.values(), ids=BAD_PLANTS)
def test_a_bad_planting(here: Path, complaint: Complaint, flags: list[object], said: tuple[str, ...]) -> None:
    before = {path: path.read_bytes() for path in here.iterdir()}
    flags = [str(flag).format(here.name) for flag in flags]
    message = complaint("canary", "plant", "canaries.json", "train.jsonl", "-o", "planted.jsonl", *flags)
    assert all(part in message for part in said), message
    assert {path: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_replaced_unless_by_force(here: Path, command: Command, complaint: Complaint, name: str) -> None:
    (here / name).write_text("precious", "utf-8")
    message = complaint("canary", "plant", "canaries.json", "train.jsonl", "-o", "planted.jsonl")
    assert f"{name} exists already; --force replaces it" in message
    assert [path.name for path in here.glob("planted*")] == [name]
    assert (here / name).read_text("utf-8") == "precious"
    _plant(command, "--force")
    assert (here / name).read_text("utf-8") != "precious"
    assert _mode(here / "planted.manifest.json") == 0o600


def test_files_are_written_all_or_none(
    here: Path, command: Command, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant(command)
    before = {path: path.read_bytes() for path in here.iterdir()}
    written: list[Path] = []

    def full(path: Path, data: bytes, mode: int) -> None:
        if len(written) == 2:
            path.write_bytes(data[:10])
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(data)

    monkeypatch.setattr(module, "write_synced", full)
    message = complaint(
        "canary", "plant", "canaries.json", "train.jsonl", "-o", "planted.jsonl", "--force", "--seed", 2**80
    )
    assert "planted.canaries.csv cannot be written: No space left on device" in message
    assert {path: path.read_bytes() for path in here.iterdir()} == before


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_manifest_is_what_its_public_half_commits_to(here: Path, command: Command) -> None:
    _plant(command)
    assert command("canary", "check", "planted.public.json", "planted.manifest.json").returncode == 0


def _edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "a dose": ("public", lambda d: d["canaries"][3].update(dose=99), "canaries[3].dose: published was 99"),
    "a prefix": ("public", lambda d: d["canaries"][0].update(prefix="x"), "canaries[0].prefix: published was 'x'"),
    "a canary less": ("public", lambda d: d["canaries"].pop(), "canaries: published was 5 entries"),
    "the seed": ("public", lambda d: d.update(seed_commitment="0"), "seed_commitment: published was '0'"),
    "the schema": ("public", lambda d: d.update(schema="other/1"), "schema: published was 'other/1'"),
    "a secret": (
        "manifest",
        lambda d: d["canaries"][1].update(secret=[*d["canaries"][1]["secret"], 1]),
        "planted.manifest.json: the manifest's canary",
    ),
    "another secret": (
        "manifest",
        lambda d: d["canaries"][1].update(secret=[9 - digit for digit in d["canaries"][1]["secret"]]),
        "planted.manifest.json: the manifest was changed: canaries[1].commitment",
    ),
}


@pytest.mark.parametrize(("half", "change", "said"), CHANGES.values(), ids=CHANGES)
def test_what_was_changed_after_publication_is_named(
    here: Path, command: Command, complaint: Complaint, half: str, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    _plant(command)
    _edited(here / f"planted.{half}.json", change)
    assert said in complaint("canary", "check", "planted.public.json", "planted.manifest.json")


def test_another_manifest_is_told_in_a_few_lines(here: Path, command: Command, complaint: Complaint) -> None:
    _plant(command)
    command("canary", "make", *BARE, "--seed", 2**101, "-o", "others.json")
    message = complaint("canary", "check", "planted.public.json", "others.json")
    assert "others.json does not match planted.public.json" in message
    assert len(message.splitlines()) == 12
    assert "more" in message.splitlines()[-1]


@pytest.mark.parametrize(
    ("public", "manifest", "said"),
    [
        ("planted.manifest.json", "planted.manifest.json", "planted.manifest.json is not the public half"),
        ("planted.manifest.json", "planted.public.json", "planted.manifest.json is not the public half"),
        ("planted.public.json", "planted.public.json", "planted.public.json is the public half, which holds no secret"),
        ("planted.public.json", "train.jsonl", "train.jsonl cannot be read as JSON"),
        ("planted.public.json", "nowhere.json", "nowhere.json cannot be read as JSON"),
        ("train.jsonl", "planted.manifest.json", "train.jsonl cannot be read as JSON"),
        ("list.json", "planted.manifest.json", "list.json is not the public half"),
        ("planted.public.json", "list.json", "list.json: this is not a manifest"),
    ],
)
def test_files_that_are_something_else(
    here: Path, command: Command, complaint: Complaint, public: str, manifest: str, said: str
) -> None:
    _plant(command)
    (here / "list.json").write_text("[1, 2]", "utf-8")
    own = read_manifest("planted.manifest.json")
    message = complaint("canary", "check", public, manifest)
    assert said in message
    assert str(own.seed) not in message


def test_the_public_half_has_no_canaries_to_read(here: Path, command: Command) -> None:
    _plant(command)
    with pytest.raises(SettingsError, match=r"planted\.public\.json is the public half"):
        read_canaries("planted.public.json")


# --- all of it --------------------------------------------------------------------------------------------------------


def test_help_waits_for_nothing() -> None:
    code = "import memaudit.cli.canary_command, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
    )
    assert not set(done.stdout.split()) & {"torch", "transformers", "numpy", "scipy", "pydantic"}
