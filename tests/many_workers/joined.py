"""Joining a gloo process group from a test's worker."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist


@contextmanager
def joined(seconds: float = 60.0) -> Iterator[tuple[int, int, Path]]:
    """Join the other workers; gives the rank, their number and the folder for results."""
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=seconds),
    )
    yield rank, world, folder
    dist.destroy_process_group()
