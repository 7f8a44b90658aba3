"""Which anchors or proposals of a batch belong to which true box."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Matches", "Targets", "gather_matches"]

# Of each image ``boxes`` ``[m, 4]``, ``labels`` ``[m]`` and what else a model takes.
Targets = Sequence[Mapping[str, Tensor]]


class Matches(NamedTuple):
    """The positives among the ``n`` anchors of a batch, and their truth."""

    rows: Int[Tensor, " p"]
    """Where the positives stand among the n anchors, ascending."""
    classes: Int[Tensor, " p"]
    """The column of each positive's class."""
    boxes: Float[Tensor, "p 4"]
    """The true box of each positive."""
    ignored: Bool[Tensor, " n"]
    """Anchors that are neither positive nor negative."""
    images: Int[Tensor, " n"]
    """The image of each anchor."""

    def only(self, kept: Tensor) -> "Matches":
        """Return the matches without the positives that are not ``kept``."""
        ignored = self.ignored.index_fill(0, self.rows[~kept], True)
        rows, classes, boxes = (part[kept] for part in self[:3])
        return Matches(rows, classes, boxes, ignored, self.images)


def gather_matches(targets: Targets, matched: Sequence[Tensor], first_class: int = 0) -> Matches:
    """Join what torchvision's matchers say about each image.

    Args:
        targets: of each image ``boxes`` ``[m, 4]`` and ``labels`` ``[m]``.
        matched: of each image and anchor the number of its box, -1 for background, anything lower
            for anchors to ignore.
        first_class: the label whose column is the first.
    """
    found = torch.cat(list(matched))
    counts = torch.tensor([len(m) for m in matched], device=found.device)
    images = torch.arange(len(matched), device=found.device).repeat_interleave(counts)
    boxes_before = torch.tensor([0, *(len(t["boxes"]) for t in targets)]).cumsum(0)
    rows = (found >= 0).nonzero()[:, 0]
    at = found[rows] + boxes_before.to(found.device)[images[rows]]
    labels = torch.cat([t["labels"] for t in targets])
    boxes = torch.cat([t["boxes"].view(-1, 4) for t in targets])
    return Matches(rows, labels[at].long() - first_class, boxes[at].float(), found < -1, images)
