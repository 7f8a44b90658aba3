"""From tensors to what compiled kernels take."""

from typing import Any

from torch import Tensor

__all__ = ["array"]


def array(x: Tensor | None) -> Any:
    """Return a CPU tensor as a contiguous numpy array, without a copy if it is; None stays None."""
    return None if x is None else x.detach().contiguous().numpy()
