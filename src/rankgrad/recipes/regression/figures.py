"""The figures of a regression study, from its stored runs."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.experiments.summary import Paired, spread
from rankgrad.recipes.regression.metrics import REGIONS, Regions, spearman
from rankgrad.report import Figure, charts

__all__ = [
    "error_by_label",
    "error_by_region",
    "feature_order",
    "learning_curves",
    "predictions",
    "region_bands",
    "seed_differences",
    "similarity",
]


def _of(runs: Sequence[StoredRun], method: str) -> list[StoredRun]:
    return [run for run in runs if run.method == method]


def region_bands(counts: np.ndarray, regions: Regions) -> list[charts.Band]:
    """Return the stretches of neighbouring labels that lie in one region."""
    split = regions.split(counts)
    names = [next(r for r in REGIONS[1:] if split[r][label]) for label in range(len(counts))]
    edges = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1]), len(names)]
    return [(start - 0.5, end - 0.5, names[start]) for start, end in pairwise(edges) if end > start]


def learning_curves(runs: Sequence[StoredRun], methods: Sequence[str]) -> list[Figure]:
    """Return training loss and validation error over the epochs."""

    def table(column: str) -> dict[str, np.ndarray]:
        return {
            method: np.array([[row[column] for row in run.history] for run in _of(runs, method)])
            for method in methods
        }

    return [
        charts.curves(
            table("train_loss"),
            x_label="epoch",
            y_label="training loss",
            title="Training loss",
            log=True,
            alt="Training loss over the epochs, one line for each method.",
            caption="Each method's own loss, labels scaled to deviation 1. The lines have "
            "different units: compare their shapes, not their heights.",
        ),
        charts.curves(
            table("val_mae"),
            x_label="epoch",
            y_label="validation MAE",
            title="Validation error",
            alt="Validation MAE over the epochs, one line for each method.",
            caption="Mean absolute error on the label-balanced validation pairs. Bold: mean over "
            "the seeds; faint: each seed.",
        ),
    ]


def seed_differences(comparisons: Sequence[Paired]) -> Figure:
    """Return the differences in test error, seed by seed."""
    rows = {f"{c.method} − {c.baseline}": c.differences for c in comparisons}
    counts = "; ".join(
        f"{c.method} better than {c.baseline} on {c.better()} of {len(c.seeds)}"
        for c in comparisons
    )
    return charts.differences(
        rows,
        x_label="test MAE, first minus second (left: first is better)",
        title="Differences seed by seed",
        alt=f"Differences in test MAE for each seed: {counts}.",
        caption="A dot is one seed: same data, same initial weights, same order of batches. The "
        "bar is the mean.",
    )


def predictions(runs: Sequence[StoredRun], methods: Sequence[str]) -> list[Figure]:
    """Return predicted against true, one figure a method, the test samples of all seeds."""
    values = {}
    for method in methods:
        arrays = [run.arrays() for run in _of(runs, method)]
        values[method] = [
            np.concatenate([a[k] for a in arrays]) for k in ("predictions", "targets")
        ]
    everything = np.concatenate([array for pair in values.values() for array in pair])
    limits = (float(np.nanmin(everything)), float(np.nanmax(everything)))
    return [
        charts.predicted_against_true(
            predicted,
            targets,
            color=index,
            title=method,
            limits=limits,
            alt=f"Predicted against true label of the test pairs for {method}.",
        )
        for index, (method, (predicted, targets)) in enumerate(values.items())
    ]


def error_by_region(runs: Sequence[StoredRun], methods: Sequence[str]) -> Figure:
    """Return the mean test error in every region, with its deviation over seeds."""
    spreads = {m: [spread(runs, m, f"mae_{region}") for region in REGIONS] for m in methods}
    spoken = ", ".join(f"{m} {values[-1].text(1)}" for m, values in spreads.items())
    return charts.bars(
        REGIONS,
        {m: [s.mean for s in values] for m, values in spreads.items()},
        {m: [s.std for s in values] for m, values in spreads.items()},
        y_label="test MAE",
        title="Error by region",
        alt=f"Test MAE by region. In the region few: {spoken}.",
        caption="Mean over the seeds, the whiskers one standard deviation.",
    )


def error_by_label(
    runs: Sequence[StoredRun], methods: Sequence[str], bands: Sequence[charts.Band]
) -> Figure:
    """Return the mean test error along the labels, over a window of five."""
    lines = {}
    labels = np.zeros(0)
    for method in methods:
        rows = []
        for run in _of(runs, method):
            arrays = run.arrays()
            error = np.abs(arrays["predictions"] - arrays["targets"])
            labels = np.unique(arrays["targets"])
            by_label = np.array([error[arrays["targets"] == label].mean() for label in labels])
            rows.append(_moving_mean(by_label, 5))
        lines[method] = np.array(rows)
    return charts.curves(
        lines,
        x=labels,
        x_label="true label",
        y_label="test MAE",
        title="Error along the labels",
        alt="Test MAE along the labels, one line for each method: low where training samples are "
        "many, high where they are few.",
        caption="Mean over seeds and over five neighbouring labels; shaded: the regions.",
        bands=bands,
    )


def _moving_mean(x: np.ndarray, width: int) -> np.ndarray:
    """The mean over a window that shrinks at the ends."""
    ones = np.ones(min(width, len(x)))
    smoothed: np.ndarray = np.convolve(x, ones, "same") / np.convolve(np.ones_like(x), ones, "same")
    return smoothed


def _distances(run: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and distances between the mean features of each, in units of their mean."""
    arrays = run.arrays()
    labels = np.unique(arrays["targets"])
    features = arrays["features"].astype(np.float64)
    means = np.stack([features[arrays["targets"] == label].mean(axis=0) for label in labels])
    distances = np.linalg.norm(means[:, None] - means[None], axis=-1)
    off_diagonal = ~np.eye(len(labels), dtype=bool)
    scale = distances[off_diagonal].mean() if len(labels) > 1 else 1.0
    return labels, distances / (scale or 1.0)


def feature_order(run: StoredRun) -> float:
    """Return Spearman's correlation of label distance and feature distance over pairs of labels."""
    labels, distances = _distances(run)
    pairs = np.triu_indices(len(labels), k=1)
    return spearman(np.abs(labels[:, None] - labels[None])[pairs], distances[pairs])


def similarity(runs: Sequence[StoredRun], methods: Sequence[str]) -> list[Figure]:
    """Return the similarity of features, ordered by label, for the first seed of each method."""
    first = {method: _of(runs, method)[0] for method in methods if _of(runs, method)}
    matrices = {method: -_distances(run)[1] for method, run in first.items()}
    low = min(float(matrix.min()) for matrix in matrices.values())
    return [
        charts.heat_map(
            matrix,
            title=method,
            label="similarity (minus distance)",
            axis_label="label",
            limits=(low, 0.0),
            alt=f"Similarity of the features of every two labels for {method}, seed "
            f"{first[method].seed}. Rank correlation of feature distance with label distance: "
            f"{feature_order(first[method]):.2f}.",
        )
        for method, matrix in matrices.items()
    ]
