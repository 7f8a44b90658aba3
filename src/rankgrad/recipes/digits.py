"""The demonstration: read two-digit numbers whose training labels are far from balanced."""

from rankgrad.recipes.experiments.study import Study
from rankgrad.recipes.regression.loading import DataSettings
from rankgrad.recipes.regression.methods import chosen
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.training import train

__all__ = ["METHODS", "digits_study"]

METHODS = chosen(["L1", "MSE", "LDS", "LDS + RnC"])
"""A bar for the rest, weights for rare labels, and those with a ranking term on the features."""


def digits_study(seeds: int = 5, *, epochs: int = 60) -> Study:
    """Return the study of the demonstration.

    The last epoch's model is tested; nothing is chosen by validation.

    >>> len(digits_study(seeds=2, epochs=3).tasks())
    8
    """
    settings = RegressionSettings(DataSettings("digits"), epochs=epochs, select="last")
    return Study("digits", settings, METHODS, tuple(range(seeds)), train)
