"""Two workers under Lightning's "ddp" strategy: it starts the second one from this script."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from many_workers.lightning_model import fit

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[3])
    model = fit(2)
    found = {"losses": model.losses, "weights": model.network.state_dict()}
    torch.save(found, folder / f"lightning-{model.global_rank}.pt")
