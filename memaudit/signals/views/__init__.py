"""What an adversary sees of a model, as numbers per example. A view is one file and one entry in `VIEWS`."""

from memaudit.signals.views.confidences import Confidences
from memaudit.signals.views.gradients import Gradients
from memaudit.signals.views.interface import View
from memaudit.signals.views.last_layer import LastLayer

VIEWS: dict[str, View] = {view.name: view for view in (Confidences(), Gradients(), LastLayer())}

__all__ = ["VIEWS", "Confidences", "Gradients", "LastLayer", "View"]
