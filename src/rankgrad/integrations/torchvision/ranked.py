"""What makes a detector of torchvision one that is trained by ranking, whichever it is."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from rankgrad.integrations.torchvision.calibration import Calibration
from rankgrad.integrations.torchvision.criteria import Criterion, make_criterion

__all__ = ["Ranked", "add_calibration", "adopt"]


class Ranked(nn.Module):
    """The constructor of our detectors: torchvision's, and then a loss for the heads."""

    threshold = "score_thresh"
    """How torchvision's constructor names the score below which detections are dropped."""

    def __init__(
        self,
        *args: Any,
        loss: str | Criterion = "rank_sort",
        criterion: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{self.threshold: 0.0, **kwargs})
        self.rank_by(make_criterion(loss, **criterion or {}))

    def rank_by(self, criterion: Criterion) -> None:
        """Give the heads, just built, their criteria, and the detector its calibration."""
        raise NotImplementedError


def add_calibration(module: Any) -> None:
    """Give it a calibration, unless it has one."""
    if not hasattr(module, "calibration"):
        module.calibration = Calibration().to(next(module.parameters()).device)


def adopt(module: nn.Module, known: type[nn.Module]) -> None:
    """Give a built module the behaviour of another class, in place; its weights stay.

    ``known`` is one of our classes, derived from its behaviour and from a class of torchvision. The
    module becomes of it if it is of just that class, else of one made for the class that it has.
    """
    behaviour, plain = known.__bases__
    base = type(module)
    if base is plain:
        module.__class__ = known
    elif not isinstance(module, behaviour):
        module.__class__ = type(f"Rank{base.__name__}", (behaviour, base), {})
