"""What an adversary sees of a model, as numbers per example. A view is one file and one entry in `VIEWS`."""

from memaudit.signals.views.boundary import Boundary
from memaudit.signals.views.confidences import Confidences
from memaudit.signals.views.direction import LossDirection
from memaudit.signals.views.gradients import Gradients
from memaudit.signals.views.interface import Unseen, View
from memaudit.signals.views.last_layer import LastLayer
from memaudit.signals.views.votes import AugmentationVotes, NoiseVotes

_ALL: tuple[View, ...] = (
    NoiseVotes(),
    AugmentationVotes(),
    Boundary(),
    Confidences(),
    LossDirection(),
    Gradients(),
    LastLayer(),
)
VIEWS: dict[str, View] = {view.name: view for view in _ALL}

__all__ = [
    "VIEWS",
    "AugmentationVotes",
    "Boundary",
    "Confidences",
    "Gradients",
    "LastLayer",
    "LossDirection",
    "NoiseVotes",
    "Unseen",
    "View",
]
