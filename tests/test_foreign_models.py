"""Folders with other models than a causal language model in floating point are told in our words, not a library's."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from memaudit.errors import ModelError, RecipeError
from memaudit.recipe.pretrained import load_folder
from memaudit.recipe.rendering import Renderer, Rendering

SMALL: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n"


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=16, n_embd=8, n_layer=1, n_head=1))


def t5() -> Any:
    return T5ForConditionalGeneration(T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1))


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "T5": (t5, "holds a T5ForConditionalGeneration, an encoder-decoder, and the recipe audits another kind"),
    "a classifier": (
        lambda: BertForSequenceClassification(BertConfig(vocab_size=40, **SMALL)),
        r"do not fit its config\.json \(.*\), of a BertForSequenceClassification",
    ),
    "of images": (
        lambda: ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SMALL)),
        "holds a ViTForImageClassification, which is no causal language model",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_model_of_another_kind_is_named(tmp_path: Path, kind: str) -> None:
    made, said = OTHERS[kind]
    made().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=said) as error:
        load_folder(tmp_path)
    assert "AutoModel" not in str(error.value)


QUANTISED: dict[str, tuple[dict[str, Any], str]] = {
    "8-bit": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
    "4-bit": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits"),
    "GPTQ": ({"quant_method": "gptq", "bits": 4}, "gptq, 4 bits"),
    "AWQ": ({"quant_method": "awq", "bits": 4}, "awq, 4 bits"),
    "FP8": ({"quant_method": "fp8"}, "fp8"),
}


@pytest.mark.parametrize("how", QUANTISED)
def test_a_quantised_model_is_refused_by_its_method(tmp_path: Path, how: str) -> None:
    settings, said = QUANTISED[how]
    gpt2().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": settings}), "utf-8")
    with pytest.raises(ModelError, match=rf"holds quantised weights \({said}\)\. Audit the model before quantisation"):
        load_folder(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(("content", "said"), [(POINTER, "is a git-lfs"), (b"<html>", "is a web page|is damaged")])
def test_a_pointer_or_a_page_in_the_place_of_a_file_is_told(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    gpt2().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name} ({said})"):
        load_folder(tmp_path)


def test_a_model_in_shards_is_loaded_and_a_missing_shard_is_named(tmp_path: Path) -> None:
    model = gpt2()
    model.save_pretrained(tmp_path, max_shard_size="2KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    loaded = load_folder(tmp_path)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    shards[0].unlink()
    with pytest.raises(ModelError, match=rf"lacks 1 of the files that its index names, such as {shards[0].name}"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", "a pickle, which can run code"),
        ("tf_model.h5", "weights of TensorFlow"),
        ("flax_model.msgpack", "weights of Flax"),
        ("model.gguf", "quantised weights of llama.cpp"),
    ],
)
def test_weights_of_another_format_are_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=rf"holds no safetensors .*, but {name}, {said}.*save_pretrained"):
        load_folder(tmp_path)


def test_a_name_of_a_hub_and_a_single_file_are_told(tmp_path: Path) -> None:
    for name in ("gpt2", "meta-llama/Llama-2-7b-hf"):
        with pytest.raises(ModelError, match=rf"{name} is no folder.*huggingface_hub\.snapshot_download"):
            load_folder(Path(name))
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(ModelError, match=r"m\.gguf is a GGUF file of llama\.cpp"):
        load_folder(tmp_path / "m.gguf")


def test_adapters_for_a_whole_model_come_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match=r"holds adapters, where a whole model is needed: model\.merge_and_unload"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "package"),
    [("tokenizer.model", "sentencepiece"), ("spiece.model", "sentencepiece"), ("a.tiktoken", "tiktoken")],
)
def test_a_slow_tokenizer_is_told_with_the_package_that_converts_it(tmp_path: Path, name: str, package: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(RecipeError, match=rf"holds no tokenizer\.json; .*It holds {name}: with {package} installed"):
        Renderer(Rendering(tokenizer=tmp_path, context=8))


def test_an_encoder_decoder_as_the_recipes_model_is_refused_before_it_is_run() -> None:
    from memaudit.recipe.pretrained import require_fit

    with pytest.raises(RecipeError, match="is a T5ForConditionalGeneration, an encoder-decoder"):
        require_fit(t5(), SimpleNamespace(objective="causal"), RecipeError, "the recipe's model")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_integers_without_a_scale_are_not_cast_to_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    """The library casts them without a word."""
    model = gpt2()
    model.save_pretrained(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    state["transformer.h.0.attn.c_attn.weight"] = state["transformer.h.0.attn.c_attn.weight"].to(dtype)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"transformer\.h\.0\.attn\.c_attn\.weight is .*: quantised, without its scale"
    ):
        load_folder(tmp_path)


def test_extra_weights_of_a_quantised_file_are_unexpected(tmp_path: Path) -> None:
    model = gpt2()
    model.save_pretrained(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(state | {"transformer.h.0.attn.c_attn.SCB": torch.ones(2)}, tmp_path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(ModelError, match=r"do not fit .*unexpected keys: .*SCB"):
        load_folder(tmp_path)
