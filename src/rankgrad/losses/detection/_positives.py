"""What the detection losses share: their positives in order, and the error-driven gradient.

Let ``H`` be the ramp of half width ``delta``, ``s_i`` the score of positive ``i`` and ``x_j`` that
of negative ``j``. Each loss gives every positive an error and does not differentiate it: the mass
of the error moves straight onto the scores. With cotangent ``c_i`` of the error of positive ``i``,

    d s_i = -c_i pull_i        d x_j = sum_i c_i push_i H(x_j - s_i)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rankgrad import kernels
from rankgrad.checks import (
    check_count,
    check_floating,
    check_real,
    check_same_device,
    check_same_shape,
    compute_dtype,
    result_dtype,
)
from rankgrad.comparisons import Comparison, Ramp, Step
from rankgrad.losses.detection._slots import Slots

__all__ = [
    "GIVEN",
    "Positives",
    "check_most",
    "comparison",
    "flat_inputs",
    "gradient",
    "per_positive",
    "reduced",
]

GIVEN = ("group", "max_positives")  # what a loss shows of itself where it is not None


@dataclass(frozen=True)
class Positives:
    """The positives sorted by segment and ascending score, all in float64 or int64.

    Free slots come last. Each is a segment of its own, without a logit: a positive that nothing is
    ahead of, whose errors, pull and pushes come to nothing in every formula.

    Attributes:
        slots: [p] where they stand in the flat input.
        scores: [p] their logits; 0 in free slots.
        segment: [p] the segment of every positive, ascending; None if there is one segment.
        starts: [segments + 1] where the positives of each segment start.
        groups: [n] segment of every logit in the numbering of ``starts``, -1 for segments without
            a positive; None if all are of segment 0.
        broken: nobody knows who is a positive, because a target is NaN or there are more of them
            than slots; a tensor if the host has not asked.
    """

    slots: Slots
    scores: Tensor
    segment: Tensor | None
    starts: Tensor
    groups: Tensor | None
    broken: bool | Tensor

    def spoil(self, values: Tensor) -> Tensor:
        """Return the values, or NaN if nobody knows who is a positive."""
        if isinstance(self.broken, Tensor):
            return torch.where(self.broken, torch.nan, values)
        return torch.full_like(values, torch.nan) if self.broken else values

    def sum_over_positives(self, weights: Tensor | None, delta: float) -> Tensor:
        """Return ``sum_j weights_j H(s_j - s_i)`` over the positives of the same segment."""
        segment = None if self.segment is None else self.segment[None]
        scores = self.scores[None]
        order = torch.arange(scores.shape[1], device=scores.device)[None]  # sorted as they are
        value, _ = kernels.implementation("pairwise", scores.device)(
            scores,
            scores,
            None if weights is None else weights[None],
            segment,
            segment,
            order,
            order,
            comparison(delta),
            mirrored=False,
            want_value=True,
            want_slope=False,
        )
        found: Tensor = value[0]
        return found

    def negatives_ahead(self, logits: Tensor, targets: Tensor, delta: float) -> Tensor:
        """Return the false positives ``sum_j H(x_j - s_i)`` of every positive."""
        if self.scores.numel() == 0:
            return self.scores
        serve = kernels.implementation("negatives_ahead", logits.device)
        ahead: Tensor = serve(logits, targets, self.groups, self.scores, self.starts, delta)
        return ahead

    def spread(self, logits: Tensor, targets: Tensor, delta: float, push: Tensor) -> Tensor:
        """Return the gradient at every negative, ``sum_i push_i H(x_j - s_i)``; 0 elsewhere."""
        if self.scores.numel() == 0:
            return torch.zeros_like(logits)
        serve = kernels.implementation("spread_to_negatives", logits.device)
        out: Tensor = serve(logits, targets, self.groups, self.scores, self.starts, delta, push)
        return out


def comparison(delta: float) -> Comparison:
    """Return the ramp; with ``delta`` 0 the step that counts ties whole."""
    return Ramp(delta) if delta > 0 else Step(tie=1.0)


def flat_inputs(
    logits: Float[Tensor, "*shape"],
    targets: Tensor,
    segments: Int[Tensor, "*shape"] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check the arguments that all detection losses take; return them flat, in one dtype."""
    check_floating("logits", logits)
    check_real("targets", targets)
    check_same_shape("targets", targets, "logits", logits)
    check_same_device("targets", targets, "logits", logits)
    if segments is not None:
        if (
            not isinstance(segments, Tensor)
            or segments.is_floating_point()
            or segments.is_complex()
        ):
            got = segments.dtype if isinstance(segments, Tensor) else type(segments).__name__
            raise TypeError(f"segments must be an integer tensor, got {got}")
        check_same_shape("segments", segments, "logits", logits)
        check_same_device("segments", segments, "logits", logits)
        segments = segments.reshape(-1).to(torch.int64).contiguous()
    dtype = compute_dtype(logits)
    return (
        logits.reshape(-1).to(dtype).contiguous(),
        targets.detach().reshape(-1).to(dtype).contiguous(),
        segments,
    )


def check_most(max_positives: int | None) -> int | None:
    """Return the bound on the number of positives, if there is one."""
    return None if max_positives is None else check_count("max_positives", max_positives)


def per_positive(cotangent: Tensor, slots: Slots) -> Tensor:
    """Return the cotangent of every positive's error from that of the sum or of a dense output."""
    if cotangent.dim() == 0:
        return cotangent.double().expand(slots.index.shape)
    return slots.take(cotangent).double()


def gradient(
    logits: Tensor,
    targets: Tensor,
    positives: Positives,
    delta: float,
    pull: Tensor,
    push: Tensor,
) -> Tensor:
    """Return the dense gradient: ``-pull`` at the positives, the pushed sums at the negatives."""
    return positives.slots.put(positives.spread(logits, targets, delta, push), -pull)


def reduced(errors: Tensor, count: Tensor, reduction: str, logits: Tensor) -> Tensor:
    """Return the error of an operator in the way that ``reduction`` asks, in the caller's dtype."""
    if reduction == "none":
        errors = errors.view(logits.shape)
    elif reduction == "mean":
        errors = errors / count.clamp(min=1)
    return errors.to(result_dtype(logits))
