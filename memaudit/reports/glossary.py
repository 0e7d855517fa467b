"""What the terms of a report mean, for readers from other fields."""

from __future__ import annotations

from memaudit.reports.blocks import Point

GLOSSARY = (
    Point(lead="Member, non-member.", words="An example that the model was trained on; one that it was not."),
    Point(lead="True-positive rate (TPR).", words="The share of members that an attack identifies as members."),
    Point(
        lead="False-positive rate (FPR).",
        words="The share of non-members that an attack flags as members. An attack with a high TPR at a low FPR is a "
        "serious leak. Guessing has TPR = FPR.",
    ),
    Point(
        lead="Memorization.",
        words="How much training on an example raises the probability that the model predicts it correctly (for a "
        "text: the share of its tokens). 0: no effect. 1: correct only because of training on it.",
    ),
    Point(
        lead="Influence.",
        words="How much training on one example raises the probability that another one is predicted correctly. An "
        "example is memorized for nothing if it has no influence on others.",
    ),
    Point(
        lead="Traceability.",
        words="How many members an attack names while almost never naming a non-member.",
    ),
    Point(
        lead="False-discovery rate (FDR).",
        words="The expected share of non-members among all records that an attack identifies as members.",
    ),
    Point(
        lead="Membership information (CMI).",
        words="How many bits the model reveals about who is a member: 1 bit per example if all memberships can be read "
        "off, 0 if none.",
    ),
    Point(
        lead="Memorization proxy.",
        words="A score of each example that is cheaper than memorization, such as its mean loss over training. The "
        "report shows how well each proxy agrees with memorization on this kind of model.",
    ),
    Point(
        lead="Look.",
        words="An evaluation of a model on all examples while it trains. An example is learned for good at the first "
        "look from which on it is always classified correctly. It is forgotten if it is right at one look and wrong at "
        "the next.",
    ),
    Point(
        lead="Redrawn label (label noise).",
        words="A label that was replaced by a random other class before training. A model that predicts it has "
        "memorized it.",
    ),
    Point(
        lead="Shadow model.",
        words="A model trained in the same way as the audited model on another random part of the same data.",
    ),
    Point(
        lead="Rung.",
        words="How much an audit had to go on. Rung 0: the model alone. Rung 1: also one to five reference models. "
        "Rung 2: also a bank of shadow models. The lower rungs can show a leak, but cannot bound it.",
    ),
    Point(
        lead="Canary.",
        words="A random secret inserted into the training data to measure how much the model reveals about it.",
    ),
    Point(
        lead="Exposure.",
        words="How much a model reveals about a secret, in bits: each bit halves the number of guesses needed. A "
        "secret that was never in the training data has a mean exposure of 1.44 bits.",
    ),
    Point(
        lead="Differential privacy (ε, δ).",
        words="A promise about training: one record more or less makes no outcome more than e^ε times as likely, apart "
        "from a probability δ. Small ε: strong protection. An audit shows an ε that the training has at least.",
    ),
    Point(
        lead="Confidence interval (CI).",
        words="The range of true values compatible with the data. A 95% CI misses the true value at most about once "
        "in 20 times.",
    ),
    Point(
        lead="Control.",
        words="A test of the audit itself: it must find a planted leak, and no leak where there is none.",
    ),
    Point(
        lead="Limit.",
        words="The largest acceptable value. A result fails if its one-sided lower bound is above the limit, and "
        "passes if its upper bound is not, at the required confidence.",
    ),
    Point(
        lead="SLiRA (slira).",
        words="The stacked likelihood-ratio attack, the default. It learns from the shadow models, each used as a "
        "target of the others, to distinguish members from non-members. LiRA and RMIA scores are among its inputs.",
    ),
    Point(
        lead="LiRA (lira-online, lira-offline).",
        words="The likelihood-ratio attack. It compares the model’s output for an example with those of shadow models "
        "trained with it and without it (online), or only without it (offline).",
    ),
    Point(
        lead="RMIA (rmia, rmia-offline).",
        words="The robust membership-inference attack: the model’s probability of the correct answer, relative to that "
        "of the shadow models.",
    ),
    Point(lead="Loss threshold (global-threshold).", words="The simplest attack: a low loss is taken for membership."),
    Point(
        lead="Access level.",
        words="What an adversary sees of the model: labels (the predicted class alone), top confidences, the "
        "confidences of all classes, exact log-odds, or the weights.",
    ),
    Point(
        lead="Privacy risk score.",
        words="The probability that an example is a member, given its class and the model’s confidences.",
    ),
    Point(
        lead="reference, base, zlib, min-k, min-k++.",
        words="Attacks on language models. They compare the loss of a text with that of models without it "
        "(reference), of the base model (base), or with its compressed size (zlib). min-k and min-k++ use only the "
        "least likely tokens.",
    ),
    Point(
        lead="AUC (AUROC).",
        words="Area under the ROC curve: the probability that an attack ranks a random member above a random "
        "non-member. 0.5 is guessing. As an average it hides the few who are exposed.",
    ),
    Point(
        lead="p-value.",
        words="The probability of a result at least this extreme under the null hypothesis. Small values speak "
        "against it.",
    ),
    Point(
        lead="Rank correlation.",
        words="Whether two measurements order the examples alike: 1 if they do, 0 if unrelated, −1 if reversed.",
    ),
    Point(
        lead="Margin.",
        words="How much training on an example raises the model’s confidence in the correct answer, in log-odds.",
    ),
)
