"""Trains the model on half of the digits, drawn at random, and saves it with the list of who they were."""

import numpy as np
from recipe import examples, recipe

import memaudit as ma

ids = examples().ids
members = np.random.default_rng(1).permutation(ids)[: len(ids) // 2]
ma.save_target(ma.train(recipe, members, seed=1), "model.safetensors", members)
