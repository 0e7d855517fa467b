"""Trains the model that is to be audited: each document is a member by a fair coin, each canary is planted by lot."""

from recipe import recipe

import memaudit as ma

members = ma.draw_members(recipe, seed=2026)
ma.save_target(ma.train(recipe, members, seed=1), "model", members)
