"""One worker: trains a model wrapped in DDP, and one wrapped in FSDP, on its part of each batch."""

import sys
from pathlib import Path

import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[1]))

from many_workers.joined import joined
from many_workers.training import model, train

if __name__ == "__main__":
    with joined() as (rank, _, folder):
        part = [slice(0, 30), slice(30, 90)][rank]
        wrapped = DistributedDataParallel(model())
        losses = train(wrapped, part, "world")
        weights = wrapped.module.state_dict()

        sharded = model()
        fully_shard(sharded)
        train(sharded, part, "world")
        whole = {
            name: (w.full_tensor() if isinstance(w, DTensor) else w).detach().clone()
            for name, w in sharded.state_dict().items()
        }
        torch.save({"losses": losses, "ddp": weights, "fsdp": whole}, folder / f"{rank}.pt")
