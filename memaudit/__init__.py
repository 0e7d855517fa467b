"""memaudit audits what a trained model leaks about its training data.

    bank = memaudit.fill("bank/", recipe, shadows=64)    # trains once, resumes, grows; shared by every check
    done = memaudit.audit("model.pt", recipe, bank)      # trains nothing
    done.save("audit.html")                              # or .pdf, .json, .md

Names are imported when they are first used, so that `memaudit --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memaudit.auditing import Audit as Audit
    from memaudit.auditing import Dp as Dp
    from memaudit.auditing import Outputs as Outputs
    from memaudit.auditing import Plan as Plan
    from memaudit.auditing import WhatIf as WhatIf
    from memaudit.auditing import audit as audit
    from memaudit.auditing import audit_unlearning as audit_unlearning
    from memaudit.auditing import benign_memorization as benign_memorization
    from memaudit.auditing import holdout_retraining as holdout_retraining
    from memaudit.auditing import leave_one_out as leave_one_out
    from memaudit.auditing import localisation as localisation
    from memaudit.auditing import memorization_dilation as memorization_dilation
    from memaudit.auditing import most_exposed as most_exposed
    from memaudit.auditing import plan as plan
    from memaudit.auditing import prediction_depth as prediction_depth
    from memaudit.auditing import privacy_onion as privacy_onion
    from memaudit.auditing import quick as quick
    from memaudit.auditing import rate_of_forgetting as rate_of_forgetting
    from memaudit.auditing import second_split as second_split
    from memaudit.auditing import subset_memorization as subset_memorization
    from memaudit.auditing import unlearning as unlearning
    from memaudit.auditing import variance_of_gradients as variance_of_gradients
    from memaudit.auditing import what_if as what_if
    from memaudit.bank import Bank as Bank
    from memaudit.canaries import ImageCanaries as ImageCanaries
    from memaudit.canaries import image_canaries as image_canaries
    from memaudit.design import Subsets as Subsets
    from memaudit.errors import MemauditError as MemauditError
    from memaudit.recipe import DPSGD as DPSGD
    from memaudit.recipe import SGD as SGD
    from memaudit.recipe import AdamW as AdamW
    from memaudit.recipe import CallableRecipe as CallableRecipe
    from memaudit.recipe import ClassifierRecipe as ClassifierRecipe
    from memaudit.recipe import Counts as Counts
    from memaudit.recipe import Derivation as Derivation
    from memaudit.recipe import Documents as Documents
    from memaudit.recipe import EstimatorRecipe as EstimatorRecipe
    from memaudit.recipe import Examples as Examples
    from memaudit.recipe import FedAvg as FedAvg
    from memaudit.recipe import Forgotten as Forgotten
    from memaudit.recipe import GeneratorRecipe as GeneratorRecipe
    from memaudit.recipe import LanguageModelRecipe as LanguageModelRecipe
    from memaudit.recipe import Observe as Observe
    from memaudit.recipe import Part as Part
    from memaudit.recipe import Probes as Probes
    from memaudit.recipe import Rendering as Rendering
    from memaudit.recipe import Secrets as Secrets
    from memaudit.recipe import classifier_canaries as classifier_canaries
    from memaudit.recipe import flip as flip
    from memaudit.recipe import mirror as mirror
    from memaudit.recipe import near_copies as near_copies
    from memaudit.recipe import read_canaries as read_canaries
    from memaudit.recipe import save_target as save_target
    from memaudit.recipe import shift as shift
    from memaudit.recipe import shifted as shifted
    from memaudit.recipe import write_manifest as write_manifest
    from memaudit.signals import observe as observe
    from memaudit.signals import observing as observing
    from memaudit.signals.diffusion import denoising_error as denoising_error
    from memaudit.signals.diffusion import step_error as step_error
    from memaudit.signals.neurons import neurons_to_flip as neurons_to_flip
    from memaudit.signals.representation import features as features
    from memaudit.training import Shard as Shard
    from memaudit.training import derivations as derivations
    from memaudit.training import derive as derive
    from memaudit.training import derive_target as derive_target
    from memaudit.training import draw_members as draw_members
    from memaudit.training import fill as fill
    from memaudit.training import import_bank as import_bank
    from memaudit.training import import_models as import_models
    from memaudit.training import measure_bank as measure_bank
    from memaudit.training import poisoned as poisoned
    from memaudit.training import train as train
    from memaudit.types import Context as Context
    from memaudit.types import Limit as Limit
    from memaudit.types import Release as Release
    from memaudit.types import Report as Report
    from memaudit.types import Verdict as Verdict
    from memaudit.whatif import Comparison as Comparison
    from memaudit.whatif import Variant as Variant
    from memaudit.whatif import compare_variants as compare_variants
    from memaudit.whatif import remedies as remedies

_HOME = {
    "memaudit.auditing": (
        "Audit", "Dp", "Outputs", "Plan", "WhatIf", "audit", "audit_unlearning", "benign_memorization",
        "holdout_retraining", "leave_one_out", "localisation", "memorization_dilation", "most_exposed", "plan",
        "prediction_depth", "privacy_onion", "quick", "rate_of_forgetting", "second_split", "subset_memorization",
        "unlearning", "variance_of_gradients", "what_if",
    ),
    "memaudit.bank": ("Bank",),
    "memaudit.canaries": ("ImageCanaries", "image_canaries"),
    "memaudit.design": ("Subsets",),
    "memaudit.errors": ("MemauditError",),
    "memaudit.recipe": (
        "DPSGD", "SGD", "AdamW", "CallableRecipe", "ClassifierRecipe", "Counts", "Derivation", "Documents",
        "EstimatorRecipe", "Examples", "FedAvg", "Forgotten", "GeneratorRecipe", "LanguageModelRecipe", "Observe",
        "Part", "Probes", "Rendering", "Secrets", "classifier_canaries", "flip", "mirror", "near_copies",
        "read_canaries", "save_target", "shift", "shifted", "write_manifest",
    ),
    "memaudit.signals": ("observe", "observing"),
    "memaudit.signals.diffusion": ("denoising_error", "step_error"),
    "memaudit.signals.neurons": ("neurons_to_flip",),
    "memaudit.signals.representation": ("features",),
    "memaudit.training": (
        "Shard", "derivations", "derive", "derive_target", "draw_members", "fill", "import_bank", "import_models",
        "measure_bank", "poisoned", "train",
    ),
    "memaudit.types": ("Context", "Limit", "Release", "Report", "Verdict"),
    "memaudit.whatif": ("Comparison", "Variant", "compare_variants", "remedies"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'memaudit' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
