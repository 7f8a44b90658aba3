"""The RankSim term against a loop over its rows with the same mathematics, forward and backward.

Two loops: one takes row i of the similarity matrix as ``similarity[i]``, whose backward step fills
a matrix of zeros for every row; the other unbinds the rows first and is spared that. Medians of
interleaved runs in one process, float32, all labels different.

    python benchmarks/ranksim.py --json benchmarks/results/ranksim.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rankgrad.losses import rank_sim_loss

FEATURES = 512
STRENGTH = 2.0
SLOW = 2048  # from so many samples on the loops run once


def ranks(x: Tensor) -> Tensor:
    """Hard ranks of a vector over its length, rank 1 = largest."""
    order = torch.argsort(x, descending=True)
    places = torch.arange(1, len(x) + 1, dtype=x.dtype) / len(x)
    return torch.empty_like(x).scatter_(0, order, places)


class BlackboxRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        now = ranks(x)
        ctx.save_for_backward(x, now)
        return now

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, now = ctx.saved_tensors
        return (ranks(x + STRENGTH * grad) - now) / STRENGTH


def loop(features: Tensor, labels: Tensor, unbind: bool) -> Tensor:
    units = F.normalize(features)
    similarity = units @ units.T
    rows: Sequence[Tensor] | Tensor = similarity.unbind(0) if unbind else similarity
    total = features.new_zeros(())
    for i in range(len(labels)):
        wanted = ranks(-(labels - labels[i]).abs())
        total = total + F.mse_loss(BlackboxRank.apply(rows[i]), wanted)
    return total


def compare(n: int, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, FEATURES, generator=generator).requires_grad_()
    labels = torch.randperm(n, generator=generator).float() ** 1.5
    functions: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: rank_sim_loss(features, labels, strength=STRENGTH),
        "loop": lambda: loop(features, labels, unbind=False),
        "loop, unbound": lambda: loop(features, labels, unbind=True),
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    losses, gradients = {}, {}
    rank_sim_loss(features, labels).backward()  # compiles
    for again in range(repeats):
        for name, function in functions.items():
            if again > 0 and n >= SLOW and name != "ours":
                continue
            start = time.perf_counter()
            loss = function()
            (gradients[name],) = torch.autograd.grad(loss, features)
            times[name].append(time.perf_counter() - start)
            losses[name] = loss.item()
    seconds = {name: statistics.median(values) for name, values in times.items()}
    gap = (gradients["ours"] - gradients["loop"]).norm() / gradients["loop"].norm()
    return {
        "samples": n,
        "seconds": seconds,
        "times faster than the loop": seconds["loop"] / seconds["ours"],
        "times faster than the unbound loop": seconds["loop, unbound"] / seconds["ours"],
        "relative difference of the losses": abs(losses["ours"] / losses["loop"] - 1),
        "relative difference of the gradients": gap.item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = []
    for n in args.sizes:
        results.append(compare(n, args.repeats))
        print(json.dumps(results[-1], indent=2), flush=True)
    if args.json:
        report = {
            "benchmark": "ranksim",
            "torch": torch.__version__,
            "threads": args.threads,
            "features": FEATURES,
            "results": results,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
