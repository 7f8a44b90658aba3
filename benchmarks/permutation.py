"""NeuralSort and SoftSort ranks against their n x n formulas in PyTorch, forward + backward.

Medians of interleaved runs in one process, float32. The dense formulas take four bytes a pair a
step; at 10,000 scores some gigabytes.

    python benchmarks/permutation.py --json benchmarks/results/permutation.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankgrad.rankers import NeuralSort, Sinkhorn, SoftSort

SHAPES = [(256, 100), (16, 1000), (1, 10_000)]
TEMPERATURES = [0.01, 1.0]


def dense_neuralsort(scores: Tensor, temperature: float) -> Tensor:
    n = scores.shape[-1]
    place = torch.arange(1, n + 1, dtype=scores.dtype)
    spread = (scores.unsqueeze(-1) - scores.unsqueeze(-2)).abs().sum(-1)
    logits = (n + 1 - 2 * place).unsqueeze(-1) * scores.unsqueeze(-2) - spread.unsqueeze(-2)
    matrix = (logits / temperature).softmax(-1)
    return (place @ matrix) / matrix.sum(-2)


def dense_softsort(scores: Tensor, temperature: float) -> Tensor:
    place = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)
    ordered = scores.sort(dim=-1, descending=True).values
    gaps = (ordered.unsqueeze(-1) - scores.unsqueeze(-2)).abs()
    return place @ (-gaps / temperature).softmax(-2)


def contestants(temperature: float) -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "NeuralSort": NeuralSort(temperature),
        "NeuralSort, dense": lambda x: dense_neuralsort(x, temperature),
        "SoftSort": SoftSort(temperature),
        "SoftSort, dense": lambda x: dense_softsort(x, temperature),
        "Sinkhorn": Sinkhorn(temperature),
    }


def compare(batch: int, n: int, temperature: float, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(batch, n, generator=generator)
    cotangent = torch.randn(batch, n, generator=generator)
    rankers = contestants(temperature)
    times: dict[str, list[float]] = {name: [] for name in rankers}
    for turn in range(repeats + 1):  # the first one compiles
        for name, ranker in rankers.items():
            start = time.perf_counter()
            leaf = scores.clone().requires_grad_()
            torch.autograd.grad(ranker(leaf), leaf, cotangent)
            if turn:
                times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    return {
        "batch": batch,
        "n": n,
        "temperature": temperature,
        "seconds": seconds,
        "times faster": {
            name: seconds[f"{name}, dense"] / seconds[name] for name in ("NeuralSort", "SoftSort")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for batch, n in SHAPES:
        for temperature in TEMPERATURES:
            rows.append(compare(batch, n, temperature, args.repeats))
            print(json.dumps(rows[-1], indent=2), flush=True)
    if args.json:
        report = {
            "benchmark": "permutation",
            "torch": torch.__version__,
            "threads": args.threads,
            "results": rows,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
