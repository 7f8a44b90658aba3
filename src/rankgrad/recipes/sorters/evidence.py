"""Is a learned sorter worth it? Fine-tuning on real data at equal time, with each ranker.

``python -m rankgrad.recipes.sorters.evidence`` runs it all: some eight minutes on one core.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankgrad.comparisons import Logistic
from rankgrad.rankers import LearnedRanker, Pairwise, Projection, Ranker, as_ranker
from rankgrad.recipes.experiments import (
    Outcome,
    Report,
    RunStore,
    StoredRun,
    Study,
    paired,
    progress_display,
    run_study,
    spread,
)
from rankgrad.recipes.sorters.evidence_tasks import TASKS, Task
from rankgrad.sorters import SHIPPED, load_sorter

__all__ = ["METHODS", "EvidenceMethod", "EvidenceSettings", "evidence_study", "table"]


@dataclass(frozen=True)
class EvidenceMethod:
    """A ranker to fine-tune with; ``plain`` goes on with the plain loss."""

    name: str


METHODS = tuple(
    EvidenceMethod(name) for name in ("plain loss", *SHIPPED, "exa", "logistic", "projection")
)


@dataclass(frozen=True)
class EvidenceSettings:
    """The settings of one task.

    Args:
        task: a name in ``TASKS``.
        pretraining: steps with the plain loss, the same for every method.
        seconds: of processor time to fine-tune for; evaluations do not count.
        batch_size: samples a step.
        lr: learning rate of Adam, before and after.
        checks: validations while fine-tuning; the best model of them is tested.
    """

    task: str
    pretraining: int = 200
    seconds: float = 3.0
    batch_size: int = 100
    lr: float = 1e-3
    checks: int = 10


def evidence_study(task: str, seeds: int = 3, **changes: Any) -> Study:
    """Return the study of one task; ``changes`` are fields of its settings.

    >>> len(evidence_study("regression").tasks())
    21
    """
    settings = EvidenceSettings(task, **changes)
    return Study(f"sorters, {task}", settings, METHODS, tuple(range(seeds)), train_evidence)


def _ranker(name: str) -> Ranker:
    """Return the ranker; those with a temperature get scores of deviation 1, and a tenth of it."""
    if name in SHIPPED:
        return LearnedRanker(load_sorter(name))
    if name == "exa":
        return as_ranker("sodeep")
    soft = Pairwise(Logistic(0.1)) if name == "logistic" else Projection(strength=0.1)

    def standardised(scores: Tensor) -> Tensor:
        return soft(scores / scores.std(-1, keepdim=True).clamp(min=1e-6))

    return as_ranker(standardised)


def train_evidence(
    settings: EvidenceSettings, method: EvidenceMethod, seed: int, report: Report
) -> Outcome:
    """Pretrain, fine-tune for a fixed time, and test the model that validated best."""
    task = TASKS[settings.task](seed)
    chance = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), settings.lr)

    def step(ranker: Ranker | None) -> None:
        batch = torch.randperm(len(task.train[0]), generator=chance)[: settings.batch_size]
        inputs, targets = (part[batch] for part in task.train)
        out = model(inputs)
        loss = task.plain(out, targets) if ranker is None else task.ranked(out, targets, ranker)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(settings.pretraining):
        step(None)
    before = _score(task, model, task.test)
    ranker = None if method.name == "plain loss" else _ranker(method.name)
    if ranker is not None:  # what is compiled on first use is no matter of training
        out = model(task.train[0][: settings.batch_size])
        task.ranked(out, task.train[1][: settings.batch_size], ranker).backward()
    best, kept = _score(task, model, task.val), _state(model)
    used, steps, next_check = 0.0, 0, settings.seconds / settings.checks
    history = []
    while used < settings.seconds:
        started = time.process_time()
        step(ranker)
        used += time.process_time() - started
        steps += 1
        if used >= next_check:
            next_check += settings.seconds / settings.checks
            value = _score(task, model, task.val)
            history.append({"seconds": used, "validation": value})
            if value > best:
                best, kept = value, _state(model)
            report(min(1.0, used / settings.seconds), f"{task.metric} {value:.4f}")
    model.load_state_dict(kept)
    metrics = {
        "before": before,
        "after": _score(task, model, task.test),
        "steps": float(steps),
        "ms": 1e3 * used / steps,
    }
    return Outcome(metrics, history)


@torch.no_grad()
def _score(task: Task, model: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    return task.score(model(part[0]), part[1])


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def table(study: Study, runs: Sequence[StoredRun]) -> str:
    """Return the results of one task as a Markdown table."""
    metric = TASKS[study.settings.task].metric
    lines = [
        f"| {study.settings.task}: fine-tuned with | {metric} | minus logistic | "
        "better on | ms a step |",
        "|---|---|---|---|---|",
    ]
    before = spread(runs, METHODS[0].name, "before")
    lines.append(f"| (before) | {before.text(4)} | | | |")
    for method in study.methods:
        after = spread(runs, method.name, "after")
        gap = paired(runs, method.name, "logistic", "after")
        cells = ["", ""]
        if method.name != "logistic":
            wins = f"{gap.better(lower_is_better=False)} of {len(gap.seeds)}"
            cells = [f"{gap.mean:+.4f}", wins]
        ms = spread(runs, method.name, "ms").mean
        lines.append(f"| {method.name} | {after.text(4)} | {cells[0]} | {cells[1]} | {ms:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the three studies and print their tables."""
    from rich.console import Console

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs", "sorter-evidence"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    for task in TASKS:
        study = evidence_study(task, options.seeds, seconds=options.seconds)
        display = progress_display(console, lambda m: f"{m['before']:.4f} -> {m['after']:.4f}")
        store = RunStore(options.out / task)
        runs = run_study(study, store, display, workers=options.workers)
        text = table(study, runs)
        (options.out / task / "table.md").write_text(text + "\n", encoding="utf-8")
        print(f"\n{text}\n")


if __name__ == "__main__":
    main()
