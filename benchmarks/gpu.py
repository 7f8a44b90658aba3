"""The GPU kernels against focal loss, the bytes they move, sorts, and what the chip can do.

Needs a CUDA device. Forward and backward, medians of calls by turns in one process; results are
checked against the reference in the same run. torchvision is needed; torchsort (built with nvcc)
and diffsort are measured where they are installed. Many kernels are over before the host has
launched the next, so that our work is also replayed as a CUDA graph.

    python benchmarks/gpu.py --out benchmarks/results

Results are written after every row, and a suite that fails does not stop those after it.

Without a GPU everything can be tried, not measured, on tiny sizes under Triton's interpreter:

    TRITON_INTERPRET=1 python benchmarks/gpu.py --dry
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

import rankgrad as rg
from rankgrad.bench import Row, machine, peers, ratio, times
from rankgrad.bench.suites.detection import detector_output, textbook
from rankgrad.bench.tables import table, write
from rankgrad.bench.work import both_ways
from rankgrad.compat.diffsort import DiffSortNet


@dataclass(frozen=True)
class Place:
    """Where it is measured.

    Attributes:
        device: "cuda"; "cpu" to try everything under the interpreter.
        sizes: "full", "quick" to see whether it runs at all, "tiny" for the interpreter.
    """

    device: str = "cuda"
    sizes: str = "full"

    def size(self, full: Any, quick: Any, tiny: Any) -> Any:
        return {"full": full, "quick": quick, "tiny": tiny}[self.sizes]

    def waited(self, run: Callable[[], Any]) -> Callable[[], None]:
        """The call, and the wait for the device to be done with it."""

        def both() -> None:
            run()
            if self.device == "cuda":
                torch.cuda.synchronize()

        return both

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.device)

    def ratio(
        self, work: str, against: str, ours: Callable[[], Any], theirs: Callable[[], Any], **of: Any
    ) -> Row:
        if self.sizes == "tiny":  # the interpreter has no speed to measure
            of |= {"budget": 0.0, "least": 1}
        return ratio(work, against, self.waited(ours), self.waited(theirs), **of)

    def peak_extra(self, run: Callable[[], Any]) -> float:
        """The bytes allocated at most during a call, beyond those before it."""
        run()
        if self.device != "cuda":
            return 1.0  # nobody counts there
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before)


def agree(function: Callable[..., Any], x: Tensor, rtol: float, atol: float) -> None:
    """Check values and gradients against the reference, in the same run."""
    mine = both_ways(function, x)()
    with rg.use_backend("reference"):
        wanted = both_ways(function, x)()
    torch.testing.assert_close(mine.values, wanted.values, rtol=rtol, atol=atol)
    torch.testing.assert_close(mine.gradients, wanted.gradients, rtol=rtol, atol=atol)


def captured(place: Place, run: Callable[[], Any]) -> Callable[[], None]:
    """The call replayed as a CUDA graph; on the CPU, which has none, the call itself."""
    if place.device == "cpu":
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiles, and fills the allocator's pools
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def plain(function: Callable[..., Any], x: Tensor) -> Callable[[], Any]:
    """The same call without kernels of our own."""
    run = both_ways(function, x)

    def call() -> None:
        with rg.use_backend("reference"):
            run()

    return call


def check_rank_sort(place: Place) -> None:
    n, p = place.size((20_000, 50), (20_000, 50), (300, 6))
    logits, targets = (x.to(place.device) for x in detector_output(n, p, 0.05))
    loss, grad = textbook(logits, targets)
    mine = both_ways(partial(rg.RankSortLoss(), targets=targets), logits)()
    torch.testing.assert_close(mine.values[0], loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mine.gradients[0], grad, rtol=1e-4, atol=1e-7)


def rank_sort(place: Place) -> Iterator[Row]:
    from torchvision.ops import sigmoid_focal_loss

    check_rank_sort(place)
    n, p = place.size((12_800_000, 2_000), (100_000, 100), (1_200, 12))
    work = f"Rank & Sort, N = {n:,}, P = {p:,}, 5 % within reach"
    logits, targets = (x.to(place.device) for x in detector_output(n, p, 0.05))
    ours = both_ways(partial(rg.RankSortLoss(), targets=targets), logits)
    classes = (targets > 0).float()
    focal = both_ways(partial(sigmoid_focal_loss, targets=classes, reduction="sum"), logits)
    yield place.ratio(work, "sigmoid focal loss", ours, focal, limit=1.5, size=n)
    out = torch.empty_like(targets)
    yield place.ratio(
        work, "moving its bytes once: two read, one written", ours,
        lambda: torch.mul(logits, targets, out=out), limit=6.0, size=n,
    )  # fmt: skip
    loss_fn = rg.RankSortLoss(max_positives=2 * p)
    bounded = both_ways(partial(loss_fn, targets=targets), logits)
    at_most = f"{work}, max_positives = {2 * p:,}"
    yield place.ratio(at_most, "without a bound", bounded, ours, size=n)
    graph, work_of_graph = captured(place, bounded), f"{at_most}, as a CUDA graph"
    yield place.ratio(work_of_graph, "launched one by one", graph, bounded, size=n)
    yield place.ratio(work_of_graph, "sigmoid focal loss", graph, focal, limit=1.5, size=n)
    yield place.ratio(
        work_of_graph, "moving its bytes once: two read, one written", graph,
        lambda: torch.mul(logits, targets, out=out), limit=6.0, size=n,
    )  # fmt: skip
    once = {"budget": 0.0, "least": 1}
    loop = min(times({"": place.waited(lambda: textbook(logits, targets))}, **once)[""])
    mine = min(times({"": place.waited(ours)}, **once)[""])
    yield Row(
        work, "textbook loop over positives", mine, loop, "ms", mine / loop, 1 / 500, n
    )  # fmt: skip


def projection(place: Place) -> Iterator[Row]:
    for rows, n in place.size([(1, 1_000_000), (64, 10_000)], [(4, 1_000)], [(2, 40)]):
        x = place.randn(rows, n)
        for kind in ("l2", "kl"):
            ranker = rg.rankers.Projection(kind)
            agree(ranker, x[:, :10_000], 1e-4, 1e-3)
            work, ours = f"Projection {kind}, ({rows}, {n:,})", both_ways(ranker, x)
            limit = 3.0 if kind == "l2" else None
            sort = partial(torch.sort, x)
            for way, run in (("", ours), (", as a CUDA graph", captured(place, ours))):
                yield place.ratio(
                    f"{work}{way}", "one torch.sort", run, sort, limit=limit, size=rows * n
                )
            if torchsort := peers.load("torchsort"):
                soft = partial(torchsort.soft_rank, regularization=kind)
                theirs = both_ways(lambda x, soft=soft: soft(-x), x)
                limit = 0.1 if kind == "l2" else None
                yield place.ratio(work, "torchsort", ours, theirs, limit=limit, size=rows * n)


@triton.jit
def chain(out, STEPS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = i.to(tl.float32) * 1e-9
    for _ in range(STEPS):
        x = tl.exp(-x)
    tl.store(out + i, x)


def exponentials(place: Place, count: int) -> Callable[[], None]:
    """``count`` exponentials in float32 that touch no memory: what the chip sustains."""
    steps, block = place.size(256, 256, 16), 1024
    programs = max(1, count // (steps * block))
    out = torch.empty(programs * block, device=place.device)
    return lambda: chain[(programs,)](out, STEPS=steps, BLOCK=block)


def pairwise(place: Place) -> Iterator[Row]:
    n = place.size(65_536, 4_096, 64)
    ranker = rg.rankers.Pairwise(rg.Logistic(0.1))
    agree(ranker, place.randn(min(n, 2_000)), 1e-4, 1e-3)

    def run(n: int) -> Callable[[], Any]:
        return both_ways(ranker, place.randn(n))

    work = f"Pairwise(Logistic(0.1)), n = {n:,}"
    yield place.ratio(
        work, "an exponential a pair and direction, nothing else", run(n),
        exponentials(place, 2 * n * n), limit=1 / 0.6, size=n,
    )  # fmt: skip
    whole, half = place.peak_extra(run(n)), place.peak_extra(run(n // 2))
    yield Row(
        f"{work}: peak extra memory", f"n = {n // 2:,}", whole, half, "bytes", whole / half, 2.3, n
    )  # fmt: skip


def ranksim(place: Place) -> Iterator[Row]:
    n, width = place.size((4_096, 512), (256, 512), (12, 8))
    labels, features = place.randn(n), place.randn(n, width)
    loss_fn = partial(rg.RankSimLoss(unique="none"), labels=labels)
    agree(loss_fn, features, 1e-3, 1e-4)
    square = place.randn(n, n)
    ours = both_ways(loss_fn, features)
    for way, run in (("", ours), (", as a CUDA graph", captured(place, ours))):
        yield place.ratio(
            f"RankSim, {n:,} samples{way}", "the two batched torch.sort it needs",
            run, lambda: (torch.sort(square), torch.sort(square)), limit=2.0, size=n,
        )  # fmt: skip


def networks(place: Place) -> Iterator[Row]:
    rows, wires, more = place.size((256, 128, 1024), (16, 32, 64), (2, 4, 6))
    x = place.randn(rows, wires)
    for kind in ("odd_even", "bitonic"):
        whole = DiffSortNet(kind, wires)
        agree(whole, x, 1e-3, 1e-3)
        work, ours = f"{kind} network, values and matrix, ({rows}, {wires})", both_ways(whole, x)
        size = rows * wires
        yield place.ratio(work, "the layers in plain PyTorch", ours, plain(whole, x), size=size)
        if diffsort := peers.load("diffsort"):
            theirs = both_ways(diffsort.DiffSortNet(kind, wires, device=place.device), x)
            yield place.ratio(work, "diffsort", ours, theirs, size=size)
    long = place.randn(rows, more)
    ranker = rg.rankers.SortingNetwork("bitonic")
    agree(ranker, long, 1e-3, 1e-2)
    work, ours = f"bitonic network, ranks alone, ({rows}, {more})", both_ways(ranker, long)
    yield place.ratio(work, "one torch.sort", ours, partial(torch.sort, long), size=rows * more)
    yield place.ratio(
        work, "the layers in plain PyTorch", ours, plain(ranker, long), size=rows * more
    )  # fmt: skip


SUITES = (rank_sort, projection, pairwise, ranksim, networks)


def rows(place: Place, failed: list[str]) -> Iterator[Row]:
    """Every row, of the kernels of this place; names of suites that fail go into the list."""
    forced = rg.use_backend("triton") if place.device == "cpu" else nullcontext()
    with forced:
        for suite in SUITES:
            try:
                yield from suite(place)
            except Exception:  # a GPU may be lent for minutes: the other suites shall have them
                traceback.print_exc()
                failed.append(suite.__name__)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="write gpu.json there")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--dry", action="store_true", help="on the CPU, interpreted: no figures")
    options = parser.parse_args()
    if options.dry and options.out:
        parser.error("--dry measures nothing: there is nothing to write to --out")
    if not options.dry and not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device: torch finds none here", file=sys.stderr)
        return 1
    from rich.console import Console

    place = (
        Place("cpu", "tiny") if options.dry else Place("cuda", "quick" if options.quick else "full")
    )
    facts, found, failed = machine(), [], []
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    for row in rows(place, failed):
        found.append(row)
        figure = "runs" if options.dry else f"{row.ratio:.3g}"
        limit = "" if row.limit is None else f" (at most {row.limit:.3g})"
        print(f"{row.work} / {row.against}: {figure}{limit}", flush=True)
        if options.out:
            record = {"suite": "gpu", "machine": facts, "peers": peers.found(), "failed": failed}
            write(options.out / "gpu.json", record, found)
    if not options.dry:
        Console().print(table(found))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
