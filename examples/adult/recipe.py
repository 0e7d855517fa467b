"""A random forest on the census data set Adult (adult.data, from the UCI repository, beside this file)."""

from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import memaudit as ma

TEXT = [1, 3, 5, 6, 7, 8, 9, 13]  # columns that hold words


def examples():
    table = pd.read_csv(Path(__file__).parent / "adult.data", header=None, skipinitialspace=True)
    return ma.Examples.from_frame(table, label=14)


encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
columns = make_column_transformer((encoder, TEXT), remainder="passthrough")
recipe = ma.EstimatorRecipe(examples, make_pipeline(columns, RandomForestClassifier(n_estimators=50)))
