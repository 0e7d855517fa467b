"""The whole audit of every kind of language model by every kind of recipe: it ends, and with the right numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
from memaudit.errors import MemauditError, SettingsError
from memaudit.recipe import Recipe, TextPopulation
from memaudit.training import population

pytestmark = pytest.mark.usefixtures("one_thread")

Array = np.ndarray

loops = unregistered(RECIPES / "own_loop.py")
LEAST = 6  # shadow models; too few for the links
LINKS = {"LNK001", "LNK002", "MEM004", "MEM009"}  # of few examples, that nobody watched
BY_EPOCH = {"MEM003"}


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
    assert "the recipe's own train() records nothing by epoch" in reasons["MEM003"]
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
        ({"canaries": 0}, {"CAN001", "CAN002", "CAN010", "EXT003"}),
        pytest.param({"secrets": 0}, {"CAN003"}, marks=pytest.mark.slow),
        pytest.param({"generated": 0}, {"EXT004"}, marks=pytest.mark.slow),
        pytest.param({"watched": 0}, BY_EPOCH, marks=pytest.mark.slow),
        pytest.param({"records": 0}, {"EXT001", "EXT002"}, marks=pytest.mark.slow),
        (NOTHING, {"CAN001", "CAN002", "CAN003", "CAN010", "EXT001", "EXT002", "EXT003", "EXT004", "MEM003"}),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_what_is_not_asked_for_is_left_out_by_name(off: dict[str, int], codes: set[str], tmp_path: Path) -> None:
    recipe = ma.LanguageModelRecipe(
        loops.documents, loops.RENDERING, model=loops.gpt2, probes=replace(loops.PROBES, **off)
    )
    assert refused(audited(recipe, tmp_path, "model")).keys() == codes | LINKS


# --- Encoder-decoders, masked models, scores of one's own -----------------------------------------------------------

kinds = unregistered(RECIPES / "kinds.py")
SILENT = {"EXT001", "EXT002", "EXT003", "EXT004"}
PLANTED = {"CAN001", "CAN002"}


def our_loop(make: Any, rendering: ma.Rendering, documents: Any, **changes: Any) -> ma.LanguageModelRecipe:
    settings = {"model": make, "probes": kinds.PROBES, "optimizer": ma.AdamW(lr=1e-2)} | changes
    return ma.LanguageModelRecipe(documents, rendering, **settings)


def own_loop(make: Any, step: Any, rendering: ma.Rendering, documents: Any, **changes: Any) -> ma.CallableRecipe:
    train = kinds.loop(make, step, rendering, changes.pop("epochs", 1))
    return ma.CallableRecipe(documents, train, rendering=rendering, **{"probes": kinds.PROBES} | changes)


KINDS: dict[str, tuple[Recipe, str, set[str]]] = {
    "t5, our loop": (our_loop(kinds.t5, kinds.SEQ2SEQ, kinds.pairs), "model", {"EXT004"}),
    "bart, our loop": (our_loop(kinds.bart, kinds.SEQ2SEQ, kinds.pairs), "model", {"EXT004"}),
    "bert, our loop": (our_loop(kinds.bert, kinds.MASKED, kinds.documents), "model", SILENT),
    "t5, own loop": (
        own_loop(kinds.t5, kinds.step_of_seq2seq, kinds.SEQ2SEQ, kinds.pairs, model=kinds.t5), "model.pt",
        {"EXT004"} | BY_EPOCH,
    ),
    "bart, own loop": (
        own_loop(kinds.bart, kinds.step_of_seq2seq, kinds.SEQ2SEQ, kinds.pairs), "model", {"EXT004"} | BY_EPOCH
    ),
    "bert, own loop": (
        own_loop(kinds.bert, kinds.step_of_masked, kinds.MASKED, kinds.documents), "model", SILENT | BY_EPOCH
    ),
    "lstm, own loop": (kinds.lstm_recipe(), "model.safetensors", SILENT | BY_EPOCH),
}  # fmt: skip
THIN_KINDS = {"t5, own loop", "bert, our loop"}  # an LSTM goes through the command line below
ALL_KINDS = [pytest.param(name, marks=() if name in THIN_KINDS else pytest.mark.slow) for name in KINDS]


@pytest.mark.parametrize("name", ALL_KINDS)
def test_an_audit_of_every_kind_ends_and_says_what_it_cannot_do(name: str, tmp_path: Path) -> None:
    recipe, file, codes = KINDS[name]
    done = audited(recipe, tmp_path, file)
    reasons = refused(done)
    assert reasons.keys() == codes | LINKS
    for code in codes & SILENT - {"EXT004"}:
        assert "needs a model that generates text" in reasons[code]
    assert {"MIA005", "MIA003", "MEM002", "CAN001", "CAN002"} <= {one.finding.code for one in done.report.results}
    score = done.report.provenance["signal"]
    expected = {
        "t5": "given the input",
        "bart": "given the input",
        "bert": "pseudo-log-likelihood",
        "lstm": "own token",
    }
    assert expected[name.split(",")[0]] in score
    done.save(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    if codes >= SILENT:
        assert "it needs a model that generates text" in text
        assert "writes the next" not in text


ALONE = [pytest.param(name, marks=() if name.startswith("lstm") else pytest.mark.slow) for name in KINDS]


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_every_kind_is_audited_without_other_models(name: str, share: float, tmp_path: Path) -> None:
    """By the attacks that are usual for it: min-k++ is not among them where a function scores the tokens."""
    recipe, file, _ = KINDS[name]
    recipe = replace(recipe, probes=replace(kinds.PROBES, canaries=6))
    members = ma.draw_members(recipe, seed=5, share=share)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), tmp_path / file, members)
    done = ma.audit(tmp_path / file, recipe, fprs=(0.1,), device="cpu", ledger=tmp_path / "ledger.jsonl")
    found = {one.finding.code: one.finding for one in done.report.results}
    assert found.keys() >= {"CAN003", "CAN010", "MIA010"}
    assert found["CAN010"].n == (members[-6:] > 0).sum()
    passed = {control.code: control.passed for control in done.report.controls}["CTL006"]
    assert passed is (None if (members[-6:] > 0).all() else True)
    attacks = {one.finding.attack for one in done.report.results}
    assert ("min-k++" in attacks) is not name.startswith("lstm")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shadows", [6, 8])
@pytest.mark.parametrize(
    "off", [{"canaries": 0}, {"records": 0, "secrets": 0}, NOTHING], ids=["no canaries", "no texts", "nothing"]
)
def test_an_audit_of_every_kind_ends_whatever_is_left_out(
    name: str, shadows: int, off: dict[str, int], tmp_path: Path
) -> None:
    recipe, file, _ = KINDS[name]
    recipe = replace(recipe, probes=replace(kinds.PROBES, **off))
    members = ma.draw_members(recipe, seed=5)
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), tmp_path / file, members)
    bank = ma.fill(tmp_path / "bank", recipe, shadows, device="cpu")
    done = ma.audit(tmp_path / file, recipe, bank, fprs=(0.1,), device="cpu")
    told = refused(done).keys() if off.get("canaries") == 0 else {one.finding.code for one in done.report.results}
    assert told >= PLANTED


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "bert"])
@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapters"])
def test_an_audit_of_every_kind_from_a_base_ends(kind: str, adapted: bool, tmp_path: Path) -> None:
    made = {"t5": kinds.t5, "bert": kinds.bert}[kind]()
    made.save_pretrained(tmp_path / "base")
    targets = {"t5": ["q", "v"], "bert": ["query", "value"]}[kind]
    adapter: dict[str, Any] = {"adapter": LoraConfig(r=2, target_modules=targets)} if adapted else {}
    rendering, documents = {"t5": (kinds.SEQ2SEQ, kinds.pairs), "bert": (kinds.MASKED, kinds.documents)}[kind]
    recipe = our_loop(None, rendering, documents, base=tmp_path / "base", **adapter)
    done = audited(recipe, tmp_path, "model")
    assert refused(done).keys() == LINKS | ({"EXT004"} if kind == "t5" else SILENT)
    assert "base" in {one.finding.attack for one in done.report.results}


def areas(done: Audit) -> dict[str, tuple[float, float, float]]:
    """Returns the area under the curve of every attack, with its interval, as the report has it."""
    (table,) = (t for one in done.report.results for t in one.finding.tables if t.title == "All attacks")
    cells = {
        str(row[0]): str(row[1]).replace("(", "").replace(")", "").replace("to ", "").split() for row in table.rows
    }
    return {name: (float(cell[0]), float(cell[1]), float(cell[2])) for name, cell in cells.items()}


QUIET = replace(kinds.PROBES, canaries=0, secrets=0, watched=0)
MEMORIZES: dict[str, tuple[Callable[[int], Recipe], str, int]] = {
    "t5": (
        lambda epochs: our_loop(
            kinds.t5, kinds.SEQ2SEQ, kinds.pairs, epochs=epochs, batch_size=8, probes=QUIET,
            optimizer=ma.AdamW(lr=1e-2 if epochs > 1 else 1e-9),
        ),
        "model", 40,
    ),
    "bert": (
        lambda epochs: our_loop(
            kinds.bert, kinds.MASKED, kinds.documents, epochs=epochs, batch_size=8, probes=QUIET,
            optimizer=ma.AdamW(lr=1e-2 if epochs > 1 else 1e-9),
        ),
        "model", 150,
    ),
    "lstm": (lambda epochs: kinds.lstm_recipe(epochs=epochs if epochs > 1 else 0, probes=QUIET), "model.pt", 12),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMORIZES)
def test_an_audit_finds_the_members_of_a_model_that_memorizes_and_of_no_other(name: str, tmp_path: Path) -> None:
    make, file, epochs = MEMORIZES[name]
    for folder, times in (("learned", epochs), ("nothing", 1)):
        (tmp_path / folder).mkdir()
        done = audited(make(times), tmp_path / folder, file)
        assert all(control.passed is not False for control in done.report.controls if control.code == "CTL001")
        value, low, high = areas(done)["global-threshold"]
        if folder == "learned":
            assert value > 0.8
            assert low > 0.5
        else:
            assert low <= 0.5 <= high


@pytest.fixture
def by_command(
    tmp_path: Path, command: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Recipe, str, str], CompletedProcess[str]]:
    """Trains a model of a recipe in a file of tests/recipes, saves it under a name, and audits it by the command."""
    import memaudit.reports.figures

    monkeypatch.setattr(memaudit.reports.figures, "render", lambda figure, theme: b"<svg/>")
    monkeypatch.chdir(tmp_path)

    def run(recipe: Recipe, file: str, name: str) -> CompletedProcess[str]:
        for source in (file, "language.py"):
            shutil.copy(RECIPES / source, tmp_path)
        members = ma.draw_members(recipe, seed=5)
        ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), tmp_path / name, members)
        done = command("audit", name, "--recipe", file, "--shadows", LEAST, "--workers", 1, "--fpr", 0.1)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_scores_of_ones_own_through_the_command_line(
    by_command: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    recipe = kinds.lstm_recipe()
    by_command(recipe, "kinds.py", "model.pt")
    with pytest.raises(SettingsError, match="needs the probabilities of all tokens"):
        ma.audit(tmp_path / "model.pt", recipe, "memaudit-bank", attacks=("slira", "min-k++"), device="cpu")


def test_a_users_own_loop_through_the_command_line(by_command: Callable[..., CompletedProcess[str]]) -> None:
    assert "own train()" in by_command(loops.own(), "own_loop.py", "model").stderr


def test_a_population_is_made_before_anything_is_trained(tmp_path: Path) -> None:
    """Canaries that do not fit the context are refused by the population, not by the first model."""
    recipe = loops.own(rendering=replace(loops.RENDERING, context=16))
    with pytest.raises(MemauditError, match="is cut off at the context of 16"):
        _ = population(recipe).ids
