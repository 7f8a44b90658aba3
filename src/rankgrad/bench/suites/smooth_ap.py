"""Smooth-AP on an n x n score matrix: against the textbook form, and pytorch-metric-learning.

The textbook form evaluates the logistic function of all differences between the relevant items of
a row and its items, for some rows at a time, and lets autograd go back through it. Memory is
counted from the embeddings on, so that the score matrix is part of it.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rankgrad.bench import peers
from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import Outcome, both_ways
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.losses import SmoothAPLoss, smooth_ap_loss

__all__ = ["rows"]

_TEMPERATURE = 0.01
_FEATURES = 128
_CHUNK = 64  # rows of the textbook form at a time
_N, _POSITIVES = 4096, 16


def data(n: int, positives: int) -> tuple[Tensor, Tensor]:
    """Embeddings and labels, so many of each label, one after the other."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) // positives
    centres = torch.randn(int(labels[-1]) + 1, _FEATURES, generator=generator)
    noise = torch.randn(n, _FEATURES, generator=generator)
    return torch.nn.functional.normalize(centres[labels] + 2 * noise), labels


def textbook(scores: Tensor, labels: Tensor) -> Outcome:
    """Loss and gradient of the whole matrix, chunk by chunk."""
    n, total = len(labels), scores.new_zeros(())
    leaf = scores.detach().requires_grad_()
    for start in range(0, n, _CHUNK):
        of = leaf[start : start + _CHUNK]
        relevant = labels[start : start + _CHUNK, None] == labels[None, :]
        count = relevant.sum(1)
        places = relevant.float().topk(int(count.max())).indices
        present = relevant.gather(1, places)
        queries = of.gather(1, places)
        ahead = torch.sigmoid((of[:, None, :] - queries[:, :, None]) / _TEMPERATURE)
        ranks = ahead.sum(-1) + 0.5
        among = (ahead * relevant[:, None, :]).sum(-1) + 0.5
        precision = ((among / ranks) * present).sum(1) / count
        loss = (1 - precision).sum() / n
        loss.backward()
        total += loss.detach()
    assert leaf.grad is not None
    return Outcome([total], [leaf.grad])


def _ours(scores: Tensor, labels: Tensor) -> Callable[[], Outcome]:
    relevant = labels[:, None] == labels[None, :]
    return both_ways(lambda x: smooth_ap_loss(x, relevant, temperature=_TEMPERATURE), scores)


def ours_step(small: bool) -> Callable[[], Outcome]:
    """Return the score matrix, its loss and its gradient."""
    embeddings, labels = data(64, 4) if small else data(_N, _POSITIVES)
    return lambda: _ours(embeddings @ embeddings.T, labels)()


def embeddings_step(small: bool) -> Callable[[], Outcome]:
    """Return the loss of embeddings and its gradient."""
    embeddings, labels = data(64, 4) if small else data(_N, _POSITIVES)
    loss = SmoothAPLoss(_TEMPERATURE)
    return both_ways(lambda x: loss(x, labels), embeddings)


def textbook_step(small: bool) -> Callable[[], Outcome]:
    """Return the textbook's."""
    embeddings, labels = data(64, 4) if small else data(_N, _POSITIVES)
    return lambda: textbook(embeddings @ embeddings.T, labels)


def _matrices(bench: Bench) -> Iterator[Row]:
    series = f"Smooth-AP of a score matrix, {_POSITIVES} positives a row"
    for n in [32, 64] if bench.quick else [256, 1024, _N]:
        embeddings, labels = data(n, _POSITIVES)
        scores = embeddings @ embeddings.T
        others = {
            "the textbook form, in chunks": Other(partial(textbook, scores, labels)),
            **yardsticks(scores),
        }
        yield from bench.contest(
            f"{series}, {n:,} x {n:,}", _ours(scores, labels), others, size=n, series=series
        )


def _embeddings(bench: Bench) -> Iterator[Row]:
    """The peer is exact where there are as many labels as samples of a label."""
    library = peers.load("pytorch-metric-learning")
    series = f"Smooth-AP of embeddings, {_FEATURES} features"
    loss = SmoothAPLoss(_TEMPERATURE)
    for each in [3, 6] if bench.quick else [8, 12, 16, 20, 64]:
        n = each * each
        embeddings, labels = data(n, each)
        others = {}
        if library:
            theirs = library.SmoothAPLoss(_TEMPERATURE)
            others["pytorch-metric-learning"] = Other(
                both_ways(lambda x, f=theirs, y=labels: f(x, y), embeddings), needs=32.0 * n**3
            )
        run = both_ways(lambda x, y=labels: loss(x, y), embeddings)
        others |= yardsticks(embeddings @ embeddings.T)
        yield from bench.contest(
            f"{series}, n = {n:,}", run, others, size=n, series=series, seconds=1.0
        )


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    yield from _matrices(bench)
    yield from _embeddings(bench)
    home, matrix = "rankgrad.bench.suites.smooth_ap", 4.0 * _N * _N
    work, most = f"Smooth-AP, {_N:,} x {_N:,}", 3.0
    yield from bench.memory(work, "score matrices", f"{home}:ours_step", matrix, most)
    yield from bench.memory(
        f"{work}, from embeddings", "score matrices", f"{home}:embeddings_step", matrix, most
    )
    yield from bench.memory(work, "the textbook form", f"{home}:ours_step", f"{home}:textbook_step")
