"""The directory on disk: training sets and recorded signals of the shadow models."""

from memaudit.bank.folder import Bank
from memaudit.bank.matched import Matched
from memaudit.bank.pooled import Pooled
from memaudit.bank.recordings import Recordings
from memaudit.bank.store import Store

__all__ = ["Bank", "Matched", "Pooled", "Recordings", "Store"]
