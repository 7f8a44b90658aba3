"""Smooth-AP and soft recall at k: one division a pair, nothing larger than a row.

``logistic((s_j - s_i) / t) = e_j / (e_j + e_i)`` with ``e = exp(s / t)``: the exponentials are
taken once an item, and a pair costs a division that the compiler turns into vector code. A row
whose scores lie too far apart for these exponentials goes pair by pair.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import pieces, run

__all__ = ["soft_retrieval", "soft_retrieval_backward"]

_FAR = 40.0  # temperatures beyond which a pair counts 0 or 1 to the last digit
_BLOCK = 1024  # items summed in the working dtype before float64 takes over
# 2 ** x = 1 + x (c0 + x (c1 + ...)) for |x| <= 1/2, to 1e-10.
_EXP2 = tuple(float(np.log(2.0) ** i / np.prod(np.arange(1.0, i + 1))) for i in range(1, 10))

_fast = jit(fastmath={"reassoc", "contract", "nsz"})


@_fast
def _exponentials32(s: Any, codes: Any, middle: Any, rate: Any, e: Any) -> None:
    """Write ``exp((s - middle) * rate)`` for exponents within +-80; 0 for items left out."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8 = _EXP2
    power = np.empty(s.shape[0], np.int32)
    for j in range(s.shape[0]):
        x = (np.float64(s[j]) - middle) * (rate * 1.4426950408889634)
        whole = np.floor(x + 0.5)
        x -= whole
        p = c4 + x * (c5 + x * (c6 + x * (c7 + x * c8)))
        p = 1.0 + x * (c0 + x * (c1 + x * (c2 + x * (c3 + x * p))))
        inside = codes[j] != 0
        e[j] = np.float32(p if inside else 0.0)
        power[j] = (np.int32(whole if inside else 0.0) + np.int32(127)) << np.int32(23)
    scale = power.view(np.float32)  # 2 ** whole, by its bits
    for j in range(s.shape[0]):
        e[j] *= scale[j]


@jit()
def _exponentials64(s: Any, codes: Any, middle: Any, rate: Any, e: Any) -> None:
    for j in range(s.shape[0]):
        e[j] = np.exp((s[j] - middle) * rate) if codes[j] != 0 else 0.0


@_fast
def _sum(e: Any, at: Any, r: Any) -> Any:
    """Write ``1 / (e_j + at)`` into ``r``; return the sum of ``e_j / (e_j + at)``."""
    total = 0.0
    one = e.dtype.type(1)
    for start in range(0, e.shape[0], _BLOCK):
        part = e.dtype.type(0)
        ahead, inverse = e[start : start + _BLOCK], r[start : start + _BLOCK]
        for j in range(ahead.shape[0]):
            inverse[j] = one / (ahead[j] + at)
            part += ahead[j] * inverse[j]
        total += part
    return total


@jit(fastmath={"contract"})
def _slopes(e: Any, at: Any, r: Any, weight: Any, grad: Any) -> None:
    """Turn ``r`` into ``h (1 - h)``, and add ``weight`` times that to ``grad``."""
    for j in range(e.shape[0]):
        # In this order: the square of r may leave the range.
        r[j] = (e[j] * r[j]) * (at * r[j])
        grad[j] += weight * r[j]


@_fast
def _total(x: Any) -> Any:
    total = 0.0
    for start in range(0, x.shape[0], _BLOCK):
        part = x.dtype.type(0)
        block = x[start : start + _BLOCK]
        for j in range(block.shape[0]):
            part += block[j]
        total += part
    return total


@jit()
def _ahead(s: Any, j: Any, i: Any, rate: Any) -> Any:
    """Return ``logistic((s_j - s_i) rate)`` for any two scores; equal infinities are tied."""
    if s[j] == s[i]:
        return 0.5
    z = (np.float64(s[j]) - np.float64(s[i])) * rate
    if z > _FAR:
        return 1.0
    if z < -_FAR:
        return 0.0
    return 1.0 / (1.0 + np.exp(-z))


@jit()
def _criterion(rank: Any, among: Any, relevant: Any, items: Any, ks: Any, widths: Any) -> Any:
    """Return what a relevant item adds, and its derivatives by its two ranks."""
    if ks.shape[0] == 0:
        value = among / rank / relevant
        return value, -value / rank, 1.0 / (rank * relevant)
    value, slope = 0.0, 0.0
    for a in range(ks.shape[0]):
        cut = min(ks[a], items)
        hit = 1.0 / (1.0 + np.exp((rank - cut) / widths[a]))
        scale = 1.0 / (ks.shape[0] * min(relevant, cut))
        value += scale * hit
        slope -= scale * hit * (1.0 - hit) / widths[a]
    return value, slope, 0.0


@jit()
def _narrow_row(
    e: Any, places: Any, items: Any, ks: Any, widths: Any, r: Any, backward: Any, grad: Any
) -> Any:
    """Return the value of a row from its exponentials; backward, add its gradient to ``grad``."""
    total = 0.0
    for i in places:
        rank = _sum(e, e[i], r) + 0.5
        among = 0.5
        for j in places:
            among += e[j] * r[j]
        value, by_rank, by_among = _criterion(rank, among, len(places), items, ks, widths)
        total += value
        if backward:
            _slopes(e, e[i], r, e.dtype.type(by_rank), grad)
            back = by_rank * _total(r)
            if by_among != 0.0:
                for j in places:
                    slope = by_among * r[j]
                    grad[j] += slope
                    back += slope
            grad[i] -= back
    return total


@jit()
def _wide_row(
    s: Any, codes: Any, places: Any, rate: Any, items: Any, ks: Any, widths: Any,
    backward: Any, grad: Any,
) -> Any:  # fmt: skip
    """As :func:`_narrow_row`, from the scores, pair by pair."""
    total = 0.0
    for i in places:
        rank, among = 0.5, 0.5
        for j in range(s.shape[0]):
            if codes[j] != 0:
                h = _ahead(s, j, i, rate)
                rank += h
                if codes[j] == 2:
                    among += h
        value, by_rank, by_among = _criterion(rank, among, len(places), items, ks, widths)
        total += value
        if backward:
            for j in range(s.shape[0]):
                if codes[j] != 0:
                    h = _ahead(s, j, i, rate)
                    slope = h * (1.0 - h) * (by_rank + (by_among if codes[j] == 2 else 0.0))
                    grad[j] += slope
                    grad[i] -= slope
    return total


@jit()
def _rows(
    s: Any, codes: Any, rate: Any, ks: Any, widths: Any, weights: Any, backward: Any,
    out: Any, grad: Any, start: Any, stop: Any,
) -> None:  # fmt: skip
    """Write the value of each row into ``out``; backward, also the gradient of its weighted sum."""
    n = s.shape[1]
    places = np.empty(n, np.int64)
    e, r = np.empty(n, s.dtype), np.empty(n, s.dtype)
    limit = 80.0 if s.itemsize == 4 else 700.0
    for row in range(start, stop):
        relevant, items = 0, 0
        low, high = np.inf, -np.inf
        broken = False
        for j in range(n):
            if codes[row, j] != 0:
                items += 1
                x = np.float64(s[row, j])
                broken |= x != x
                low, high = min(low, x), max(high, x)
                if codes[row, j] == 2:
                    places[relevant] = j
                    relevant += 1
        back = grad[row if backward else 0]
        if relevant == 0:
            continue  # both are zero as they came
        if broken:
            out[row] = np.nan
            back[:] = np.nan
            continue
        if (high - low) * 0.5 * rate <= limit:
            middle = low + 0.5 * (high - low)
            if s.itemsize == 4:
                _exponentials32(s[row], codes[row], middle, rate, e)
            else:
                _exponentials64(s[row], codes[row], middle, rate, e)
            out[row] = _narrow_row(e, places[:relevant], items, ks, widths, r, backward, back)
        else:
            out[row] = _wide_row(
                s[row], codes[row], places[:relevant], rate, items, ks, widths, backward, back
            )
        if backward:
            factor = weights[row] * rate
            for j in range(n):
                back[j] *= factor


def _serve(
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
    weights: Tensor | None,
) -> Tensor:
    backward = weights is not None
    s, flags = array(scores), array(codes)
    cuts, scales = np.array(ks, np.float64), np.array(widths, np.float64)
    factors = np.empty(0, s.dtype) if weights is None else array(weights)
    out = np.zeros(s.shape[0], s.dtype)
    grad = np.zeros(s.shape if backward else (1, 0), s.dtype)
    call = partial(_rows, s, flags, 1.0 / temperature, cuts, scales, factors, backward, out, grad)
    run([partial(call, a, b) for a, b in pieces(s.shape[0], 4)])
    return torch.from_numpy(grad if backward else out)


def soft_retrieval(
    scores: Tensor, codes: Tensor, temperature: float, ks: list[int], widths: list[float]
) -> Tensor:
    """Return the soft average precision or recall of each row; see the reference."""
    return _serve(scores, codes, temperature, ks, widths, None)


def soft_retrieval_backward(
    grad: Tensor,
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
) -> Tensor:
    """Return the gradient for the scores; see the reference."""
    return _serve(scores, codes, temperature, ks, widths, grad)
