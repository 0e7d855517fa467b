"""Folders with language models: what is loaded is what was saved, and nothing in a folder is ever run or guessed."""

import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import memaudit as ma
from memaudit.auditing import open_target
from memaudit.errors import ModelError, RecipeError
from memaudit.recipe import LanguageModelRecipe, TextPopulation, load_recipe, load_target, save_target
from memaudit.recipe.pretrained import base_answers, load_folder, require_same_base, untrained_model
from memaudit.training import population

Complaint = Callable[..., str]
Spoil = Callable[[Path], object]

RECIPES = Path(__file__).parent / "recipes"
WEIGHTS, ADAPTERS = "model.safetensors", "adapter_model.safetensors"
ADAPTER = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])


@pytest.fixture(scope="module")
def recipe() -> Iterator[LanguageModelRecipe]:
    """The tiny recipe, with a single epoch."""
    path = list(sys.path)
    found = load_recipe(str(RECIPES / "language.py"))
    assert isinstance(found, LanguageModelRecipe)
    yield replace(found, epochs=1)
    sys.path[:] = path
    del sys.modules["language"]


@pytest.fixture(scope="module")
def people(recipe: LanguageModelRecipe) -> TextPopulation:
    made = population(recipe)
    assert isinstance(made, TextPopulation)
    return made


def llama(seed: int = 0, **settings: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 280, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **settings}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        llama(seed).save_pretrained(folder / f"base-{seed}")
    return folder


@pytest.fixture
def whole(saved: Path, tmp_path: Path) -> Path:
    """A model's folder, to be spoilt."""
    return Path(shutil.copytree(saved / "base-0", tmp_path / "model"))


def tuned(base: Path, adapter: LoraConfig = ADAPTER, seed: int = 0) -> PeftModel:
    """Returns adapters on a base that say something: as they begin, they add nothing."""
    from peft import get_peft_model

    torch.manual_seed(seed)
    model = get_peft_model(load_folder(base), replace(adapter))
    for name, weight in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return model


pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft, in tuned()


@pytest.fixture
def adapted(saved: Path, tmp_path: Path) -> Path:
    """A folder with adapters, to be spoilt."""
    save_target(tuned(saved / "base-0"), tmp_path / "adapters", [])
    return tmp_path / "adapters"


def on_base(recipe: LanguageModelRecipe, saved: Path, adapter: LoraConfig | None = ADAPTER) -> LanguageModelRecipe:
    return replace(recipe, model=None, base=saved / "base-0", adapter=adapter)


def settings(name: str = "config.json", **values: Any) -> Spoil:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object], name: str = WEIGHTS) -> Spoil:
    def rewrite(folder: Path) -> None:
        content = load_file(folder / name)
        change(content)
        save_file(content, folder / name, metadata={"format": "pt"})

    return rewrite


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


def in_turn(*spoils: Spoil) -> Spoil:
    def change(folder: Path) -> None:
        for spoil in spoils:
            spoil(folder)

    return change


def pickled(folder: Path, name: str = "pytorch_model.bin") -> None:
    """Puts a pickle that would run code where the weights were."""
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(folder / "sprung")))


def pickled_adapters(folder: Path) -> None:
    pickled(folder, "adapter_model.bin")


def beside_others(folder: Path) -> None:
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")


def with_code(folder: Path) -> None:
    """Makes it a model of a kind that the library does not know, with code that would leave a trace."""
    settings(model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"})(folder)
    (folder / "mine.py").write_text(f"open({str(folder / 'sprung')!r}, 'w')\nclass Mine: pass\n", "utf-8")


# --- Loading --------------------------------------------------------------------------------------------------------


def test_a_saved_model_is_loaded_as_it_was_and_in_evaluation_mode(
    recipe: LanguageModelRecipe, people: TextPopulation, tmp_path: Path
) -> None:
    model = llama(7).train()
    save_target(model, tmp_path / "model", ["d1"])
    loaded = load_target(tmp_path / "model", recipe, people)
    assert not loaded.training
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_model_in_half_precision_is_loaded_in_single(
    recipe: LanguageModelRecipe, people: TextPopulation, tmp_path: Path
) -> None:
    save_target(llama().bfloat16(), tmp_path / "model", [])
    loaded = load_target(tmp_path / "model", recipe, people)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_code_of_a_model_whose_kind_is_known_is_not_run(whole: Path) -> None:
    settings(auto_map={"AutoModelForCausalLM": "mine.Mine"})(whole)
    (whole / "mine.py").write_text(f"open({str(whole / 'sprung')!r}, 'w')\nclass Mine: pass\n", "utf-8")
    assert type(load_folder(whole)) is LlamaForCausalLM
    assert not (whole / "sprung").exists()


def test_adapters_are_loaded_on_the_recipes_base(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path, tmp_path: Path
) -> None:
    model = tuned(saved / "base-0").eval()
    save_target(model, tmp_path / "adapters", ["d1"])
    assert (tmp_path / "adapters" / ADAPTERS).stat().st_size < (saved / "base-0" / WEIGHTS).stat().st_size / 5
    loaded = load_target(tmp_path / "adapters", on_base(recipe, saved), people)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
        assert not torch.allclose(loaded(ids).logits, load_folder(saved / "base-0")(ids).logits, atol=1e-2)
    assert not loaded.training


def test_loading_prints_no_bars_and_no_tables(whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights(lambda content: content.update(extra=torch.zeros(2)))(whole)
    with pytest.raises(ModelError, match="unexpected keys: extra"):
        load_folder(whole)
    assert capfd.readouterr() == ("", "")


# --- Whole models that are refused ----------------------------------------------------------------------------------

BAD_MODELS: dict[str, tuple[Spoil, str]] = {
    "a pickle": (pickled, "pytorch_model.bin, a pickle, which can run code when loaded; save it with model.save_pre"),
    "a pickle beside other safetensors": (
        in_turn(pickled, beside_others),
        "cannot be loaded as a causal language model: OSError .*no file named model.safetensors",
    ),
    "code of its own": (with_code, "needs trust_remote_code, which runs the code that came with it; it is refused"),
    "an unknown kind": (settings(model_type="mine"), "cannot be loaded as a causal language model: .*`mine`"),
    "no kind": (lambda f: (f / "config.json").write_text("{}", "utf-8"), "cannot be loaded as a causal language model"),
    "half a config": (lambda f: os.truncate(f / "config.json", 40), "config.json is damaged"),
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), r"holds no safetensors \(\*.safetensors\); save it with"),
    "empty weights": (lambda f: os.truncate(f / WEIGHTS, 0), "SafetensorError"),
    "half its weights": (lambda f: os.truncate(f / WEIGHTS, 9000), "SafetensorError"),
    "weights of another format": (lambda f: (f / WEIGHTS).write_bytes(pickle.dumps(Trap(f / "sprung"))), "Safetensor"),
    "a missing weight": (
        weights(lambda content: content.pop("model.layers.1.mlp.up_proj.weight")),
        r"do not fit its config.json \(missing keys: model.layers.1.mlp.up_proj.weight\)",
    ),
    "missing embeddings": (weights(lambda content: content.pop("model.embed_tokens.weight")), "missing keys: lm_head"),
    "an unexpected weight": (weights(lambda content: content.update(extra=torch.zeros(2))), "unexpected keys: extra"),
    "a weight of another shape": (
        weights(lambda content: content.update({"model.norm.weight": torch.zeros(5)})),
        r"mismatched keys: .*model.norm.weight.*\[5\].*\[32\]",
    ),
    "a layer more in its config": (settings(num_hidden_layers=3), "missing keys: model.layers.2"),
    "a layer less in its config": (settings(num_hidden_layers=1), "unexpected keys: model.layers.1"),
    "adapters as well": (
        lambda f: (f / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "gpt2"}), "utf-8"),
        "holds adapters, (where|but)",
    ),
    "a file": (
        in_turn(shutil.rmtree, lambda f: f.write_bytes(b"weights")),
        "is no folder; a language model is a folder",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_folder_that_is_no_sound_model_is_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, whole: Path, spoil: Spoil, message: str
) -> None:
    spoil(whole)
    with pytest.raises(ModelError, match=message):
        load_target(whole, recipe, people)
    assert not (whole / "sprung").exists()
    assert not (whole.parent / "sprung").exists()


@pytest.mark.parametrize(("spoil", "message"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_nor_does_it_serve_as_a_base(
    recipe: LanguageModelRecipe, people: TextPopulation, whole: Path, spoil: Spoil, message: str
) -> None:
    spoil(whole)
    with pytest.raises(RecipeError, match="base: "):
        untrained_model(replace(recipe, model=None, base=whole), people)
    assert not (whole / "sprung").exists()


ANOTHER: dict[str, tuple[Callable[[], Any], str]] = {
    "wider": (lambda: llama(hidden_size=64), r"does not fit the recipe's model: .*\(280, 64\).*\(280, 32\)"),
    "deeper": (lambda: llama(num_hidden_layers=3), "does not fit the recipe's model: 9 weights differ.*layers.2"),
    "of a larger vocabulary": (lambda: llama(vocab_size=300), r"\(300, 32\) in the folder and \(280, 32\)"),
    "of a smaller vocabulary": (
        lambda: llama(vocab_size=200),
        r"the tokenizer does not match: it has \d+ tokens, .* only 200 outputs",
    ),
    "of fewer places": (
        lambda: llama(max_position_embeddings=64),
        "context of 96 tokens does not fit: .*only 64 positions",
    ),
    "of another kind": (
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=280, n_positions=96, n_embd=32, n_layer=2, n_head=2)),
        "does not fit the recipe's model: .*absent by the recipe|absent in the folder",
    ),
}


@pytest.mark.parametrize(("made", "message"), ANOTHER.values(), ids=ANOTHER)
def test_a_model_of_another_size_or_kind_than_the_recipes_is_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, tmp_path: Path, made: Callable[[], Any], message: str
) -> None:
    save_target(made(), tmp_path / "model", [])
    with pytest.raises(ModelError, match=message):
        load_target(tmp_path / "model", recipe, people)


BAD_STARTS: dict[str, tuple[Callable[[], Any], str]] = {
    "fewer outputs than tokens": (
        lambda: llama(vocab_size=200),
        r"does not match: it has \d+ tokens, the recipe's model only 200 outputs",
    ),
    "fewer places than the context": (lambda: llama(max_position_embeddings=64), "the recipe's model has only 64"),
    "no language model": (lambda: torch.nn.Linear(2, 2), "a Linear without config.vocab_size, not a causal language"),
    "nothing": (lambda: None, "a NoneType without config.vocab_size"),
    "an error": (lambda: 1 / 0, r"test_pretrained.py:\d+: model\(\) failed: ZeroDivisionError"),
}


@pytest.mark.parametrize(("made", "message"), BAD_STARTS.values(), ids=BAD_STARTS)
def test_a_recipe_that_starts_from_no_fitting_model_is_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, made: Callable[[], Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        untrained_model(replace(recipe, model=made), people)


def test_a_users_own_model_must_fit_the_tokenizer_too(people: TextPopulation, tmp_path: Path) -> None:
    """A CallableRecipe has no model to compare with, but a tokenizer and a context."""
    own = ma.CallableRecipe(lambda: people.documents, train=print, rendering=people.renderer.rendering)
    save_target(llama(num_hidden_layers=1), tmp_path / "other", [])
    save_target(llama(vocab_size=200), tmp_path / "small", [])
    assert len(load_target(tmp_path / "other", own, people).model.layers) == 1
    with pytest.raises(ModelError, match=r"it has \d+ tokens, .*small only 200 outputs"):
        load_target(tmp_path / "small", own, people)


# --- Adapters that are refused --------------------------------------------------------------------------------------

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def _moved(content: dict[str, torch.Tensor]) -> None:
    content[FIRST.replace("layers.0", "layers.7")] = content[FIRST].clone()


BAD_ADAPTERS: dict[str, tuple[Spoil, str]] = {
    "a pickle": (pickled_adapters, "adapter_model.bin, a pickle, which can run code"),
    "a pickle beside other safetensors": (
        in_turn(pickled_adapters, beside_others),
        "adapter_model.bin, a pickle, which can run code",
    ),
    "weights by another name": (lambda f: (f / ADAPTERS).rename(f / "a.safetensors"), "holds no safetensors .adapter"),
    "half its weights": (lambda f: os.truncate(f / ADAPTERS, 900), "cannot be put on the base"),
    "a missing weight": (weights(lambda content: content.pop(FIRST), ADAPTERS), f"do not fit its adapter.*{FIRST}"),
    "a weight for no layer": (weights(_moved, ADAPTERS), "do not fit its adapter_config.json: .*layers.7"),
    "a weight of another shape": (
        weights(lambda content: content.update({FIRST: torch.zeros(3, 32)}), ADAPTERS),
        "(?s)cannot be put on the base: .*size mismatch",
    ),
    "an unknown kind": (settings("adapter_config.json", peft_type="MINE"), "cannot be put on the base"),
    "half a config": (lambda f: os.truncate(f / "adapter_config.json", 40), "adapter_config.json is damaged"),
    "a list for a config": (lambda f: (f / "adapter_config.json").write_text("[1]", "utf-8"), "is damaged"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_ADAPTERS.values(), ids=BAD_ADAPTERS)
def test_a_folder_that_holds_no_sound_adapters_is_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path, adapted: Path, spoil: Spoil, message: str
) -> None:
    spoil(adapted)
    with pytest.raises(ModelError, match=message):
        load_target(adapted, on_base(recipe, saved), people)
    assert not (adapted / "sprung").exists()


def test_adapters_for_a_whole_model_and_the_other_way_round_are_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path, adapted: Path, whole: Path
) -> None:
    with pytest.raises(ModelError, match="holds adapters, but the recipe trains a whole model"):
        load_target(adapted, recipe, people)
    with pytest.raises(ModelError, match="holds a whole model, but the recipe trains adapters"):
        load_target(whole, on_base(recipe, saved), people)
    with pytest.raises(RecipeError, match=r"base: .* holds adapters"):
        untrained_model(replace(recipe, model=None, base=adapted), people)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"lora_alpha": 64}, "lora_alpha is 64 in the folder and"),
        ({"lora_dropout": 0.5}, "lora_dropout is 0.5 in the folder and"),
        ({"use_rslora": True}, "use_rslora is True in the folder and False by the recipe"),
        ({"r": 7}, "r is 7 in the folder and"),
        ({"target_modules": ["o_proj"]}, r"target_modules is .'o_proj'. in the folder and"),
    ],
)
def test_adapters_that_are_set_up_otherwise_than_the_recipes_are_refused_by_name(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path, tmp_path: Path, other: dict[str, Any], named: str
) -> None:
    """All but the last two have the shapes of the recipe's adapters: only their configuration tells."""
    save_target(tuned(saved / "base-0", replace(ADAPTER, **other)), tmp_path / "other", [])
    with pytest.raises(ModelError, match=named):
        load_target(tmp_path / "other", on_base(recipe, saved), people)


def test_adapters_of_another_size_are_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path, tmp_path: Path
) -> None:
    for number, other in enumerate(
        [LoraConfig(r=3, target_modules=["q_proj", "v_proj"]), LoraConfig(r=2, target_modules=["o_proj"])]
    ):
        save_target(tuned(saved / "base-0", other), tmp_path / str(number), [])
        with pytest.raises(ModelError, match=r"are not the recipe's.*(r|target_modules) is"):
            load_target(tmp_path / str(number), on_base(recipe, saved), people)


def test_adapters_that_name_another_base_are_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path, tmp_path: Path
) -> None:
    """They would fit: both bases have one shape. What tells them apart is what they say."""
    save_target(tuned(saved / "base-1"), tmp_path / "adapters", [])
    with pytest.raises(ModelError, match="with its adapters off the model is not the recipe's base"):
        load_target(tmp_path / "adapters", on_base(recipe, saved), people)
    save_target(llama(vocab_size=200), tmp_path / "small", [])
    settings("adapter_config.json", base_model_name_or_path=str(tmp_path / "small"))(tmp_path / "adapters")
    with pytest.raises(ModelError, match="small only 200 outputs"):
        load_target(tmp_path / "adapters", on_base(recipe, saved), people)


def test_adapters_may_name_a_copy_of_the_base_or_a_place_that_is_no_more(
    recipe: LanguageModelRecipe,
    people: TextPopulation,
    saved: Path,
    adapted: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(saved / "base-1", whole.parent / "here")
    monkeypatch.chdir(whole.parent / "here")  # a name that is missing is not the working directory's
    for name in (str(whole), "/nowhere/at/all", "some-hub/name", "", None, 5):
        settings("adapter_config.json", base_model_name_or_path=name)(adapted)
        assert load_target(adapted, on_base(recipe, saved), people) is not None


def test_adapters_that_bring_biases_of_their_own_are_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, tmp_path: Path
) -> None:
    """With bias="all" the base's biases are trained as well, and saved with the adapters."""
    llama(attention_bias=True).save_pretrained(tmp_path / "base-0")
    own = replace(ADAPTER, bias="all")
    model = tuned(tmp_path / "base-0", own)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
    save_target(model, tmp_path / "adapters", [])
    with pytest.raises(ModelError, match="the base was changed as well"):
        load_target(tmp_path / "adapters", on_base(recipe, tmp_path, own), people)


def test_adapters_that_begin_by_changing_the_base_are_refused(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path
) -> None:
    """PiSSA takes the largest singular values out of the base; the base alone is then another model."""
    own = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa")
    with pytest.raises(ModelError, match="adapters' initialisation"):
        untrained_model(on_base(recipe, saved, own), people)


def test_new_adapters_do_not_write_into_the_recipe(
    recipe: LanguageModelRecipe, people: TextPopulation, saved: Path
) -> None:
    """Else the second fingerprint of one recipe would differ from the first."""
    own = LoraConfig(r=2)
    untrained_model(on_base(recipe, saved, own), people)
    assert own == LoraConfig(r=2)


# --- The same base --------------------------------------------------------------------------------------------------


def test_answers_are_those_of_the_base_whatever_the_adapters_say(people: TextPopulation, saved: Path) -> None:
    base, other = (base_answers(load_folder(saved / f"base-{n}"), people) for n in (0, 1))
    own = base_answers(tuned(saved / "base-0"), people)
    assert len(base) == 4
    require_same_base(own, base)
    with pytest.raises(ModelError, match="is not the recipe's base"):
        require_same_base(other, base)


@pytest.mark.parametrize("place", [0, 3])
def test_nan_agrees_with_nothing(place: int) -> None:
    base = [torch.zeros(3, 5) for _ in range(4)]
    spoilt = [answer.clone() for answer in base]
    spoilt[place][1, 2] = torch.nan
    with pytest.raises(ModelError, match="differ by up to nan"):
        require_same_base(spoilt, base)


def test_a_base_of_another_vocabulary_is_another() -> None:
    with pytest.raises(ModelError, match="differ by up to inf"):
        require_same_base([torch.zeros(3, 5)], [torch.zeros(3, 6)])


# --- NaN within, and the command line -------------------------------------------------------------------------------


def _nan(content: dict[str, torch.Tensor]) -> None:
    content["model.layers.1.mlp.down_proj.weight"][3, 4] = torch.nan


def _nan_adapter(content: dict[str, torch.Tensor]) -> None:
    content[FIRST][0, 0] = torch.nan


@pytest.mark.parametrize("kind", ["whole", "adapters"])
def test_nan_weights_are_found_by_what_the_model_says(
    recipe: LanguageModelRecipe, saved: Path, whole: Path, adapted: Path, people: TextPopulation, kind: str
) -> None:
    folder = whole if kind == "whole" else adapted
    weights(_nan if kind == "whole" else _nan_adapter, WEIGHTS if kind == "whole" else ADAPTERS)(folder)
    members = (np.arange(len(people.ids)) % 2).astype(np.uint8)
    with pytest.raises(ModelError, match=f"{folder}: the model's output is NaN or infinite"):
        open_target(folder, recipe if kind == "whole" else on_base(recipe, saved), members, "cpu")


@pytest.fixture
def audited(whole: Path, people: TextPopulation, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a user has it, in which a model is to be audited."""
    shutil.copy(RECIPES / "language.py", whole.parent / "recipe.py")
    (whole.parent / "memaudit.toml").write_text("[audit]\nshadows = 8\nworkers = 1\n", "utf-8")
    (whole.parent / "model.members.csv").write_text("times\n" + "1\n0\n" * (len(people.ids) // 2), "utf-8")
    monkeypatch.chdir(whole.parent)
    return whole


COMMANDS: dict[str, tuple[Spoil, str]] = {
    **{what: BAD_MODELS[what] for what in ("a pickle", "code of its own", "half its weights", "a missing weight")},
    "NaN": (weights(_nan), "the model's output is NaN or infinite"),
    "another size": (
        in_turn(shutil.rmtree, lambda f: save_target(llama(num_hidden_layers=1), f, [])),
        "does not fit the recipe's model",
    ),
    "adapters": (
        lambda f: (f / "adapter_config.json").write_text("{}", "utf-8"),
        "holds adapters, but the recipe trains a whole model",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), COMMANDS.values(), ids=COMMANDS)
def test_the_command_line_refuses_before_it_trains_anything(
    audited: Path, complaint: Complaint, spoil: Spoil, message: str
) -> None:
    spoil(audited)
    assert re.search(message, complaint("audit", "model"))
    assert not (audited / "sprung").exists()
    assert not (audited.parent / "bank").exists()


def test_the_command_line_refuses_a_base_without_weights(audited: Path, complaint: Complaint, edit: Any) -> None:
    """And leaves no bank behind that was made from nothing: with the base in place, it would be another's."""
    edit(audited.parent / "recipe.py", "    model=model,", '    base="model",')
    pickled(audited)
    assert "base: model holds no safetensors" in complaint("bank", "fill")
    assert not (audited.parent / "bank").exists()
    shutil.rmtree(audited)
    assert "base: model" in complaint("bank", "fill")
    assert not (audited.parent / "bank").exists()
