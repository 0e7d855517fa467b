"""What can be pulled out of a language model word for word: arithmetic on what was recorded and generated."""

from memaudit.extraction.counterfactual import (
    CounterfactualExtraction,
    Kind,
    counterfactual_extraction,
    kinds,
    written_kind,
)
from memaudit.extraction.discoverable import Share, greedy, grouped_share, near_ties, suffix, well_specified
from memaudit.extraction.generated import Leakage, Ranking, eidetic, leakage, rank, suspicion, zlib_nats
from memaudit.extraction.index import CorpusIndex, Match
from memaudit.extraction.near_verbatim import NearVerbatim, near_verbatim
from memaudit.extraction.probabilistic import (
    chance_within,
    extracted_within,
    extraction_curve,
    queries_needed,
    scheme_log_probability,
)
from memaudit.extraction.scaling import log_linear

__all__ = [
    "CorpusIndex",
    "CounterfactualExtraction",
    "Kind",
    "Leakage",
    "Match",
    "NearVerbatim",
    "Ranking",
    "Share",
    "chance_within",
    "counterfactual_extraction",
    "eidetic",
    "extracted_within",
    "extraction_curve",
    "greedy",
    "grouped_share",
    "kinds",
    "leakage",
    "log_linear",
    "near_ties",
    "near_verbatim",
    "queries_needed",
    "rank",
    "scheme_log_probability",
    "suffix",
    "suspicion",
    "well_specified",
    "written_kind",
    "zlib_nats",
]
