"""Training a sorter: it learns, goes on exactly where it was, and minds other people's files."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rankgrad.recipes.runs import RunFolderError
from rankgrad.recipes.sorters import running
from rankgrad.recipes.sorters.running import Progress
from rankgrad.recipes.sorters.settings import MANY_LENGTHS, SorterSettings, default_lengths
from rankgrad.recipes.sorters.training import TrainedSorter, train_sorter
from rankgrad.sorters import load_sorter, read_checkpoint

TINY = SorterSettings(
    model="grus", lengths=(6,), batch_size=8, epochs=4, steps=3, validation=3, lr=1e-2, lr_step=2
)


class PowerCutError(Exception):
    """Stands for Ctrl-C or a power cut."""


def interrupt_at(epoch: int, part: float | None = None) -> Any:
    def on_progress(p: Progress) -> None:
        if p.epoch == epoch:
            raise PowerCutError

    return on_progress


def weights(result: TrainedSorter) -> dict[str, torch.Tensor]:
    return dict(load_sorter(result.path).state_dict())


def test_it_learns(tmp_path: Path) -> None:
    settings = replace(TINY, epochs=6, steps=12, lr=3e-2, lr_step=3, dist=("uniform",))
    result = train_sorter(settings, tmp_path)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[-1]["error"]) < 0.6 * float(rows[0]["error"])
    assert float(rows[-1]["lr"]) == pytest.approx(3e-2 / 4)
    assert result.error == pytest.approx(min(float(row["error"]) for row in rows))
    found = read_checkpoint(result.path)
    assert found.info["settings"]["lengths"] == [6]
    assert found.info["error"] == result.error
    assert found.length == 6
    assert set(found.info["errors"]["6"]) == {"uniform"}
    assert found.info["errors"]["6"]["uniform"] < 2 * result.error


@pytest.mark.parametrize("model", ["grus", "cnn", "set"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, model: str, epoch: int
) -> None:
    lengths = {"cnn": (37,), "set": (5, 9)}.get(model, (6,))
    settings = replace(TINY, model=model, lengths=lengths)
    whole = train_sorter(settings, tmp_path / "whole")
    with pytest.raises(PowerCutError):
        train_sorter(settings, tmp_path / "parts", on_progress=interrupt_at(epoch))
    parts = train_sorter(settings, tmp_path / "parts")
    # Told after the epoch and before it was saved: the epoch before it is the last.
    assert parts.resumed_at == epoch - 1
    a, b = weights(whole), weights(parts)
    assert all(torch.equal(a[key], b[key]) for key in a)
    histories = [(tmp_path / d / "history.csv").read_text() for d in ("whole", "parts")]
    assert histories[0] == histories[1]
    states = [torch.load(tmp_path / d / "state.pt", weights_only=True) for d in ("whole", "parts")]
    for key, value in states[0]["sorter"].items():
        assert torch.equal(value, states[1]["sorter"][key])


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    first = train_sorter(TINY, tmp_path)
    again = train_sorter(TINY, tmp_path)
    assert again.resumed_at == 4
    assert again.error == first.error


def test_global_random_numbers_are_neither_used_nor_changed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    a = train_sorter(TINY, tmp_path / "a")
    torch.manual_seed(2)
    state = torch.get_rng_state()
    b = train_sorter(TINY, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights(a)[k], weights(b)[k]) for k in weights(a))
    c = train_sorter(replace(TINY, seed=1), tmp_path / "c")
    assert not all(torch.equal(weights(a)[k], weights(c)[k]) for k in weights(a))


def test_other_settings_and_other_files_are_not_overwritten(tmp_path: Path) -> None:
    train_sorter(TINY, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"other settings: lr 0\.01, now 0\.02"):
        train_sorter(replace(TINY, lr=0.02), tmp_path / "run")
    train_sorter(replace(TINY, lr=0.02), tmp_path / "run", fresh=True)
    about = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert about["sorter"]["lr"] == 0.02

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for fresh in (False, True):
        with pytest.raises(RunFolderError, match="not empty and holds no run"):
            train_sorter(TINY, mine, fresh=fresh)
    (mine / "settings.json").write_text("{}")
    with pytest.raises(RunFolderError, match="of something else"):
        train_sorter(TINY, mine, fresh=True)
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("damage", ["short", "other"])
def test_a_damaged_state_is_named(tmp_path: Path, damage: str) -> None:
    train_sorter(TINY, tmp_path)
    state = tmp_path / "state.pt"
    if damage == "short":
        state.write_bytes(state.read_bytes()[:100])
    else:
        torch.save({"epoch": 1}, state)
    with pytest.raises(RunFolderError, match=r"state\.pt is damaged"):
        train_sorter(TINY, tmp_path)
    train_sorter(TINY, tmp_path, fresh=True)


def test_it_stops_early(tmp_path: Path) -> None:
    settings = replace(TINY, lr=1e-12, epochs=30, patience=2)
    result = train_sorter(settings, tmp_path)
    assert result.epochs < 30
    assert train_sorter(settings, tmp_path).resumed_at == result.epochs


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([0.3, 0.1, 0.2, 0.4])
    seen: list[dict[str, torch.Tensor]] = []

    def validate(run: Any, autocast: Any) -> float:
        seen.append({k: v.clone() for k, v in run.sorter.state_dict().items()})
        return next(errors)

    monkeypatch.setattr(running.SorterRun, "_validate", validate)
    result = train_sorter(TINY, tmp_path)
    assert result.error == 0.1
    assert all(torch.equal(weights(result)[k], seen[1][k]) for k in seen[1])


def test_scores_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, np.random.default_rng(0).exponential(size=200))
    train_sorter(replace(TINY, scores=str(path)), tmp_path / "run")
    with pytest.raises(FileNotFoundError):
        train_sorter(replace(TINY, scores=str(tmp_path / "none.npy")), tmp_path / "other")


def test_bfloat16_runs(tmp_path: Path) -> None:
    result = train_sorter(replace(TINY, model="mlp", precision="bfloat16", epochs=1), tmp_path)
    assert all(x.dtype == torch.float32 for x in weights(result).values())


def test_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_sorter(TINY, tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "error", "lr"}
    assert [e.step for e in events.Scalars("error")] == [1, 2, 3, 4]


def test_progress(tmp_path: Path) -> None:
    told: list[Progress] = []
    train_sorter(TINY, tmp_path, on_progress=told.append)
    assert [p.epoch for p in told] == [1, 2, 3, 4]
    assert told[-1].fraction == 1
    assert told[-1].seconds == 0
    assert told[0].seconds > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nothing"}, "architecture must be one of"),
        ({"model": "exa"}, "no weights to train"),
        ({"model": "mlp", "lengths": (5, 6)}, "takes one length"),
        ({"lengths": (1,)}, "at least 2"),
        ({"lengths": ()}, "at least 2"),
        ({"dist": ("nothing",)}, "dist must be one of"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"precision": "float8"}, "precision must be one of"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_names_and_lengths() -> None:
    assert SorterSettings(model="gru_sum").model == "grus"
    assert SorterSettings(model="mlp").name == "mlp-100"
    assert SorterSettings(lengths=MANY_LENGTHS).name == "set"
    assert default_lengths("set") == MANY_LENGTHS
    assert default_lengths("lstm_large") == (100,)
    assert SorterSettings(lengths=(10, 1000), batch_size=50).rows(1000) == 5
