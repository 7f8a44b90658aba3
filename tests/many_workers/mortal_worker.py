"""One worker of two; the second dies before its second loss."""

import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import rankgrad as rg
from many_workers.joined import joined

if __name__ == "__main__":
    with joined(seconds=5) as (rank, _, _):
        loss_fn = rg.RankSortLoss(group="world")
        logits, targets = torch.randn(8, requires_grad=True), torch.tensor([0.5, 0, 0, 0] * 2)
        loss_fn(logits, targets).backward()
        if rank == 1:
            os._exit(0)
        begin = time.monotonic()
        try:
            loss_fn(logits, targets)
        except RuntimeError as error:
            print(f"noticed after {time.monotonic() - begin:.0f} s: {error}")
            os._exit(0)
    os._exit(1)
