"""What a user says of a bank's design; who is who is only known with the examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memaudit.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subsets:
    """Which subsets of the examples the shadow models are trained on: the design of a bank.

    By default the models of a pair are trained on complementary halves of all examples. Examples are named by ids, a
    mask over all of them, or a file of ids; copies and groups count as one.

    Args:
        candidates: The examples that are drawn, and that the bank is about. All others are in every model; with
            `fill(..., members=...)`, those of them that are no members of the target are in none.
        removed: Examples that are in no model, and about which nothing is measured.
        share: Draw each candidate into each model independently, with this probability, instead of halves.
        leave_one_out: Train models on all examples, and models without each of these, one at a time.
        label_noise: Replace this share of the labels by another class, independently in each model.

    Raises:
        SettingsError: They contradict each other, or a number is no share.
    """

    candidates: Any = None
    removed: Any = None
    share: float | None = None
    leave_one_out: Any = None
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.share is not None:
            object.__setattr__(self, "share", _number("share", self.share))
        object.__setattr__(self, "label_noise", _number("label_noise", self.label_noise))
        if self.share is not None and not 0 < self.share < 1:
            raise SettingsError(f"share = {self.share}: give the probability that an example is in a model, below 1")
        if not 0 <= self.label_noise < 1:
            raise SettingsError(f"label_noise = {self.label_noise}: give the share of labels to redraw, below 1")
        others = {"candidates": self.candidates, "share": self.share, "label_noise": self.label_noise or None}
        beside = [name for name, value in others.items() if value is not None]
        if self.leave_one_out is not None and beside:
            raise SettingsError(
                f"leave_one_out and {beside[0]} exclude each other: leave-one-out models have all examples but one, "
                "with their own labels"
            )


def _number(name: str, value: Any) -> float:
    """Return a number as a float: the fingerprint of a bank writes it out."""
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise SettingsError(f"{name} = {value!r}: give a number")
