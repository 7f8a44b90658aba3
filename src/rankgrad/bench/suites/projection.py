"""Soft ranks and soft sorting by projection, against torchsort, fast-soft-sort and softtorch.

torchsort has no wheel for every torch. To build its CPU extension from the source package, with a
C++ compiler and without nvcc on the PATH (where it finds one it compiles CUDA kernels too):
``pip install --no-build-isolation torchsort``. fast-soft-sort is on no package index; it works from
a checkout. Both tell the blocks of the backward step by equal values: equal scores are one block to
them, and so are, in float32, blocks whose values have rounded to the same. There gradients differ;
ours in float32 are those in float64, as torchsort's are for ranks. The gradient of
fast-soft-sort's entropic soft sort is not the true one at any size.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rankgrad.bench import peers
from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import both_ways, normal
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.rankers import Projection

__all__ = ["rows"]

_SMALL = (8, 50)  # here the peers are exact
_SHAPES = [(1024, 100), (128, 1000), (64, 10_000), (1, 1_000_000)]
_OTHER_KINDS = [("kl", "rank"), ("l2", "sort"), ("kl", "sort")]
_TO_TORCHSORT, _TO_SORT = 1.0, 2.0

Function = Callable[[Tensor], Tensor]


def _peers(regularization: str, what: str) -> dict[str, Function]:
    """Return the peers' functions with our convention: rank 1 = largest, largest first."""
    found: dict[str, Function] = {}
    if torchsort := peers.load("torchsort"):
        theirs = getattr(torchsort, f"soft_{what}")
        sign = 1.0 if what == "rank" else -1.0
        found["torchsort"] = lambda x: sign * theirs(-x, regularization)
    if fast_soft_sort := peers.load("fast-soft-sort"):
        found["fast-soft-sort"] = partial(
            getattr(fast_soft_sort, f"soft_{what}"),
            direction="DESCENDING",
            regularization=regularization,
        )
    # Its entropic ranks are of another scale than the paper's.
    if (softtorch := peers.load("softtorch")) and regularization == "l2":
        found["softtorch"] = partial(_softtorch, softtorch, what)
    return found


def _softtorch(softtorch: object, what: str, x: Tensor) -> Tensor:
    """Return the same as ours at strength 1; it measures softness in shares of the length."""
    options = {"dim": -1, "mode": "c0", "method": "fast_soft_sort", "standardize": False}
    gaps, function = x.shape[-1] - 1, getattr(softtorch, what)
    if what == "rank":
        ranks: Tensor = function(x, softness=gaps, **options)
        return ranks
    options |= {"descending": True, "return_indices": False}
    values: Tensor = function(x, softness=1 / gaps, **options).values
    return values


def minimax(scores: Tensor) -> Tensor:
    """The l2 ranks of a row by the minimax formula of isotonic regression, n x n means."""
    ordered, order = scores.sort(dim=-1, descending=True)
    n = scores.shape[-1]
    place = torch.arange(1, n + 1, dtype=scores.dtype)
    sums = torch.nn.functional.pad((place + ordered).cumsum(-1), (1, 0))
    length = (place[None, :] - place[:, None] + 1).clamp(min=1)
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / length  # of the places j..k
    highest = means.flip(-1).cummax(-1).values.flip(-1)  # over k from i on
    upper = torch.ones(n, n, dtype=torch.bool).triu()
    fit = torch.where(upper, highest, torch.inf).amin(-2)
    return torch.empty_like(fit).scatter(-1, order, fit - ordered)


def _contest(
    bench: Bench, shape: tuple[int, int], regularization: str, what: str, grows: bool
) -> Iterator[Row]:
    scores, ranker = normal(*shape), Projection(regularization)
    ours = both_ways(ranker if what == "rank" else ranker.sort, scores)
    in_table = shape in _SHAPES and not grows and (regularization, what) == ("l2", "rank")
    others = {}
    for name, function in _peers(regularization, what).items():
        limit = _TO_TORCHSORT if in_table and name == "torchsort" else None
        others[name] = Other(both_ways(function, scores), limit=limit)
    if grows:
        n = shape[-1]
        others["the minimax formula"] = Other(both_ways(minimax, scores), needs=32.0 * n * n)
    others |= yardsticks(scores, _TO_SORT if in_table else None)
    series = f"Projection {what}, {regularization}, one row"
    yield from bench.contest(
        f"Projection {what}, {regularization}, {shape[0]} x {shape[1]:,}", ours, others,
        size=scores.numel(), series=series if grows else None, seconds=2.0 if in_table else 1.0,
    )  # fmt: skip


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    for n in [100, 1_000] if bench.quick else [1_000, 10_000, 100_000, 1_000_000]:
        yield from _contest(bench, (1, n), "l2", "rank", grows=True)
    shapes = [] if bench.quick else _SHAPES
    for shape in [_SMALL, *shapes]:
        yield from _contest(bench, shape, "l2", "rank", grows=False)
    for regularization, what in _OTHER_KINDS:
        for shape in [_SMALL, *shapes[1:3]]:
            yield from _contest(bench, shape, regularization, what, grows=False)
