"""One worker: the gradients of DDP-wrapped detectors on batches that are unlike between workers."""

import sys
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[1]))

from integrations.tiny_detectors import made, total
from integrations.unlike_batches import CASES, STEPS, part
from many_workers.joined import joined

if __name__ == "__main__":
    with joined() as (rank, _, folder):
        found = {}
        for case, (name, settings) in CASES.items():
            # find_unused_parameters is off: the next step raises if a gradient was missing.
            model = DistributedDataParallel(made(name, **settings))
            for step in range(STEPS):
                model.zero_grad()
                total(model(*part(step, rank))).backward()
                found[f"{case} {step}"] = {
                    k: p.grad for k, p in model.module.named_parameters() if p.requires_grad
                }
        torch.save(found, folder / f"{rank}.pt")
