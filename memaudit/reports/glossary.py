"""What the words of a report mean, for those who do not measure privacy for a living."""

from __future__ import annotations

from memaudit.reports.blocks import Point

GLOSSARY = (
    Point(
        lead="True-positive rate.",
        words="Of the examples that the model was trained on, the share that an attack recognizes as such.",
    ),
    Point(
        lead="False-positive rate.",
        words="Of the examples that the model was not trained on, the share that an attack wrongly takes for training "
        "examples. An attack that recognizes many at a low false-positive rate is a dangerous one. Guessing has a "
        "true-positive rate equal to its false-positive rate.",
    ),
    Point(
        lead="Memorization.",
        words="How much likelier the model is to get an example right, or the next word of a text, when it was trained "
        "on this example than when it was not. 0 means that the example made no difference; 1 means that the model "
        "knows it only because it has seen it.",
    ),
    Point(
        lead="Shadow model.",
        words="A model made in the same way as the audited one, on another random part of the same data. Comparing "
        "many of them shows what training on an example changes.",
    ),
    Point(
        lead="Rung.",
        words="How much an audit had to go on. Rung 0: the model alone. Rung 1: also one to five reference models. "
        "Rung 2: also a bank of shadow models. The lower rungs can show a leak, but cannot bound it.",
    ),
    Point(
        lead="Exposure.",
        words="How far a secret is given away, in bits: each bit halves the number of guesses that an adversary needs. "
        "A secret that was never in the training data has an exposure of 1.44 bits on average.",
    ),
    Point(
        lead="Canary.",
        words="A made-up secret, planted in the training data so that it can be measured how far it is given away.",
    ),
    Point(
        lead="Interval.",
        words="A measurement on limited data is never exact. The interval is the range of true values that the data "
        "are compatible with; at a confidence of 95% such ranges miss the truth at most about once in 20 times.",
    ),
    Point(
        lead="Control.",
        words="A test of the audit itself: whether it finds a leak that was planted, and whether it stays silent where "
        "there is none.",
    ),
    Point(
        lead="Limit.",
        words="The largest value that was declared acceptable. A limit is broken when the one-sided lower bound of the "
        "measurement is above it, and kept when the upper bound is not, both at the confidence that it asks for.",
    ),
    Point(
        lead="SLiRA (slira).",
        words="The stacked likelihood-ratio attack, the default. It learns from the shadow models, each taken as a "
        "target of the others, what tells members from non-members; the scores of LiRA and RMIA are among its inputs.",
    ),
    Point(
        lead="RMIA (rmia, rmia-offline).",
        words="The robust membership-inference attack: the model's probability of the right answer, relative to that "
        "of the shadow models.",
    ),
    Point(
        lead="LiRA (lira-online, lira-offline).",
        words="The likelihood-ratio attack. It compares what the model makes of an example with what shadow models "
        "make of it: those that were trained on it and those that were not (online), or the latter alone (offline).",
    ),
    Point(
        lead="global-threshold.",
        words="The simplest attack: whatever the model is sure of is taken for a training example.",
    ),
    Point(
        lead="reference, base, zlib, min-k, min-k++.",
        words="Attacks on language models. They set how well the model knows a text against how well models without it "
        "know it (reference), or the model that training started from (base), or against how far the text can be "
        "compressed (zlib); min-k and min-k++ look at the least likely words alone.",
    ),
    Point(
        lead="AUC.",
        words="The area under the curve: how often an attack ranks a training example above another one, if one of "
        "each is drawn. 0.5 is guessing. As an average it hides the few who are exposed.",
    ),
    Point(
        lead="p.",
        words="How often chance alone would give a result at least as far from the expected one. A small p speaks "
        "against chance.",
    ),
    Point(
        lead="Rank correlation.",
        words="Whether two measurements put the examples into the same order: 1 if they do, 0 if they have nothing to "
        "do with each other, −1 if one order is the other reversed.",
    ),
    Point(
        lead="Margin.",
        words="How much surer the model is of the right answer to an example when it was trained on it than when it "
        "was not, as a difference of logarithms of the odds.",
    ),
)
