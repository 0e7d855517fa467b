"""The curvature of the loss in the input."""

from __future__ import annotations

from memaudit.memorization.proxies.interface import Proxy

CURVATURE = Proxy(
    name="curvature",
    title="Loss curvature",
    formula="mean over epochs of the curvature of the loss in the input (Hutchinson)",
    source="Garg et al. 2023 (survey, Eq. 11)",
    score=lambda seen: seen.over_epochs(seen["curvature"]),
    needs=("curvature",),
    cost="10 backward passes per example and look",
)
