"""docs/canaries.md: its commands and its Python run, in the order of the page."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from test_canary_command import WORDS, save_tokenizers
from test_canary_formats import lines

from memaudit.canaries.formats import Kind
from memaudit.cli.policy_settings import GateSettings
from memaudit.recipe import Probes

Command = Callable[..., CompletedProcess[str]]

PAGE = (Path(__file__).parent.parent / "docs" / "canaries.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    (save_tokenizers(tmp_path) / "bytes").rename("model")
    Path("train.jsonl").write_bytes(lines([{"text": f"the {word} of the year"} for word in WORDS]))
    Path("secrets.txt").write_text("Kestrel-55\n", "utf-8")
    for line in (line for block in _blocks("console") for line in block.splitlines()):
        program, *flags = shlex.split(line.removeprefix("$ "))
        assert program == "memaudit"
        done = command(*flags)
        assert done.returncode == 0, done.stderr
    names: dict[str, object] = {}
    for block in _blocks("python"):
        exec(block, names)
    probes, by_list, by_class = (names[name] for name in ("probes", "by_list", "by_class"))
    assert isinstance(probes, Probes)
    assert isinstance(by_list, Probes)
    assert isinstance(by_class, Probes)
    assert isinstance(probes.canaries, tuple)
    assert len(probes.canaries) == 12
    assert by_list.sought.forms.values == ("Falcon-7731", "Osprey-1204")
    assert by_class.sought.forms.values == ("Kestrel-55",)


def test_the_limit_of_the_page_is_one() -> None:
    assert GateSettings(id="a", metric="planted-exposure", max=4.0).max == 4.0
    assert 'metric = "planted-exposure"' in PAGE


def test_every_kind_of_secret_is_on_the_page() -> None:
    words = {Kind.LISTED: "values", Kind.PATTERN: "patterns", Kind.CARD: "payment cards", Kind.KEY: "keys"}
    assert all(words.get(kind, kind.value).lower() in PAGE.lower() for kind in Kind)
