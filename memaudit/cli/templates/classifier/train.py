"""Train the model to be audited on a random half of the examples, and save it with the list of members."""

from recipe import recipe

import memaudit as ma

members = ma.draw_members(recipe, seed=2026)
ma.save_target(ma.train(recipe, members, seed=1), "model.safetensors", members)
