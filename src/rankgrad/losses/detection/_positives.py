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
    check_floating,
    check_real,
    check_same_device,
    check_same_shape,
    compute_dtype,
    result_dtype,
)
from rankgrad.comparisons import Comparison, Ramp, Step

__all__ = [
    "EPS",
    "Positives",
    "flat_inputs",
    "gradient",
    "locate",
    "numbered",
    "per_positive",
    "reduced",
    "scatter",
]

EPS = 1e-5  # a positive with fewer false positives than this has nothing to push, as published


@dataclass(frozen=True)
class Positives:
    """The positives sorted by segment and ascending score, all in float64 or int64.

    Attributes:
        index: [p] places in the flat input.
        scores: [p] their logits.
        starts: [segments + 1] where the positives of each segment start.
        groups: [n] segment of every logit in the numbering of ``starts``, -1 for segments without
            a positive; None if there is one segment.
        broken: a target is NaN, so that nobody knows who is a positive.
    """

    index: Tensor
    scores: Tensor
    starts: Tensor
    groups: Tensor | None
    broken: bool

    @property
    def segment(self) -> Tensor:
        """[p] the segment of every positive."""
        return torch.repeat_interleave(
            torch.arange(self.starts.shape[0] - 1, device=self.starts.device),
            self.starts.diff(),
            output_size=self.scores.shape[0],
        )

    def sum_over_positives(self, weights: Tensor | None, delta: float) -> Tensor:
        """Return ``sum_j weights_j H(s_j - s_i)`` over the positives of the same segment."""
        segment = None if self.groups is None else self.segment[None]
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
        if self.index.numel() == 0:
            return self.scores
        serve = kernels.implementation("negatives_ahead", logits.device)
        ahead: Tensor = serve(logits, targets, self.groups, self.scores, self.starts, delta)
        return ahead

    def spread(self, logits: Tensor, targets: Tensor, delta: float, push: Tensor) -> Tensor:
        """Return the gradient at every negative, ``sum_i push_i H(x_j - s_i)``; 0 elsewhere."""
        if self.index.numel() == 0:
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


def locate(
    logits: Tensor, targets: Tensor, segments: Tensor | None, *, exact_one: bool
) -> Positives:
    """Find and sort the positives of flat inputs. The number of positives is known after this."""
    index, broken = kernels.implementation("find_positives", logits.device)(targets, exact_one)
    scores = logits[index].double()
    if segments is None:
        order = kernels.implementation("argsort", logits.device)(scores[None], False)[0]
        starts = torch.arange(2, device=logits.device) * index.shape[0]
        return Positives(index[order], scores[order], starts, None, broken)
    ids, segment, counts = torch.unique(segments[index], return_inverse=True, return_counts=True)
    order = kernels.implementation("pairwise_order", logits.device)(scores[None], segment[None])
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    groups = numbered(segments, ids)
    return Positives(index[order[0]], scores[order[0]], starts, groups, broken)


def numbered(segments: Tensor, ids: Tensor) -> Tensor:
    """Return the place of every segment id in the sorted ``ids``, -1 if it is not there."""
    if ids.numel() == 0:
        return torch.full_like(segments, -1)
    low, width = ids[0], int(ids[-1]) - int(ids[0]) + 1
    if width > 4 * segments.numel() + 1024:  # too sparse for a table
        place = torch.searchsorted(ids, segments).clamp(max=ids.numel() - 1)
        return torch.where(ids[place] == segments, place, -1)
    table = torch.full((width,), -1, device=ids.device)
    table[ids - low] = torch.arange(ids.numel(), device=ids.device)
    inside = (segments >= low) & (segments <= ids[-1])
    return torch.where(inside, table[(segments - low).clamp(0, width - 1)], -1)


def per_positive(cotangent: Tensor, index: Tensor) -> Tensor:
    """Return the cotangent of every positive's error from that of the sum or of a dense output."""
    if cotangent.dim() == 0:
        return cotangent.double().expand(index.shape)
    return cotangent[index].double()


def scatter(values: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """Return a dense tensor like ``like`` with ``values`` at ``index`` and zero elsewhere."""
    return torch.zeros_like(like).index_put_((index,), values.to(like.dtype))


def gradient(
    logits: Tensor,
    targets: Tensor,
    positives: Positives,
    delta: float,
    pull: Tensor,
    push: Tensor,
) -> Tensor:
    """Return the dense gradient: ``-pull`` at the positives, the pushed sums at the negatives."""
    out = positives.spread(logits, targets, delta, push)
    out[positives.index] = -pull.to(out.dtype)
    return out


def reduced(errors: Tensor, count: Tensor, reduction: str, logits: Tensor) -> Tensor:
    """Return the error of an operator in the way that ``reduction`` asks, in the caller's dtype."""
    if reduction == "none":
        errors = errors.view(logits.shape)
    elif reduction == "mean":
        errors = errors / count.clamp(min=1)
    return errors.to(result_dtype(logits))
