"""Synthetic patients with one to eight visits each: the audit is about patients, not about visits."""

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier

import memaudit as ma

PATIENTS, MOST_VISITS, MEASUREMENTS = 200, 8, 6


def visits():
    """Return a table with a row per visit: measurements that vary around the patient's own, and whether it was bad."""
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(PATIENTS), random.integers(1, MOST_VISITS + 1, PATIENTS))
    own = random.normal(size=(PATIENTS, MEASUREMENTS))
    risk = own[:, 0] - own[:, 1] + 0.5 * own[:, 2] + 1.5 * random.normal(size=PATIENTS)
    table = pd.DataFrame(own[patient] + 0.3 * random.normal(size=(len(patient), MEASUREMENTS)))
    table.columns = [f"measurement {column}" for column in table.columns]
    bad = risk[patient] + 0.7 * random.normal(size=len(patient)) > 0
    return table.assign(patient=[f"patient {number}" for number in patient], bad=bad)


def examples():
    return ma.Examples.from_frame(visits(), label="bad", groups="patient", unit="patients")


recipe = ma.EstimatorRecipe(examples, ExtraTreesClassifier(n_estimators=25, min_samples_leaf=2))
