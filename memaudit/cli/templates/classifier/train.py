"""Trains the model that is to be audited, on half of the examples drawn at random, and says who they were."""

import numpy as np
from recipe import examples, recipe

import memaudit as ma

ids = examples().ids
members = np.random.default_rng(2026).permutation(ids)[: len(ids) // 2]
ma.save_target(ma.train(recipe, members, seed=1), "model.safetensors", members)
