"""What an adversary sees of a model, as numbers per example. A view is one file and one entry in `VIEWS`."""

from memaudit.signals.views.confidences import Confidences
from memaudit.signals.views.interface import View

VIEWS: dict[str, View] = {view.name: view for view in (Confidences(),)}

__all__ = ["VIEWS", "Confidences", "View"]
