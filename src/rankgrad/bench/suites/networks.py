"""Differentiable sorting networks, against diffsort and difftopk.

diffsort's odd-even network of 128 at a batch of 256 takes a minute and 10 GB.
"""

from collections.abc import Callable, Iterator

from rankgrad.bench import peers
from rankgrad.bench.contest import Bench, Other
from rankgrad.bench.rows import Row
from rankgrad.bench.work import Outcome, both_ways, normal
from rankgrad.bench.yardsticks import yardsticks
from rankgrad.compat.diffsort import DiffSortNet
from rankgrad.kernels import use_backend
from rankgrad.rankers import SortingNetwork

__all__ = ["rows"]

_BATCH = 256
_K = 5


def _layers(kind: str, n: int) -> int:
    if kind == "odd_even":
        return n
    rounds = (n - 1).bit_length()
    return rounds * (rounds + 1) // 2


def _plain(run: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Return the same call without compiled kernels."""

    def call() -> Outcome:
        with use_backend("reference"):
            return run()

    return call


def _whole(bench: Bench, kind: str, batch: int, n: int) -> Iterator[Row]:
    """Sorted values and permutation matrices, and beside them what needs no matrix."""
    scores, ranker = normal(batch, n), SortingNetwork(kind)
    # The matrices of every layer, and what autograd keeps of them.
    needs = 20.0 * _layers(kind, n) * batch * n * n
    ours = both_ways(DiffSortNet(kind, n), scores)
    others = {"the layers in plain PyTorch": Other(_plain(ours), needs=needs)}
    if diffsort := peers.load("diffsort"):
        limit = 1 / 5 if (kind, n) == ("odd_even", 128) else None
        others["diffsort"] = Other(both_ways(diffsort.DiffSortNet(kind, n), scores), limit, needs)
    others |= {
        "rankgrad, ranks alone": Other(both_ways(ranker, scores), alike=False),
        "rankgrad, sorted values alone": Other(both_ways(ranker.sort, scores), alike=False),
        **yardsticks(scores),
    }
    series = f"{kind} network, values and matrix, batch {batch}"
    yield from bench.contest(
        f"{series}, n = {n}", ours, others,
        size=n, series=series, seconds=3.0,
    )  # fmt: skip


def _top(bench: Bench, kind: str, batch: int, n: int) -> Iterator[Row]:
    """The matrix's columns of the k largest."""
    difftopk = peers.load("difftopk")
    if difftopk is None:
        return
    scores, ours = normal(batch, n), DiffSortNet(kind, n)
    theirs = difftopk.DiffTopkNet(kind, n, _K)
    needs = 20.0 * _layers(kind, n) * batch * n * n
    series = f"{kind} network, columns of the top {_K}, batch {batch}"
    yield from bench.contest(
        f"{series}, n = {n}", both_ways(lambda x: ours(x)[1][:, :, -_K:], scores),
        {"difftopk": Other(both_ways(lambda x: theirs(x)[1], scores), needs=needs)},
        size=n, series=series, seconds=1.0,
    )  # fmt: skip


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the table."""
    sizes, batch = ([8, 16], 4) if bench.quick else ([16, 32, 64, 128], _BATCH)
    for kind in ("odd_even", "bitonic"):
        for n in sizes:
            yield from _whole(bench, kind, batch, n)
        for n in sizes[:3]:
            yield from _top(bench, kind, batch, n)
