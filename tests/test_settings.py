"""memaudit.toml: found like a linter's, and every mistake in it is named by file, line and key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memaudit.cli.settings import Settings, find, read
from memaudit.errors import SettingsError
from memaudit.types import Context, Limit, OnInconclusive, Release, Waiver


def write(folder: Path, text: str, name: str = "memaudit.toml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_every_key_has_a_default(tmp_path: Path) -> None:
    assert read(write(tmp_path, "")).model_dump() == Settings().model_dump()
    assert Settings().audit.shadows == 64


def test_what_is_said_of_the_model_is_read(tmp_path: Path) -> None:
    said = read(write(tmp_path, '[report]\nrelease = "api-with-logits"\nauditor = "A"\nowner = "B"')).context()
    assert said == Context(release=Release.API_WITH_LOGITS, auditor="A", owner="B")
    assert read(write(tmp_path, "")).context() == Context()
    with pytest.raises(SettingsError, match=r"memaudit.toml:2: report.release: .*'open-weights'"):
        read(write(tmp_path, '[report]\nrelease = "everybody"'))
    with pytest.raises(SettingsError, match=r"report.auditer: there is no such key; did you mean 'auditor'"):
        read(write(tmp_path, '[report]\nauditer = "A"'))


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
    assert settings.limits() == (
        Limit(metric="tpr", attack="lira-online", at_fpr=0.05, max=1, source="memaudit.toml", line=6),
        Limit(metric="memorization", max=0.2, source="memaudit.toml", line=11),
    )
    assert [limit.name for limit in settings.limits()] == ["tpr-lira-online-0.05", "memorization"]


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
    "too few": ("[audit]\nshadows = -2", 2, "audit.shadows", "got -2"),
    "a rate above 1": ("[audit]\nfpr = [0.1, 5]", 2, "audit.fpr.1", "less than 1, got 5"),
    "a rate of 0": ("[audit]\nfpr = [0.0]", 2, "audit.fpr.0", "greater than 0"),
    "no rates": ("[audit]\nfpr = []", 2, "audit.fpr", "at least 1 item"),
    "no attacks": ("[audit]\nattacks = []", 2, "audit.attacks", "at least 1 item"),
    "an unknown attack": ("[audit]\nattacks = ['base', 'zib']", 2, "audit.attacks.1", "did you mean 'zlib'?"),
    "an unknown attack in a gate": (
        "[[gate]]\nmetric = 'tpr'\nmax = 1\nattack = 'lira-onlin'",
        4,
        "gate.0.attack",
        "no attack 'lira-onlin' on tpr; did you mean 'lira-online'?",
    ),
    "an attack on another metric": (
        "[[gate]]\nmetric = 'extraction'\nattack = 'lira-online'\nmax = 1",
        3,
        "gate.0.attack",
        "there are: greedy, sampling, search, untargeted",
    ),
    "a rate that is no list": ("[audit]\nfpr = 0.1", 2, "audit.fpr", "list, got 0.1"),
    "an odd word": ('[audit]\nevidence = "ful"', 2, "audit.evidence", "or 'full', got 'ful'"),
    "no limit": ('[[gate]]\nmetric = "tpr"', 1, "gate.0.max", "is missing"),
    "second gate": ('[[gate]]\nmetric="tpr"\nmax=1\n\n[[gate]]\nmax=1', 5, "gate.1.metric", "is missing"),
    "an unknown metric": ('[[gate]]\nmetric = "auc"\nmax = 1', 2, "gate.0.metric", "there is no metric 'auc'"),
    "a limit that is none": ('[[gate]]\nmetric = "tpr"\nmax = nan', 3, "gate.0.max", "finite number"),
    "a limit in percent": (
        '[[gate]]\nmetric = "tpr"\nmax = 5',
        1,
        "gate.0",
        "max between 0 and 1, the share of all, got 5",
    ),
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
    [
        ("a = " + "[" * 3000, "recursion"),
        ("[audit\nshadows = 8", "line 1"),
        ("[audit]\nshadows = ", "line 2"),
        ("[audit]\nseed = 1\nseed = 2", "line 3"),
    ],
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


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nmemaudit = 3"])
def test_a_pyproject_without_the_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"pyproject.toml:1: tool.memaudit: must be a table, got 3"):
        read(write(tmp_path, text, "pyproject.toml"))


def test_pyproject_holds_the_same_settings_under_tool_memaudit(tmp_path: Path) -> None:
    settings = read(write(tmp_path, '[project]\nname = "x"\n[tool.memaudit.audit]\nshadows = 8\n', "pyproject.toml"))
    assert settings.audit.shadows == 8
    file = write(tmp_path, '[project]\nname = "x"\n[tool.memaudit.audit]\nshadow = 8\n', "pyproject.toml")
    with pytest.raises(SettingsError, match=r"pyproject.toml:4: audit.shadow: .*'shadows'"):
        read(file)


@pytest.mark.parametrize("key", ['attack = "lira-online"', "at_fpr = 0.01"])
def test_a_gate_that_could_match_nothing_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "memaudit.toml").write_text(f'[[gate]]\nmetric = "memorization"\nmax = 0.1\n{key}\n', "utf-8")
    with pytest.raises(
        SettingsError, match=r"memaudit\.toml:1: gate\.0: a gate on memorization has no (attack|at_fpr)"
    ):
        read(tmp_path / "memaudit.toml")


# ---- gates and waivers

GATE = '[[gate]]\nid = "g"\nmetric = "tpr"\nmax = 0.1\n'


def day(ahead: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


def waiver(**changes: str | None) -> str:
    """A table whose values are given as TOML; None leaves a key out."""
    known = {
        "gate": '"g"',
        "subject": f'"sha256:{"AB" * 32}"',
        "cap": "0.3",
        "reason": '"why"',
        "owner": '"ann"',
        "approved_by": '"bob"',
        "expires": day(180),
    } | changes
    return "[[waiver]]\n" + "".join(f"{key} = {value}\n" for key, value in known.items() if value is not None)


def test_gates_and_waivers_are_read(tmp_path: Path) -> None:
    more = 'attack = "base"\nconfidence = 0.99\non_inconclusive = "warn"\nrequired = false\n'
    settings = read(write(tmp_path, GATE + more + waiver()))
    assert settings.limits() == (
        Limit(
            metric="tpr",
            attack="base",
            max=0.1,
            id="g",
            confidence=0.99,
            on_inconclusive=OnInconclusive.WARN,
            required=False,
            source="memaudit.toml",
            line=1,
        ),
    )
    assert settings.waivers() == (
        Waiver(gate="g", subject="ab" * 32, cap=0.3, reason="why", owner="ann", approved_by="bob", expires=day(180)),
    )


def test_an_undecided_gate_is_inconclusive_by_default(tmp_path: Path) -> None:
    (limit,) = read(write(tmp_path, GATE)).limits()
    assert (limit.on_inconclusive, limit.confidence, limit.required) == ("inconclusive", 0.95, True)


def test_a_waiver_may_name_a_gate_by_what_it_is_about(tmp_path: Path) -> None:
    gate = GATE.replace('id = "g"\n', "") + 'attack = "lira-online"\nat_fpr = 0.01\n'
    assert read(write(tmp_path, gate + waiver(gate='"tpr-lira-online-0.01"'))).waivers()


def test_a_waiver_that_has_expired_can_be_read(tmp_path: Path) -> None:
    """It excuses nothing, and that is what the gate says."""
    (expired,) = read(write(tmp_path, GATE + waiver(expires=day(-400)))).waivers()
    assert expired.expires == day(-400)


WRONG_POLICY = {
    "an unknown choice": (
        GATE + 'on_inconclusive = "pass"\n',
        5,
        "gate.0.on_inconclusive",
        "'fail' or 'warn', got 'pass'",
    ),
    "no confidence": (GATE + "confidence = 1.0\n", 5, "gate.0.confidence", "less than 1"),
    "a coin's confidence": (GATE + "confidence = 0.5\n", 5, "gate.0.confidence", "greater than 0.5"),
    "percent": (GATE + "confidence = 95\n", 5, "gate.0.confidence", "got 95"),
    "more than a report keeps": (
        '[[gate]]\nmetric = "exposure"\nmax = 4\nconfidence = 0.9999\n',
        1,
        "gate.0",
        "a gate on exposure has a confidence of at most 0.9995",
    ),
    "an odd id": ('[[gate]]\nid = "a b"\nmetric = "tpr"\nmax = 1\n', 2, "gate.0.id", "got 'a b'"),
    "an empty id": ('[[gate]]\nid = ""\nmetric = "tpr"\nmax = 1\n', 2, "gate.0.id", "1 to 80 letters"),
    "one id twice": (GATE + GATE, 5, "gate.1", "there is a gate 'g' already"),
    "one question twice": ('[[gate]]\nmetric = "link"\nmax = 1\n' * 2, 4, "gate.1", "there is a gate 'link' already"),
    "a near miss": (
        GATE + waiver(owner=None) + 'ownr = "x"\nowner = "x"\n',
        12,
        "waiver.0.ownr",
        "did you mean 'owner'",
    ),
    "any model": (GATE + waiver(subject='"*"'), 7, "waiver.0.subject", "got '*'"),
    "part of a digest": (GATE + waiver(subject='"sha256:abc"'), 7, "waiver.0.subject", "SHA-256"),
    "no gate": (GATE + waiver(gate='"h"'), 6, "waiver.0.gate", "there is no gate 'h'; there are: g"),
    "no gates": (waiver(), 2, "waiver.0.gate", "there is no gate 'g'; there are: none"),
    "nearly a gate": (
        GATE.replace('"g"', '"low-fpr"') + waiver(gate='"low_fpr"'),
        6,
        "waiver.0.gate",
        "mean 'low-fpr'?",
    ),
    "a cap below the limit": (
        GATE + waiver(cap="0.1"),
        8,
        "waiver.0.cap",
        "waives nothing: the gate's own limit is 0.1",
    ),
    "no end": (GATE + waiver(expires=None), 5, "waiver.0.expires", "is missing"),
    "too late an end": (GATE + waiver(expires=day(181)), 12, "waiver.0.expires", f"at most 180 days, until {day(180)}"),
    "an end in words": (GATE + waiver(expires='"2026-12-01"'), 12, "waiver.0.expires", "date"),
    "an end at noon": (GATE + waiver(expires="2026-12-01T12:00:00"), 12, "waiver.0.expires", "date"),
    "no reason": (GATE + waiver(reason='" "'), 9, "waiver.0.reason", "must not be empty"),
    "nobody": (GATE + waiver(approved_by='""'), 11, "waiver.0.approved_by", "must not be empty"),
    "no owner": (GATE + waiver(owner=None), 5, "waiver.0.owner", "is missing"),
    "twice": (GATE + waiver() + waiver(cap="0.4"), 13, "waiver.1", "the gate 'g' has a waiver for this model already"),
}


@pytest.mark.parametrize(("text", "line", "key", "said"), WRONG_POLICY.values(), ids=WRONG_POLICY)
def test_a_wrong_gate_or_waiver_is_named_by_file_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, said: str
) -> None:
    test_a_wrong_setting_is_named_by_file_line_and_key(tmp_path, text, line, key, said)


def test_a_limit_knows_its_place_in_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "audits").mkdir()
    file = write(tmp_path / "audits", "\n" + GATE.replace("[[gate]]", "[[tool.memaudit.gate]]"), "pyproject.toml")
    (limit,) = read(file).limits()
    assert (limit.source, limit.line) == ("audits/pyproject.toml", 2)
