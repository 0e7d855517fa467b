"""memaudit.toml: found like a linter's, and every mistake in it is named by file, line and key."""

from pathlib import Path

import pytest

from memaudit.cli.settings import Settings, find, read
from memaudit.errors import SettingsError
from memaudit.types import Limit


def write(folder: Path, text: str, name: str = "memaudit.toml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_every_key_has_a_default(tmp_path: Path) -> None:
    assert read(write(tmp_path, "")) == Settings()
    assert Settings().audit.shadows == 64


def test_settings_are_read(tmp_path: Path) -> None:
    settings = read(
        write(
            tmp_path,
            """
            [audit]
            shadows = 16
            fpr = [0.05]
            evidence = "none"
            [[gate]]
            metric = "tpr"
            attack = "lira-online"
            at_fpr = 0.05
            max = 1
            [[gate]]
            metric = "memorization"
            max = 0.2
            """,
        )
    )
    assert (settings.audit.shadows, settings.audit.fpr, settings.audit.evidence) == (16, [0.05], "none")
    assert [gate.limit() for gate in settings.gate] == [
        Limit(metric="tpr", attack="lira-online", at_fpr=0.05, max=1),
        Limit(metric="memorization", max=0.2),
    ]


WRONG = {
    "near miss": ("[audit]\n\nshadow = 8", 3, "audit.shadow", "did you mean 'shadows'"),
    "near miss in a gate": ('[[gate]]\nmetric = "tpr"\nmax = 1\nfpr = 0.1', 4, "gate.0.fpr", "did you mean 'at_fpr'"),
    "near miss of a table": ("[audti]\nshadows = 8", 1, "audti", "did you mean 'audit'"),
    "far off": ("[audit]\nxyzzy = 8", 2, "audit.xyzzy", "there is no such key\n"),
    "text for a number": ('[audit]\nshadows = "8"', 2, "audit.shadows", "integer, got '8'"),
    "number for text": ("[audit]\nbank = 8", 2, "audit.bank", "string, got 8"),
    "a fraction": ("[audit]\nshadows = 8.5", 2, "audit.shadows", "integer, got 8.5"),
    "true for a number": ('[[gate]]\nmetric = "tpr"\nmax = true', 3, "gate.0.max", "number, got True"),
    "odd": ("[audit]\nseed = 1\nshadows = 7", 3, "audit.shadows", "multiple of 2, got 7"),
    "too few": ("[audit]\nshadows = 0", 2, "audit.shadows", "got 0"),
    "a rate above 1": ("[audit]\nfpr = [0.1, 5]", 2, "audit.fpr.1", "less than 1, got 5"),
    "a rate of 0": ("[audit]\nfpr = [0.0]", 2, "audit.fpr.0", "greater than 0"),
    "no rates": ("[audit]\nfpr = []", 2, "audit.fpr", "at least 1 item"),
    "no attacks": ("[audit]\nattacks = []", 2, "audit.attacks", "at least 1 item"),
    "a rate that is no list": ("[audit]\nfpr = 0.1", 2, "audit.fpr", "list, got 0.1"),
    "an odd word": ('[audit]\nevidence = "ful"', 2, "audit.evidence", "'none', 'hashed' or 'full', got 'ful'"),
    "no limit": ('[[gate]]\nmetric = "tpr"', 1, "gate.0.max", "is missing"),
    "second gate": ('[[gate]]\nmetric="tpr"\nmax=1\n\n[[gate]]\nmax=1', 5, "gate.1.metric", "is missing"),
    "an unknown metric": ('[[gate]]\nmetric = "auc"\nmax = 1', 2, "gate.0.metric", "got 'auc'"),
    "a limit that is none": ('[[gate]]\nmetric = "tpr"\nmax = nan', 3, "gate.0.max", "finite number"),
    "an infinite limit": ('[[gate]]\nmetric = "tpr"\nmax = inf', 3, "gate.0.max", "finite number"),
    "one gate for a list": ('[gate]\nmetric = "tpr"\nmax = 1', 1, "gate", "list"),
    "dotted": ("audit.shadows = 7", 1, "audit.shadows", "multiple of 2"),
}


@pytest.mark.parametrize(("text", "line", "key", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named_by_file_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, said: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        read(file)
    assert f"{error.value}\n".startswith(f"{file}:{line}: {key}: ")
    assert said in f"{error.value}\n"


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read(write(tmp_path, '[audit]\nshadow = 8\nseed = "x"'))
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == ["audit.seed", "audit.shadow"]


@pytest.mark.parametrize(
    ("text", "place"),
    [("[audit\nshadows = 8", "line 1"), ("[audit]\nshadows = ", "line 2"), ("[audit]\nseed = 1\nseed = 2", "line 3")],
)
def test_what_is_no_toml_is_named_by_file_and_line(tmp_path: Path, text: str, place: str) -> None:
    file = write(tmp_path, f"{text}\n")
    with pytest.raises(SettingsError) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert place in str(error.value)


def test_a_file_that_is_no_text_or_no_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "memaudit.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "memaudit.toml", tmp_path / "missing.toml", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            read(path)


def test_the_nearest_settings_are_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    outer = write(tmp_path, "")
    assert find(inner) == outer
    write(tmp_path / "a", "[tool.other]\n", "pyproject.toml")
    assert find(inner) == outer
    project = write(tmp_path / "a", "[tool.memaudit.audit]\nshadows = 8\n", "pyproject.toml")
    assert find(inner) == project
    nearest = write(inner, "")
    assert find(inner) == nearest


def test_a_foreign_pyproject_in_any_encoding_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b'[project]\nauthors = "J\xfcrgen"\n')
    assert find(tmp_path) != tmp_path / "pyproject.toml"


def test_pyproject_holds_the_same_settings_under_tool_memaudit(tmp_path: Path) -> None:
    settings = read(write(tmp_path, '[project]\nname = "x"\n[tool.memaudit.audit]\nshadows = 8\n', "pyproject.toml"))
    assert settings.audit.shadows == 8
    file = write(tmp_path, '[project]\nname = "x"\n[tool.memaudit.audit]\nshadow = 8\n', "pyproject.toml")
    with pytest.raises(SettingsError, match=r"pyproject.toml:4: audit.shadow: .*'shadows'"):
        read(file)


@pytest.mark.parametrize("key", ['attack = "lira-online"', "at_fpr = 0.01"])
def test_a_gate_that_could_match_nothing_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "memaudit.toml").write_text(f'[[gate]]\nmetric = "memorization"\nmax = 0.1\n{key}\n', "utf-8")
    with pytest.raises(SettingsError, match=r"memaudit\.toml:1: gate\.0: a gate on memorization has no (attack|at_fpr)"):
        read(tmp_path / "memaudit.toml")
