"""The GPU kernels against focal loss, the bytes they move, sorts, and what the chip can do.

Needs a CUDA device. Forward and backward, medians of calls by turns in one process; results are
checked against the reference in the same run. torchvision is needed, torchsort (built with nvcc)
is optional.

    python benchmarks/gpu.py --out benchmarks/results
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.bench import Row, machine, peers, ratio, times
from rankgrad.bench.suites.detection import detector_output, textbook
from rankgrad.bench.tables import table, write
from rankgrad.bench.work import Outcome, both_ways

PROJECTED = [(1, 1_000_000), (64, 10_000)]


def waited(run: Callable[[], Any]) -> Callable[[], None]:
    """The call, and the wait for the device to be done with it."""

    def both() -> None:
        run()
        torch.cuda.synchronize()

    return both


def on_device(n: int, p: int) -> tuple[Tensor, Tensor]:
    logits, targets = detector_output(n, p, 0.05)
    return logits.cuda(), targets.cuda()


def rank_sort_step(logits: Tensor, targets: Tensor) -> Callable[[], Outcome]:
    return both_ways(partial(rg.RankSortLoss(), targets=targets), logits)


def check_rank_sort() -> None:
    logits, targets = on_device(20_000, 50)
    loss, grad = textbook(logits, targets)
    mine = rank_sort_step(logits, targets)()
    torch.testing.assert_close(mine.values[0], loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mine.gradients[0], grad, rtol=1e-4, atol=1e-7)


def rank_sort(quick: bool) -> Iterator[Row]:
    from torchvision.ops import sigmoid_focal_loss

    check_rank_sort()
    n, p = (100_000, 100) if quick else (12_800_000, 2_000)
    work = f"Rank & Sort, N = {n:,}, P = {p:,}, 5 % within reach"
    logits, targets = on_device(n, p)
    ours = waited(rank_sort_step(logits, targets))
    classes = (targets > 0).float()
    focal = both_ways(partial(sigmoid_focal_loss, targets=classes, reduction="sum"), logits)
    yield ratio(work, "sigmoid focal loss", ours, waited(focal), limit=1.5, size=n)
    out = torch.empty_like(targets)
    yield ratio(
        work, "moving its bytes once: two read, one written", ours,
        waited(lambda: torch.mul(logits, targets, out=out)), limit=6.0, size=n,
    )  # fmt: skip
    loop = min(times({"": waited(lambda: textbook(logits, targets))}, budget=0, least=1)[""])
    mine = min(times({"": ours})[""])
    yield Row(
        work, "textbook loop over positives", mine, loop, "ms", mine / loop, 1 / 500, n
    )  # fmt: skip


def projection(quick: bool) -> Iterator[Row]:
    for rows, n in [(4, 1_000)] if quick else PROJECTED:
        x = torch.randn(rows, n, device="cuda")
        ranker = rg.rankers.Projection()
        ranks = ranker(x)
        with rg.use_backend("reference"):
            torch.testing.assert_close(ranks, ranker(x), rtol=1e-5, atol=1e-3)
        work, ours = f"Projection l2, ({rows}, {n:,})", waited(both_ways(ranker, x))
        plain = waited(partial(torch.sort, x))
        yield ratio(work, "one torch.sort", ours, plain, limit=3.0, size=rows * n)
        if torchsort := peers.load("torchsort"):
            theirs = waited(both_ways(lambda x: torchsort.soft_rank(-x), x))
            yield ratio(work, "torchsort", ours, theirs, limit=0.1, size=rows * n)


def exponentials(count: int) -> Callable[[], None]:
    """``count`` exponentials in float32 that touch no memory."""
    import triton
    import triton.language as tl

    @triton.jit
    def chain(out, STEPS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        x = i.to(tl.float32) * 1e-9
        for _ in range(STEPS):
            x = tl.exp(-x)
        tl.store(out + i, x)

    steps, block = 256, 1024
    programs = max(1, count // (steps * block))
    out = torch.empty(programs * block, device="cuda")
    return lambda: chain[(programs,)](out, STEPS=steps, BLOCK=block)


def peak_extra(run: Callable[[], Any]) -> int:
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def pairwise(quick: bool) -> Iterator[Row]:
    n = 4_096 if quick else 65_536
    ranker = rg.rankers.Pairwise(rg.Logistic(0.1))

    def run(n: int) -> Callable[[], None]:
        return both_ways(ranker, torch.randn(n, device="cuda"))

    x = torch.randn(2_000, device="cuda")
    with rg.use_backend("reference"):
        wanted = ranker(x)
    torch.testing.assert_close(ranker(x), wanted, rtol=1e-5, atol=1e-3)
    work = f"Pairwise(Logistic(0.1)), n = {n:,}"
    yield ratio(
        work, "an exponential a pair and direction, nothing else", waited(run(n)),
        waited(exponentials(2 * n * n)), limit=1 / 0.6, size=n,
    )  # fmt: skip
    whole, half = peak_extra(run(n)), peak_extra(run(n // 2))
    yield Row(
        f"{work}: peak extra memory", f"n = {n // 2:,}", whole, half, "bytes", whole / half, 2.3, n
    )  # fmt: skip


def ranksim(quick: bool) -> Iterator[Row]:
    n = 256 if quick else 4_096
    labels = torch.randn(n, device="cuda")
    features = torch.randn(n, 512, device="cuda")
    loss_fn = rg.RankSimLoss(unique="none")
    loss = loss_fn(features, labels)
    with rg.use_backend("reference"):
        torch.testing.assert_close(loss, loss_fn(features, labels), rtol=1e-4, atol=0)
    square = torch.randn(n, n, device="cuda")
    ours = waited(both_ways(partial(loss_fn, labels=labels), features))
    yield ratio(
        f"RankSim, {n:,} samples", "the two batched torch.sort it needs", ours,
        waited(lambda: (torch.sort(square), torch.sort(square))), limit=2.0, size=n,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="write gpu.json there")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device: torch finds none here", file=sys.stderr)
        return 1
    from rich.console import Console

    facts, rows = machine(), []
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    for suite in (rank_sort, projection, pairwise, ranksim):
        for row in suite(options.quick):
            rows.append(row)
            print(f"{row.work} / {row.against}: {row.ratio:.3g}", flush=True)
    Console().print(table(rows))
    if options.out:
        path = options.out / "gpu.json"
        write(path, {"suite": "gpu", "machine": facts, "peers": peers.found()}, rows)
        print(f"Written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
