"""What a sorter is measured by, the picture, and the study of what it is worth."""

from pathlib import Path

import pytest
import torch

import rankgrad as rg
from rankgrad.recipes.experiments import RunStore, run_study
from rankgrad.recipes.experiments.progress import Lines
from rankgrad.recipes.sorters.evaluation import evaluate, gradient_facts, ranker_functions
from rankgrad.recipes.sorters.evidence import (
    METHODS,
    EvidenceMethod,
    EvidenceSettings,
    evidence_study,
    table,
    train_evidence,
)
from rankgrad.recipes.sorters.evidence_tasks import TASKS
from rankgrad.recipes.sorters.picture import draw
from rankgrad.sorters import load_sorter


def hard(x: torch.Tensor) -> torch.Tensor:
    return rg.rank(x, normalize=True) + 0 * x


def test_hard_ranks_have_no_error() -> None:
    found = evaluate("hard", hard, 20, rows=5)
    assert found.error == 0
    assert found.correlation == pytest.approx(1)
    assert found.milliseconds > 0
    assert set(found.errors) == set(found.spearman)
    assert found.gradient["alive"] == 0


def test_an_offset_is_an_error() -> None:
    found = evaluate("off", lambda x: hard(x) + 0.1, 20, ["ramp", "normal"], rows=5, timed=False)
    assert found.errors == pytest.approx({"ramp": 0.1, "normal": 0.1}, abs=1e-6)


def test_the_same_sequences_for_all() -> None:
    a, b = (evaluate("set", load_sorter("set"), 10, ["normal"], rows=5) for _ in range(2))
    assert a.errors == b.errors


def test_rankers_by_name() -> None:
    found = {name: evaluate(name, f, 30, ["normal"], rows=5, timed=False).error
             for name, f in ranker_functions().items()}  # fmt: skip
    assert all(error < 0.3 for error in found.values())
    assert found["exa"] < found["logistic"]
    with pytest.raises(ValueError, match="ranker must be one of"):
        ranker_functions(["nothing"])


def test_gradients_point_downhill() -> None:
    facts = gradient_facts(load_sorter("set"), 50, rows=10)
    assert facts["alive"] > 0.8
    assert facts["downhill"] > 0.3
    assert facts["peak"] > 1


def test_picture(tmp_path: Path) -> None:
    path = draw(load_sorter("set"), 30, tmp_path / "picture.png", name="set")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size > 5000


# ---------------------------------------------------------------- the study


@pytest.mark.parametrize("task", TASKS)
def test_a_task_learns_from_its_plain_loss(task: str) -> None:
    settings = EvidenceSettings(task, pretraining=1, seconds=0.2, checks=2)
    outcome = train_evidence(settings, METHODS[0], 0, lambda *_: None)
    assert outcome.metrics["after"] > outcome.metrics["before"]
    assert outcome.metrics["steps"] >= 1


@pytest.mark.parametrize("method", [m.name for m in METHODS])
def test_every_method_runs_and_does_not_forget_where_it_began(method: str) -> None:
    settings = EvidenceSettings("regression", pretraining=20, seconds=0.02, checks=1)
    outcome = train_evidence(settings, EvidenceMethod(method), 0, lambda *_: None)
    assert outcome.metrics["after"] > outcome.metrics["before"] - 0.1
    assert len(outcome.history) >= 1


def test_parts_do_not_overlap() -> None:
    task = TASKS["retrieval"](3)
    places = torch.cat([task.train[1], task.val[1], task.test[1]])
    assert places.unique().numel() == len(places) == 1797
    assert not torch.equal(task.test[1], TASKS["retrieval"](4).test[1])


def test_table(tmp_path: Path) -> None:
    from rich.console import Console

    study = evidence_study("regression", seeds=1, pretraining=5, seconds=0.01, checks=1)
    display = Lines(Console(quiet=True), lambda m: "")
    text = table(study, run_study(study, RunStore(tmp_path), display, workers=1))
    lines = text.splitlines()
    assert len(lines) == 3 + len(METHODS)
    assert "Spearman" in lines[0]
    assert all(line.count("|") == 6 for line in lines)
