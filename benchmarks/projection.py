"""Soft ranks by projection: time against torchsort and against one torch.sort, forward + backward.

Median ratios of interleaved runs in one process, float32. torchsort is optional. It has no wheel
for every torch; to build its CPU extension from the source package, with a C++ compiler and
without nvcc on the PATH (where it finds one it compiles CUDA kernels too):

    pip install --no-build-isolation torchsort
    python benchmarks/projection.py --json benchmarks/results/projection.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankgrad.rankers import Projection

SHAPES = [(1024, 100), (128, 1000), (64, 10_000), (1, 1_000_000)]


def contestants(regularization: str, what: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Functions of the scores that rank 1 = largest, or sort the largest first."""
    ranker = Projection(regularization)
    found = {"ours": ranker if what == "rank" else ranker.sort}
    if find_spec("torchsort") is not None:
        import torchsort

        theirs = torchsort.soft_rank if what == "rank" else torchsort.soft_sort
        sign = 1.0 if what == "rank" else -1.0
        found["torchsort"] = lambda x: sign * theirs(-x, regularization)
    return found


def compare(shape: tuple[int, int], regularization: str, what: str, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(shape, generator=generator).requires_grad_()
    cotangent = torch.randn(shape, generator=generator)
    plain = scores.detach()
    functions = contestants(regularization, what)

    def both_ways(function: Callable[[Tensor], Tensor]) -> None:
        scores.grad = None
        function(scores).backward(cotangent)

    runs = {name: lambda f=function: both_ways(f) for name, function in functions.items()}
    runs["torch.sort"] = lambda: torch.sort(plain)
    values, gradients = {}, {}
    for name, function in functions.items():
        values[name] = function(scores).detach()
        both_ways(function)
        gradients[name] = scores.grad
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)

    def ratio(other: str) -> float:
        pairs = zip(times["ours"], times[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    result: dict[str, Any] = {"shape": list(shape), "regularization": regularization, "what": what}
    result |= {f"{name}_ms": 1e3 * statistics.median(t) for name, t in times.items()}
    result["ratio_sort"] = ratio("torch.sort")
    if "torchsort" in functions:
        result["ratio_torchsort"] = ratio("torchsort")
        for kind, found in (("value", values), ("gradient", gradients)):
            gap = (found["ours"] - found["torchsort"]).abs().max() / found["ours"].abs().max()
            result[f"{kind}_difference"] = gap.item()
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--all", action="store_true", help="kl and sorting too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)

    kinds = [("l2", "rank")]
    if arguments.all:
        kinds += [("kl", "rank"), ("l2", "sort"), ("kl", "sort")]
    rows = []
    for regularization, what in kinds:
        for shape in SHAPES:
            # At least five, fewer the longer they take.
            repeats = max(5, min(arguments.repeats, 10_000_000 // (shape[0] * shape[1])))
            row = compare(shape, regularization, what, repeats)
            rows.append(row)
            line = f"{what} {regularization} {shape[0]:>5} x {shape[1]:<8}"
            line += f"ours {row['ours_ms']:8.2f} ms   {row['ratio_sort']:.2f} x torch.sort"
            if "ratio_torchsort" in row:
                line += f"   {row['ratio_torchsort']:.2f} x torchsort"
            print(line)
    if arguments.json:
        report = {"benchmark": "projection", "threads": arguments.threads, "rows": rows}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
