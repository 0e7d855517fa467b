"""Remedies that come with memaudit: one file each, by how the variant's models come about."""

from memaudit.whatif.remedies.derived import Derived
from memaudit.whatif.remedies.edited import Edited
from memaudit.whatif.remedies.without import Without, WithoutMostExposed

__all__ = ["Derived", "Edited", "Without", "WithoutMostExposed"]
