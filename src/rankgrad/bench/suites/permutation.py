"""NeuralSort, SoftSort and Sinkhorn: against their n x n formulas, softtorch and difftopk.

All get float32. At a temperature of 0.01 that costs the NeuralSort formula digits, where the
logits are in the thousands and more; ours sums in float64.
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
from rankgrad.rankers import NeuralSort, Sinkhorn, SoftSort

__all__ = ["rows"]

_SHAPES = [(8, 50), (32, 100), (256, 100), (16, 1000)]
_MATRICES = [(1, 100), (8, 50), (256, 100)]
_TEMPERATURES = [0.01, 1.0]


def neuralsort_matrix(scores: Tensor, temperature: float) -> Tensor:
    """The matrix by its formula."""
    n = scores.shape[-1]
    place = torch.arange(1, n + 1, dtype=scores.dtype)
    spread = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).abs().sum(-1)
    logits = (n + 1 - 2 * place).unsqueeze(-1) * scores.unsqueeze(-2) - spread.unsqueeze(-2)
    return (logits / temperature).softmax(-1)


def dense_neuralsort(scores: Tensor, temperature: float) -> Tensor:
    """The ranks by the whole matrix."""
    matrix = neuralsort_matrix(scores, temperature)
    place = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)
    return (place @ matrix) / matrix.sum(-2)


def softsort_matrix(scores: Tensor, temperature: float) -> Tensor:
    """The matrix by its formula."""
    ordered = scores.sort(dim=-1, descending=True).values
    gaps = (ordered.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
    return (-gaps / temperature).softmax(-1)


def dense_softsort(scores: Tensor, temperature: float) -> Tensor:
    """The ranks by the whole matrix."""
    place = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)
    ordered = scores.sort(dim=-1, descending=True).values
    gaps = (ordered.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
    return place @ (-gaps / temperature).softmax(-2)


Formula = Callable[[Tensor, float], Tensor]
_RANKERS: dict[str, tuple[type, Formula, Formula]] = {
    "NeuralSort": (NeuralSort, dense_neuralsort, neuralsort_matrix),
    "SoftSort": (SoftSort, dense_softsort, softsort_matrix),
}


def _ranks(
    bench: Bench, name: str, batch: int, n: int, temperature: float, grows: bool
) -> Iterator[Row]:
    scores = normal(batch, n)
    make, formula, _ = _RANKERS[name]
    needs = 32.0 * batch * n * n
    by_matrix = both_ways(lambda x: formula(x, temperature), scores)
    others = {"the n x n formula": Other(by_matrix, needs=needs)}
    # softtorch softens the absolute values inside NeuralSort too: another operator.
    if (softtorch := peers.load("softtorch")) and name == "SoftSort":
        theirs = partial(
            softtorch.rank, dim=-1, softness=temperature, method="softsort", standardize=False
        )
        others["softtorch"] = Other(both_ways(theirs, scores), needs=needs)
    others |= yardsticks(scores)
    series = f"{name}({temperature}) ranks, one row"
    yield from bench.contest(
        f"{name}({temperature}) ranks, {batch} x {n:,}", both_ways(make(temperature), scores),
        others, size=scores.numel(), series=series if grows else None, seconds=1.0,
    )  # fmt: skip


def _matrices(bench: Bench, name: str, batch: int, n: int, temperature: float) -> Iterator[Row]:
    scores = normal(batch, n)
    make, _, formula = _RANKERS[name]
    others = {"the n x n formula": Other(both_ways(lambda x: formula(x, temperature), scores))}
    if difftopk := peers.load("difftopk"):
        theirs = getattr(difftopk, name)(temperature)
        # Its NeuralSort has places in columns, smallest first.
        turned = theirs if name == "SoftSort" else lambda x: theirs(x).transpose(-1, -2).flip(-2)
        others["difftopk"] = Other(both_ways(turned, scores))
    yield from bench.contest(
        f"{name}({temperature}) matrix, {batch} x {n:,}",
        both_ways(make(temperature).permutation, scores), others, size=scores.numel(), seconds=1.0,
    )  # fmt: skip


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    shapes = [(4, 20)] if bench.quick else _SHAPES
    for temperature in _TEMPERATURES:
        for name in _RANKERS:
            for n in [50, 200] if bench.quick else [10, 100, 1_000, 10_000, 100_000]:
                yield from _ranks(bench, name, 1, n, temperature, grows=True)
            for batch, n in shapes:
                yield from _ranks(bench, name, batch, n, temperature, grows=False)
            for batch, n in shapes if bench.quick else _MATRICES:
                yield from _matrices(bench, name, batch, n, temperature)
        batch, n = shapes[0] if bench.quick else (256, 100)
        scores = normal(batch, n)
        yield from bench.contest(
            f"Sinkhorn({temperature}) ranks, {batch} x {n}",
            both_ways(Sinkhorn(temperature), scores), yardsticks(scores), size=scores.numel(),
        )  # fmt: skip
