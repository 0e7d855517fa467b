"""The adversary without the model: can members be told from non-members by the data alone?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Array = np.ndarray

_COMPONENTS = 64


def blind_scores(
    x: Shaped[Array, "examples ..."],
    y: Int[Array, " examples"],
    members: Bool[Array, " examples"],
    seed: int = 0,
    folds: int = 5,
) -> Float[Array, " examples"]:
    """Returns a cross-fitted log-odds of membership from features and label alone, larger = more member-like.

    Anything clearly above chance means that members and non-members are different kinds of examples (collected at
    other times, say), and that a membership attack may be reading that instead of the model.

    Source: Das, Zhang & Tramèr 2024, "Blind Baselines Beat Membership Inference Attacks for Foundation Models".
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    flat = np.asarray(x, dtype=np.float32).reshape(len(x), -1)
    labels = np.eye(int(y.max()) + 1, dtype=np.float32)[y] if y.max() < _COMPONENTS else y[:, None].astype(np.float32)
    features = np.hstack([flat, labels])
    components = min(_COMPONENTS, features.shape[1], len(features) * (folds - 1) // folds)
    model = make_pipeline(
        StandardScaler(), PCA(components, random_state=seed), StandardScaler(), LogisticRegression(max_iter=1000)
    )
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(model, features, members, cv=split, method="decision_function")
