"""Smooth-AP and soft recall at k: relevant items against all items of their row, tile by tile.

The places of the relevant items are listed on the device, row by row, and how many there are is
read there: nobody waits for it. A program takes tiles of the list, or of the row for its gradient.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rankgrad.kernels.cuda.functions import distribution
from rankgrad.kernels.cuda.launch import ceil_div, launch, scalar

__all__ = ["soft_retrieval", "soft_retrieval_backward"]

_BLOCK = 1024  # codes looked through at once
_QUERIES = 16  # relevant items to a tile
_KEYS = 128  # items that they are compared with at once
_PROGRAMS = 2048  # with fewer rows than this a row is shared out


@triton.jit(do_not_specialize=["n"])
def _list_relevant(codes, at, counts, n, BLOCK: tl.constexpr):
    """Write the places of the relevant items of a row; how many they are, and all items."""
    row = tl.program_id(0).to(tl.int64)
    found = tl.zeros([1], tl.int64)
    items = tl.zeros([1], tl.int64)
    for start in range(0, n, BLOCK):
        j = start + tl.arange(0, BLOCK)
        code = tl.load(codes + row * n + j, mask=j < n, other=0)
        hit = (code == 2).to(tl.int64)
        tl.store(at + row * n + found + tl.cumsum(hit, axis=0) - 1, j, mask=code == 2)
        found += tl.sum(hit, axis=0)
        items += tl.sum((code != 0).to(tl.int64), axis=0)
    one = tl.arange(0, 1)
    tl.store(counts + 2 * row + one, found)
    tl.store(counts + 2 * row + 1 + one, items)


@triton.jit
def _pairs(key, x, rate):
    """Return how decisively each key is ahead of each of ``x``, and its derivative over rate."""
    gap = key[None, :] - x[:, None]
    gap = tl.where(key[None, :] == x[:, None], 0.0, gap)  # inf - inf is a tie
    h, d = distribution(gap * rate, "logistic")
    return h, d


@triton.jit
def _ranks_of(scores, codes, x, rate, begin, n, SLOPES: tl.constexpr, KEYS: tl.constexpr):
    """Return the rank of each of ``x``, that among the relevant, and the sums of derivatives."""
    rank = tl.zeros(x.shape, tl.float64) + 0.5  # the item itself counts one half, and shall one
    among = tl.zeros(x.shape, tl.float64) + 0.5
    steep = tl.zeros(x.shape, tl.float64)
    steep_among = tl.zeros(x.shape, tl.float64)
    for start in range(0, n, KEYS):
        j = start + tl.arange(0, KEYS)
        key = tl.load(scores + begin + j, mask=j < n, other=0.0)
        code = tl.load(codes + begin + j, mask=j < n, other=0)
        h, d = _pairs(key, x, rate)
        h = tl.where((code != 0)[None, :], h, 0.0)
        relevant = (code == 2)[None, :]
        rank += tl.sum(h, axis=1).to(tl.float64)
        among += tl.sum(tl.where(relevant, h, 0.0), axis=1).to(tl.float64)
        if SLOPES:
            d = tl.where((code != 0)[None, :], d, 0.0)
            steep += tl.sum(d, axis=1).to(tl.float64)
            steep_among += tl.sum(tl.where(relevant, d, 0.0), axis=1).to(tl.float64)
    return rank, among, steep, steep_among


@triton.jit
def _criterion(rank, among, relevant, items, cuts, n_cuts, RECALL: tl.constexpr):
    """Return what each relevant item adds, and its derivatives by its two ranks."""
    if RECALL:
        value = tl.zeros(rank.shape, tl.float64)
        by_rank = tl.zeros(rank.shape, tl.float64)
        by_among = tl.zeros(rank.shape, tl.float64)
        for c in range(n_cuts):
            cut = tl.minimum(tl.load(cuts + c), items)
            width = tl.load(cuts + n_cuts + c)
            hit, density = distribution((cut - rank) / width, "logistic")
            whole = n_cuts * tl.minimum(relevant, cut)
            value += hit / whole
            by_rank -= density / (width * whole)
    else:
        by_among = 1.0 / (rank * relevant)
        value = among * by_among
        by_rank = -value / rank
    return value, by_rank, by_among


@triton.jit(do_not_specialize=["n", "shares", "n_cuts"])
def _relevant_tiles(
    scores, codes, at, counts, rate, cuts, grad, value, by_rank, by_among, out,
    n, shares, n_cuts,
    RECALL: tl.constexpr, BACKWARD: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Add up the values of relevant items; or write the weights of their pairs and their pull."""
    program = tl.program_id(0).to(tl.int64)
    share = program % shares
    row = program // shares
    many = tl.load(counts + 2 * row)
    relevant = many.to(tl.float64)
    items = tl.load(counts + 2 * row + 1).to(tl.float64)
    speed = tl.load(rate)
    total = tl.zeros([QUERIES], tl.float64)
    for start in range(share * QUERIES, many, shares * QUERIES):
        p = start + tl.arange(0, QUERIES)
        live = p < many
        i = tl.load(at + row * n + p, mask=live, other=0)
        x = tl.load(scores + row * n + i, mask=live, other=0.0)
        rank, among, steep, steep_among = _ranks_of(
            scores, codes, x, speed.to(x.dtype), row * n, n, BACKWARD, KEYS
        )
        add, ranked, amid = _criterion(rank, among, relevant, items, cuts, n_cuts, RECALL)
        total += tl.where(live, add, 0.0)
        if BACKWARD:
            pull = speed * tl.load(grad + row).to(tl.float64)
            tl.store(by_rank + row * n + p, ranked * pull, mask=live)
            tl.store(by_among + row * n + p, amid * pull, mask=live)
            tl.store(out + row * n + i, -(ranked * steep + amid * steep_among) * pull, mask=live)
    if BACKWARD == 0:
        tl.store(value + program, tl.sum(total, axis=0))


@triton.jit(do_not_specialize=["n", "tiles"])
def _pull_at_items(
    scores, codes, at, counts, rate, by_rank, by_among, out, n, tiles,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of a tile of items what the relevant ones pull at them."""
    program = tl.program_id(0).to(tl.int64)
    row = program // tiles
    j = (program % tiles) * KEYS + tl.arange(0, KEYS)
    inside = j < n
    key = tl.load(scores + row * n + j, mask=inside, other=0.0)
    code = tl.load(codes + row * n + j, mask=inside, other=0)
    many = tl.load(counts + 2 * row)
    speed = tl.load(rate).to(key.dtype)
    total = tl.load(out + row * n + j, mask=code == 2, other=0.0).to(tl.float64)
    for start in range(0, many, QUERIES):
        p = start + tl.arange(0, QUERIES)
        live = p < many
        i = tl.load(at + row * n + p, mask=live, other=0)
        x = tl.load(scores + row * n + i, mask=live, other=0.0)
        ranked = tl.load(by_rank + row * n + p, mask=live, other=0.0)
        amid = tl.load(by_among + row * n + p, mask=live, other=0.0)
        _, d = _pairs(key, x, speed)
        weight = ranked[:, None] + tl.where((code == 2)[None, :], amid[:, None], 0.0)
        pull = tl.where(live[:, None] & (code != 0)[None, :], d * weight, 0.0)
        total += tl.sum(pull, axis=0).to(tl.float64)
    tl.store(out + row * n + j, total.to(key.dtype), mask=inside)


def _run(
    grad: Tensor | None,
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
) -> Tensor:
    rows, n = scores.shape
    scores, codes = scores.detach().contiguous(), codes.contiguous()
    at = torch.empty((rows, n), dtype=torch.int32, device=scores.device)
    counts = torch.empty((rows, 2), dtype=torch.int64, device=scores.device)
    launch(_list_relevant, rows, codes, at, counts, n, BLOCK=_BLOCK)
    shares = max(1, min(ceil_div(n, _QUERIES), _PROGRAMS // max(rows, 1)))
    rate = scalar(1.0 / temperature, scores)
    cuts = torch.cat([scalar(c, scores) for c in (*ks, *widths)]) if ks else rate
    value = by_rank = by_among = out = None
    if grad is None:
        value = scores.new_empty((rows, shares), dtype=torch.float64)
    else:
        by_rank, by_among, out = (torch.empty_like(scores) for _ in range(3))
        grad = grad.contiguous()
    launch(
        _relevant_tiles,
        rows * shares,
        scores,
        codes,
        at,
        counts,
        rate,
        cuts,
        grad,
        value,
        by_rank,
        by_among,
        out,
        n,
        shares,
        len(ks),
        RECALL=bool(ks),
        BACKWARD=grad is not None,
        QUERIES=_QUERIES,
        KEYS=_KEYS,
    )
    if value is not None:
        return value.sum(1).to(scores.dtype)
    assert out is not None
    tiles = ceil_div(n, _KEYS)
    launch(
        _pull_at_items, rows * tiles, scores, codes, at, counts, rate, by_rank, by_among, out,
        n, tiles, QUERIES=_QUERIES, KEYS=_KEYS,
    )  # fmt: skip
    return out


def soft_retrieval(
    scores: Tensor, codes: Tensor, temperature: float, ks: list[int], widths: list[float]
) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.retrieval`."""
    return _run(None, scores, codes, temperature, ks, widths)


def soft_retrieval_backward(
    grad: Tensor,
    scores: Tensor,
    codes: Tensor,
    temperature: float,
    ks: list[int],
    widths: list[float],
) -> Tensor:
    """As the function of this name in :mod:`rankgrad.kernels.reference.retrieval`."""
    return _run(grad, scores, codes, temperature, ks, widths)
