"""One worker of the tests: joins the others, computes every scenario, writes what came out."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1]))

from many_workers import scenarios


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    found = {}
    for size in (2, 3, 4):
        group = dist.new_group(list(range(size)))  # everyone takes part in making a group
        if rank >= size:
            continue
        for name, scenario in scenarios.SCENARIOS.items():
            shard = scenarios.shards(scenarios.batch_of(name), size)[rank]
            where = "world" if size == world else group
            found[name, size] = scenarios.outcome(scenario, shard, where)
    torch.save(found, folder / f"found-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
