"""Ages rounded to a grid, which the second stage starts from."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from rankgrad.checks import check_positive

__all__ = ["discretise"]


def discretise(ages: Shaped[Tensor, "*shape"], step: float = 5.0) -> Float[Tensor, "n 1"]:
    """Return the nearest multiples of ``step`` as a column; exact halves go up.

    Args:
        ages: ``n`` values in any shape. float64 stays float64; whole numbers, half and bfloat16
            become float32: bfloat16 cannot tell an age of 65.1 from one of 65.4.
        step: distance of the grid, above 0.

    Source: Cheng et al.: Brain age estimation from MRI using cascade networks with ranking loss.
    IEEE TMI 2021.

    >>> discretise(torch.tensor([31.9, 32.5, 40.0])).flatten()
    tensor([30., 35., 40.])
    """
    step = check_positive("step", step)
    ages = ages if ages.dtype == torch.float64 else ages.float()
    return (torch.floor(ages / step + 0.5) * step).reshape(-1, 1)
