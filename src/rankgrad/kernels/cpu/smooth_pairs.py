"""Sums of smooth comparisons of one query with many keys, in loops that run in vectors."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rankgrad.kernels.cpu.functions import (
    MAGIC,
    folded,
    scaled_erfc,
    small_atan,
    small_exp,
    times_two_to,
    vector_exp,
)
from rankgrad.kernels.cpu.jit import jit

__all__ = ["CAUCHY", "LOGISTIC", "NORMAL", "power", "steps", "sums_at"]

LOGISTIC, NORMAL, CAUCHY = 0, 1, 2
_FAR = 1e100  # temperatures away: the arctangent is a quarter turn, and no product overflows

_loops = jit(forceinline=True, fastmath={"reassoc", "contract"})


@_loops
def _logistic(e: Any, w: Any, b: Any) -> Any:
    """Of keys ``e = exp(k)`` and a query ``b = exp(q)``: no exponential a pair."""
    total, density = 0.0, 0.0
    for j in range(e.shape[0]):
        share = 1.0 / (e[j] + b)
        ahead = w[j] * (e[j] * share)
        total += ahead
        density += ahead * (b * share)
    return total, density


@_loops
def _normal(k: Any, w: Any, x: Any, rate: Any, want_value: Any) -> Any:
    total, density = 0.0, 0.0
    if want_value:
        for j in range(k.shape[0]):
            z = (k[j] - x) * rate
            size = abs(z) * math.sqrt(0.5)
            bell = vector_exp(-size * size)
            tail = bell * scaled_erfc(size)
            total += w[j] * (2.0 - tail if z > 0.0 else tail)
            density += w[j] * bell
    else:
        for j in range(k.shape[0]):
            z = (k[j] - x) * rate
            density += w[j] * vector_exp(-0.5 * z * z)
    return 0.5 * total, density * (1.0 / math.sqrt(2.0 * math.pi))


@_loops
def _cauchy(k: Any, w: Any, x: Any, rate: Any, want_value: Any) -> Any:
    total, angle, density = 0.0, 0.0, 0.0
    if want_value:
        for j in range(k.shape[0]):
            z = (k[j] - x) * rate
            size = min(abs(z), _FAR)
            top, bottom, base = folded(size)
            round_about = 1.0 + size * size
            share = 1.0 / (round_about * bottom)  # one division for both quotients
            turn = base + small_atan(top * (round_about * share))
            angle += w[j] * (-turn if z < 0.0 else turn)
            density += w[j] * (bottom * share)
            total += w[j]
    else:
        for j in range(k.shape[0]):
            z = (k[j] - x) * rate
            density += w[j] / (1.0 + z * z)
    return 0.5 * total + angle * (1.0 / math.pi), density * (1.0 / math.pi)


@lru_cache(64)
def steps(temperature: float) -> tuple[float, float]:
    """Return ``temperature log(2)`` in two parts; small whole multiples of the first are exact."""
    exact = Fraction(temperature) * Fraction(0xB17217F7D1CF79ABC9E3B398, 1 << 96)
    mantissa, exponent = math.frexp(float(exact))
    first = math.ldexp(math.floor(math.ldexp(mantissa, 40)), exponent - 40)
    return first, float(exact - Fraction(first))


@jit(forceinline=True)
def power(x: Any, origin: Any, rate: Any, step: Any, rest: Any) -> Any:
    """Return ``exp((x - origin) rate)`` to two units in the last place, up to 500 either way.

    Rounded first, an exponent of 300 would leave 3e-14 of the quotient of two powers open.
    """
    d = x - origin
    taken = x - d
    lost = (x - (d + taken)) + (taken - origin)
    shifted = d * rate * 1.4426950408889634 + MAGIC
    whole = shifted - MAGIC
    r = ((d - whole * step) - whole * rest) + lost
    return times_two_to(small_exp(r * rate), shifted)


@jit(forceinline=True)
def sums_at(
    x: Any, here: Any, place: Any, powers: Any, weight: Any, code: Any, rate: Any, want_value: Any
) -> Any:
    """Return ``sum_j w_j H(z_j)`` and ``sum_j w_j H'(z_j)`` for ``z = (place - x) rate``.

    For the logistic function ``here`` and ``powers`` are the :func:`power` of the query and of the
    keys, from one origin.
    """
    if code == LOGISTIC:
        return _logistic(powers, weight, here)
    if code == NORMAL:
        return _normal(place, weight, x, rate, want_value)
    return _cauchy(place, weight, x, rate, want_value)
