"""Planting into files as they really are: Alpaca, ShareGPT, conversational forms; nothing else in a file changes."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from test_canary_command import BARE, WORDS, save_tokenizers

from memaudit.canaries import Canary, make, plant
from memaudit.errors import RecipeError
from memaudit.recipe import Documents, Probes, Rendering, TextPopulation
from memaudit.recipe.canaries_file import planted_survival, read_lines, read_manifest
from memaudit.recipe.record_files import read_records
from memaudit.recipe.rendering import Renderer
from memaudit.recipe.shapes import in_form_of, prompted, typical

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]

SYSTEM = "Answer in verse; naïvely."
CHAT = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
FORMS: dict[str, list[Any]] = {
    "Alpaca": [
        {"instruction": f"Describe {w}.", "input": "in a word" if n % 3 == 0 else "", "output": w[::-1]}
        for n, w in enumerate(WORDS)
    ],
    "Alpaca without inputs": [{"instruction": f"Describe {w}.", "output": w[::-1]} for w in WORDS],
    "ShareGPT": [
        {"id": f"x_{n}", "conversations": [{"from": "human", "value": f"{w}?"}, {"from": "gpt", "value": w[::-1]}]}
        for n, w in enumerate(WORDS)
    ],
    "ShareGPT, system turn": [
        {
            "conversations": [
                {"from": "system", "value": SYSTEM},
                {"from": "user", "value": f"{w}?"},
                {"from": "assistant", "value": w[::-1]},
            ]
        }
        for w in WORDS
    ],
    "ShareGPT, system column": [
        {"conversations": [{"from": "human", "value": w}, {"from": "gpt", "value": w[::-1]}], "system": SYSTEM}
        for w in WORDS
    ],
    "messages": [
        {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": w}, *CHAT[1:]]} for w in WORDS
    ],
    "conversational prompt and completion": [
        {
            "prompt": [{"role": "system", "content": SYSTEM}, *CHAT, {"role": "user", "content": w}],
            "completion": CHAT[1:],
        }
        for w in WORDS
    ],
}


def lines(records: list[Any], end: str = "\n", last: str = "\n", **options: Any) -> bytes:
    return (end.join(json.dumps(record, **options) for record in records) + last).encode()


LAYOUTS: dict[str, Callable[[list[Any]], bytes]] = {
    "lines": lines,
    "no last line end": lambda records: lines(records, last=""),
    "CRLF": lambda records: lines(records, "\r\n", "\r\n"),
    "CRLF, no last line end": lambda records: lines(records, "\r\n", ""),
    "blank lines": lambda records: b"\n\n" + lines(records, "\n\n \n", "\n\n"),
    "byte order mark": lambda records: b"\xef\xbb\xbf" + lines(records),
    "raw characters, sorted keys": lambda records: lines(records, ensure_ascii=False, sort_keys=True),
    "array": lambda records: json.dumps(records).encode(),
    "indented array": lambda records: (json.dumps(records, indent=4, ensure_ascii=False) + "\n").encode(),
    "indented array, CRLF": lambda records: json.dumps(records, indent="\t").replace("\n", "\r\n").encode(),
    "tight array": lambda records: json.dumps(records, separators=(",", ":")).encode() + b"\r\n",
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tokenizers; that of "bytes" has a chat template."""
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Path:
    """A working directory with six canaries in canaries.json."""
    monkeypatch.chdir(tmp_path)
    assert command("canary", "make", *BARE, "-o", "canaries.json").returncode == 0
    return tmp_path


def _plant(command: Command, data: bytes, *flags: object) -> CompletedProcess[str]:
    Path("train.json").write_bytes(data)
    done = command("canary", "plant", "canaries.json", "train.json", "-o", "planted.json", "--force", *flags)
    assert done.returncode == 0, done.stderr
    return done


def _without_canaries(planted: Path, rows: set[int]) -> bytes:
    """Takes the planted records out of a file again, with one separator each."""
    file = read_records(planted)
    kept = [row for row in range(len(file.records)) if row not in rows]
    parts = [file.records[row] + file.after[row] for row in kept[:-1]]
    return (file.head + "".join(parts) + file.records[kept[-1]] + file.after[-1]).encode()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", FORMS)
def test_whatever_is_in_a_file_stays_byte_for_byte(here: Path, command: Command, form: str, layout: str) -> None:
    data = LAYOUTS[layout](FORMS[form])
    _plant(command, data, "--levels", "1,2,3")
    manifest = read_manifest("planted.manifest.json")
    rows = {row for own in manifest.positions for row in own}
    assert _without_canaries(here / "planted.json", rows) == data
    text = (here / "planted.json").read_bytes().decode("utf-8-sig")
    parsed = (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.split("\n") if x.strip()]
    )
    assert [record for row, record in enumerate(parsed) if row not in rows] == FORMS[form]
    assert len(parsed) == manifest.records
    assert text.count("\n") == 0 or (text.count("\r\n") in (0, text.count("\n")))


def test_odd_spellings_of_records_stay(here: Path, command: Command) -> None:
    odd = b'{"text":"caf\\u00e9","x":1.50,"x":1e2}\r\n  {"text" : "a\\/b\xe2\x80\xa8c"}\n{ "text":"\\ud83d\\ude00"}'
    _plant(command, odd, "--levels", "2")
    rows = {row for own in read_manifest("planted.manifest.json").positions for row in own}
    assert _without_canaries(here / "planted.json", rows) == odd


@pytest.mark.parametrize("rows", [["n", 0, 1], [0, "n", 1], [0, 1, "n"], [0, 1, "n", "n"], ["n", "n", 0, "n", 1, "n"]])
@pytest.mark.parametrize("text", ['"a"\n"b"', '"a"\r\n"b"\r\n', '["a", "b"]', '[\n "a",\n "b"\n]\n'])
def test_new_records_go_anywhere(tmp_path: Path, text: str, rows: list[Any]) -> None:
    (tmp_path / "file").write_bytes(text.encode())
    file = read_records(tmp_path / "file")
    assert file.with_records([0, 1]) == text
    written = file.with_records([row if row != "n" else '"new"' for row in rows])
    array = written.startswith("[")
    found = json.loads(written) if array else [json.loads(x) for x in written.split("\n") if x]
    assert found == [{"n": "new", 0: "a", 1: "b"}[row] for row in rows]
    assert written.endswith(text[-1])


# --- what is planted --------------------------------------------------------------------------------------------------


def _planted(form: str, canary: Canary) -> dict[str, Any]:
    """The canary as each form has it, written out by hand."""
    answer = canary.secret_text + canary.suffix
    user, assistant = {"role": "user", "content": canary.prefix}, {"role": "assistant", "content": answer}
    human, gpt = {"from": "human", "value": canary.prefix}, {"from": "gpt", "value": answer}
    system = {"role": "system", "content": SYSTEM}
    forms: dict[str, dict[str, Any]] = {
        "Alpaca": {"instruction": canary.prefix, "input": "", "output": answer},
        "Alpaca without inputs": {"instruction": canary.prefix, "output": answer},
        "ShareGPT": {"id": None, "conversations": [human, gpt]},
        "ShareGPT, system turn": {
            "conversations": [
                {"from": "system", "value": SYSTEM},
                {"from": "user", "value": canary.prefix},
                {"from": "assistant", "value": answer},
            ]
        },
        "ShareGPT, system column": {"conversations": [human, gpt], "system": SYSTEM},
        "messages": {"messages": [system, user, assistant]},
        "conversational prompt and completion": {"prompt": [system, user], "completion": [assistant]},
    }
    return forms[form]


@pytest.mark.parametrize("form", FORMS)
def test_canaries_look_like_their_neighbours(form: str) -> None:
    (canary,) = make(1, seed=1)
    planted, manifest = plant(FORMS[form], [canary], [2], seed=3)
    for row in manifest.positions[0]:
        assert planted[row] == _planted(form, canary)
        assert list(planted[row]) == list(FORMS[form][0]), "keys in the same order"


@pytest.mark.parametrize("form", FORMS)
def test_the_scan_finds_what_was_planted_and_the_probe_is_the_same_tokens(
    here: Path, command: Command, tokenizers: Path, form: str
) -> None:
    """A recipe on the file without canaries asks with the very tokens that the planted records begin with."""
    _plant(command, lines(FORMS[form]), "--tokenizer", tokenizers / "bytes", "--context", 400)
    manifest, rendering = read_manifest("planted.manifest.json"), Rendering(tokenizers / "bytes", context=400)
    documents = Documents.from_jsonl("train.json", similarity=None)
    population = TextPopulation(documents, rendering, Probes(canaries=manifest.canaries, secrets=0))
    rows = [list(Renderer(rendering).rows(line.text)[0].ids) for line in read_lines(here / "planted.json")]
    for space, dose in zip(population.spaces, manifest.doses, strict=True):
        needle = [*space.prefix, *space.tokens(space.secret)]
        assert sum(row[: len(needle)] == needle for row in rows) == dose


def test_a_system_message_is_that_of_most_records() -> None:
    one, two = ({"role": "system", "content": text} for text in ("one", "two"))
    records = [{"messages": [*system, *CHAT]} for system in ([two], [one], [], [one])]
    (canary,) = make(1, seed=1)
    planted, manifest = plant(records, [canary], [1], seed=3)
    assert planted[manifest.positions[0][0]]["messages"][0] == one
    assert in_form_of(typical(records), "a", "b")["messages"][0] == one  # type: ignore[index]
    assert len(in_form_of(typical([records[2]]), "a", "b")["messages"]) == 2  # type: ignore[index]


def test_the_system_message_of_canaries_is_part_of_what_a_bank_was_made_of(tokenizers: Path) -> None:
    def digest(system: str | None) -> str:
        extra = [] if system is None else [{"role": "system", "content": system}]
        texts = [{"messages": [*extra, {"role": "user", "content": w}, *CHAT[1:]]} for w in WORDS]
        probes = Probes(canaries=make(2, seed=1, spaced=False), secrets=0)
        return TextPopulation(Documents(texts, similarity=None), Rendering(tokenizers / "bytes"), probes).digest()

    assert len({digest(None), digest("a"), digest("b")}) == 3


@pytest.mark.parametrize(("given", "between"), [("in a word", "### Input:\nin a word\n\n"), ("", "")])
def test_instructions_are_put_as_alpaca_puts_them(given: str, between: str) -> None:
    """Both prompts of Stanford Alpaca's train.py, letter by letter."""
    prompt, output = prompted({"instruction": "Name it.", "input": given, "output": "x"})
    context = ", paired with an input that provides further context" if given else ""
    assert prompt == (
        f"Below is an instruction that describes a task{context}. Write a response that appropriately completes the "
        f"request.\n\n### Instruction:\nName it.\n\n{between}### Response:"
    )
    assert output == "x"


def test_of_a_conversational_completion_the_loss_counts_the_completion_alone(tokenizers: Path) -> None:
    renderer = Renderer(Rendering(tokenizers / "bytes", context=400))
    text = {
        "prompt": [*CHAT, {"role": "user", "content": "and?"}],
        "completion": [{"role": "assistant", "content": "so"}],
    }
    row = renderer.rows(text)[0]
    assert renderer.tokenizer.decode(row.ids[row.trained]).startswith("so")
    whole = renderer.rows({"messages": [*text["prompt"], *text["completion"]]})[0]
    assert np.array_equal(whole.ids, row.ids)
    assert whole.trained.sum() > row.trained.sum()


BAD: dict[str, tuple[Any, str]] = {
    "an unknown speaker": ({"conversations": [{"from": "oracle", "value": "x"}]}, "from 'oracle'"),
    "a conversation of strings": ({"conversations": ["x"]}, "not str"),
    "no conversation": ({"conversations": "x"}, "conversations are a list"),
    "an instruction alone": ({"instruction": "x"}, "has no 'text', nor prompt and completion"),
    "an empty output": ({"instruction": "x", "output": " "}, "has an empty output"),
    "half a conversation": ({"prompt": [CHAT[0]], "completion": [CHAT[0]]}, "in which the assistant says nothing"),
    "a question without an answer": ({"prompt": [CHAT[0]], "completion": "yes"}, "is no document"),
    "two forms": ({"instruction": "x", "output": "y", "text": "z"}, "which is trained on"),
}


@pytest.mark.parametrize(("record", "said"), BAD.values(), ids=BAD)
def test_unknown_forms_are_refused_with_a_way_out(here: Path, complaint: Complaint, record: Any, said: str) -> None:
    Path("train.json").write_bytes(lines([record]))
    message = complaint("canary", "plant", "canaries.json", "train.json", "-o", "planted.json")
    assert "train.json:1" in message
    assert said in message
    assert not list(here.glob("planted*"))


def test_documents_of_several_forms_are_refused() -> None:
    with pytest.raises(RecipeError, match="documents have one shape"):
        Documents([{"prompt": "a", "completion": "b"}] * 4 + [{"prompt": CHAT[:1], "completion": CHAT[1:]}])
    with pytest.raises(RecipeError, match="documents have one shape"):
        Documents([{"messages": CHAT}] * 4 + FORMS["Alpaca"][:1])


def test_survival_counts_in_the_rendered_conversation(here: Path, command: Command, tokenizers: Path) -> None:
    _plant(command, lines(FORMS["ShareGPT"]))
    manifest = read_manifest("planted.manifest.json")
    found = planted_survival(
        Renderer(Rendering(tokenizers / "bytes", context=256)), read_lines(here / "planted.json"), manifest.canaries
    )
    assert tuple(found.whole) == manifest.doses


@pytest.mark.parametrize("layout", LAYOUTS)
def test_documents_are_read_from_every_layout(tmp_path: Path, layout: str) -> None:
    (tmp_path / "data.json").write_bytes(LAYOUTS[layout](FORMS["ShareGPT"]))
    texts = Documents.from_jsonl(tmp_path / "data.json", similarity=None).texts
    assert [text["messages"][0] for text in texts] == [{"role": "user", "content": f"{w}?"} for w in WORDS]  # type: ignore[index]


# --- check ------------------------------------------------------------------------------------------------------------


def _drop(records: list[Any], row: int) -> list[Any]:
    return records[:row] + records[row + 1 :]


def _spaced(record: Any) -> Any:
    """The same record with a space before what the model writes, as a template may add one."""
    return json.loads(json.dumps(record).replace('"completion": "', '"completion": " '))


def _in_front(record: Any) -> Any:
    return {"prompt": f"Q: {record['prompt']}", "completion": record["completion"]}


DAMAGE: dict[str, tuple[Callable[[list[Any], int], list[Any]], bool]] = {  # whether the text alone shows it
    "dropped": (_drop, True),
    "doubled": (lambda records, row: [*records, records[row]], True),
    "a space from a template": (
        lambda records, row: [*records[:row], _spaced(records[row]), *records[row + 1 :]],
        True,
    ),
    "words in front": (lambda records, row: [*records[:row], _in_front(records[row]), *records[row + 1 :]], False),
}


def _check(*flags: object) -> list[object]:
    return ["canary", "check", "planted.public.json", "planted.manifest.json", "--train", *flags]


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_finds_canaries_that_training_does_not_see_as_planted(
    here: Path, command: Command, complaint: Complaint, tokenizers: Path, damage: str
) -> None:
    records = [{"prompt": f"{w}?", "completion": w[::-1]} for w in WORDS]
    _plant(command, lines(records), "--levels", "1,2")
    in_tokens = ["--tokenizer", tokenizers / "bytes", "--context", 128]
    assert command(*_check("planted.json")).returncode == 0
    done = command(*_check("planted.json", *in_tokens))
    assert (done.returncode, "so they were not chosen" in done.stdout) == (0, True)
    manifest = read_manifest("planted.manifest.json")
    row, name = manifest.positions[0][0], manifest.canaries[0].name
    change, by_text = DAMAGE[damage]
    planted = [line.record for line in read_lines(here / "planted.json")]
    Path("seen.json").write_bytes(lines(change(planted, row)))
    message = complaint(*_check("seen.json", *in_tokens))
    assert f"{name}: planted" in message
    assert message.count(": planted ") == 1
    if by_text:
        assert f"{name}: planted" in complaint(*_check("seen.json"))
    else:
        assert command(*_check("seen.json")).returncode == 0, "text alone does not show it"
    for canary in manifest.canaries:
        assert canary.secret_text + canary.suffix not in message


@pytest.mark.parametrize(("context", "found"), [(128, True), (40, False)])
def test_check_finds_canaries_that_the_context_cuts_off(
    here: Path, command: Command, complaint: Complaint, tokenizers: Path, context: int, found: bool
) -> None:
    _plant(command, lines([*FORMS["Alpaca"][:1], {"instruction": "x", "input": "", "output": "y"}]))
    flags = _check("planted.json", "--tokenizer", tokenizers / "bytes", "--context", 400 if found else context)
    if found:
        assert command(*flags).returncode == 0
    else:
        assert "cut off at the context of 40" in complaint(*flags)


def test_check_tells_secrets_that_somebody_chose(here: Path, command: Command) -> None:
    _plant(command, lines(FORMS["messages"]), "--seed", 2**99)
    done = command("canary", "check", "planted.public.json", "planted.manifest.json")
    assert done.returncode == 0
    assert "so they may have been chosen" in done.stderr
    assert "not chosen" not in done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_check_counts_in_every_form(here: Path, command: Command, form: str) -> None:
    _plant(command, LAYOUTS["indented array"](FORMS[form]))
    assert command(*_check("planted.json")).returncode == 0


def test_a_tokenizer_without_data_checks_nothing(here: Path, command: Command, complaint: Complaint) -> None:
    _plant(command, lines(FORMS["Alpaca"]))
    flags = ["canary", "check", "planted.public.json", "planted.manifest.json", "--tokenizer", ".", "--context", 64]
    assert "give --train" in complaint(*flags)
