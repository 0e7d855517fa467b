"""The directory on disk: who was trained on what, and what was recorded."""

from memaudit.bank.folder import Bank
from memaudit.bank.matched import Matched
from memaudit.bank.recordings import Recordings

__all__ = ["Bank", "Matched", "Recordings"]
