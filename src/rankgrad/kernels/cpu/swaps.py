"""How much of each wire a soft comparator lets through, for a whole layer at a time."""

import math
from typing import Any

from rankgrad.kernels.cpu.functions import vector_atan, vector_exp
from rankgrad.kernels.cpu.jit import jit

__all__ = ["CODES", "shares", "slopes"]

CODES = {
    "cauchy": 0,
    "logistic": 1,
    "logistic_phi": 2,
    "normal": 3,
    "reciprocal": 4,
    "optimal": 5,
}


@jit()
def shares(d: Any, swap: Any, share: Any) -> None:
    """Write the share of the lower wire that stays, by ``d = upper - lower``.

    ``swap`` is (code, steepness, art_lambda).
    """
    code, steepness, art = swap
    n = share.shape[0]
    if code == 0:
        for k in range(n):
            share[k] = 0.5 + vector_atan(steepness * d[k]) * (1.0 / math.pi)
    elif code == 1:
        for k in range(n):
            e = vector_exp(-steepness * abs(d[k]))
            share[k] = (1.0 if d[k] > 0.0 else e) / (1.0 + e)
    elif code == 2:
        for k in range(n):
            size = abs(d[k])
            e = math.exp(-steepness * size * (size + 1e-10) ** -art)
            share[k] = (1.0 if d[k] > 0.0 else e) / (1.0 + e)
    elif code == 3:
        for k in range(n):
            share[k] = 0.5 * math.erfc(-steepness * math.sqrt(0.5) * d[k])
    elif code == 4:
        for k in range(n):
            v = steepness * d[k]
            share[k] = 0.5 + 0.5 * v / (2.0 + abs(v))
    else:
        for k in range(n):
            v = steepness * d[k]
            tail = 0.5 - 1.0 / (16.0 * max(abs(v), 0.25))
            share[k] = 0.5 + (v if abs(v) <= 0.25 else (tail if v > 0.0 else -tail))


@jit()
def slopes(d: Any, swap: Any, slope: Any) -> None:
    """Write the derivative of the share by ``d``."""
    code, steepness, art = swap
    n = slope.shape[0]
    if code == 0:
        for k in range(n):
            v = steepness * d[k]
            slope[k] = steepness / (math.pi * (1.0 + v * v))
    elif code == 1:
        for k in range(n):
            e = vector_exp(-steepness * abs(d[k]))
            slope[k] = steepness * e / ((1.0 + e) * (1.0 + e))
    elif code == 2:
        for k in range(n):
            size = abs(d[k])
            factor = steepness * (size + 1e-10) ** -art
            e = math.exp(-size * factor)
            inner = factor * (1.0 - art * size / (size + 1e-10))
            slope[k] = inner * e / ((1.0 + e) * (1.0 + e))
    elif code == 3:
        for k in range(n):
            v = steepness * d[k]
            slope[k] = steepness / math.sqrt(2.0 * math.pi) * vector_exp(-0.5 * v * v)
    elif code == 4:
        for k in range(n):
            v = 2.0 + steepness * abs(d[k])
            slope[k] = steepness / (v * v)
    else:
        for k in range(n):
            v = max(steepness * abs(d[k]), 0.25)
            slope[k] = steepness / (16.0 * v * v)
