"""One worker: the gradient of its part of a batch, and a whole run, for brain age."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from many_workers.brain_age import SETTINGS, gradient, open_phantoms
from many_workers.joined import joined
from rankgrad.recipes.brain_age.running import train_brain_age

if __name__ == "__main__":
    with joined() as (rank, _, folder):
        parts = open_phantoms(folder)
        found = {
            f"gradient {count}": gradient(replace(SETTINGS, accumulate=count), parts)
            for count in (1, 2)
        }
        trained = train_brain_age(SETTINGS, parts, folder / "run")
        weights = torch.cat([w.double().flatten() for w in trained.model.parameters()])
        torch.save({**found, "weights": weights.detach()}, folder / f"{rank}.pt")
