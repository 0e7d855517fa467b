"""A pretrained story teller of 15 million parameters, fine-tuned on other stories; and the same with LoRA adapters.

Beside this file: the folder stories15m (a LlamaForCausalLM with its tokenizer, as save_pretrained writes them), and
stories.txt, a plain-text book such as Project Gutenberg's "Stories to Tell to Children".
"""

import dataclasses
from itertools import islice
from pathlib import Path

from peft import LoraConfig

import memaudit as ma

HERE = Path(__file__).parent


def documents():
    paragraphs = (" ".join(part.split()) for part in (HERE / "stories.txt").read_text("utf-8").split("\n\n"))
    return ma.Documents(islice((text for text in paragraphs if 250 <= len(text) <= 450), 120))


fine_tuned = ma.LanguageModelRecipe(
    documents,
    ma.Rendering(HERE / "stories15m", context=128),
    base=HERE / "stories15m",
    epochs=3,
    batch_size=8,
    optimizer=ma.AdamW(lr=5e-4),
    schedule="cosine",
    probes=ma.Probes(canaries=8, references=200, suffix=16, contexts=(32,), watched=20, generated=20),
)
lora = dataclasses.replace(
    fine_tuned,
    adapter=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    optimizer=ma.AdamW(lr=5e-3),
)
