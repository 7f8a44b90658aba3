"""The Lightning module: any model, any loss, any number of terms."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rankgrad.data.regression.samples import Batch, RegressionData, Samples
from rankgrad.recipes.regression.metrics import balanced_mae
from rankgrad.recipes.regression.objective import Objective, Output
from rankgrad.recipes.regression.optimization import learning_rate_schedule, make_optimizer
from rankgrad.recipes.regression.regressor import Regressor
from rankgrad.recipes.regression.settings import RegressionSettings

__all__ = ["MONITOR", "RegressionDataModule", "RegressionModule"]

MONITOR = "val_mae_balanced"


class RegressionModule(L.LightningModule):
    """Training and evaluation of one method.

    With several workers the terms see the batch of all of them: ranks are over the global batch,
    and its gradient is that of one process. Regression losses are averaged as usual.

    Args:
        model: the network with its features, see :class:`Regressor`.
        objective: the loss of the method on this data, in the stage that is trained.
        data: the data, for the label bins of the validation error.
        settings: of the optimizer and the schedule.
    """

    def __init__(
        self,
        model: Regressor,
        objective: Objective,
        data: RegressionData,
        settings: RegressionSettings,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.bins = data.bins
        self.settings = settings
        self.stage = objective.stage
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._features: list[Tensor] = []
        self._random_state: Tensor | None = None

    def forward(self, inputs: Any) -> Tensor:
        """Return predictions in the unit of the labels."""
        return self.objective.to_labels(self.model(inputs).predictions)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        output: Output = self.model(batch.inputs, batch.targets)
        loss: Tensor
        loss, parts = self.objective(output, batch, self.current_epoch, self._everyones)
        self.model.observe(output.features, batch.targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.targets))
        for name, value in parts.items():
            self.log(
                f"train_{name}", value, on_step=False, on_epoch=True, batch_size=len(batch.targets)
            )
        return loss

    def _everyones(self, x: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return x
        gathered = self.all_gather(x, sync_grads=x.requires_grad)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def on_train_epoch_end(self) -> None:
        """Let smoothed features take in the epoch."""
        self.model.end_epoch()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the predictions of a batch."""
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Keep predictions and features of a batch."""
        self._features.append(self._evaluate(batch).features.float())

    def _evaluate(self, batch: Batch) -> Output:
        output: Output = self.model(batch.inputs)
        predictions = self.objective.to_labels(output.predictions.float())
        self._seen.append((batch.rows, predictions, batch.targets))
        return output

    def on_validation_epoch_end(self) -> None:
        """Log the label-balanced error, which stopping and the choice of the model go by."""
        predictions, targets, _ = self.evaluated()
        bins = self.bins.index(torch.from_numpy(targets)).numpy()
        error = balanced_mae(predictions, targets, bins)
        self.log(MONITOR, error, prog_bar=True, sync_dist=False, rank_zero_only=False)
        self.log("val_mae", float(np.abs(predictions - targets).mean()))

    def evaluated(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return predictions, targets and features of the last pass, each sample once, in order."""
        rows, predictions, targets = (
            self._everyones(torch.cat(column)).cpu() for column in zip(*self._seen, strict=True)
        )
        features = self._everyones(torch.cat(self._features)).cpu() if self._features else rows
        self._seen.clear()
        self._features.clear()
        # Several workers repeat samples to be equally many.
        _, first = np.unique(rows.numpy(), return_index=True)
        return predictions.numpy()[first], targets.numpy()[first], features.numpy()[first]

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, a step a batch."""
        optimizer = make_optimizer(self.parameters(), self.settings, self.objective.method)
        epochs = self.stage.epochs
        steps = int(self.trainer.estimated_stepping_batches) // epochs
        schedule = learning_rate_schedule(optimizer, self.settings, epochs, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of random numbers, so that a run goes on as if never interrupted."""
        checkpoint["random_state"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember it until training goes on."""
        self._random_state = checkpoint.get("random_state")

    def on_train_epoch_start(self) -> None:
        """Go on with the random numbers of the interrupted run."""
        if self._random_state is not None:
            torch.set_rng_state(self._random_state.cpu())
            self._random_state = None


class RegressionDataModule(L.LightningDataModule):
    """Loaders over the parts of the data; batches are made in the loader's processes.

    The order of an epoch depends on the seed and the number of the epoch alone.
    """

    def __init__(
        self, data: RegressionData, batch_size: int, seed: int, num_workers: int = 0
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        # Of each training sample in a batch, where inputs are drawn at random
        self.views = 1

    def _loader(self, samples: Samples, *, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(
            _Rows(len(samples)),
            batch_size=self.batch_size,
            sampler=_SeededOrder(len(samples), self.seed) if shuffle else None,
            collate_fn=partial(samples.batch, views=self.views if shuffle else 1),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches."""
        return self._loader(self.data.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return self._loader(self.data.val, shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches."""
        return self._loader(self.data.test, shuffle=False)


class _Rows(Dataset[int]):
    """The numbers of the samples; the collate function makes the batch."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row: int) -> int:
        return row


class _SeededOrder(Sampler[int]):
    """A new order each epoch, known from the seed; Lightning tells the epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.n, generator=generator).tolist())
