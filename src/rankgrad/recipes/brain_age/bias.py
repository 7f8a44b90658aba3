"""The usual correction of predicted ages, which come too near to the mean of the training set."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["AgeBias", "fit_age_bias"]


@dataclass(frozen=True)
class AgeBias:
    r"""The line ``prediction = slope * age + intercept``, fitted on the validation scans.

    Networks predict the young too old and the old too young, so that raw brain-age gaps go with
    age. Both corrections take the same line:

    - :meth:`gap`: the distance from it, ``prediction - (slope * age + intercept)``, which is
      uncorrelated with age on the scans it was fitted on. It uses the true age: ``age + gap`` is
      no prediction, and its error and correlation must not be given as those of the model.
    - :meth:`age`: ``(prediction - intercept) / slope``, which needs no true age and has a larger
      error than the raw prediction.

    Source: Cole et al., Neurobiology of Aging 2018; Beheshti et al., NeuroImage: Clinical 2019;
    de Lange and Cole, NeuroImage: Clinical 2020; Butler et al., Human Brain Mapping 2021, on how
    the former is misread.

    >>> bias = AgeBias(slope=0.8, intercept=10.0, scans=40)
    >>> bias.age(np.array([66.0])), bias.gap(np.array([66.0]), np.array([65.0]))
    (array([70.]), array([4.]))
    """

    slope: float
    intercept: float
    scans: int

    @property
    def usable(self) -> bool:
        """Whether predictions rise with age at all."""
        return math.isfinite(self.slope) and self.slope > 0

    def age(self, predictions: np.ndarray) -> np.ndarray:
        """Return the ages at which the line has these predictions."""
        return (predictions - self.intercept) / self.slope

    def gap(self, predictions: np.ndarray, ages: np.ndarray) -> np.ndarray:
        """Return how far predictions are above the line at the true ages."""
        return predictions - (self.slope * ages + self.intercept)


def fit_age_bias(predictions: np.ndarray, ages: np.ndarray) -> AgeBias:
    """Fit the line by least squares; without two different ages there is none (NaN).

    Scans without a prediction (NaN) are left out.


    >>> fit_age_bias(np.array([26.0, 42.0, 58.0]), np.array([20.0, 40.0, 60.0])).slope
    0.8...
    """
    known = ~np.isnan(predictions)
    y, x = predictions[known].astype(np.float64), ages[known].astype(np.float64)
    if len(x) < 2 or np.ptp(x) == 0:
        return AgeBias(math.nan, math.nan, len(x))
    slope = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    return AgeBias(slope, float(y.mean() - slope * x.mean()), len(x))
