"""NeuralNDCG: against its formula in PyTorch, in vectors and in matrices.

In vectors: two products of the matrix and a vector a step. In matrices: columns and then rows are
divided by their sums, as the paper writes it, and all of them are kept for backward. All build the
matrix of NeuralSort themselves.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.suites.permutation import neuralsort_matrix
from rankgrad.bench.work import both_ways, normal
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.losses import neural_ndcg_loss
from rankgrad.rankers import NeuralSort

__all__ = ["rows"]

_STEPS = 50
_SMALL = 1e-10
_SHAPES = [(1, 10), (1, 100), (32, 100), (256, 50), (2, 1000)]
_LARGE = 2, 1000
Scaled = Callable[[Tensor, Tensor], Tensor]


def by_vectors(matrix: Tensor, values: Tensor) -> Tensor:
    """Return the scaled matrix times the values, by the factors of its columns and rows."""
    u = torch.ones_like(values)
    for _ in range(_STEPS):
        v = 1 / (matrix.mT @ u.unsqueeze(-1)).squeeze(-1).clamp(min=_SMALL)
        u = 1 / (matrix @ v.unsqueeze(-1)).squeeze(-1).clamp(min=_SMALL)
    return u * (matrix @ (v * values).unsqueeze(-1)).squeeze(-1)


def by_matrices(matrix: Tensor, values: Tensor) -> Tensor:
    """Return the same, by scaling the matrix again and again."""
    for _ in range(_STEPS):
        matrix = matrix / matrix.sum(-2, keepdim=True).clamp(min=_SMALL)
        matrix = matrix / matrix.sum(-1, keepdim=True).clamp(min=_SMALL)
    return (matrix @ values.unsqueeze(-1)).squeeze(-1)


def formula(scores: Tensor, relevance: Tensor, scaled: Scaled) -> Tensor:
    """One minus the NDCG of softly sorted gains; every list has something relevant."""
    gains = 2.0**relevance - 1
    discounts = 1 / torch.arange(2, scores.shape[-1] + 2, dtype=scores.dtype).log2()
    best = (gains.sort(dim=-1, descending=True).values * discounts).sum(-1)
    in_order = scaled(neuralsort_matrix(scores, 1.0), gains)
    return (1 - (in_order * discounts).sum(-1) / best).mean()


def data(batch: int, n: int) -> tuple[Tensor, Tensor]:
    """Scores, and grades from 0 to 4, the first of each list a 1 or more."""
    generator = torch.Generator().manual_seed(1)
    relevance = torch.randint(5, (batch, n), generator=generator)
    relevance[:, 0] = relevance[:, 0].clamp(min=1)
    return normal(batch, n), relevance


def _prepared(function: Callable[[Tensor, Tensor], Tensor], small: bool) -> Callable[[], object]:
    scores, relevance = data(2, 20) if small else data(*_LARGE)
    return both_ways(lambda x: function(x, relevance), scores)


def ours_step(small: bool) -> Callable[[], object]:
    """Return the loss and its gradient."""
    return _prepared(neural_ndcg_loss, small)


def vectors_step(small: bool) -> Callable[[], object]:
    """Return those of the formula in vectors."""
    return _prepared(partial(formula, scaled=by_vectors), small)


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    for batch, n in [(1, 10), (4, 20)] if bench.quick else _SHAPES:
        scores, relevance = data(batch, n)

        def loss(x: Tensor, y: Tensor = relevance) -> Tensor:
            return neural_ndcg_loss(x, y)

        def in_vectors(x: Tensor, y: Tensor = relevance) -> Tensor:
            return formula(x, y, by_vectors)

        def in_matrices(x: Tensor, y: Tensor = relevance) -> Tensor:
            return formula(x, y, by_matrices)

        others = {
            "the formula, in vectors": Other(both_ways(in_vectors, scores)),
            "the formula, in matrices": Other(
                both_ways(in_matrices, scores), needs=4.0 * (4 * _STEPS + 8) * batch * n * n
            ),
            "NeuralSort's matrix alone": Other(
                both_ways(NeuralSort().permutation, scores), alike=False
            ),
            **yardsticks(scores),
        }
        yield from bench.contest(
            f"NeuralNDCG, {batch} x {n:,}, {_STEPS} steps", both_ways(loss, scores), others,
            size=batch * n * n,
        )  # fmt: skip
    batch, n = _LARGE
    home, work = "rankgrad.bench.suites.neural_ndcg", f"NeuralNDCG, {batch} x {n:,}"
    matrix = 4.0 * batch * n * n
    yield from bench.memory(work, "permutation matrices", f"{home}:ours_step", matrix)
    yield from bench.memory(
        work, "the formula, in vectors", f"{home}:ours_step", f"{home}:vectors_step"
    )
