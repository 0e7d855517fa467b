"""The user's own secrets, named by a list, a file, patterns, regions, or presidio: found, ranked, and never shown.

All values are made up. Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from loading import RECIPES, unregistered
from scipy import stats

import memaudit as ma
from memaudit.canaries import people
from memaudit.canaries.formats import Forms, Kind
from memaudit.canaries.secrets import FoundSecret, decoys, find_secrets, redact
from memaudit.errors import EvidenceError, RecipeError
from memaudit.recipe import Documents, Probes, Secrets, TextPopulation, fingerprint
from memaudit.recipe.recipes import LanguageModelRecipe

RNG = np.random.default_rng


def _only(text: str, forms: Forms) -> FoundSecret:
    (secret,) = find_secrets([text], forms=forms)
    return secret


# --- listed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["Falcon-7731", "otto@example.com", "#bravo9", "Ümläut-77", "two words 12", "+49-x1"])
@pytest.mark.parametrize("text", ["{}", "it is {}, and no other", "({})", "x {}\n{} y"])
def test_listed_secrets_are_found_as_they_are_written(value: str, text: str) -> None:
    forms = Secrets(values=[value]).forms
    (secret,) = find_secrets([text.replace("{}", value)], forms=forms)
    assert (secret.kind, secret.value) == (Kind.LISTED, value)


@pytest.mark.parametrize("text", ["Falcon-77312", "xFalcon-7731", "falcon-7731", "Falcon 7731"])
def test_what_only_holds_a_listed_secret_is_not_one(text: str) -> None:
    assert not find_secrets([text], forms=Secrets(values=["Falcon-7731"]).forms)


def test_of_two_that_begin_alike_the_longer_one_is_found() -> None:
    forms = Secrets(values=["Falcon 7", "Falcon 7 East"]).forms
    assert [s.value for s in find_secrets(["Falcon 7 East, then Falcon 7"], forms=forms)] == [
        "Falcon 7 East",
        "Falcon 7",
    ]


def test_decoys_of_a_listed_secret_have_its_form_and_are_not_listed() -> None:
    """Uniform digits: 1,000 decoys, χ² of each place below 40 (9 degrees, 1e-5)."""
    forms = Secrets(values=["Ab-42é", "Cd-17é"]).forms
    drawn = decoys(_only("code Ab-42é", forms), 1000, RNG(0), forms)
    assert len(drawn) == 1000
    assert all(re.fullmatch(r"[A-Z][a-z]-[0-9]{2}é", value) for value in drawn)
    assert not set(drawn) & set(forms.values)
    for place in (3, 4):
        assert stats.chisquare([sum(d[place] == c for d in drawn) for c in "0123456789"]).statistic < 40


def test_a_file_lists_one_secret_a_line(tmp_path: Path) -> None:
    path = tmp_path / "secrets.txt"
    path.write_bytes(b"Falcon-7731\r\n\r\n  Osprey-12  \n")
    assert Secrets(file=path).forms.values == ("Falcon-7731", "Osprey-12")
    assert Secrets.of(path) == Secrets(file=path)
    assert Secrets(values=["Falcon-7731"], file=path).forms.values == ("Falcon-7731", "Osprey-12")


# --- patterns ---------------------------------------------------------------------------------------------------------

PATTERNS = {
    r"EMP-\d{6}": ("badge EMP-204118 lost", "EMP-204118", r"EMP-\d{6}"),
    r"badge (\w{4}\d{3}) lost": ("the badge kilo482 lost it", "kilo482", r"[a-z]{4}\d{3}"),
    r"(?<=MRN: )[A-F]\d{5}[A-Z]": ("MRN: B20418K.", "B20418K", r"[A-F]\d{5}[A-Z]"),
    r"\b(?:DE|AT)\d{4}\b": ("plate DE4711", "DE4711", r"DE\d{4}"),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_find_secrets_and_their_decoys_match_in_place(pattern: str) -> None:
    text, value, like = PATTERNS[pattern]
    forms = Secrets(patterns=[pattern]).forms
    secret = _only(text, forms)
    assert (secret.kind, secret.value) == (Kind.PATTERN, value)
    drawn = decoys(secret, 200, RNG(0), forms)
    assert len(set(drawn)) > 150
    for decoy in drawn:
        assert re.fullmatch(like, decoy)
        assert [s.value for s in find_secrets([text.replace(value, decoy)], forms=forms)] == [decoy]


def test_a_pattern_without_another_value_has_no_decoys() -> None:
    forms = Secrets(patterns=["hunter2"]).forms
    assert decoys(_only("x hunter2", forms), 5, RNG(0), forms) == []


def test_lists_come_before_patterns_and_patterns_before_recognisers() -> None:
    forms = Secrets(values=["otto@example.com"], patterns=[r"\w+@example\.org"]).forms
    found = find_secrets(["otto@example.com anna@example.org emma@example.net"], forms=forms)
    assert [secret.kind for secret in found] == [Kind.LISTED, Kind.PATTERN, Kind.EMAIL]
    alone = replace(forms, recognisers=False)
    assert len(find_secrets(["otto@example.com anna@example.org emma@example.net"], forms=alone)) == 2


# --- national phone numbers -------------------------------------------------------------------------------------------

NATIONAL = {"DE": "030 901820", "US": "(650) 253-0000", "FR": "06 12 34 56 78", "GB": "020 7946 0958"}


@pytest.mark.parametrize("region", NATIONAL)
def test_national_phone_numbers_need_their_region(region: str) -> None:
    text = f"call {NATIONAL[region]} today"
    assert not find_secrets([text])
    forms = Secrets(regions=["IT", region]).forms
    secret = _only(text, forms)
    assert (secret.kind, secret.value) == (Kind.PHONE, NATIONAL[region])
    drawn = decoys(secret, 50, RNG(0), forms)
    assert len(drawn) == 50
    shape = re.sub(r"\d", "0", secret.value)
    assert {re.sub(r"\d", "0", decoy) for decoy in drawn} == {shape}
    for decoy in drawn:
        assert _only(f"call {decoy} today", forms).value == decoy


def test_a_number_with_a_country_code_is_found_once() -> None:
    forms = Secrets(regions=["US", "DE"]).forms
    assert [s.value for s in find_secrets(["+1 650-253-0000"], forms=forms)] == ["+1 650-253-0000"]


# --- names and addresses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What presidio_analyzer.RecognizerResult shows."""

    entity_type: str
    start: int
    end: int
    score: float


class NlpEngineProvider:
    """The documented interface of presidio_analyzer.nlp_engine.NlpEngineProvider; its engine is its configuration."""

    def __init__(self, nlp_configuration: dict[str, Any]):
        self.engine = nlp_configuration

    def create_engine(self) -> dict[str, Any]:
        return self.engine


class AnalyzerEngine:
    """The documented interface of presidio_analyzer.AnalyzerEngine, with names that everybody knows."""

    asked: list[tuple[str, tuple[str, ...]]] = []  # noqa: RUF012  (shared with the test)
    model = ""

    def __init__(self, nlp_engine: dict[str, Any], supported_languages: list[str]):
        (model,) = nlp_engine["models"]
        assert (nlp_engine["nlp_engine_name"], [model["lang_code"]]) == ("spacy", supported_languages)
        AnalyzerEngine.model = model["model_name"]

    def analyze(self, text: str, language: str, entities: list[str] | None = None) -> list[Result]:
        self.asked.append((language, tuple(entities or ())))
        patterns = {"PERSON": r"(?:Otto|Anna|Emma) (?:Weiss|Braun|Lang)", "LOCATION": r"\d+ (?:Mill|Oak) (?:Lane|Road)"}
        return [
            Result(entity, *match.span(), 0.85)
            for entity in entities or patterns
            for match in re.finditer(patterns[entity], text)
        ]


@pytest.fixture
def presidio(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[AnalyzerEngine]]:
    """Makes presidio and spaCy importable; here they are stubs of their documented interfaces."""
    libraries: dict[str, Any] = {n: ModuleType(n) for n in ("presidio_analyzer", "presidio_analyzer.nlp_engine")}
    libraries |= {"spacy": ModuleType("spacy"), "spacy.util": ModuleType("spacy.util")}
    libraries["presidio_analyzer"].AnalyzerEngine = AnalyzerEngine
    libraries["presidio_analyzer.nlp_engine"].NlpEngineProvider = NlpEngineProvider
    libraries["spacy.util"].get_installed_models = lambda: ["en_core_web_sm", "en_core_web_lg", "de_core_news_md"]
    for name, library in libraries.items():
        monkeypatch.setitem(sys.modules, name, library)
    monkeypatch.setattr(AnalyzerEngine, "asked", [])
    people._analyzer.cache_clear()
    yield AnalyzerEngine
    people._analyzer.cache_clear()


def test_names_and_addresses_are_what_presidio_finds(presidio: type[AnalyzerEngine]) -> None:
    texts = ["Otto Weiss lives at 12 Mill Lane.", "Anna Braun met Emma Lang at 7 Oak Road, and Otto Weiss."]
    assert not find_secrets(texts)
    forms = Secrets(names=True, addresses=True, language="de").forms
    found = find_secrets(texts, forms=forms)
    assert {(s.kind, s.value) for s in found} == {
        *((Kind.NAME, name) for name in ("Otto Weiss", "Anna Braun", "Emma Lang")),
        *((Kind.ADDRESS, place) for place in ("12 Mill Lane", "7 Oak Road")),
    }
    assert {language for language, _ in presidio.asked} == {"de"}
    assert [s.documents for s in found if s.value == "Otto Weiss"] == [(0, 1)]
    only_names = find_secrets(texts, forms=Secrets(names=True).forms)
    assert {s.kind for s in only_names} == {Kind.NAME}


def test_decoys_of_names_are_put_together_from_other_names(presidio: type[AnalyzerEngine]) -> None:
    assert presidio
    texts = ["Otto Weiss, Anna Braun and Emma Lang are at 12 Mill Lane or 7 Oak Road"]
    forms = Secrets(names=True, addresses=True).forms
    found = {secret.value: secret for secret in find_secrets(texts, forms=forms)}
    drawn = decoys(found["Otto Weiss"], 300, RNG(0), forms)
    first, last = ("Otto", "Anna", "Emma"), ("Weiss", "Braun", "Lang")
    assert set(drawn) == {f"{a} {b}" for a in first for b in last} - {"Otto Weiss", "Anna Braun", "Emma Lang"}
    places = decoys(found["12 Mill Lane"], 100, RNG(0), forms)
    assert all(re.fullmatch(r"\d{1,2} (Mill|Oak) (Lane|Road)", place) for place in places)


def test_a_name_without_others_has_no_decoys(presidio: type[AnalyzerEngine]) -> None:
    assert presidio
    forms = Secrets(names=True).forms
    assert decoys(_only("Otto Weiss", forms), 5, RNG(0), forms) == []


def test_without_presidio_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    people._analyzer.cache_clear()
    with pytest.raises(EvidenceError, match="pip install presidio-analyzer"):
        find_secrets(["Otto Weiss"], forms=Secrets(names=True).forms)


def test_the_largest_model_of_the_language_is_taken(presidio: type[AnalyzerEngine]) -> None:
    find_secrets(["Otto Weiss"], forms=Secrets(names=True).forms)
    assert presidio.model == "en_core_web_lg"
    find_secrets(["Otto Weiss"], forms=Secrets(names=True, language="de").forms)
    assert presidio.model == "de_core_news_md"


def test_a_language_without_a_model_is_refused_and_nothing_is_downloaded(presidio: type[AnalyzerEngine]) -> None:
    with pytest.raises(EvidenceError, match="'fr', and none is installed: python -m spacy download fr_core_news_lg"):
        find_secrets(["Otto Weiss"], forms=Secrets(names=True, language="fr").forms)
    assert not presidio.asked


@pytest.mark.filterwarnings("ignore")
def test_the_real_presidio_finds_names_in_german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed spaCy model whose names and places are rules: what presidio makes of it is presidio's own doing."""
    pytest.importorskip("presidio_analyzer")
    spacy = pytest.importorskip("spacy")
    model = spacy.blank("de")
    rules = [{"label": "PER", "pattern": name} for name in ("Otto Weiss", "Anna Braun", "Emma Lang")]
    model.add_pipe("entity_ruler").add_patterns([*rules, {"label": "LOC", "pattern": "Hamburg"}])
    model.meta |= {"name": "tiny", "version": "1.0.0"}
    package = tmp_path / "de_tiny"
    package.mkdir()
    model.to_disk(package / "de_tiny-1.0.0")
    (package / "meta.json").write_bytes((package / "de_tiny-1.0.0" / "meta.json").read_bytes())
    code = "from spacy.util import load_model_from_init_py\n\ndef load(**more):\n"
    (package / "__init__.py").write_text(code + "    return load_model_from_init_py(__file__, **more)\n", "utf-8")
    (tmp_path / "de_tiny-1.0.0.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: de_tiny\nVersion: 1.0.0\n"
    (tmp_path / "de_tiny-1.0.0.dist-info" / "METADATA").write_text(about, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("spacy.util.get_installed_models", lambda: ["de_tiny"])  # spaCy looks only when it is imported
    people._analyzer.cache_clear()
    forms = Secrets(names=True, addresses=True, language="de").forms
    found = find_secrets(["Otto Weiss und Anna Braun.", "Emma Lang schreibt Otto Weiss nach Hamburg."], forms=forms)
    assert {(s.kind, s.value, s.documents) for s in found} == {
        (Kind.NAME, "Otto Weiss", (0, 1)),
        (Kind.NAME, "Anna Braun", (0,)),
        (Kind.NAME, "Emma Lang", (1,)),
        (Kind.ADDRESS, "Hamburg", (1,)),
    }


# --- in a recipe ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (7, Secrets(most=7)),
        (["Falcon-7731"], Secrets(values=["Falcon-7731"])),
        (("Falcon-7731", re.compile(r"EMP-\d{6}")), Secrets(values=["Falcon-7731"], patterns=[r"EMP-\d{6}"])),
        (re.compile(r"EMP-\d{6}"), Secrets(patterns=[r"EMP-\d{6}"])),
    ],
)
def test_probes_take_a_number_a_list_and_patterns(wanted: Any, expected: Secrets) -> None:
    probes = Probes(secrets=wanted)
    assert probes.sought == expected
    assert "Falcon" not in repr(probes), "a fingerprint writes parameters down"


BAD: dict[str, tuple[Any, str]] = {
    "a bare string": ("Falcon-7731", 'file="secrets.txt"'),
    "a list of numbers": ([1, 2], "a list of secrets"),
    "a short secret": (["abc"], "has 3 characters"),
    "no file": (Path("nowhere.txt"), "nowhere.txt cannot be read"),
}


@pytest.mark.parametrize(("wanted", "said"), BAD.values(), ids=BAD)
def test_what_names_no_secrets_is_refused(wanted: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)) as caught:
        Probes(secrets=wanted)
    assert "abc" not in str(caught.value)


def test_bad_patterns_and_bare_strings_are_refused() -> None:
    with pytest.raises(RecipeError, match="is not a regular expression"):
        Secrets(patterns=["("])
    with pytest.raises(RecipeError, match="are lists"):
        Secrets(regions="DE")
    with pytest.raises(RecipeError, match="cannot be negative"):
        Probes(secrets=-1)


def _recipe(secrets: Any) -> tuple[LanguageModelRecipe, TextPopulation]:
    module = unregistered(RECIPES / "language.py")
    texts = [f"{text} EMP-{n:06}" if n % 6 == 0 else text for n, text in enumerate(module.documents().texts)]
    texts[3] += " Falcon-7731"
    recipe = replace(
        module.recipe,
        documents=lambda: Documents(texts, similarity=None),
        probes=replace(module.recipe.probes, secrets=secrets),
    )
    return recipe, TextPopulation(recipe.documents(), recipe.rendering, recipe.probes)


def test_a_recipe_ranks_what_it_names() -> None:
    _, population = _recipe(Secrets(values=["Falcon-7731"], patterns=[r"EMP-\d{6}"], recognisers=False))
    kinds = [probe.found.kind for probe in population.secrets]
    assert kinds.count(Kind.PATTERN) == 10
    assert kinds.count(Kind.LISTED) == 1
    listed = next(probe for probe in population.secrets if probe.found.kind is Kind.LISTED)
    assert listed.units.tolist() == [3]
    assert len(listed.rows) == population.probes.decoys + 1
    decode = population.renderer.tokenizer.decode
    assert decode(listed.rows[0].ids[listed.rows[0].trained]).strip() == "Falcon-7731"
    assert all(re.search(r"[A-Z][a-z]{5}-\d{4}$", decode(row.ids)) for row in listed.rows[1:])
    assert redact(listed.found) == "listed ••••••-••••"
    assert "Falcon" not in repr(listed.found)


def test_other_secrets_are_another_recipe_and_no_secret_is_in_its_fingerprint() -> None:
    lines = [
        fingerprint(*_recipe(secrets), seed=0)
        for secrets in (6, ["Falcon-7731"], ["Falcon-7732"], Secrets(values=["Falcon-7731"], regions=["DE"]))
    ]
    shown = [line["recipe.probes.secrets"] for line in lines]
    assert len(set(shown)) == 4
    assert shown[0] == "6", "as in the banks of earlier versions"
    assert not any("Falcon" in value for line in lines for value in line.values())


def test_an_audit_shows_own_secrets_in_redacted_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe, _ = _recipe(Secrets(values=["Falcon-7731"], patterns=[r"EMP-\d{6}"], recognisers=False))
    members = ma.draw_members(recipe, seed=1)
    ma.save_target(ma.train(recipe, members, seed=1), "model", members)
    report = ma.audit("model", recipe, fprs=(0.1,)).report
    told = {result.finding.code for result in report.results} | {skipped.code for skipped in report.skipped}
    assert "CAN003" in told
    assert "Falcon" not in str(report)
    assert not re.search(r"EMP-\d", str(report))
