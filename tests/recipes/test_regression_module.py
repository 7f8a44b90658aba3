"""Training with Lightning: files, resuming, two stages, and several processes."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from rankgrad.recipes.regression import module
from rankgrad.recipes.regression.fitting import FitOptions, fit
from rankgrad.recipes.regression.loading import DataSettings, load_data
from rankgrad.recipes.regression.method import parse_method
from rankgrad.recipes.regression.models import build_regressor
from rankgrad.recipes.regression.progress import Progress, ProgressCallback
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.runs import RunFolderError

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = FitOptions(accelerator="cpu")


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        yield
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RegressionSettings:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    y = np.exp(1 + 0.5 * x[:, 0]) + 0.05 * rng.normal(size=120)
    path = tmp_path_factory.mktemp("data") / "skewed.csv"
    rows = [f"{a:.4f},{b:.4f},{t:.4f}" for (a, b), t in zip(x, y, strict=True)]
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n")
    data = DataSettings(str(path), target="y", bin_width=0.5)
    return RegressionSettings(data, epochs=4, batch_size=32)


METHOD = parse_method("method", "mse lds fds rnc:weight=0.5 ranksim:start=2")


class Stop(Callback):
    """Ctrl-C behind an epoch, counted over the stages."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
        if pl_module.stage.first + trainer.current_epoch == self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(
    settings: RegressionSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float], list[Progress]]:
    folder = tmp_path_factory.mktemp("run")
    told: list[Progress] = []
    result = fit(settings, METHOD, folder, OPTIONS, callbacks=[ProgressCallback(told.append)])
    assert result.resumed_at is None
    assert result.epochs == 4
    return folder, result.metrics, told


def test_a_run_writes_its_files(
    settings: RegressionSettings, finished: tuple[Path, dict[str, float], list[Progress]]
) -> None:
    folder, metrics, told = finished
    names = {path.name for path in folder.iterdir()}
    assert {"settings.json", "best.ckpt", "last.ckpt", "metrics.json", "model.pt", "logs"} <= names
    stored = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert stored["mae_balanced"] == pytest.approx(metrics["mae_balanced"])
    data = load_data(settings.data, 0)
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "row,target,prediction,region"
    assert len(lines) == 1 + len(data.test)
    steps = -(-len(data.train) // settings.batch_size)
    np.testing.assert_allclose(
        [p.fraction for p in told],
        [(e + b / steps) / 4 for e in range(4) for b in (*range(1, steps + 1), steps)],
    )
    said = told[steps :: steps + 1]
    assert [(p.epoch, p.epochs) for p in said] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert str(said[0]).startswith("balanced validation MAE ")
    assert "rnc" in str(said[0])
    assert "ranksim" not in said[1].losses
    assert "ranksim" in said[2].losses
    assert said[-1].seconds == 0
    assert "train_rnc" in (folder / "logs" / "metrics.csv").read_text().splitlines()[0]


def test_the_weights_predict_what_was_written(
    settings: RegressionSettings, finished: tuple[Path, dict[str, float], list[Progress]]
) -> None:
    folder, _, _ = finished
    saved = torch.load(folder / "model.pt", weights_only=True)
    data = load_data(settings.data, 0)
    model = build_regressor("mlp", data, METHOD).eval()
    model.network.load_state_dict(saved["network"])
    raw = model(data.test.batch(torch.arange(len(data.test))).inputs).predictions
    predictions = raw.detach() * saved["labels"]["std"] + saved["labels"]["mean"]
    written = np.loadtxt(folder / "predictions.csv", delimiter=",", skiprows=1, usecols=2)
    np.testing.assert_allclose(predictions, written, rtol=1e-4, atol=1e-4)


def test_an_interrupted_run_goes_on_to_the_same_end(
    settings: RegressionSettings,
    finished: tuple[Path, dict[str, float], list[Progress]],
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(settings, METHOD, tmp_path, OPTIONS, callbacks=[Stop(2)])
    result = fit(settings, METHOD, tmp_path, OPTIONS)
    assert result.resumed_at == 2
    for name in ("network", "labels"):
        ours = torch.load(tmp_path / "model.pt", weights_only=True)[name]
        for key, value in torch.load(finished[0] / "model.pt", weights_only=True)[name].items():
            torch.testing.assert_close(ours[key], value, rtol=0, atol=0, msg=key)


def test_a_run_goes_on_after_its_last_epoch_not_its_best(
    settings: RegressionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([3.0, 4.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(module, "balanced_mae", lambda *_: next(errors))
    with pytest.raises(KeyboardInterrupt):
        fit(settings, METHOD, tmp_path, OPTIONS, callbacks=[Stop(3)])
    assert fit(settings, METHOD, tmp_path, OPTIONS).resumed_at == 3
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 0


def test_a_run_that_patience_has_stopped_stays_so(
    settings: RegressionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([3.0, 2.0, 2.5, 2.6, 1.0, 0.5])
    monkeypatch.setattr(module, "balanced_mae", lambda *_: next(errors))
    patient = replace(settings, epochs=9, patience=2)
    first = fit(patient, METHOD, tmp_path, OPTIONS)
    assert first.epochs == 4
    again = fit(patient, METHOD, tmp_path, OPTIONS)
    assert (again.epochs, again.resumed_at) == (4, 4)
    assert again.metrics == first.metrics


def test_lightning_may_speak_again_after_a_run(
    settings: RegressionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever other tests have asked of it
    log = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr(log, "level", logging.INFO)
    fit(replace(settings, epochs=1), METHOD, tmp_path, OPTIONS)
    assert log.level == logging.INFO


def test_a_folder_of_other_settings_is_refused(
    settings: RegressionSettings, finished: tuple[Path, dict[str, float], list[Progress]]
) -> None:
    folder, _, _ = finished
    with pytest.raises(RunFolderError, match="other settings"):
        fit(replace(settings, epochs=5), METHOD, folder, OPTIONS)


def test_two_stages_and_bfloat16(settings: RegressionSettings, tmp_path: Path) -> None:
    method = parse_method("method", "l1 rrt:epochs=2")
    options = replace(OPTIONS, precision="bf16-mixed")
    short = replace(settings, epochs=2, patience=5, clip_norm=1.0)
    result = fit(short, method, tmp_path, options)
    assert np.isfinite(result.metrics["mae_all"])
    first, second = (
        torch.load(tmp_path / name, weights_only=True)["state_dict"]
        for name in ("best.ckpt", "head/best.ckpt")
    )
    changed = {
        k for k, v in first.items() if k.startswith("model") and not torch.equal(v, second[k])
    }
    assert changed == {"model.network.head.weight", "model.network.head.bias"}


def test_a_run_stopped_between_its_stages_goes_on_to_the_same_end(
    settings: RegressionSettings, tmp_path: Path
) -> None:
    method = parse_method("method", "l1 rrt:epochs=1")
    short = replace(settings, epochs=1)
    whole = fit(short, method, tmp_path / "whole", OPTIONS)
    fit(short, method, tmp_path / "parts", OPTIONS)
    for path in (tmp_path / "parts" / "head").glob("*.ckpt"):
        path.unlink()
    assert fit(short, method, tmp_path / "parts", OPTIONS).metrics == whole.metrics


@pytest.mark.parametrize("after", [2, 4])
def test_pre_training_goes_on_in_either_stage(
    settings: RegressionSettings, tmp_path: Path, after: int
) -> None:
    """Three epochs of the encoder, two of the head; stopped in the second or the first of them."""
    method = parse_method("method", "mse fds pretrain:epochs=3")
    short = replace(settings, epochs=2)
    told: list[Progress] = []
    whole = fit(
        short, method, tmp_path / "whole", OPTIONS, callbacks=[ProgressCallback(told.append)]
    )
    assert whole.epochs == 5
    assert {(p.stage, p.epochs) for p in told} == {("pretrain", 5), ("train", 5)}
    assert sorted({p.epoch for p in told}) == [0, 1, 2, 3, 4, 5]
    assert [p.fraction for p in told] == sorted(p.fraction for p in told)
    last = max((p for p in told if p.stage == "pretrain"), key=lambda p: p.epoch)
    assert str(last).startswith("pretrain: rnc ")
    first, second = (
        torch.load(tmp_path / "whole" / name, weights_only=True)["state_dict"]
        for name in ("pretrain/last.ckpt", "best.ckpt")
    )
    assert not (tmp_path / "whole" / "pretrain" / "best.ckpt").exists()
    learned = {"model.network.head.weight", "model.network.head.bias"}
    assert {
        k for k in first if ".network." in k and not torch.equal(first[k], second[k])
    } == learned

    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        fit(short, method, parts, OPTIONS, callbacks=[Stop(after)])
    result = fit(short, method, parts, OPTIONS)
    assert result.resumed_at == after
    assert result.epochs == 5
    assert result.metrics == whole.metrics


def test_loaders_give_two_views_of_training_samples_drawn_at_random(
    settings: RegressionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(settings.data, 0)
    loaders = module.RegressionDataModule(data, 32, seed=0)
    loaders.views = 2
    rows = next(iter(loaders.train_dataloader())).rows
    assert len(rows) == 32
    monkeypatch.setattr(data.train, "augment", True)
    twice = next(iter(loaders.train_dataloader())).rows
    assert torch.equal(twice, rows.repeat(2))
    monkeypatch.setattr(data.val, "augment", True)
    assert len(next(iter(loaders.val_dataloader())).rows) == len(data.val)
