"""What would help: variants of a recipe, each with its own bank under the same training sets, compared by pair."""

from memaudit.whatif.configured import read
from memaudit.whatif.result import Comparison, Row, Standing, Unmeasured
from memaudit.whatif.run import compare_variants
from memaudit.whatif.variants import Variant
from memaudit.whatif.writing import written

__all__ = ["Comparison", "Row", "Standing", "Unmeasured", "Variant", "compare_variants", "read", "written"]
