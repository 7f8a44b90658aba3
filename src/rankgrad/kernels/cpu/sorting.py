"""Stable argsort of the rows of a matrix by radix, several times faster than a comparison sort."""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic, overload
from torch import Tensor

from rankgrad.kernels.cpu.arrays import array
from rankgrad.kernels.cpu.jit import jit
from rankgrad.kernels.cpu.parallel import by_rows

__all__ = ["argsort", "argsort_into", "sort_row", "sort_rows"]

_SHORT_ROW = 4096  # below it 256 buckets win over 2,048, which take longer to clear than to use
_TINY_ROW = 36  # below it insertion wins


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    """Reinterpret the bits of a float as an unsigned integer of the same width."""
    target = types.uint64 if x == types.float64 else types.uint32

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(x), codegen


# A float's bits, read as an integer, order like the float once the sign is dealt with: negative
# numbers are complemented, positive ones get the top bit. x + 0 turns -0 into 0.


@jit()
def _ordered32(x: Any, descending: Any) -> Any:
    bits = np.uint32(0x7FC00000) if x != x else _bits(x + np.float32(0))
    flip = np.uint32(0xFFFFFFFF) if bits >> np.uint32(31) else np.uint32(0x80000000)
    key = np.uint32(bits ^ flip)
    return np.uint32(~key) if descending else key


@jit()
def _ordered64(x: Any, descending: Any) -> Any:
    bits = np.uint64(0x7FF8000000000000) if x != x else _bits(x + 0.0)
    flip = np.uint64(0xFFFFFFFFFFFFFFFF) if bits >> np.uint64(63) else np.uint64(1 << 63)
    key = np.uint64(bits ^ flip)
    return np.uint64(~key) if descending else key


@jit()
def _insertion32(x: Any, order: Any, descending: Any) -> None:
    n = x.shape[0]
    keys = np.empty(n, np.uint32)
    for i in range(n):
        key = _ordered32(x[i], descending)
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            order[j] = order[j - 1]
            j -= 1
        keys[j] = key
        order[j] = i


@jit()
def _radix32(x: Any, order: Any, descending: Any) -> None:
    """Sort one float32 row; key and position travel together in one 64-bit word."""
    n = x.shape[0]
    width = 8 if n < _SHORT_ROW else 11
    passes = (32 + width - 1) // width
    mask = np.uint64((1 << width) - 1)
    here = np.empty(n, np.uint64)
    there = np.empty(n, np.uint64)
    heads = np.zeros((passes, 1 << width), np.int64)
    for i in range(n):
        key = np.uint64(_ordered32(x[i], descending))
        here[i] = (key << np.uint64(32)) | np.uint64(i)
        for p in range(passes):
            heads[p, (key >> np.uint64(p * width)) & mask] += 1
    for p in range(passes):
        shift = np.uint64(32 + p * width)
        head = heads[p]
        if head[(here[0] >> shift) & mask] == n:
            continue  # every key has the same digit here
        total = 0
        for d in range(1 << width):
            count = head[d]
            head[d] = total
            total += count
        for i in range(n):
            word = here[i]
            d = (word >> shift) & mask
            there[head[d]] = word
            head[d] += 1
        here, there = there, here
    for i in range(n):
        order[i] = np.int64(here[i] & np.uint64(0xFFFFFFFF))


@jit()
def _radix64(x: Any, order: Any, descending: Any) -> None:
    """Sort one float64 row; keys and positions travel in two arrays."""
    n = x.shape[0]
    width = 8 if n < _SHORT_ROW else 11
    passes = (64 + width - 1) // width
    mask = np.uint64((1 << width) - 1)
    keys = np.empty(n, np.uint64)
    keys2 = np.empty(n, np.uint64)
    at = np.empty(n, np.int64)
    at2 = np.empty(n, np.int64)
    heads = np.zeros((passes, 1 << width), np.int64)
    for i in range(n):
        key = _ordered64(x[i], descending)
        keys[i] = key
        at[i] = i
        for p in range(passes):
            heads[p, (key >> np.uint64(p * width)) & mask] += 1
    for p in range(passes):
        shift = np.uint64(p * width)
        head = heads[p]
        if head[(keys[0] >> shift) & mask] == n:
            continue
        total = 0
        for d in range(1 << width):
            count = head[d]
            head[d] = total
            total += count
        for i in range(n):
            d = (keys[i] >> shift) & mask
            to = head[d]
            keys2[to] = keys[i]
            at2[to] = at[i]
            head[d] = to + 1
        keys, keys2 = keys2, keys
        at, at2 = at2, at
    order[:] = at


@jit()
def _even(x: Any, order: Any, descending: Any) -> Any:
    """Sort a short row whose values spread over their range; False where they do not.

    Sixteen bits say where in the range a value lies, and travel with its position in one 32-bit
    word: two passes and half the memory, where all bits of a float take four. The few that fall
    together are put right by insertion.
    """
    n = x.shape[0]
    low = high = x[0]
    broken = False
    for value in x:
        low = min(low, value)
        high = max(high, value)
        broken |= value != value
    rate = x.dtype.type(65535) / (high - low)
    if broken or not 0 < rate < np.inf:
        return False
    here = np.empty(n, np.uint32)
    there = np.empty(n, np.uint32)
    heads = np.zeros((2, 256), np.int32)
    flip = np.uint32(0xFFFF if descending else 0)
    for i in range(n):
        digits = np.uint32(np.int32((x[i] - low) * rate)) ^ flip
        here[i] = (digits << np.uint32(16)) | np.uint32(i)
        heads[0, digits & np.uint32(0xFF)] += 1
        heads[1, digits >> np.uint32(8)] += 1
    below = above = np.int32(0)
    pairs = 0
    for d in range(256):
        low_digit, high_digit = heads[0, d], heads[1, d]
        heads[0, d] = below
        heads[1, d] = above
        below += low_digit
        above += high_digit
        pairs += high_digit * high_digit
    if pairs > 64 * n:  # most of them in few places: too many would fall together
        return False
    for i in range(n):
        d = (here[i] >> np.uint32(16)) & np.uint32(0xFF)
        there[heads[0, d]] = here[i]
        heads[0, d] += 1
    for i in range(n):
        d = there[i] >> np.uint32(24)
        here[heads[1, d]] = there[i]
        heads[1, d] += 1
    moves = 0
    before = high if descending else low
    for i in range(n):
        at = np.int64(here[i] & np.uint32(0xFFFF))
        value = x[at]
        order[i] = at
        if not (before < value if descending else before > value):
            before = value
            continue
        j = i
        while j > 0 and (x[order[j - 1]] < value if descending else x[order[j - 1]] > value):
            order[j] = order[j - 1]
            j -= 1
        order[j] = at
        moves += i - j
        if moves > n:
            return False
    return True


def _sort(x: Any, order: Any, descending: Any) -> None:
    raise NotImplementedError("for compiled code, which chooses by dtype")


@overload(_sort)
def _(x: Any, order: Any, descending: Any) -> Any:
    def single(x: Any, order: Any, descending: Any) -> None:
        if x.shape[0] < _TINY_ROW:
            _insertion32(x, order, descending)
        elif x.shape[0] >= _SHORT_ROW or not _even(x, order, descending):
            _radix32(x, order, descending)

    def double(x: Any, order: Any, descending: Any) -> None:
        if x.shape[0] >= _SHORT_ROW or not _even(x, order, descending):
            _radix64(x, order, descending)

    return double if x.dtype == types.float64 else single


@jit()
def sort_row(x: Any, order: Any, descending: Any) -> None:
    """Write the stable argsort of one row into ``order`` (int64); for compiled code."""
    if x.shape[0] > 0:
        _sort(x, order, descending)


@jit()
def sort_rows(x: Any, order: Any, descending: Any, start: Any, stop: Any) -> None:
    """Write the stable argsort of the rows from ``start`` to ``stop`` into ``order`` (int64)."""
    for row in range(start, stop):
        sort_row(x[row], order[row], descending)


def argsort_into(x: Any, order: Any, descending: bool) -> None:
    """Write the stable argsort of each row of the numpy matrix ``x`` into ``order`` (int64)."""
    by_rows(sort_rows, x.shape, x, order, descending)


def argsort(x: Tensor, descending: bool) -> Tensor:
    """Return the stable argsort (int64) of each row of ``x`` [rows, n]; NaN counts as largest."""
    values = array(x)
    order = np.empty(values.shape, np.int64)
    argsort_into(values, order, descending)
    return torch.from_numpy(order)
