"""Variants of a recipe, run: what one that fails does to the others, what resumes, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from whatif_models import Table, Train, recipe

import memaudit as ma
from memaudit import Variant, compare_variants
from memaudit.errors import BankError, EvidenceError, SettingsError
from memaudit.whatif import Comparison, Standing
from memaudit.whatif.base import LEAST, Base, Made

QUICK: dict[str, Any] = {"shadows": 8, "fpr": 0.05, "device": "cpu"}


def compared(folder: Path, *variants: Variant, of: Any = None, **changes: Any) -> Comparison:
    return compare_variants(recipe() if of is None else of, variants, folder, **QUICK | changes)


def figures(found: Comparison) -> Any:
    """Everything but times."""
    nothing: dict[str, Any] = {"seconds": 0.0, "seconds_ratio": 1.0}
    return dataclasses.replace(found, rows=tuple(dataclasses.replace(row, **nothing) for row in found.rows))


def failing(dataset: Any, *, seed: int, device: str) -> Table:
    raise RuntimeError("no memory")


def diverging(dataset: Any, *, seed: int, device: str) -> Table:
    return Table(np.full(len(Table().margins), np.nan))


class LateFailure:
    """A training that fails from the ninth model on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, dataset: Any, *, seed: int, device: str) -> Table:
        self.calls += 1
        if self.calls > 8:
            raise RuntimeError("no memory")
        return Train(0.5)(dataset, seed=seed, device=device)


def tied(dataset: Any, *, seed: int, device: str) -> Table:
    """Nine in ten margins are one number, of members as of others."""
    margins = np.ones(len(Table().margins))
    margins[::10] = Train(1.0)(dataset, seed=seed, device=device).margins.detach().numpy()[::10]
    return Table(margins)


def flattened(model: Table, dataset: Any, *, seed: int, device: str) -> Table:
    with torch.no_grad():
        model.margins.copy_(4 * torch.tanh(model.margins / 4))
    return model


LESS = Variant("less", recipe(0.5))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda base: dataclasses.replace(base, train=failing), "no memory"),
        (lambda base: dataclasses.replace(base, train=diverging), "NaN"),
        (lambda base: base.no_such_field, "no_such_field"),
        (lambda base: 3, "returned int"),
        ({"epochs": 3}, "has no field 'epochs'"),
    ],
)
def test_a_variant_that_fails_loses_no_other(tmp_path: Path, change: Any, reason: str) -> None:
    found = compared(tmp_path, Variant("bad", change), LESS)
    assert [row.name for row in found.rows] == ["baseline", "less"]
    (bad,) = found.unmeasured
    assert (bad.name, bad.models) == ("bad", 8)
    assert reason in bad.reason
    assert f"Not measured: bad: {bad.reason}" in repr(found)
    assert any(cells[0] == "bad" and cells[-1] == "not measured" for cells in found.table)
    alone = compared(tmp_path / "again", LESS)
    assert found.rows[1].leak == alone.rows[1].leak


def test_a_variant_that_fails_with_more_models_is_not_shown_with_the_fewer(tmp_path: Path) -> None:
    late = Variant("late", dataclasses.replace(recipe(), train=LateFailure()))
    found = compared(tmp_path, late, LESS, shadows=16)
    assert [(row.name, row.models) for row in found.rows] == [("baseline", 16), ("less", 16)]
    assert found.unmeasured[0].models == 16


def test_if_all_fail_every_reason_is_told(tmp_path: Path) -> None:
    bad = Variant("bad", dataclasses.replace(recipe(), train=failing))
    with pytest.raises(EvidenceError, match=r"no variant can be measured:\n  bad: .*no memory\n  odd: .*no field"):
        compared(tmp_path, bad, Variant("odd", {"epochs": 3}))


def test_a_limit_is_not_failed_by_what_was_not_measured(tmp_path: Path) -> None:
    bad = Variant("bad", dataclasses.replace(recipe(), train=failing))
    more = Variant("more", recipe(3.0))
    whole, part = (
        compared(tmp_path / name, *given, of=recipe(2.5), limit=0.05, shadows=16)
        for name, given in (("whole", [more]), ("part", [more, bad]))
    )
    assert all(row.standing is Standing.EXCEEDS for row in (*whole.rows, *part.rows))
    assert (whole.verdict, part.verdict) == (ma.types.Verdict.FAIL, ma.types.Verdict.INCONCLUSIVE)


def test_a_variant_whose_scores_are_tied_is_told_and_the_others_are_measured(tmp_path: Path) -> None:
    found = compared(tmp_path, Variant("tied", dataclasses.replace(recipe(), train=tied)), LESS)
    assert "tied" in found.unmeasured[0].reason
    assert [row.name for row in found.rows] == ["baseline", "less"]


def test_a_baseline_that_cannot_be_measured_ends_it_before_a_variant_is_trained(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="tied"):
        compared(tmp_path, LESS, of=recipe(train=tied))
    assert not (tmp_path / "less").exists()
    with pytest.raises(SettingsError, match=r"200 units cannot resolve it; ask for 0\.005"):
        compared(tmp_path / "b", LESS, fpr=0.004)
    assert not (tmp_path / "b").exists()


def test_an_edited_variant_is_refused_by_name(tmp_path: Path) -> None:
    compared(tmp_path, LESS)
    with pytest.raises(
        BankError, match=r"(?s)variant 'less': .*made by another recipe.*give it another name, or delete"
    ):
        compared(tmp_path, Variant("less", recipe(0.7)))


def test_folders_that_meet_are_refused(tmp_path: Path) -> None:
    for bank in (tmp_path / "less", tmp_path, tmp_path / "less" / "models"):
        with pytest.raises(SettingsError, match="are in one folder"):
            compared(tmp_path, LESS, bank=bank)
    with pytest.raises(SettingsError, match="two variants are named 'less'"):
        compared(tmp_path, LESS, Variant("Less", recipe(0.1)))


@pytest.mark.parametrize("shadows", [0, 6, 9, 15, -8])
def test_numbers_of_models_that_cannot_be_paired_are_refused(tmp_path: Path, shadows: int) -> None:
    with pytest.raises(SettingsError, match="even number of 8 models or more"):
        compared(tmp_path, LESS, shadows=shadows)
    assert not list(tmp_path.iterdir())


def test_a_remedy_that_needs_more_models_than_there_will_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'onion' needs 14 models"):
        compared(tmp_path, Variant("onion", ma.remedies.WithoutMostExposed()), shadows=12)
    assert not list(tmp_path.iterdir())


def test_a_larger_bank_is_used_as_far_as_asked(tmp_path: Path) -> None:
    ma.fill(tmp_path / "bank", recipe(), 20, device="cpu")
    ma.fill(tmp_path / "less", recipe(0.5), 14, device="cpu")
    flat = Variant("flat", ma.Derivation(flattened, data="none"))
    found = compared(tmp_path, LESS, flat, bank=tmp_path / "bank", shadows=12)
    assert not found.unmeasured, found.notes
    assert [row.models for row in found.rows] == [12, 12, 12]
    assert figures(found) == figures(compared(tmp_path / "own", LESS, flat, shadows=12))


class Killed(BaseException):
    pass


def test_it_resumes_wherever_it_was_killed(tmp_path: Path) -> None:
    variants = (LESS, Variant("flat", ma.Derivation(flattened, data="none")))
    whole = figures(compared(tmp_path / "whole", *variants, shadows=12))
    told: list[str] = []
    compared(tmp_path / "count", *variants, shadows=12, progress=lambda name, now: told.append(name))
    assert set(told) == {"baseline", "less", "flat"}
    for stop in (1, len(told) // 2, len(told) - 2):
        left = [stop]

        def kill(name: str, now: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        with pytest.raises(Killed):
            compared(tmp_path / f"{stop}", *variants, shadows=12, progress=kill)
        assert figures(compared(tmp_path / f"{stop}", *variants, shadows=12)) == whole


def test_a_second_call_trains_nothing(tmp_path: Path) -> None:
    first = compared(tmp_path, LESS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert compared(tmp_path, LESS) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before


class Own:
    """A remedy of a user's own."""

    least = LEAST

    def make(self, base: Base, folder: Path) -> Made:
        return Made(bank=ma.fill(folder, recipe(0.5), base.shadows, seed=base.seed, **base.training))


def test_a_remedy_of_one_s_own_is_a_variant(tmp_path: Path) -> None:
    found = compared(tmp_path, Variant("less", Own()), Variant("other", recipe(0.5)))
    assert found.rows[1].leak == found.rows[2].leak
    assert found.rows[1].leak_change == found.rows[2].leak_change
    with pytest.raises(SettingsError, match="no remedy"):
        Variant("x", 3)  # type: ignore[arg-type]
