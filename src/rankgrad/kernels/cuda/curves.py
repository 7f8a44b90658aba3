"""The points whose hulls are blocks, and the slopes between them.

Entropic blocks are ratios of two sums, so that they are hulls of one running sum drawn over the
other. One of them is a sum of exponentials, in the unit of its last term; the other has a closed
form. Their slopes are compared as logarithms.
"""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.running import between

__all__ = ["Curve", "expm1", "rise", "slope_between"]


@dataclass(frozen=True)
class Curve:
    """The points whose hull is asked for.

    Attributes:
        total, rest: [rows, n + 1] running sums.
        level: [rows, n + 1] the logarithm of the unit of each sum, times ``scale``; or None.
        strength: [1] of the regularisation; or None.
        kind: "mean": the sums of values, over their number. "rank": the sums of places, over the
            sums of ``exp(level / strength)``. "sort": the sums of ``exp(level)``, over those of
            ``exp(i / strength)``.
    """

    total: Tensor
    rest: Tensor
    level: Tensor | None = None
    strength: Tensor | None = None
    kind: str = "mean"


@triton.jit
def expm1(x):
    """Return ``exp(x) - 1`` for ``x <= 0`` to the last digits."""
    u = tl.exp(x)
    near = (u > 0.5) & (u != 1.0)
    fine = (u - 1.0) * (x / tl.log(tl.where(near, u, 2.0)))
    return tl.where(u == 1.0, x, tl.where(near, fine, u - 1.0))


@triton.jit
def _mass_between(high_a, low_a, level_a, high_b, low_b, level_b, scale):
    """Return the sum of the exponentials between two points, in the unit of the second."""
    shrink = expm1(tl.minimum(level_a - level_b, 0.0) / scale)
    mass = ((high_b - high_a) + (low_b - low_a)) - (high_a + low_a) * shrink
    return tl.maximum(mass, 1.0)  # the last of the exponentials is the unit


@triton.jit
def rise(high_a, low_a, level_a, a, high_b, low_b, level_b, b, level_o, o, strength, KIND):
    """Return the slope from point ``a`` to ``b``; or its logarithm, in the unit of point ``o``."""
    gap = tl.where(b > a, b - a, 1).to(tl.float64)
    if KIND == "mean":
        slope = ((high_b - high_a) + (low_b - low_a)) / gap
    elif KIND == "rank":
        mass = _mass_between(high_a, low_a, level_a, high_b, low_b, level_b, strength)
        places = 0.5 * gap * (a + b + 1).to(tl.float64)
        slope = tl.log(places / mass) - (level_b - level_o) / strength
    else:
        mass = _mass_between(high_a, low_a, level_a, high_b, low_b, level_b, 1.0)
        share = -expm1(-gap / strength)
        slope = tl.log(mass / share) + ((level_b - level_o) - (b - o).to(tl.float64) / strength)
    return slope


@triton.jit
def slope_between(total, rest, level, level_o, o, strength, row, a, b, live, KIND: tl.constexpr):
    """Return :func:`rise` from point ``a`` to ``b`` of the row whose points start at ``row``."""
    if KIND == "mean":
        slope = between(total, rest, row + a, row + b, live) / (b - a).to(tl.float64)
    else:
        slope = rise(
            tl.load(total + row + a, mask=live, other=0.0),
            tl.load(rest + row + a, mask=live, other=0.0),
            tl.load(level + row + a, mask=live, other=0.0),
            a,
            tl.load(total + row + b, mask=live, other=1.0),
            tl.load(rest + row + b, mask=live, other=0.0),
            tl.load(level + row + b, mask=live, other=0.0),
            b,
            level_o,
            o,
            strength,
            KIND,
        )
    return slope
