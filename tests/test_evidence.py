"""Evidence on single examples: what each level tells, and that hashes and commitments tell others nothing."""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from memaudit.auditing.evidence import EvidenceLevel, Key, identifiers, most_exposed, table
from memaudit.auditing.flags import flag_column
from memaudit.checks import ClassifierEvidence, Evidence, TextEvidence
from memaudit.design import halves
from memaudit.errors import BankError
from memaudit.recipe import Examples, load_recipe
from memaudit.reports import load

Array = np.ndarray
Command = Callable[..., CompletedProcess[str]]

EXAMPLES, MODELS = 60, 8
NAMES = [f"e{n}" for n in range(EXAMPLES)]


@dataclass(frozen=True)
class Simulated:
    """A bank in memory."""

    phi: Array
    members: Array

    @property
    def correct(self) -> Array:
        return self.phi > 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.phi) // 2, self.phi.shape[1], 1

    def block(self, examples: slice) -> tuple[Array, Array]:
        phi, first = self.phi[:, examples, None], self.members[0::2, examples, None] > 0
        return np.where(first, phi[0::2], phi[1::2]), np.where(first, phi[1::2], phi[0::2])

    def take(self, pairs: Array) -> "Simulated":
        models = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return Simulated(self.phi[models], self.members[models])


class SimulatedTexts(Simulated):
    """A bank of language models: right is a share of the tokens."""

    @property
    def correct(self) -> Array:
        return 1 / (1 + np.exp(-self.phi))


def simulated(x: Array | None = None, texts: tuple[str, ...] = ()) -> Any:
    """Returns evidence on made-up models: of images, of a table, or of texts."""
    rng = np.random.default_rng(0)
    members = halves(0, MODELS + 2, EXAMPLES)[: MODELS + 1]
    phi = (rng.normal(size=members.shape) + 2 * members).astype(np.float32)
    shared: dict[str, Any] = {
        "bank": Simulated(phi[:MODELS], members[:MODELS]),
        "phi": phi[MODELS:].T,
        "correct": phi[MODELS] > 0,
        "members": members[MODELS] > 0,
        "fprs": (0.1, 0.05, 0.001),
        "attacks": ("lira-online", "global-threshold"),
    }
    if x is not None:
        return ClassifierEvidence(x=x, y=rng.integers(0, 3, EXAMPLES), **shared)
    shared["bank"] = SimulatedTexts(phi[:MODELS], members[:MODELS])
    evidence = TextEvidence(population=None, recorded={}, doses=np.zeros(0, np.uint8), **shared)  # type: ignore[arg-type]
    evidence.__dict__["strings"] = texts
    return evidence


def rows(evidence: Evidence, full: bool = False) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table(evidence, NAMES, full).decode())))


IMAGES = np.random.default_rng(1).random((EXAMPLES, 1, 6, 6))
TEXTS = (*(f"text {n}" for n in range(EXAMPLES - 3)), '=HYPERLINK("x")', "two\nlines\0\u202e", "größe,\ud800")


def test_there_is_a_column_for_every_attack_and_every_rate_that_can_be_resolved() -> None:
    evidence = simulated(IMAGES)
    found = rows(evidence)
    for fpr in (0.1, 0.05):
        for attack in ("slira", "lira-online", "global-threshold"):
            flags = [row[flag_column(fpr, attack)] == "1" for row in found]
            assert flags == evidence.attacked(attack).flagged(fpr).tolist()
        flagged = evidence.attacked("slira").shadows_flagged(fpr)[1]
        own = [float(row[f"shadows_{flag_column(fpr, 'slira')}"]) for row in found]
        assert own == pytest.approx(flagged.mean(axis=0), abs=1e-5)
    assert sum(name.startswith("flagged") for name in found[0]) == 6
    assert flag_column(0.1, "lira-online") == "flagged_at_0.1"


@pytest.mark.parametrize(("x", "texts"), [(IMAGES, ()), (IMAGES[:, 0, :, 0], ()), (None, TEXTS)])
def test_contents_are_told_only_when_all_is_asked_for(x: Array | None, texts: tuple[str, ...]) -> None:
    assert "content" not in rows(simulated(x, texts))[0]


def test_full_evidence_shows_the_most_exposed_pictures() -> None:
    evidence = simulated(IMAGES)
    found = rows(evidence, full=True)
    score = np.where(evidence.members, evidence.attacked("slira").target, -np.inf)
    shown = {n for n, row in enumerate(found) if row["content"]}
    assert shown == set(np.argsort(-score)[:20].tolist())
    assert all(json.loads(found[n]["content"]).startswith("data:image/png;base64,") for n in shown)
    exposed = most_exposed(evidence, NAMES, pictures=True)
    assert {e.thumbnail for e in exposed} == {json.loads(found[n]["content"]) for n in shown}
    assert not any(e.thumbnail for e in most_exposed(evidence, NAMES, pictures=False))


def test_full_evidence_holds_every_text_in_a_line_of_its_own_that_is_no_formula() -> None:
    content = table(simulated(texts=TEXTS), NAMES, full=True)
    assert content.count(b"\n") == EXAMPLES + 1
    assert b"\0" not in content
    found = [row["content"] for row in csv.DictReader(io.StringIO(content.decode()))]
    assert [json.loads(text) for text in found] == list(TEXTS)
    assert all(text.startswith('"') for text in found)


def test_a_table_of_numbers_has_no_contents_to_show() -> None:
    assert "content" not in rows(simulated(IMAGES[:, 0, :, 0]), full=True)[0]


def test_a_text_is_redacted_but_in_full_evidence() -> None:
    from memaudit.tokens import TokenStatistics

    evidence = simulated(texts=TEXTS)
    ones = np.ones(2 * EXAMPLES, np.float32)
    starts = np.arange(EXAMPLES + 1) * 2
    evidence.recorded.update(
        TokenStatistics(starts, -ones, -ones, ones, ones, np.ones(2 * EXAMPLES, np.int32), -ones).tensors("token_")
    )
    assert {e.label for e in most_exposed(evidence, NAMES, pictures=False)} == {"2 tokens"}
    assert all(e.label.startswith(("text", "=HYP", "two lines", "größe")) for e in most_exposed(evidence, NAMES, True))


# The key


def examples(**change: Any) -> Examples:
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {"x": rng.normal(size=(6, 2)), "y": np.arange(6) % 2, "ids": list("abcdef")}
    return Examples(**(parts | change))


COUNTS = np.array([1, 0, 1, 0, 1, 0], np.uint8)
X = examples().x


def test_what_is_named_by_its_id_and_what_by_a_hash(tmp_path: Path) -> None:
    key, ids = Key(tmp_path), ["a", "b", "größe", "\ud800"]
    for level in (EvidenceLevel.IDS, EvidenceLevel.FULL):
        assert identifiers(ids, level, key) == ids
    hashed = identifiers(ids, EvidenceLevel.HASHED, key)
    assert hashed == identifiers(ids, EvidenceLevel.HASHED, Key(tmp_path))
    assert len({*hashed}) == len(ids)
    plain = {
        hashlib.new(h, i.encode("utf-8", "surrogatepass")).hexdigest()[:16] for i in ids for h in ("md5", "sha256")
    }
    assert not {*hashed} & plain


def test_the_same_data_have_the_same_commitment(tmp_path: Path) -> None:
    first = Key(tmp_path).commitments(examples(), COUNTS)
    assert first == Key(tmp_path).commitments(examples(), COUNTS.copy())
    assert Key(tmp_path).commitments(examples()) == {"commitment.examples": first["commitment.examples"]}


@pytest.mark.parametrize(
    "change",
    [
        {"x": X + 1e-12},
        {"x": X.astype(np.float32)},
        {"x": X[::-1]},
        {"y": 1 - np.arange(6) % 2},
        {"ids": list("abcdeg")},
        {"ids": list("bacdef")},
        {"x": X[:5], "y": np.arange(5) % 2, "ids": list("abcde")},
    ],
)
def test_other_data_have_another_commitment(tmp_path: Path, change: dict[str, Any]) -> None:
    key, counts = Key(tmp_path), COUNTS[: len(change.get("y", COUNTS))]
    one, other = key.commitments(examples(), COUNTS), key.commitments(examples(**change), counts)
    assert not {*one.values()} & {*other.values()}


def test_ids_that_hold_each_others_separator_are_told_apart(tmp_path: Path) -> None:
    one, other = (examples(ids=[*ids, "c", "d", "e", "f"]) for ids in (["a\0b", "x"], ["a", "b\0x"]))
    assert Key(tmp_path).commitments(one) != Key(tmp_path).commitments(other)


def test_other_members_have_another_commitment_of_the_same_examples(tmp_path: Path) -> None:
    key = Key(tmp_path)
    first = key.commitments(examples(), COUNTS)
    for change in (1 - COUNTS, 2 * COUNTS, np.roll(COUNTS, 1)):
        other = key.commitments(examples(), change.astype(np.uint8))
        assert other["commitment.examples"] == first["commitment.examples"]
        assert other["commitment.members"] != first["commitment.members"]


def test_without_the_key_a_commitment_cannot_be_computed(tmp_path: Path) -> None:
    """Whoever has all the data but another key finds other values, and another name of the key."""
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    own, other = Key(tmp_path / "own"), Key(tmp_path / "other")
    values = {*own.commitments(examples(), COUNTS).values(), own.name, own.hashed("a")}
    assert not values & {*other.commitments(examples(), COUNTS).values(), other.name, other.hashed("a")}
    assert not any(value in key.read_text("ascii") for value in values for key in tmp_path.rglob("evidence.key"))


def test_a_key_is_made_once_whoever_comes_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: Key(tmp_path).name, range(32)))
    assert len({*names}) == 1
    assert (tmp_path / "evidence.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_must_not_be_made_is_missed(tmp_path: Path) -> None:
    with pytest.raises(BankError, match=r"evidence\.key, cannot be read or made"):
        Key(tmp_path, make=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(BankError, match="must be able to write into the bank"):
        Key(tmp_path / "nowhere")


# The command line


def recipe_ids(project: Path) -> list[str]:
    path = list(sys.path)
    recipe: Any = load_recipe(str(project / "recipe.py"))
    sys.path[:] = path
    del sys.modules["recipe"]
    return [str(i) for i in recipe.examples().ids]


def test_what_each_level_writes(project: Path, command: Command) -> None:
    ids = recipe_ids(project)
    commitments = set()
    for level in EvidenceLevel:
        assert command("audit", "model.safetensors", "-q", "--evidence", level).returncode == 0
        report, file = load(project / "audit" / "report.json"), project / "audit" / "evidence.csv"
        assert report.provenance["evidence"] == level
        commitments.add((report.provenance["commitment.examples"], report.provenance["commitment.members"]))
        assert file.exists() == (level is not EvidenceLevel.NONE)
        if level is EvidenceLevel.NONE:
            assert report.exposed == ()
            continue
        named = [row["id"] for row in csv.DictReader(io.StringIO(file.read_text("utf-8")))]
        assert (named == ids) == (level in (EvidenceLevel.IDS, EvidenceLevel.FULL))
        if level is EvidenceLevel.HASHED:
            assert not any(i in path.read_text("utf-8", "replace") for path in file.parent.iterdir() for i in ids)
    assert len(commitments) == 1, "a commitment does not depend on what is shown"


def test_no_unkeyed_hash_of_the_data_is_in_an_audits_folder(project: Path, command: Command) -> None:
    """With one, whoever has all examples but one could try candidates for the last until the hash is right."""
    from memaudit.bank import Bank

    assert command("audit", "model.safetensors", "-q").returncode == 0
    secret = Bank.open(project / "bank").fingerprint["examples.sha256"]
    members = (project / "model.safetensors.members.csv").read_bytes()
    for path in (*(project / "audit").iterdir(), project / "memaudit.ledger.jsonl"):
        content = path.read_bytes()
        assert secret.encode() not in content
        assert hashlib.sha256(members).hexdigest().encode() not in content


def test_the_report_does_not_go_where_the_key_lies(project: Path, complaint: Callable[..., str]) -> None:
    assert "Its key must not be stored with a report" in complaint("audit", "model.safetensors", "-q", "--out", "bank")
    assert not (project / "bank" / "report.json").exists()
