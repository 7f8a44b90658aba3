"""What is measured of predictions on a test set."""

import numpy as np
from torch import Tensor

from rankgrad.data.regression.samples import RegressionData
from rankgrad.recipes.regression.loading import DataSettings, regions_of
from rankgrad.recipes.regression.metrics import REGIONS, balanced_mae, regression_metrics

__all__ = ["measured"]


def measured(
    data: RegressionData, settings: DataSettings, predictions: np.ndarray, targets: Tensor
) -> tuple[dict[str, float], list[str]]:
    """Return the metrics in every region and over the label bins, and notes on them."""
    _, regions = regions_of(data, settings)
    bins = data.bins.index(targets).numpy()
    names = np.array(regions)[bins]
    inside = {r: np.ones(len(names), bool) if r == "all" else names == r for r in REGIONS}
    metrics, notes = regression_metrics(predictions, targets.numpy(), inside)
    metrics["mae_balanced"] = balanced_mae(predictions, targets.numpy(), bins)
    return metrics, notes
