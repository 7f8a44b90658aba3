"""Binary search inside kernels, and what a query needs before it can read running sums."""

import triton
import triton.language as tl

__all__ = ["first_ahead", "first_beyond", "query"]


@triton.jit
def first_beyond(keys, begin, end, x, through, steps):
    """Return the first place in ``begin .. end`` whose key exceeds ``x``, or reaches it.

    Where ``through`` is set, keys equal to ``x`` are passed. The keys ascend, NaN last; ``steps``
    is what :func:`.launch.search_steps` says for the longest range.
    """
    for step in range(steps):
        looks = begin < end
        middle = (begin + end) // 2
        key = tl.load(keys + middle, mask=looks, other=0.0)
        passed = looks & ((key < x) | (through & (key == x)))
        end = tl.where(looks & (passed == 0), middle, end)
        begin = tl.where(passed, middle + 1, begin)
    return begin


@triton.jit
def first_ahead(keys, begin, end, x, reach, steps, PASS_EQUAL: tl.constexpr):
    """Return the first place whose key is ahead of ``x`` by ``reach`` or more.

    With ``PASS_EQUAL``, by more than ``reach``. It looks at differences, because ``x + reach``
    rounds to ``x`` where scores are huge; equal infinities differ by 0.
    """
    for step in range(steps):
        looks = begin < end
        middle = (begin + end) // 2
        key = tl.load(keys + middle, mask=looks, other=0.0).to(tl.float64)
        gap = tl.where(key == x, 0.0, key - x)
        if PASS_EQUAL:
            passed = looks & (gap <= reach)
        else:
            passed = looks & (gap < reach)
        end = tl.where(looks & (passed == 0), middle, end)
        begin = tl.where(passed, middle + 1, begin)
    return begin


@triton.jit
def query(i, live, q, q_order, keys, low, high, n_q, n_k):
    """Return the queries ``i`` and their row, where results go, their keys, and what is broken.

    ``i`` counts through the queries of all rows in ascending order, so that neighbours look at the
    same keys. ``low`` and ``high`` say where the keys of each query's segment start and end, or
    are None. NaN makes a query broken, or one among its keys.
    """
    row = i // n_q
    to = row * n_q + tl.load(q_order + i, mask=live, other=0)
    x = tl.load(q + to, mask=live, other=0.0)
    begin = row * n_k
    end = begin + n_k
    if low is not None:
        end = begin + tl.load(high + i, mask=live, other=0)
        begin = begin + tl.load(low + i, mask=live, other=0)
    begin = tl.where(live, begin, 0)
    end = tl.where(live, end, 0)
    last = tl.load(keys + end - 1, mask=live & (end > begin), other=0.0)
    return to, x, row, begin, end, (x != x) | (last != last)
