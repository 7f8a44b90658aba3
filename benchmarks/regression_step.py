"""What the terms of imbalanced regression cost in a training step of ResNet-50.

    python benchmarks/regression_step.py [--device cuda] [--batch N] [--image-size N] [--out FILE]

One step: forward, L1 loss, backward, Adam. The terms are then timed alone, forward and backward,
on features and labels of that size, by turns; a share is the time of the term over that of the
plain step. Small images make the step cheaper and the share larger: an upper bound for large ones.
Labels are ages, some of them equal, so that RankSim works on one sample of each.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import resnet50

from rankgrad.imbalance import FDS
from rankgrad.losses import rank_n_contrast_loss, rank_sim_loss
from rankgrad.recipes.experiments import environment, machine

FEATURES = 2048


def milliseconds(run: Callable[[], Any], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def plain_step(options: argparse.Namespace, ages: Tensor) -> Callable[[], None]:
    network = resnet50(num_classes=1).to(options.device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.randn(options.batch, 3, options.image_size, options.image_size)
    images = images.to(options.device).to(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.bfloat16):
            loss = F.l1_loss(network(images).squeeze(1).float(), ages)
        loss.backward()
        optimizer.step()

    return run


def terms(options: argparse.Namespace, ages: Tensor) -> dict[str, Callable[[], None]]:
    features = torch.randn(options.batch, FEATURES, device=options.device, requires_grad=True)
    smoothing = FDS(FEATURES, 121).to(options.device)
    for _ in range(2):  # epochs, until it smooths
        smoothing.observe(features.detach(), ages)
        smoothing.step()

    def both_ways(loss: Callable[..., Tensor], **settings: Any) -> Callable[[], None]:
        return lambda: loss(features, ages, **settings).backward()

    def fds() -> None:
        smoothing(features, ages).sum().backward()
        smoothing.observe(features.detach(), ages)

    return {
        "RankSim, one sample of each label": both_ways(rank_sim_loss),
        "RankSim, all samples": both_ways(rank_sim_loss, unique="none"),
        "Rank-N-Contrast": both_ways(rank_n_contrast_loss),
        "FDS, smoothing and statistics": fds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--bfloat16", action="store_true", help="autocast")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write the figures into")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ages = torch.randint(20, 80, (options.batch,)).float().to(options.device)
    step, parts = plain_step(options, ages), terms(options, ages)
    for run in (step, *parts.values(), *parts.values()):
        run()
    taken: dict[str, list[float]] = {name: [] for name in ("plain step", *parts)}
    for _ in range(options.turns):
        taken["plain step"].append(milliseconds(step, options.device))
        for name, run in parts.items():
            taken[name].append(milliseconds(run, options.device))
    found = {f"{name}, ms": round(median(times), 3) for name, times in taken.items()}
    base = median(taken["plain step"])
    shares = {f"{n}, % of the step": round(100 * median(taken[n]) / base, 3) for n in parts}
    settings = {k: v for k, v in vars(options).items() if k not in ("out", "turns")}
    for name, value in {**settings, **found, **shares}.items():
        print(f"{name}: {value}")
    if options.out is not None:
        content = {**settings, **found, **shares, **environment(), **machine()}
        options.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
