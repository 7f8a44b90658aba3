"""Regression with rare labels: metrics by region and the report."""

from rankgrad.recipes.regression.metrics import REGIONS, Regions, regression_metrics

__all__ = ["REGIONS", "Regions", "regression_metrics"]
