"""One training run with Lightning, in a folder that it can go on from."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from rankgrad.recipes.experiments.store import write_csv, write_json
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.regression.loading import load_data, regions_of
from rankgrad.recipes.regression.measuring import measured
from rankgrad.recipes.regression.method import RegressionMethod, describe
from rankgrad.recipes.regression.models import build_regressor
from rankgrad.recipes.regression.module import MONITOR, RegressionDataModule, RegressionModule
from rankgrad.recipes.regression.objective import Objective
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.stages import stages
from rankgrad.recipes.runs import claim, save

__all__ = ["FitOptions", "FitResult", "fit"]

# What a run leaves in its folder
_FILES = (
    "settings.json",
    "*.ckpt",
    "logs/**/*",
    "pretrain/**/*",
    "head/**/*",
    "metrics.json",
    "predictions.csv",
    "model.pt",
)


@dataclass(frozen=True)
class FitOptions:
    """How to run, which is no part of what is trained."""

    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    num_workers: int = 0


@dataclass(frozen=True)
class FitResult:
    """What came out of so many epochs, and after which of them the run went on, if it did."""

    metrics: dict[str, float]
    notes: list[str]
    epochs: int
    resumed_at: int | None


def fit(
    settings: RegressionSettings,
    method: RegressionMethod,
    folder: Path,
    options: FitOptions,
    *,
    fresh: bool = False,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train, or go on training, test, and write what came out.

    Files: ``settings.json``, ``best.ckpt`` and ``last.ckpt``, ``logs/`` (CSV, and TensorBoard
    where it is installed), and at the end ``metrics.json``, ``predictions.csv`` and ``model.pt``,
    the weights of the network for ``torch.load(..., weights_only=True)``. Where there are several
    stages of training, see :func:`~rankgrad.recipes.regression.stages.stages`, ``pretrain/`` and
    ``head/`` hold checkpoints and logs of theirs.

    Raises:
        RunFolderError: the folder holds a run of other settings.
        DataError: the data cannot be read.
    """
    wanted = {
        "settings": plain(settings),
        "method": plain(method),
        "text": describe(method),
        "seed": options.seed,
    }
    claim(folder, "regression", wanted, _FILES, fresh=fresh)
    data = load_data(settings.data, options.seed)
    L.seed_everything(options.seed, verbose=False)
    model = build_regressor(settings.model, data, method, settings.head)
    loaders = RegressionDataModule(data, settings.batch_size, options.seed, options.num_workers)
    todo = stages(method, settings.epochs)
    places = [folder if stage.name == "train" else folder / stage.name for stage in todo]
    done = [epochs for place in places if (epochs := _saved_epochs(place / "last.ckpt"))]
    epochs = 0
    for stage, place in zip(todo, places, strict=True):
        if stage.first:
            # Anew whatever the stages before it drew: they may have been done by an earlier call.
            L.seed_everything(options.seed, verbose=False)
        model.enter(stage)
        loaders.views = stage.views
        objective = Objective(method, data, stage, scale=settings.scale_labels)
        module = RegressionModule(model, objective, data, settings)
        trainer = _trained(module, loaders, place, options, callbacks)
        epochs += trainer.current_epoch
    with _quiet():
        trainer.test(module, datamodule=loaders, verbose=False)
    metrics, notes = _write(folder, settings, module, loaders, trainer.is_global_zero)
    return FitResult(metrics, notes, epochs, sum(done) or None)


def _saved_epochs(path: Path) -> int:
    """How many epochs the checkpoint of a stage has behind it."""
    if not path.exists():
        return 0
    return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"]) + 1


def _trained(
    module: RegressionModule,
    loaders: RegressionDataModule,
    folder: Path,
    options: FitOptions,
    callbacks: Sequence[Callback],
) -> L.Trainer:
    """Train one stage; the chosen weights are in the module afterwards."""
    settings, chooses = module.settings, module.stage.regresses
    kept: list[Callback] = [*callbacks]
    if chooses and settings.patience:
        kept.append(_Patience(MONITOR, patience=settings.patience))
    # Two of them: one that is told to save the last, too, leaves out epochs that are not the best.
    for name, monitor in (("best", MONITOR), ("last", None)) if chooses else (("last", None),):
        kept.append(ModelCheckpoint(folder, name, monitor=monitor, enable_version_counter=False))
    logs: list[Logger] = [CSVLogger(folder, name="", version="logs")]
    if find_spec("tensorboard") is not None:
        logs.append(TensorBoardLogger(folder, name="", version="logs"))
    with _quiet():
        trainer = L.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            precision=options.precision,  # type: ignore[arg-type]  # a text of the user's
            max_epochs=module.stage.epochs,
            limit_val_batches=1.0 if chooses else 0,
            gradient_clip_val=settings.clip_norm,
            callbacks=kept,
            logger=logs,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        last = folder / "last.ckpt"
        with _ctrl_c_as_usual(trainer):
            trainer.fit(module, datamodule=loaders, ckpt_path=last if last.exists() else None)
    if settings.select == "best" and (folder / "best.ckpt").exists():
        saved = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(saved["state_dict"])
    return trainer


class _Patience(EarlyStopping):
    """Early stopping that lets a stopped run be, when it is called again."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before the first epoch."""
        trainer.should_stop = self.wait_count >= self.patience


@contextmanager
def _ctrl_c_as_usual(trainer: L.Trainer) -> Iterator[None]:
    """Lightning answers Ctrl-C by leaving the program, and ignores the next one."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
    if trainer.interrupted:
        raise KeyboardInterrupt


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice on worker processes and step intervals."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        log.setLevel(level)


def _write(
    folder: Path,
    settings: RegressionSettings,
    module: RegressionModule,
    loaders: RegressionDataModule,
    writes: bool,
) -> tuple[dict[str, float], list[str]]:
    data = loaders.data
    predictions, targets, _ = module.evaluated()
    metrics, notes = measured(data, settings.data, predictions, torch.from_numpy(targets))
    if writes:
        bins = data.bins.index(torch.from_numpy(targets))
        _, regions = regions_of(data, settings.data)
        rows: list[dict[str, Any]] = [
            {"row": i, "target": float(t), "prediction": float(p), "region": regions[b]}
            for i, (t, p, b) in enumerate(zip(targets, predictions, bins.tolist(), strict=True))
        ]
        write_csv(folder / "predictions.csv", rows)
        write_json(folder / "metrics.json", {"metrics": metrics, "notes": notes})
        weights = {k: v.detach().cpu() for k, v in module.model.network.state_dict().items()}
        scale = {"mean": module.objective.mean.cpu(), "std": module.objective.std.cpu()}
        save({"network": weights, "labels": scale}, folder / "model.pt")
    return metrics, notes
