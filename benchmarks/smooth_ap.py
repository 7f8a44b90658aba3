"""Smooth-AP on an n x n score matrix: time and peak memory against the textbook form, in chunks.

The textbook form evaluates the logistic function of all differences between the relevant items of
a row and its items, for some rows at a time, and lets autograd go back through it. Times are
medians of interleaved runs in one process, forward and backward. Memory is the growth of the
peak resident set of a process of its own, in score matrices, the score matrix itself included.

    python benchmarks/smooth_ap.py --json benchmarks/results/smooth_ap.json
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rankgrad.losses import SmoothAPLoss, smooth_ap_loss

TEMPERATURE = 0.01
FEATURES = 128
CHUNK = 64  # rows of the textbook form at a time


def data(n: int, positives: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) // positives
    centres = torch.randn(int(labels[-1]) + 1, FEATURES, generator=generator)
    noise = torch.randn(n, FEATURES, generator=generator)
    return torch.nn.functional.normalize(centres[labels] + 2 * noise), labels


def textbook(scores: Tensor, labels: Tensor) -> float:
    """Loss of the whole matrix; its gradient is added to ``scores.grad``, chunk by chunk."""
    n, total = len(labels), 0.0
    for start in range(0, n, CHUNK):
        rows = scores[start : start + CHUNK]
        relevant = labels[start : start + CHUNK, None] == labels[None, :]
        count = relevant.sum(1)
        places = relevant.float().topk(int(count.max())).indices
        present = relevant.gather(1, places)
        queries = rows.gather(1, places)
        ahead = torch.sigmoid((rows[:, None, :] - queries[:, :, None]) / TEMPERATURE)
        ranks = ahead.sum(-1) + 0.5
        among = (ahead * relevant[:, None, :]).sum(-1) + 0.5
        precision = ((among / ranks) * present).sum(1) / count
        loss = (1 - precision).sum() / n
        loss.backward()
        total += loss.item()
    return total


def ours(scores: Tensor, labels: Tensor) -> float:
    loss = smooth_ap_loss(scores, labels[:, None] == labels[None, :], temperature=TEMPERATURE)
    loss.backward()
    return loss.item()


def seconds(run: Callable[[Tensor, Tensor], float], scores: Tensor, labels: Tensor) -> float:
    scores.grad = None
    start = time.perf_counter()
    run(scores, labels)
    return time.perf_counter() - start


def compare_times(n: int, positives: int, repeats: int) -> dict[str, float]:
    embeddings, labels = data(n, positives)
    scores = (embeddings @ embeddings.T).requires_grad_()
    values, gradients, times = {}, {}, {"ours": [], "textbook": []}
    for name, run in (("ours", ours), ("textbook", textbook)):  # also compiles
        scores.grad = None
        values[name] = run(scores, labels)
        gradients[name] = scores.grad
    worst = (gradients["ours"] - gradients["textbook"]).abs().max() / gradients["ours"].abs().max()
    for _ in range(repeats):
        times["ours"].append(seconds(ours, scores, labels))
        times["textbook"].append(seconds(textbook, scores, labels))
    medians = {name: statistics.median(t) for name, t in times.items()}
    return {
        "ours_s": medians["ours"],
        "textbook_s": medians["textbook"],
        "speedup": statistics.median(
            slow / fast for slow, fast in zip(times["textbook"], times["ours"], strict=True)
        ),
        "loss_difference": abs(values["ours"] - values["textbook"]),
        "gradient_difference": worst.item(),
    }


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_memory(kind: str, n: int, positives: int) -> float:
    """Peak growth in score matrices; to be called in a process that did nothing before."""
    small, small_labels = data(64, 4)
    loss = SmoothAPLoss(TEMPERATURE)
    run = textbook if kind == "textbook" else ours
    run((small @ small.T).requires_grad_(), small_labels)
    loss(small.clone().requires_grad_(), small_labels).backward()
    embeddings, labels = data(n, positives)
    before = peak_bytes()
    if kind == "embeddings":
        loss(embeddings.requires_grad_(), labels).backward()
    else:
        run((embeddings @ embeddings.T).requires_grad_(), labels)
    return (peak_bytes() - before) / (4 * n * n)


def memory_in_a_process(kind: str, arguments: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--memory", kind]
    for name in ("n", "positives", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--positives", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", choices=["ours", "embeddings", "textbook"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    n, positives = arguments.n, arguments.positives
    if arguments.memory:
        print(measure_memory(arguments.memory, n, positives))
        return

    result: dict[str, object] = {
        "benchmark": "smooth_ap",
        "n": n,
        "positives": positives,
        "threads": arguments.threads,
        # First: a child inherits the peak of its parent.
        "peak_matrices": {
            kind: memory_in_a_process(kind, arguments)
            for kind in ("ours", "embeddings", "textbook")
        },
        **compare_times(n, positives, arguments.repeats),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
