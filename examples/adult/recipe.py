"""A random forest on the census data set Adult (adult.data, from the UCI repository, beside this file)."""

from pathlib import Path

import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import OrdinalEncoder

import memaudit as ma


def examples():
    table = pd.read_csv(Path(__file__).parent / "adult.data", header=None, skipinitialspace=True)
    text = table.columns[table.dtypes == "str"].drop(14)
    table[text] = OrdinalEncoder().fit_transform(table[text])
    return ma.Examples(table[range(14)].to_numpy(float), (table[14] == ">50K").to_numpy(int))


recipe = ma.EstimatorRecipe(examples, RandomForestClassifier(n_estimators=50))
