"""Which secrets of the user's own are sought in the documents: a list, a file or patterns, beside the recognisers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memaudit.canaries.formats import Forms
from memaudit.errors import RecipeError
from memaudit.recipe.record_files import read

_SHORTEST = 4  # characters of a listed secret: shorter ones occur everywhere
_DIGITS = 16


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """The secrets that are sought in the documents, and ranked among decoys of the same form.

    Its `repr` shows no secret; a bank stores a digest of them, so that it is refused when they change.

    Args:
        most: Secrets that are tested, at most. If there are more, they are drawn at random, of all kinds alike.
        values: Secrets, each as it is written in the documents.
        file: A UTF-8 file with more of them, one a line.
        patterns: Regular expressions; what group 1 matches is the secret, or the whole match without groups.
        regions: Countries (ISO 3166, such as "DE" or "US") whose phone numbers are sought in national form, too.
        names: Whether names of people are sought, by presidio-analyzer.
        addresses: Whether addresses and places are sought, by presidio-analyzer.
        language: Of the texts, for names and addresses.
        recognisers: Whether e-mail addresses, phone, account and card numbers and keys are sought.

    Raises:
        RecipeError: The file cannot be read, a secret is shorter than 4 characters, or a pattern is not valid.
    """

    most: int = 50
    values: Sequence[str] = ()
    file: str | Path | None = None
    patterns: Sequence[str | re.Pattern[str]] = ()
    regions: Sequence[str] = ()
    names: bool = False
    addresses: bool = False
    language: str = "en"
    recognisers: bool = True
    forms: Forms = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or isinstance(self.patterns, str | re.Pattern) or isinstance(self.regions, str):
            raise RecipeError('values, patterns and regions of Secrets are lists, such as regions=["DE"]')
        lines = [] if self.file is None else [line.strip() for line in read(Path(self.file)).splitlines()]
        values = tuple(dict.fromkeys([*self.values, *filter(None, lines)]))
        if short := next((value for value in values if len(value) < _SHORTEST), None):
            raise RecipeError(
                f"a listed secret has {len(short)} characters; one of fewer than {_SHORTEST} occurs in any text by "
                "chance. Remove it, or give a pattern that includes its surroundings"
            )
        forms = Forms(
            values=values,
            patterns=tuple(map(_compiled, self.patterns)),
            regions=tuple(self.regions),
            entities=("PERSON",) * self.names + ("LOCATION",) * self.addresses,
            language=self.language,
            recognisers=self.recognisers,
        )
        for name, value in (("values", forms.values), ("patterns", forms.patterns), ("regions", forms.regions)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "forms", forms)

    @classmethod
    def of(cls, wanted: Any) -> Secrets:
        """Return what `Probes(secrets=...)` asks for: a number, `Secrets`, a file, or a list of secrets and patterns.

        Raises:
            RecipeError: It is none of these; see the class.
        """
        if isinstance(wanted, cls):
            return wanted
        if isinstance(wanted, int):
            return cls(most=wanted)
        if isinstance(wanted, Path):
            return cls(file=wanted)
        if isinstance(wanted, re.Pattern):
            return cls(patterns=(wanted,))
        if isinstance(wanted, list | tuple) and all(isinstance(part, str | re.Pattern) for part in wanted):
            return cls(
                values=[part for part in wanted if isinstance(part, str)],
                patterns=[part for part in wanted if isinstance(part, re.Pattern)],
            )
        raise RecipeError(
            f"secrets is a {type(wanted).__name__}; give a number, a list of secrets and compiled patterns, a "
            'pathlib.Path to a file with one secret a line, or memaudit.Secrets(file="secrets.txt", regions=["DE"])'
        )

    def __repr__(self) -> str:
        content = json.dumps([sorted(self.forms.values), [(p.pattern, p.flags) for p in self.forms.patterns]])
        digest = hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]
        more = [name for name in ("names", "addresses") if getattr(self, name)]
        more += [] if self.recognisers else ["recognisers=False"]
        more += [self.language] if self.forms.entities else []
        kinds = ", ".join([*self.forms.regions, *more])
        return f"Secrets({self.most}, {len(self.forms.values)}, {len(self.forms.patterns)}, {digest}, [{kinds}])"


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RecipeError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
