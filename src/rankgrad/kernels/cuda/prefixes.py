"""Sums along the positives of a segment, always in the same order."""

import torch
from torch import Tensor

from rankgrad.kernels.cuda.running import running

__all__ = ["prefix_sums"]


def prefix_sums(values: Tensor, starts: Tensor) -> Tensor:
    """Return the sum of ``values`` from the start of its segment to each of them.

    See :func:`rankgrad.kernels.reference.prefix_sums`.
    """
    total, rest = (x[0] for x in running(values[None]))
    first = torch.repeat_interleave(starts[:-1], starts.diff(), output_size=values.shape[0])
    return (total[1:] - total[first]) + (rest[1:] - rest[first])
