"""The whole audit of every kind of language model by every kind of recipe: it ends, and with the right numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from loading import RECIPES, unregistered
from peft import LoraConfig, PeftModel, get_peft_model

import memaudit as ma
from memaudit.auditing import Audit, open_target
from memaudit.errors import MemauditError
from memaudit.recipe import Recipe, TextPopulation
from memaudit.training import population

Array = np.ndarray


loops = unregistered(RECIPES / "own_loop.py")
LEAST = 6  # shadow models; too few for the links
LINKS = {"LNK001", "LNK002"}
BY_EPOCH = {"MEM003"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(3)
    loops.gpt2().save_pretrained(folder)
    return folder


def audited(recipe: Recipe, folder: Path, file: str) -> Audit:
    """Trains a target and a bank of six, and audits."""
    members = ma.draw_members(recipe, seed=5)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), folder / file, members)
    bank = ma.fill(folder / "bank", recipe, LEAST, device="cpu")
    return ma.audit(folder / file, recipe, bank, fprs=(0.1,), device="cpu")


def refused(done: Audit) -> dict[str, str]:
    return {one.code: one.reason for one in done.report.skipped}


def phi_by_hand(model: torch.nn.Module, people: TextPopulation) -> Array:
    """Returns the mean log-probability of every document's tokens, text by text."""
    found = []
    with torch.no_grad():
        for rows in people.representatives:
            logp = []
            for row in rows:
                ids = torch.as_tensor(row.ids).long()
                log_p = loops.logits_of(model(ids[None]))[0, :-1].log_softmax(dim=1)
                logp.append(log_p.gather(1, ids[1:, None])[torch.as_tensor(row.trained[1:])])
            found.append(torch.cat(logp).mean())
    return torch.stack(found).numpy()


def load(make: Callable[[], torch.nn.Module]) -> Callable[[str], torch.nn.Module]:
    def loaded(path: str) -> torch.nn.Module:
        model = make()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()

    return loaded


MAKES = (loops.Recurrent, loops.Attribute, loops.Mapped, loops.First)
CALLABLE: dict[str, tuple[ma.CallableRecipe, str]] = {
    "transformers, folder": (loops.own(), "model"),
    "transformers, model=": (loops.own(model=loops.gpt2), "model.safetensors"),
    **{f"{make.__name__}, model=": (loops.own(make, model=make), "model.safetensors") for make in MAKES},
    **{f"{make.__name__}, load=": (loops.own(make, load=load(make)), "model.pt") for make in MAKES},
}
THIN = {"Recurrent, model="}
ALL = [pytest.param(name, marks=() if name in THIN else pytest.mark.slow) for name in CALLABLE]


@pytest.mark.parametrize("name", ALL)
def test_an_audit_of_a_users_own_loop_ends_with_the_right_numbers(name: str, tmp_path: Path) -> None:
    recipe, file = CALLABLE[name]
    done = audited(recipe, tmp_path, file)
    reasons = refused(done)
    assert reasons.keys() == BY_EPOCH | LINKS
    assert "the recipe's own train() trained the models" in reasons["MEM003"]
    target = open_target(tmp_path / file, recipe, device="cpu")
    members = ma.draw_members(recipe, seed=5)
    people = target.population
    assert isinstance(people, TextPopulation)
    by_hand = phi_by_hand(ma.train(recipe, members, seed=1, device="cpu").eval(), people)
    np.testing.assert_allclose(target.recorded["phi"][:, 0], by_hand, atol=1e-5)
    done.save(tmp_path / "report.md")


def lora() -> LoraConfig:
    return LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scratch", "base", "adapters"])
def test_an_audit_of_our_own_loop_ends(kind: str, base: Path, tmp_path: Path) -> None:
    start: dict[str, Any] = {"model": loops.gpt2} if kind == "scratch" else {"base": base}
    adapter: dict[str, Any] = {"adapter": lora()} if kind == "adapters" else {}
    recipe = ma.LanguageModelRecipe(
        loops.documents, loops.RENDERING, **start, **adapter, probes=loops.PROBES, optimizer=ma.AdamW(lr=1e-2)
    )
    assert refused(audited(recipe, tmp_path, "model")).keys() == LINKS


@pytest.mark.slow
def test_an_audit_of_adapters_from_a_users_own_loop_ends(base: Path, tmp_path: Path) -> None:
    def adapted() -> torch.nn.Module:
        return get_peft_model(loops.gpt2().from_pretrained(base), lora())

    def loaded(path: str) -> torch.nn.Module:
        return PeftModel.from_pretrained(loops.gpt2().from_pretrained(base), path)

    recipe = loops.own(adapted, load=loaded)
    assert refused(audited(recipe, tmp_path, "model")).keys() == BY_EPOCH | LINKS


NOTHING = {"canaries": 0, "secrets": 0, "generated": 0, "watched": 0, "records": 0}


@pytest.mark.parametrize(
    ("off", "codes"),
    [
        ({"canaries": 0}, {"CAN001", "CAN002", "EXT003"}),
        pytest.param({"secrets": 0}, {"CAN003"}, marks=pytest.mark.slow),
        pytest.param({"generated": 0}, {"EXT004"}, marks=pytest.mark.slow),
        pytest.param({"watched": 0}, BY_EPOCH, marks=pytest.mark.slow),
        pytest.param({"records": 0}, {"EXT001", "EXT002"}, marks=pytest.mark.slow),
        (NOTHING, {"CAN001", "CAN002", "CAN003", "EXT001", "EXT002", "EXT003", "EXT004", "MEM003"}),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_what_is_not_asked_for_is_left_out_by_name(off: dict[str, int], codes: set[str], tmp_path: Path) -> None:
    recipe = ma.LanguageModelRecipe(
        loops.documents, loops.RENDERING, model=loops.gpt2, probes=replace(loops.PROBES, **off)
    )
    assert refused(audited(recipe, tmp_path, "model")).keys() == codes | LINKS


def test_a_users_own_loop_through_the_command_line(
    tmp_path: Path, command: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import memaudit.reports.figures

    monkeypatch.setattr(memaudit.reports.figures, "render", lambda figure, theme: b"<svg/>")
    for name in ("own_loop.py", "language.py"):
        shutil.copy(RECIPES / name, tmp_path)
    recipe = loops.own()
    members = ma.draw_members(recipe, seed=5)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), tmp_path / "model", members)
    monkeypatch.chdir(tmp_path)
    done = command("audit", "model", "--recipe", "own_loop.py", "--shadows", LEAST, "--workers", 1, "--fpr", 0.1)
    assert done.returncode == 0, done.stderr
    assert "own train()" in done.stderr


def test_a_population_is_made_before_anything_is_trained(tmp_path: Path) -> None:
    """Canaries that do not fit the context are refused by the population, not by the first model."""
    recipe = loops.own(rendering=replace(loops.RENDERING, context=16))
    with pytest.raises(MemauditError, match="is cut off at the context of 16"):
        _ = population(recipe).ids
