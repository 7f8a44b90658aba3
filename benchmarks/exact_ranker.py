"""SoDeep's handcrafted ranker against its n x n formula: time and peak memory, forward + backward.

Times are medians of interleaved runs in one process, float32. Memory is how far the resident set
of a process of its own rises above where it stood, peak against before, after a run on a few
scores has loaded and compiled everything. It needs Linux.

    python benchmarks/exact_ranker.py --json benchmarks/results/exact_ranker.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankgrad.rankers import Pairwise


def dense(scores: Tensor) -> Tensor:
    """The formula: logistic comparisons of all pairs, their steepness from the upper triangle."""
    gaps = scores[None, :] - scores[:, None]
    steepness = 6.8 / gaps.detach().triu(1).std()
    return torch.sigmoid(gaps * steepness).sum(1) + 0.5


RANKERS: dict[str, Callable[[Tensor], Tensor]] = {
    "ours": Pairwise(steepness="auto"),
    "dense": dense,
}


def both_ways(name: str, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(n, generator=generator).requires_grad_()
    cotangent = torch.randn(n, generator=generator)
    ranks = RANKERS[name](scores)
    (gradient,) = torch.autograd.grad(ranks, scores, cotangent)
    return ranks.detach(), gradient


def resident(entry: str) -> int:
    """A size of this process in bytes: VmRSS is the resident set, VmHWM its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(entry):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {entry} in /proc/self/status")


def peak_memory(name: str, n: int) -> int:
    both_ways(name, 100)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    both_ways(name, n)
    return resident("VmHWM") - before


def peak_memory_apart(name: str, n: int, threads: int) -> int:
    command = [sys.executable, __file__, "--peak", name, "--n", str(n), "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(n: int, repeats: int, threads: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in RANKERS}
    results = {name: both_ways(name, n) for name in RANKERS}
    for _ in range(repeats):
        for name, seconds in times.items():
            start = time.perf_counter()
            both_ways(name, n)
            seconds.append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    memory = {name: peak_memory_apart(name, n, threads) for name in RANKERS}
    (ranks, gradient), (wanted, slope) = results["ours"], results["dense"]
    return {
        "n": n,
        "seconds": seconds,
        "times faster": seconds["dense"] / seconds["ours"],
        "peak memory in bytes": memory,
        # A rise below a MiB is that of the allocator, not of the algorithm: it counts as one.
        "times less memory, at least": memory["dense"] / max(memory["ours"], 2**20),
        "largest difference of the ranks": (ranks - wanted).abs().max().item(),
        "relative difference of the gradients": ((gradient - slope).norm() / slope.norm()).item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--peak", choices=RANKERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print(peak_memory(args.peak, args.n))
        return
    result = compare(args.n, args.repeats, args.threads)
    print(json.dumps(result, indent=2))
    if args.json:
        report = {
            "benchmark": "exact_ranker",
            "torch": torch.__version__,
            "threads": args.threads,
            "results": [result],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
