"""CTL007: are members and non-members different examples, or copies of each other?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from memaudit.checks.classifier import ClassifierEvidence, ClassifierTargetEvidence
from memaudit.checks.evidence import ControlCheck, Evidence, TargetEvidence
from memaudit.checks.generator import GeneratorTargetEvidence
from memaudit.checks.text import TextTargetEvidence
from memaudit.recipe.near import measured, nearest, sampled
from memaudit.reports.text import percent
from memaudit.types import Control, Table

Array = np.ndarray

_SPLIT = 0.001  # share of members: a true-positive rate can be wrong by that much
_NEAR = 0.01  # share of examples
_RADII = (0.01, 0.03, 0.1, 0.2)  # of the usual distance
_SURE = 0.01  # of it: two examples of several features that are this near are copies, whatever the models say
_LINE = 0.1  # of it, up to where neighbours are counted to know how many are that near by chance
_MOST_BY_CHANCE = 0.1  # of examples: copies that differ a little each are not explained away
_ACTS = 0.5  # share of an example's own effect from which on another acts as its copy
_ERRORS = 2.33 * np.sqrt(2)  # standard errors, for a false alarm of 1 % at each distance; copies come in twos
_LOOKED_AT = 2_000
_TITLE = "Copies: members and non-members are different examples"


def _copies(evidence: TargetEvidence) -> Control:
    """Test whether members and non-members are different examples (copies).

    A held-out copy of a member is not a non-member. A copy in the training set of other shadow models hides the effect
    of training on the example. Exact copies, groups and near-duplicate documents therefore form one unit: in or out
    together in every shadow model, and one example in the results. Two problems remain.

    A unit of which the audited model saw only a part counts as a member, but was seen less often than in the shadow
    models. The control fails if these are more than 0.1 % of the members: a true-positive rate can be wrong by that
    much.

    Near copies outside units are searched for among the inputs of at most 2,000 examples. The nearest neighbour of each
    is compared at distances below 1, 3, 10 and 20 % of the usual one (the median distance to the fifth neighbour). In
    models without the example, the effect of training on the neighbour is compared with the effect of training on the
    example itself. The control fails if more than 1 % of the examples have such a neighbour and its effect exceeds half
    of the example's own, by 3.3 standard errors. Below 1 % of the usual distance, it fails whatever the effect, unless
    chance explains them: in a table with one continuous column beside categories, about 5 % of the rows have so near a
    neighbour that is no copy.
    Without a bank there are no effects, and only these nearest copies are found. It does not detect near copies that
    are far apart in input space, such as shifted images.

    Source: influence of one example on another, Feldman & Zhang 2020, "What Neural Networks Memorize and Why".
    """
    members = int(evidence.members.sum())
    split = evidence.split / members
    faults = []
    if split > _SPLIT:
        faults.append(
            f"{evidence.split} of the {members} members ({percent(split)}) have copies or group members that were held "
            "out. The shadow models are trained on all of them or on none, so the membership results may be too low. "
            "Keep copies and groups together when you split the data, as memaudit.draw_members does"
        )
    tables: tuple[Table, ...] = ()
    if isinstance(evidence, ClassifierTargetEvidence | GeneratorTargetEvidence) and evidence.has_inputs:
        fault, table = _near(evidence)
        faults += [fault] if fault else []
        tables = (table,)
    if isinstance(evidence, TextTargetEvidence):
        strings = evidence.strings
        same = len(strings) - len(set(strings))
        if same > _NEAR * len(strings):
            faults.append(
                f"{same} of the {len(strings)} documents are exact copies of others and are not kept together: each "
                "hides the effect of training on the other. Use Documents(..., similarity=0.8)"
            )
    if not faults and not evidence.has_inputs:
        sentence = "Inputs were not given: copies of members among the non-members were not looked for."
        return Control(code="CTL007", title=_TITLE, passed=None, sentence=sentence)
    return Control(
        code="CTL007",
        title=_TITLE,
        passed=not faults,
        sentence=". ".join(faults) + "." if faults else _kept_together(evidence),
        source="influence, Feldman & Zhang 2020",
        tables=tables,
    )


def _kept_together(evidence: TargetEvidence) -> str:
    if isinstance(evidence, Evidence):
        return "Copies and groups are trained on together or not at all, and near copies are too few to hide a leak."
    if isinstance(evidence, TextTargetEvidence):
        return "Near-duplicates and groups count as one document."
    return "Copies and groups count as one example, and few examples have a near copy among the others."


def _near(evidence: ClassifierTargetEvidence | GeneratorTargetEvidence) -> tuple[str, Table]:
    """Return what is wrong with near copies, empty if nothing is, and how many there are by distance."""
    rows = sampled(len(evidence.members), _LOOKED_AT)
    faults: list[float] = []
    cells: list[tuple[str, ...]] = []
    for name, features in measured(evidence.x).items():
        neighbour, distance, usual = nearest(features, rows)
        effects = _effects(evidence, rows, neighbour) if isinstance(evidence, ClassifierEvidence) else None
        for radius in _RADII if effects is not None else (_SURE,):
            near = distance < radius * usual
            share = float(near.mean())
            acts = radius <= _SURE and features.shape[1] > 1
            if effects is not None:
                own, other, known = effects
                acts = acts or _acts(own[near & known], other[near & known])
            cells.append((name, percent(radius), percent(share), "yes" if share and acts else "no"))
            if share > (_by_chance(distance / usual) if radius <= _SURE else 0) + _NEAR and acts:
                faults.append(share)
    fault = (
        f"{percent(max(faults))} of the examples have a near copy that affects the models as the example itself does "
        "and is not kept together with it. Each hides the other, and the membership results are too low. Group them: "
        "Examples(x, y, ids, groups=memaudit.near_copies(x))"
        if faults
        else ""
    )
    columns = ("Features", "Distance below (share of the usual)", "Examples with such a neighbour", "Acts as a copy")
    return fault, Table(title="Near copies", columns=columns, rows=tuple(cells))


def _by_chance(distance: Float[Array, " rows"]) -> float:
    """Return the largest share of neighbours within 1 % of the usual distance that chance explains.

    Two rows that agree in all categories and whole numbers differ in the continuous columns alone. With one such column
    neighbours are as frequent in each hundredth of the usual distance: how many there are from 1 to 10 % says how many
    to expect below 1 %. With more columns there are fewer. Of one column in all, 4.6 % are expected.

    Args:
        distance: To the nearest neighbour, in usual distances.
    """
    beyond = distance[distance >= _SURE]
    between = float((beyond < _LINE).mean()) if len(beyond) else 0.0
    expected = min(1 - (1 - between) ** (_SURE / (_LINE - _SURE)), _MOST_BY_CHANCE)
    return expected + _ERRORS * float(np.sqrt(expected / len(distance)))


def _effects(
    evidence: ClassifierEvidence, rows: Int[Array, " rows"], neighbour: Int[Array, " rows"]
) -> tuple[Float[Array, " rows"], Float[Array, " rows"], Bool[Array, " rows"]]:
    """Return what training on an example, and on its neighbour alone, adds to its signal; and where both are known."""
    inside, outside = (_columns(evidence, rows, side) for side in (0, 1))
    own = inside.mean(axis=0) - outside.mean(axis=0)
    has = evidence.bank.members[evidence.couples_of(rows).outside, neighbour] > 0
    with_it, without = has.sum(axis=0), (~has).sum(axis=0)
    known = (with_it > 0) & (without > 0)
    sums = np.where(has, outside, 0).sum(axis=0), np.where(has, 0, outside).sum(axis=0)
    return own, sums[0] / np.maximum(with_it, 1) - sums[1] / np.maximum(without, 1), known


def _columns(evidence: ClassifierEvidence, rows: Int[Array, " rows"], side: int) -> Shaped[Array, "pairs rows"]:
    """Return the inside or outside signals of some examples, by the first query."""
    found = np.empty((evidence.bank.shape[0], len(rows)))
    for start in range(0, len(evidence.members), _LOOKED_AT):
        here = (rows >= start) & (rows < start + _LOOKED_AT)
        block = evidence.bank.block(slice(start, start + _LOOKED_AT))[side]
        found[:, here] = block[:, rows[here] - start, 0]
    return found


def _acts(own: Float[Array, " some"], other: Float[Array, " some"]) -> bool:
    """Return whether the neighbours' effect is more than half of the examples' own, beyond chance."""
    excess = other - _ACTS * own
    if len(excess) < 2 or own.sum() <= 0:
        return False
    return bool(excess.sum() > _ERRORS * np.sqrt(len(excess)) * excess.std(ddof=1))


copies_check = ControlCheck("CTL007", "Copies", _copies, TargetEvidence)
