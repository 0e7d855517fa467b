"""Trains both models on randomly drawn paragraphs and canaries."""

from recipe import fine_tuned, lora

import memaudit as ma

for name, recipe in (("fine-tuned", fine_tuned), ("lora", lora)):
    members = ma.draw_members(recipe, seed=7)
    ma.save_target(ma.train(recipe, members, seed=1), name, members)
