"""Which wires a layer of a sorting network compares, and how softly they swap."""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.functions import distribution

__all__ = ["Swaps", "depth", "partner", "swap"]


@dataclass(frozen=True)
class Swaps:
    """What a network is made of.

    Attributes:
        kind: "odd_even", "bitonic" or "alternating".
        distribution: of the shares.
        rates: [2] float64 on the device, the steepness and the exponent of "logistic_phi".
    """

    kind: str
    distribution: str
    rates: Tensor

    @property
    def constants(self) -> dict[str, str]:
        """What kernels are compiled for."""
        return {"KIND": self.kind, "DISTRIBUTION": self.distribution}

    def depth(self, n: int) -> int:
        """Return how many layers the network of ``n`` wires has."""
        if self.kind == "odd_even":
            return n
        levels = (n - 1).bit_length()
        return levels * (levels + 1) // 2


@triton.jit
def _levels(count):
    """Return how often ``count`` wires double from one wire on."""
    power = tl.full([32], 1, tl.int64) << tl.arange(0, 32).to(tl.int64)
    return tl.sum((power < count).to(tl.int32), axis=0)


@triton.jit
def depth(count, KIND: tl.constexpr):
    """Return how many layers the network of ``count`` wires has."""
    if KIND == "odd_even":
        layers = count
    else:
        levels = _levels(count)
        layers = levels * (levels + 1) // 2
    return layers


@triton.jit
def partner(i, count, layer, KIND: tl.constexpr):
    """Return the wire that a layer compares wire ``i`` with, or ``i``, and whether ``i`` is lower.

    As ``comparators`` of the reference, from the number of the layer alone. A layer beyond the
    depth of the network leaves all wires alone.
    """
    if KIND == "odd_even":
        lower = ((i ^ layer) & 1) == 0
        other = tl.where(lower, i + 1, i - 1)
        there = layer < count
    else:
        # The layers of a level follow those of the levels before it: 1, 2, 3, ... of them.
        before = tl.arange(0, 32)
        level = tl.sum((before * (before + 1) // 2 <= layer).to(tl.int32), axis=0)
        step = level - (layer - level * (level - 1) // 2)
        levels = _levels(count)
        missing = (1 << levels) - count  # wires that fill up a power of two, in front
        place = i + missing
        half = 1 << (step - 1)
        lower = (place & half) == 0
        if KIND == "alternating":
            lower = lower ^ (((place >> level) & 1) != 0)
            across = half
        else:
            across = tl.where(step == level, 2 * half - 1, half)
        other = (place ^ across) - missing
        there = level <= levels
    there = there & (i < count) & (other >= 0) & (other < count)
    return tl.where(there, other, i), lower


@triton.jit
def swap(here, beyond, alone, lower, rates, DISTRIBUTION: tl.constexpr):
    """Return the share of its own value that a wire keeps, and the slope of the share.

    ``rates`` points to the steepness and the exponent of "logistic_phi".
    """
    steepness = tl.load(rates).to(here.dtype)
    d = tl.where(lower, beyond - here, here - beyond)  # upper less lower
    v = steepness * d
    if DISTRIBUTION == "cauchy":
        share, density = distribution(v, "cauchy")
        share = 0.5 + (share - 0.5)  # nothing of what is far away gets through
        slope = steepness * density
    elif DISTRIBUTION == "logistic_phi":
        art = tl.load(rates + 1).to(here.dtype)
        size = tl.abs(d) + 1e-10
        factor = steepness * tl.exp(-art * tl.log(size))
        share, density = distribution(d * factor, "logistic")
        slope = density * factor * (1.0 - art * tl.abs(d) / size)
    elif DISTRIBUTION == "reciprocal":
        u = tl.minimum(tl.abs(v), 1e30) + 2.0
        tail = 1.0 / u
        share = tl.where(v >= 0, 1.0 - tail, 0.5 - (0.5 - tail))
        slope = steepness * tail * tail
    elif DISTRIBUTION == "optimal":
        size = tl.maximum(tl.abs(v), 0.25)
        tail = 0.5 - 0.0625 / size
        tail = tl.where(v >= 0, tail, -tail)
        share = 0.5 + tl.where(tl.abs(v) > 0.25, tail, v)
        slope = steepness * 0.0625 / (size * size)
    else:
        share, density = distribution(v, DISTRIBUTION)
        slope = steepness * density
    return tl.where(alone, 1.0, share), tl.where(alone, 0.0, slope)
