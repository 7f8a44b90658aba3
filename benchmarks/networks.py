"""Differentiable sorting networks: time against the PyPI package diffsort, forward + backward.

Both compute sorted vectors and permutation matrices; ours also computes either the ranks or the
sorted values alone, which need no matrix. Medians of interleaved runs in one process, float32.
diffsort is optional. At batch 256 and 128 scores it takes a minute a run and 10 GB:

    pip install diffsort
    python benchmarks/networks.py --json benchmarks/results/networks.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankgrad.compat.diffsort import DiffSortNet
from rankgrad.rankers import SortingNetwork

SHAPES = [
    ("odd_even", 256, 16),
    ("odd_even", 256, 32),
    ("odd_even", 256, 128),
    ("bitonic", 256, 16),
    ("bitonic", 256, 128),
]
Step = Callable[[Tensor], tuple[Tensor, ...]]


def contestants(kind: str, n: int) -> dict[str, Step]:
    ranker = SortingNetwork(kind)
    found: dict[str, Step] = {
        "ours": DiffSortNet(kind, n),
        "ours, ranks only": lambda x: (ranker(x),),
        "ours, sorted values only": lambda x: (ranker.sort(x),),
    }
    if find_spec("diffsort") is not None:
        import diffsort

        found["diffsort"] = diffsort.DiffSortNet(kind, n)
    return found


def both_ways(step: Step, scores: Tensor, cotangents: dict[int, Tensor]) -> tuple[Tensor, ...]:
    """Return what comes out and the gradient of the scores."""
    leaf = scores.clone().requires_grad_()
    out = step(leaf)
    (gradient,) = torch.autograd.grad(out, leaf, [cotangents[value.dim()] for value in out])
    return *(value.detach() for value in out), gradient


def compare(kind: str, batch: int, n: int, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(batch, n, generator=generator)
    cotangents = {
        2: torch.randn(batch, n, generator=generator),
        3: torch.randn(batch, n, n, generator=generator),
    }
    steps = contestants(kind, n)
    results = {name: both_ways(step, scores, cotangents) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            both_ways(step, scores, cotangents)
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    row: dict[str, Any] = {"network": kind, "batch": batch, "n": n, "seconds": seconds}
    if "diffsort" in steps:
        row["times faster"] = {
            name: seconds["diffsort"] / value for name, value in seconds.items() if "ours" in name
        }
        pairs = list(zip(results["ours"], results["diffsort"], strict=True))
        row["largest relative difference"] = max(
            ((a - b).abs().max() / b.abs().max()).item() for a, b in pairs
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="the small shapes only")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for kind, batch, n in SHAPES:
        if args.quick and n > 16:
            continue
        rows.append(compare(kind, batch, n, args.repeats))
        print(json.dumps(rows[-1], indent=2), flush=True)
    if args.json:
        report = {
            "benchmark": "networks",
            "torch": torch.__version__,
            "threads": args.threads,
            "results": rows,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
