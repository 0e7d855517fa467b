"""Trains the model that is to be audited, on half of the examples drawn at random, and says who they were."""

from recipe import recipe

import memaudit as ma

members = ma.draw_members(recipe, seed=2026)
ma.save_target(ma.train(recipe, members, seed=1), "model.safetensors", members)
