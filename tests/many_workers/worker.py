"""One worker: computes every scenario in twos, threes and fours, and writes what came out."""

import sys
from pathlib import Path

import torch
from torch import distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from many_workers.joined import joined
from many_workers.scenarios import SCENARIOS, batch_of, outcome, shards

if __name__ == "__main__":
    with joined() as (rank, world, folder):
        found = {}
        for size in (2, 3, 4):
            group = dist.new_group(list(range(size)))  # everyone takes part in making a group
            if rank >= size:
                continue
            for name, scenario in SCENARIOS.items():
                shard = shards(batch_of(name), size)[rank]
                found[name, size] = outcome(scenario, shard, "world" if size == world else group)
        torch.save(found, folder / f"found-{rank}.pt")
