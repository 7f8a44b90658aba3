"""How many bytes a worker hands to the others in a step, forward and backward, with group="world".

Counts the input of every collective: an all-gather passes it on to each of the other workers, an
all-reduce sends and receives it about twice. Gloo on the CPU; the counts are the same on any
backend.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, multiprocessing
from torch import distributed as dist

import rankgrad as rg


class Counter:
    """Counts what goes through the collectives of ``torch.distributed``."""

    def __init__(self) -> None:
        self.bytes = {"all_gather": 0, "all_reduce": 0}
        gather, reduce = dist.all_gather, dist.all_reduce

        def all_gather(out: list[Tensor], x: Tensor, **options: Any) -> Any:
            self.bytes["all_gather"] += x.nbytes
            return gather(out, x, **options)

        def all_reduce(x: Tensor, **options: Any) -> Any:
            self.bytes["all_reduce"] += x.nbytes
            return reduce(x, **options)

        dist.all_gather, dist.all_reduce = all_gather, all_reduce

    def of(self, step: Callable[[], Tensor]) -> dict[str, int]:
        self.bytes.update(dict.fromkeys(self.bytes, 0))
        step().backward()
        return dict(self.bytes)


def steps(n: int, positives: int, batch: int, features: int) -> dict[str, Callable[[], Tensor]]:
    """A loss of each way to communicate, on one worker's part of the batch."""
    logits = torch.randn(n, requires_grad=True)
    ious = torch.zeros(n)
    ious[:positives] = 0.7
    predictions, labels = torch.randn(batch, requires_grad=True), torch.rand(batch)
    x = torch.randn(batch, features, requires_grad=True)
    ids = torch.randint(0, 16, (batch,))
    return {
        f"Rank & Sort, {n:,} logits, {positives} positives": lambda: rg.RankSortLoss(group="world")(
            logits, ious
        ),
        f"AP loss, {n:,} logits, {positives} positives": lambda: rg.APLoss(group="world")(
            logits, (ious > 0).long()
        ),
        f"Spearman, {batch} predictions": lambda: rg.SpearmanLoss(group="world")(
            predictions, labels
        ),
        f"RankSim, {batch} x {features}": lambda: rg.RankSimLoss(unique="first", group="world")(
            x, labels
        ),
        f"Smooth-AP, {batch} x {features}": lambda: rg.SmoothAPLoss(group="world")(x, ids),
    }


def work(rank: int, args: argparse.Namespace, store: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=args.workers)
    counter = Counter()
    rows = {
        name: counter.of(step)
        for name, step in steps(args.n, args.positives, args.batch, args.features).items()
    }
    if rank == 0:
        for name, row in rows.items():
            print(f"{name:<46} gathered {row['all_gather']:>10,} reduced {row['all_reduce']:>10,}")
        if args.json:
            report = {"benchmark": "communication", "workers": args.workers, "bytes": rows}
            args.json.write_text(json.dumps(report, indent=2) + "\n")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--n", type=int, default=1_000_000, help="logits a worker")
    parser.add_argument("--positives", type=int, default=250, help="positives a worker")
    parser.add_argument("--batch", type=int, default=64, help="samples a worker")
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store").as_uri()
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        multiprocessing.spawn(work, args=(args, store), nprocs=args.workers)


if __name__ == "__main__":
    main()
