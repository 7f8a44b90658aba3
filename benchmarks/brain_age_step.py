"""What brain age costs beside its convolutions: the loss in a step at full size, and reading scans.

    python benchmarks/brain_age_step.py step [--threads N] [--batch N] [--turns N] [--out FILE]
    python benchmarks/brain_age_step.py reading [--scans N] [--out FILE]

``step``: forward and backward of the published first stage, 91 x 109 x 91 voxels, with the ranking
loss as the recipe computes it, against the same modules with a plain MSE, by turns. ``reading``:
prepared phantoms of that size from the cache, with and without augmentation: processor time a scan,
and scans a second by one and by two loader processes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rankgrad.data.nifti import ScanDataset, list_images, write_phantoms
from rankgrad.recipes.brain_age.batches import Batches, even_parts
from rankgrad.recipes.brain_age.networks import ScaleDense
from rankgrad.recipes.brain_age.objective import BrainAgeLoss
from rankgrad.recipes.experiments import environment, machine

SIZE = (91, 109, 91)


def milliseconds(run: Callable[[], Any]) -> float:
    """Of processor time: a busy machine does not count."""
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def step(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = ScaleDense()
    image, sex = torch.randn(options.batch, 1, *SIZE), torch.eye(2)[torch.arange(options.batch) % 2]
    ages = torch.linspace(30, 80, options.batch)
    ranked = BrainAgeLoss()

    def run(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        network.zero_grad(set_to_none=False)
        loss(network(image, sex).squeeze(1), ages).backward()

    predictions = torch.randn(32, requires_grad=True)
    truth = 50 + 10 * torch.randn(32)

    def loss_alone() -> None:
        ranked(predictions, truth).backward()

    loss_alone()
    alone = median(milliseconds(loss_alone) for _ in range(50))
    run(F.mse_loss)
    ours, plain = [], []
    for _ in range(options.turns):
        ours.append(milliseconds(lambda: run(ranked)))
        plain.append(milliseconds(lambda: run(F.mse_loss)))
    return {
        "threads": options.threads,
        "batch": options.batch,
        "step with ranking loss, ms of processor time": round(median(ours), 1),
        "step with plain MSE, ms of processor time": round(median(plain), 1),
        "ratio": round(median(a / b for a, b in zip(ours, plain, strict=True)), 4),
        "ranking loss alone, batch 32, ms": round(alone, 3),
    }


def reading(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    rates: dict[str, Any] = {"scans": options.scans}
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(folder, options.scans, SIZE)
        scans = list_images(Path(folder, "images"))
        cache = Path(folder, "cache")
        start = time.perf_counter()
        ScanDataset(scans, SIZE, cache=cache).prepare()
        rates["preparing, scans a second"] = round(options.scans / (time.perf_counter() - start), 1)
        for augment in (False, True):
            kind = "augmented" if augment else "plain"
            data = ScanDataset(scans, SIZE, cache=cache, augment=augment)
            data[0]  # imports what it needs
            taken = [milliseconds(lambda i=i, data=data: data[i]) for i in range(len(data))]
            rates[f"{kind}, ms of processor time a scan"] = round(median(taken), 1)
            for workers in (1, 2):
                batches = Batches(data, workers, torch.device("cpu"))
                order = torch.arange(options.scans).repeat(3)
                read = batches.read(even_parts(order, 8))
                next(read)  # starts the workers
                start = time.perf_counter()
                count = sum(len(batch["age"]) for batch in read)
                name = f"{kind}, {workers} workers, scans a second"
                rates[name] = round(count / (time.perf_counter() - start), 1)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("step", "reading"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--out", type=Path, help="JSON file to write the figures into")
    options = parser.parse_args()
    found = (step if options.what == "step" else reading)(options)
    for name, value in found.items():
        print(f"{name}: {value}")
    if options.out is not None:
        before = json.loads(options.out.read_text()) if options.out.exists() else {}
        content = {**before, options.what: {**found, **environment(), **machine()}}
        options.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
