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

from rankgrad.recipes.regression.fitting import FitOptions, fit
from rankgrad.recipes.regression.lines import EpochLines
from rankgrad.recipes.regression.loading import DataSettings, load_data
from rankgrad.recipes.regression.methods import parse_method
from rankgrad.recipes.regression.models import build_regressor
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
    """Ctrl-C behind an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
        if trainer.current_epoch == self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(
    settings: RegressionSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float], list[str]]:
    folder = tmp_path_factory.mktemp("run")
    said: list[str] = []
    result = fit(settings, METHOD, folder, OPTIONS, callbacks=[EpochLines(said.append)])
    assert result.resumed_at is None
    assert result.epochs == 4
    return folder, result.metrics, said


def test_a_run_writes_its_files(
    settings: RegressionSettings, finished: tuple[Path, dict[str, float], list[str]]
) -> None:
    folder, metrics, said = finished
    names = {path.name for path in folder.iterdir()}
    assert {"settings.json", "best.ckpt", "last.ckpt", "metrics.json", "model.pt", "logs"} <= names
    stored = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert stored["mae_balanced"] == pytest.approx(metrics["mae_balanced"])
    data = load_data(settings.data, 0)
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "row,target,prediction,region"
    assert len(lines) == 1 + len(data.test)
    assert len(said) == 4
    assert said[0].startswith("epoch 1/4: balanced validation MAE ")
    assert "rnc" in said[0]
    assert "ranksim" not in said[1]
    assert "ranksim" in said[2]
    assert "train_rnc" in (folder / "logs" / "metrics.csv").read_text().splitlines()[0]


def test_the_weights_predict_what_was_written(
    settings: RegressionSettings, finished: tuple[Path, dict[str, float], list[str]]
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
    finished: tuple[Path, dict[str, float], list[str]],
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


def test_lightning_may_speak_again_after_a_run(
    finished: tuple[Path, dict[str, float], list[str]],
) -> None:
    assert logging.getLogger("lightning.pytorch").level != logging.ERROR


def test_a_folder_of_other_settings_is_refused(
    settings: RegressionSettings, finished: tuple[Path, dict[str, float], list[str]]
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
