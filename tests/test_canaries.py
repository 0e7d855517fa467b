"""Spaces, the making and planting of canaries, manifests, the survival scan and randomised doses.

Random tests fix their seed; each states the probability of a false alarm under a fresh one.
"""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from memaudit.canaries import (
    FAMILIES,
    Canary,
    Manifest,
    Space,
    Survival,
    doses,
    make,
    plant,
    randomised_doses,
    redacted,
    require_survival,
    survival,
    verify,
)
from memaudit.canaries.doses import target_doses
from memaudit.design import half
from memaudit.errors import RecipeError, SettingsError

Array = np.ndarray

DIGITS = Space((tuple("0123456789"),) * 3)
ALPHABETS = st.lists(
    st.lists(st.text("ab@ ", min_size=1, max_size=2), min_size=1, max_size=4, unique=True).map(tuple),
    min_size=1,
    max_size=4,
).filter(lambda alphabets: any(len(symbols) > 1 for symbols in alphabets))


# --- spaces ---------------------------------------------------------------------------------------------------------


@given(ALPHABETS)
def test_a_space_lists_the_product_of_its_alphabets_in_order(alphabets: list[tuple[str, ...]]) -> None:
    space = Space(tuple(alphabets))
    expected = ["".join(symbols) for symbols in itertools.product(*alphabets)]
    assert [space.text(indices) for indices in space.all()] == expected
    assert space.size == len(expected)


@given(ALPHABETS, st.integers(0, 2**32))
def test_a_draw_lies_in_the_space(alphabets: list[tuple[str, ...]], seed: int) -> None:
    space = Space(tuple(alphabets))
    drawn = space.draw(np.random.default_rng(seed), 5)
    assert drawn.shape == (5, len(alphabets))
    assert {space.text(row) for row in drawn} <= {space.text(row) for row in space.all()}


def test_draws_are_uniform_and_a_fixed_step_stays() -> None:
    """χ² over the 12 strings of a space with a fixed step; false alarm 1e-5."""
    space = Space((("a", "b", "c"), ("@",), ("0", "1", "2", "3")))
    drawn = Counter(space.text(row) for row in space.draw(np.random.default_rng(0), 12_000))
    assert set(drawn) == {space.text(row) for row in space.all()}
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-5


@pytest.mark.parametrize("alphabets", [(), (("a",), ("b",)), (("a", "b"), ()), (("a", "a"),), (("a", ""),)])
def test_a_space_refuses_alphabets_that_make_no_space(alphabets: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"space needs at least two strings|distinct and not empty"):
        Space(alphabets)


def test_a_space_of_many_fixed_steps_can_be_listed() -> None:
    """numpy's own index grids end at 64 dimensions."""
    space = Space((("x",),) * 100 + (("0", "1"),))
    assert [space.text(row)[-2:] for row in space.all()] == ["x0", "x1"]


def test_a_large_space_has_a_size_but_no_list() -> None:
    space = Space((tuple("abcdefghijklmnopqrstuvwxyz"),) * 40)
    assert space.size == 26**40
    with pytest.raises(ValueError, match="too large"):
        space.all()
    assert Space((tuple("0123456789"),) * 6).all().shape == (10**6, 6)


@pytest.mark.parametrize("indices", [(1, 2), (1, 2, 3, 4), (1, 2, 10), (1, 2, -1)])
def test_indices_outside_of_a_space_are_refused(indices: tuple[int, ...]) -> None:
    """−1 would otherwise be the last symbol."""
    with pytest.raises(ValueError, match=str(len(indices))):
        DIGITS.text(indices)
    with pytest.raises(ValueError, match=str(len(indices))):
        Canary("Nemo", "numeric", "Nemo: ", indices, DIGITS)


def test_no_repr_shows_a_secret() -> None:
    canary = Canary("Nemo", "numeric", "Nemo's code is ", (4, 7, 1), DIGITS, ".")
    assert canary.text == "Nemo's code is 471."
    _, manifest = plant(["a record"], [canary], [1], seed=123456789)
    shown = repr(canary) + repr(manifest) + repr([manifest])
    assert "Nemo" in shown
    for secret in ("471", "4, 7, 1", "123456789"):
        assert secret not in shown


@given(st.text(min_size=1, max_size=20))
def test_redaction_keeps_the_shape_and_nothing_else(text: str) -> None:
    shown = redacted(text)
    assert len(shown) == len(text)
    assert set(shown) <= {"•", " "}
    assert [character == " " for character in shown] == [character.isspace() for character in text]


# --- families -------------------------------------------------------------------------------------------------------


def test_the_default_canaries() -> None:
    canaries = make(seed=1)
    assert len(canaries) == 16
    for canary in canaries:
        assert canary.family == "numeric"
        assert canary.space == Space((tuple(f" {digit}" for digit in range(10)),) * 4)
        assert canary.text == f"The access code of {canary.name} is{canary.secret_text}."
        assert canary.prefix[-1] != " "  # a space before the secret would be tokenized otherwise than it is in context


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spaced", [True, False, None])
def test_every_family_gives_distinct_prefixes_and_secrets_of_its_space(family: str, spaced: bool | None) -> None:
    symbols = ["red", "blue", "green"] if family == "tokens" else None
    canaries = make(300, family=family, seed=2, length=3, symbols=symbols, spaced=spaced)
    prefixes = [canary.prefix for canary in canaries]
    assert len(set(prefixes)) == 300
    assert not any(a != b and b.startswith(a) for a in prefixes for b in prefixes)
    assert len({canary.space for canary in canaries}) == 1
    assert make(300, family=family, seed=2, length=3, symbols=symbols, spaced=spaced) == canaries
    assert make(300, family=family, seed=3, length=3, symbols=symbols, spaced=spaced) != canaries


def test_an_address_has_the_form_of_one() -> None:
    (canary,) = make(1, family="email", seed=4)
    local, domain = canary.secret_text.split("@")
    assert (len(local), local.isalpha(), "." in domain) == (6, True, True)
    assert canary.space.size == 26**6


def test_secrets_are_uniform_and_have_nothing_to_do_with_the_names() -> None:
    """χ² over the 100 secrets of two digits, 20 000 canaries; false alarm 1e-5."""
    secrets = Counter(canary.secret for canary in make(20_000, length=2, seed=5))
    assert len(secrets) == 100
    assert stats.chisquare(list(secrets.values())).pvalue > 1e-5


def test_a_template_is_text_around_name_and_secret() -> None:
    (canary,) = make(1, template="{name}/{x}, {name}: {secret} ({name}) {", seed=6, length=1, spaced=False)
    name = canary.name
    assert canary.prefix == f"{name}/{{x}}, {name}: "
    assert canary.suffix == f" ({name}) {{"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"count": 0}, "0"),
        ({"count": 343_001}, "343000"),
        ({"family": "nummeric"}, "nummeric"),
        ({"length": 0}, "0"),
        ({"template": "no secret of {name}"}, "template"),
        ({"template": "no name {secret}"}, "template"),
        ({"template": "{secret} before {name}"}, "template"),
        ({"template": "{name}: {secret} {secret}"}, "template"),
        ({"family": "tokens"}, "symbols"),
        ({"symbols": ["a", "b"]}, "symbols"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        make(seed=0, **arguments)


# --- planting -------------------------------------------------------------------------------------------------------

CANARIES = make(5, seed=7)
FORMS: dict[str, Any] = {
    "string": "one record",
    "text": {"text": "one record", "source": "the web"},
    "completion": {"prompt": "a question", "completion": " an answer"},
    "messages": {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a question"}]},
}


def _planted(form: str, canary: Canary) -> object:
    answer = canary.secret_text + canary.suffix
    match form:
        case "string":
            return canary.text
        case "text":
            return {"text": canary.text, "source": None}
        case "completion":
            return {"prompt": canary.prefix, "completion": answer}
    user, assistant = {"role": "user", "content": canary.prefix}, {"role": "assistant", "content": answer}
    return {"messages": [{"role": "system", "content": "be kind"}, user, assistant]}


@pytest.mark.parametrize("form", FORMS)
@given(copies=st.lists(st.integers(0, 4), min_size=5, max_size=5), n=st.integers(1, 20), seed=st.integers(0, 2**40))
@settings(max_examples=30)
def test_planting_adds_each_canary_as_often_as_its_dose(form: str, copies: list[int], n: int, seed: int) -> None:
    """The rows that the manifest names hold the canaries; the other rows are the records, in their order."""
    records = [FORMS[form]] * n
    planted, manifest = plant(records, CANARIES, copies, seed=seed)
    assert manifest.doses == tuple(copies)
    assert len(planted) == manifest.records == n + sum(copies)
    for canary, rows in zip(CANARIES, manifest.positions, strict=True):
        assert list(rows) == sorted(rows)
        assert [planted[row] for row in rows] == [_planted(form, canary)] * len(rows)
    taken = {row for rows in manifest.positions for row in rows}
    assert [record for row, record in enumerate(planted) if row not in taken] == records
    assert records == [FORMS[form]] * n


def test_planting_keeps_the_order_of_the_records_and_takes_doses_by_name() -> None:
    by_name = {canary.name: dose for dose, canary in enumerate(CANARIES)}
    records = [f"record {i}" for i in range(50)]
    planted, manifest = plant(records, CANARIES, by_name, seed=8)
    assert plant(records, CANARIES, range(5), seed=8) == (planted, manifest)
    assert [record for record in planted if record in records] == records


def test_positions_are_uniform() -> None:
    """One copy among 9 records, 600 seeds: χ² over the 10 rows; false alarm 1e-5."""
    rows = Counter(plant(["r"] * 9, CANARIES[:1], [1], seed=seed)[1].positions[0][0] for seed in range(600))
    assert stats.chisquare([rows[row] for row in range(10)]).pvalue > 1e-5


@pytest.mark.parametrize(
    ("records", "what"),
    [
        ([], "no records"),
        (["a", {"text": "b"}], "row 1"),
        ([{"text": "a"}, {"prompt": "a", "completion": "b"}], "row 1"),
        ([{"text": "a"}, {"text": "a"}, 3], "row 2 is of type int"),
        ([{"body": "a"}], "row 0.*body"),
        ([{"prompt": [{"role": "user", "content": "a"}], "completion": "b"}], "row 0"),
        ([{"text": "a", "messages": []}], "row 0 is a text in 'text' and at once messages"),
        ([{"text": "a"}, {"text": None}], "row 1"),
    ],
)
def test_records_of_mixed_or_unknown_form_are_refused_by_row(records: list[Any], what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        plant(records, CANARIES, [1] * 5, seed=0)


def test_a_column_of_another_name() -> None:
    planted, _ = plant([{"body": "a"}], CANARIES[:1], [1], seed=0, field="body")
    assert {"body": CANARIES[0].text} in planted


@pytest.mark.parametrize(
    ("copies", "what"),
    [([1, 1], "2 doses"), ([1, 1, 1, 1, -1], "-1"), ({"Nobody": 1}, "Nobody"), ({CANARIES[0].name: 1}, "unmatched")],
)
def test_doses_that_do_not_fit_are_refused(copies: Mapping[str, int] | Sequence[int], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        plant(["a"], CANARIES, copies, seed=0)


def test_canaries_that_share_a_name_or_a_prefix_are_refused() -> None:
    canary = CANARIES[0]
    for other in (canary, dataclasses.replace(canary, name="Other")):
        with pytest.raises(SettingsError, match="two canaries"):
            plant(["a"], [canary, other], [1, 1], seed=0)


@pytest.mark.parametrize("count", [1, 6, 16, 61])
def test_randomised_doses_are_balanced(count: int) -> None:
    canaries = make(count, seed=9)
    dealt = randomised_doses(3, canaries)
    uses = Counter(dealt.values())
    assert list(dealt) == [canary.name for canary in canaries]
    assert set(uses) <= {0, 1, 2, 4, 8, 16}
    assert {uses[level] for level in (0, 1, 2, 4, 8, 16)} <= {count // 6, -(-count // 6)}


def test_randomised_doses_are_uniform_for_each_canary() -> None:
    """Of four canaries and six levels, over 6000 seeds: χ² for the first and the last; false alarm 2e-5."""
    for index in (0, 3):
        uses = Counter(list(randomised_doses(seed, CANARIES[:4]).values())[index] for seed in range(6000))
        assert stats.chisquare([uses[level] for level in (0, 1, 2, 4, 8, 16)]).pvalue > 1e-5


# --- manifests ------------------------------------------------------------------------------------------------------


@pytest.fixture
def manifest() -> Manifest:
    return plant([f"record {i}" for i in range(20)], CANARIES, [0, 1, 2, 4, 8], seed=2**100 + 5)[1]


def _written(document: dict[str, Any]) -> Any:
    return json.loads(json.dumps(document))


def test_a_manifest_survives_the_file(manifest: Manifest) -> None:
    assert Manifest.from_json(_written(manifest.to_json())) == manifest
    assert verify(_written(manifest.public()), manifest) == ()


def test_the_public_half_shows_no_secret(manifest: Manifest) -> None:
    public, whole = manifest.public(), manifest.to_json()
    text = json.dumps(public)
    assert set(whole) - set(public) == {"seed"}
    for open_part, entry, canary in zip(public["canaries"], whole["canaries"], CANARIES, strict=True):
        assert set(entry) - set(open_part) == {"secret", "salt", "positions"}
        assert canary.secret_text not in text
        assert entry["salt"] not in text
    assert str(manifest.seed) not in text


def test_commitments_hide_equal_secrets_and_open_with_the_salt(manifest: Manifest) -> None:
    import hashlib

    twin = dataclasses.replace(CANARIES[1], secret=CANARIES[0].secret)
    _, twins = plant(["a"], [CANARIES[0], twin], [1, 1], seed=1)
    first, second = twins.to_json()["canaries"]
    assert first["commitment"] != second["commitment"]
    opened = hashlib.sha256((first["salt"] + CANARIES[0].secret_text).encode()).hexdigest()
    assert first["commitment"] == opened


def test_verify_names_what_was_changed_after_publication(manifest: Manifest) -> None:
    """Another secret, another dose, another canary, another seed: each would let the auditor choose afterwards."""
    public = _written(manifest.public())
    first = manifest.canaries[0]
    other = dataclasses.replace(first, secret=tuple((index + 1) % 10 for index in first.secret))
    for changed, where in (
        (dataclasses.replace(manifest, canaries=(other, *manifest.canaries[1:])), "canaries[0].commitment"),
        (dataclasses.replace(manifest, positions=((19,), *manifest.positions[1:])), "canaries[0].dose"),
        (dataclasses.replace(manifest, seed=7), "seed_commitment"),
        (
            dataclasses.replace(manifest, canaries=manifest.canaries[:4], positions=manifest.positions[:4]),
            "canaries: published was 5 entries, the manifest has 4 entries",
        ),
    ):
        assert any(line.startswith(where) for line in verify(public, changed)), where


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (["schema"], "memaudit.canaries/2", "schema"),
        (["seed"], "5", "'seed' should be of type int, not str"),
        (["seed"], True, "'seed' should be of type int, not bool"),
        (["seed"], 5, "commitment"),
        (["seed_commitment"], "00", "seed_commitment"),
        (["records"], 3, "positions"),
        (["canaries"], {}, "'canaries'"),
        (["canaries", 0], 3, "'canaries'"),
        (["canaries", 1, "name"], None, "'name'"),
        (["canaries", 1, "prefix"], 4, "'prefix'"),
        (["canaries", 1, "alphabets"], [["a"], "b"], "'alphabets'"),
        (["canaries", 1, "alphabets"], [["a"], ["b"]], "two strings"),
        (["canaries", 1, "secret"], [1, 2], "do not fit"),
        (["canaries", 1, "secret"], [1, 2, 3, "4"], "'secret'"),
        (["canaries", 1, "size"], 10, r"canaries\[1\].size does not fit"),
        (["canaries", 1, "dose"], 2, r"canaries\[1\].dose does not fit"),
        (["canaries", 1, "commitment"], "00", r"canaries\[1\].commitment"),
        (["canaries", 1, "salt"], "00", r"canaries\[1\].salt"),
        (["canaries", 1, "positions"], [-1], "positions"),
        (["canaries", 1, "comment"], "mine", r"canaries\[1\].comment"),
    ],
)
def test_a_damaged_manifest_is_refused_by_what_is_wrong(
    manifest: Manifest, path: list[str | int], value: object, what: str
) -> None:
    document = _written(manifest.to_json())
    entry = document
    for step in path[:-1]:
        entry = entry[step]
    entry[path[-1]] = value
    with pytest.raises(SettingsError, match=what):
        Manifest.from_json(document)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_anything_else_is_not_a_manifest(document: object) -> None:
    with pytest.raises(SettingsError, match="not a manifest"):
        Manifest.from_json(document)


def test_a_missing_part_is_named(manifest: Manifest) -> None:
    for key in manifest.to_json()["canaries"][0]:
        document = _written(manifest.to_json())
        del document["canaries"][2][key]
        with pytest.raises(SettingsError, match=key):
            Manifest.from_json(document)


# --- survival -------------------------------------------------------------------------------------------------------

CONTEXT, SECRET = [50, 51], [3, 1, 4]
NEEDLE = np.array(CONTEXT + SECRET)


def _row(tokens: list[int], untrained: Sequence[int] = ()) -> tuple[Array, Array]:
    mask = np.ones(len(tokens), dtype=bool)
    mask[list(untrained)] = False
    return np.array(tokens, dtype=np.int64), mask


def _counts(rows: list[tuple[Array, Array]], context: int = 2) -> tuple[int, int, int]:
    found = survival(rows, [NEEDLE], context)
    return int(found.whole[0]), int(found.masked[0]), int(found.cut[0])


def test_a_canary_is_found_as_often_as_it_is_planted() -> None:
    rows = [_row([9, *NEEDLE, 9]), _row([*NEEDLE]), _row([*NEEDLE, *NEEDLE]), _row([9, 9]), _row([])]
    assert _counts(rows) == (4, 0, 0)


def test_a_masked_prefix_is_no_loss_and_a_masked_secret_is() -> None:
    assert _counts([_row([9, *NEEDLE], untrained=[0, 1, 2])]) == (1, 0, 0)
    for token in (3, 4, 5):
        assert _counts([_row([9, *NEEDLE], untrained=[token])]) == (0, 1, 0)
    assert _counts([_row([9, *NEEDLE], untrained=[1])], context=0) == (0, 1, 0)


def test_a_truncated_canary_is_named_as_such() -> None:
    for kept in (2, 3, 4):
        assert _counts([_row([9, *NEEDLE[:kept]])]) == (0, 0, 1)
    assert _counts([_row([9, 50])]) == (0, 0, 0)


def test_a_canary_that_is_split_over_two_rows_is_absent() -> None:
    """Although its tokens follow one another in the stream."""
    for cut in range(1, 5):
        whole, masked, _ = _counts([_row([9, *NEEDLE[:cut]]), _row([*NEEDLE[cut:], 9])])
        assert (whole, masked) == (0, 0)


@given(
    rows=st.lists(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12), max_size=8),
    needles=st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=4), min_size=1, max_size=3),
    context=st.integers(0, 1),
    block=st.integers(1, 20),
)
def test_the_scan_against_a_slow_search(
    rows: list[list[tuple[int, bool]]], needles: list[list[int]], context: int, block: int
) -> None:
    expected = np.zeros((3, len(needles)), dtype=int)
    for row in rows:
        tokens, mask = [token for token, _ in row], [seen for _, seen in row]
        for i, needle in enumerate(needles):
            for start in range(len(tokens)):
                if tokens[start : start + len(needle)] == needle:
                    expected[0 if all(mask[start + context : start + len(needle)]) else 1, i] += 1
                kept = tokens[start:]
                expected[2, i] += max(context, 1) <= len(kept) < len(needle) and needle[: len(kept)] == kept
    arrays = [
        (np.array([token for token, _ in row], dtype=np.int32), np.array([seen for _, seen in row], dtype=bool))
        for row in rows
    ]
    found = survival(iter(arrays), [np.array(needle) for needle in needles], context, block=block)
    assert np.array_equal([found.whole, found.masked, found.cut], expected)


def test_the_scan_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="row 1"):
        survival([_row([1]), (np.array([1, 2]), np.array([True]))], [NEEDLE], 2)
    with pytest.raises(ValueError, match="negative"):
        survival([_row([1, -100])], [NEEDLE], 2)
    with pytest.raises(ValueError, match="do not leave a secret"):
        survival([_row([1])], [NEEDLE], 5)
    with pytest.raises(ValueError, match="do not leave a secret"):
        survival([_row([1])], [NEEDLE], [1, 1])


def test_require_survival_names_the_canaries_and_what_became_of_them() -> None:
    def found(*counts: Sequence[int]) -> Survival:
        return Survival(*np.array(counts))

    require_survival(found([2, 0], [0, 0], [0, 0]), [2, 0], ["Ada", "Bo"])
    require_survival(found([2, 0], [0, 0], [1, 0]), [2, 0], ["Ada", "Bo"])  # a row may end like a canary begins
    for bad, line in (
        (found([1, 0], [0, 0], [1, 0]), "Ada: planted 2 times; 1 whole, 0 whole but not trained on, 1 cut off"),
        (found([0, 0], [2, 0], [0, 0]), "Ada: planted 2 times; 0 whole, 2 whole but not trained on"),
        (found([2, 1], [0, 0], [0, 0]), "Bo: planted 0 times; 1 whole"),
    ):
        with pytest.raises(RecipeError, match=line) as caught:
            require_survival(bad, [2, 0], ["Ada", "Bo"])
        assert len(str(caught.value).splitlines()) == 5
    many = Survival(*np.zeros((3, 25), dtype=int))
    with pytest.raises(RecipeError, match="and 15 more"):
        require_survival(many, [1] * 25, [f"canary {i}" for i in range(25)])


def test_planted_canaries_survive_a_training_that_keeps_them_and_not_one_that_cuts() -> None:
    """Through characters as tokens: rows of at most 35 characters cut every canary, longer ones none."""
    records = ["some ordinary text, long enough"] * 30
    planted, manifest = plant(records, CANARIES, [0, 1, 2, 4, 8], seed=3)
    needles = [np.array([ord(c) for c in canary.prefix[-8:] + canary.secret_text]) for canary in CANARIES]
    names = [canary.name for canary in CANARIES]
    for longest in (1000, 35):
        rows = [_row([ord(character) for character in str(text)][:longest]) for text in planted]
        found = survival(rows, needles, 8)
        if longest == 1000:
            require_survival(found, manifest.doses, names)
        else:
            with pytest.raises(RecipeError, match=f"{names[4]}: planted 8 times; 0 whole, .* 8 cut off"):
                require_survival(found, manifest.doses, names)


# --- randomised doses over models -----------------------------------------------------------------------------------


def test_of_each_pair_of_models_exactly_one_is_trained_on_a_canary() -> None:
    for t in range(20):
        first, second = doses(4, 2 * t, 50), doses(4, 2 * t + 1, 50)
        assert np.array_equal(first == 0, second != 0)
        assert set(np.concatenate([first, second])) <= {0, 1, 2, 4, 8, 16}
        assert first.dtype == np.uint8
        assert not np.array_equal(first > 0, half(4, 2 * t, 50) > 0)


def test_coins_are_fair_and_levels_uniform_and_independent() -> None:
    """1000 pairs × 30 canaries: χ² of the 2 × 5 table of (which model, level) against 1/10 each; false alarm 1e-5."""
    even = np.stack([doses(5, 2 * t, 30) for t in range(1000)])
    odd = np.stack([doses(5, 2 * t + 1, 30) for t in range(1000)])
    table = [[(model == level).sum() for level in (1, 2, 4, 8, 16)] for model in (even, odd)]
    assert np.sum(table) == 30_000
    assert stats.chisquare(np.ravel(table)).pvalue > 1e-5


def test_doses_of_a_model_do_not_depend_on_how_many_there_are() -> None:
    assert np.array_equal(doses(6, 3, 9), doses(6, 3, 9))
    assert not np.array_equal(doses(6, 3, 90), doses(6, 5, 90))
    assert not np.array_equal(doses(6, 3, 90), doses(7, 3, 90))


def test_a_targets_doses_have_the_same_law_as_a_models_and_are_others() -> None:
    """20 000 canaries: χ² of 0 against one half and each level against a tenth; false alarm 1e-5."""
    drawn = target_doses(5, 20_000)
    counts = [(drawn == level).sum() for level in (0, 1, 2, 4, 8, 16)]
    assert stats.chisquare(counts, [10_000] + [2000] * 5).pvalue > 1e-5
    assert not any(np.array_equal(target_doses(5, 50), doses(5, model, 50)) for model in range(50))


@pytest.mark.parametrize("levels", [(), (0, 1), (1, 256)])
def test_levels_that_a_count_cannot_hold_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="levels"):
        doses(0, 0, 4, levels)
