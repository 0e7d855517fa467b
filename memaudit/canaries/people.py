"""Names and addresses in texts, as presidio-analyzer finds them with an installed spaCy model."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from memaudit.errors import EvidenceError

_SIZES = ("lg", "trf", "md", "sm")  # the last part of a spaCy model's name; the first of these is taken


def entities(text: str, entity: str, language: str) -> Iterator[tuple[int, int]]:
    """Yield where a text names an entity, the surest first.

    Args:
        text: What is searched.
        entity: As presidio calls it, such as "PERSON".
        language: Of the text, such as "en".

    Raises:
        EvidenceError: presidio-analyzer, or a spaCy model of the language, is not installed.

    Source: presidio_analyzer.AnalyzerEngine.analyze, which returns results with entity_type, start, end and score.
    """
    found = _analyzer(language).analyze(text=text, language=language, entities=[entity])
    for result in sorted(found, key=lambda result: (-result.score, result.start)):
        yield result.start, result.end


@lru_cache(maxsize=1)
def _analyzer(language: str) -> Any:
    """Return presidio's analyzer of a language. By itself presidio knows English alone, and downloads its model."""
    try:
        presidio = importlib.import_module("presidio_analyzer")
        provider = importlib.import_module("presidio_analyzer.nlp_engine").NlpEngineProvider
        installed = importlib.import_module("spacy.util").get_installed_models()
    except ModuleNotFoundError as error:
        raise EvidenceError(f"presidio finds names and addresses: pip install presidio-analyzer ({error})") from error
    models = [{"lang_code": language, "model_name": _model(language, installed)}]
    engine = provider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    return presidio.AnalyzerEngine(nlp_engine=engine, supported_languages=[language])


def _model(language: str, installed: list[str]) -> str:
    """Return the largest installed spaCy model of a language.

    Raises:
        EvidenceError: There is none.
    """
    known = sorted(name for name in installed if name.startswith(f"{language}_"))
    if not known:
        usual = "en_core_web_lg" if language == "en" else f"{language}_core_news_lg"
        raise EvidenceError(
            f"to find names and addresses, presidio needs a spaCy model of the language {language!r}, and none is "
            f"installed: python -m spacy download {usual}"
        )
    return min(known, key=lambda name: _rank(name.rpartition("_")[2]))


def _rank(size: str) -> int:
    return _SIZES.index(size) if size in _SIZES else len(_SIZES)
