"""From tensors to what compiled kernels take."""

from typing import Any

from torch import Tensor

__all__ = ["array"]


def array(x: Tensor | None) -> Any:
    """Return a CPU tensor as a contiguous numpy array, without a copy if it is; None stays None."""
    if x is None:
        return None
    if x.requires_grad:
        x = x.detach()
    return (x if x.is_contiguous() else x.contiguous()).numpy()
