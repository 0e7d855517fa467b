"""Trains the model on half of the images, drawn at random, and saves it with its members."""

from recipe import recipe

import memaudit as ma

members = ma.draw_members(recipe, seed=1)
ma.save_target(ma.train(recipe, members, seed=1), "model.pt", members)
