"""The figures of a regression study, from its stored runs."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.experiments.summary import Paired, spread
from rankgrad.recipes.regression.metrics import REGIONS, spearman
from rankgrad.report import Figure, charts, pictures

__all__ = [
    "bands_along",
    "embedding",
    "error_by_label",
    "error_by_region",
    "feature_order",
    "learning_curves",
    "predictions",
    "seed_differences",
    "similarity",
]


def _of(runs: Sequence[StoredRun], method: str) -> list[StoredRun]:
    return [run for run in runs if run.method == method]


def _first(runs: Sequence[StoredRun], methods: Sequence[str]) -> dict[str, StoredRun]:
    """The first run of each method that has one."""
    return {method: mine[0] for method in methods if (mine := _of(runs, method))}


def bands_along(regions: Sequence[str], positions: np.ndarray) -> list[charts.Band]:
    """Return the stretches of neighbouring bins of one region, in units of the labels."""
    half = (positions[1] - positions[0]) / 2 if len(positions) > 1 else 0.5
    changes = (i for i in range(1, len(regions)) if regions[i] != regions[i - 1])
    edges = [0, *changes, len(regions)]
    return [
        (float(positions[a] - half), float(positions[b - 1] + half), regions[a])
        for a, b in pairwise(edges)
    ]


def _rows(lines: Sequence[Sequence[float]]) -> np.ndarray:
    """One row a line; runs that patience stopped early end in NaN."""
    table = np.full((len(lines), max(map(len, lines), default=0)), np.nan)
    for row, line in zip(table, lines, strict=True):
        row[: len(line)] = line
    return table


def learning_curves(runs: Sequence[StoredRun], methods: Sequence[str]) -> list[Figure]:
    """Return training loss and validation error over the epochs."""

    def table(column: str) -> dict[str, np.ndarray]:
        return {
            method: _rows([[row[column] for row in run.history] for run in _of(runs, method)])
            for method in methods
        }

    errors = table("val_mae")
    pretrained = any(np.isnan(rows[:, 0]).any() for rows in errors.values())
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
            errors,
            x_label="epoch",
            y_label="validation MAE",
            title="Validation error",
            alt="Validation MAE over the epochs, one line for each method.",
            caption="Balanced over the labels: the mean of the MAE in each label bin. Bold: mean "
            "over the seeds; faint: each seed."
            + (" Pre-training predicts nothing yet: no error." if pretrained else ""),
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
    labels = np.unique(np.concatenate([_labels(run.arrays()) for run in runs]))
    lines = {}
    for method in methods:
        # Test sets of different seeds need not hold the same labels.
        totals, counts = np.zeros(len(labels)), np.zeros(len(labels))
        for run in _of(runs, method):
            arrays = run.arrays()
            at = np.searchsorted(labels, _labels(arrays))
            error = np.abs(arrays["predictions"] - arrays["targets"])
            counts_here = np.bincount(at, minlength=len(labels))
            sums = np.bincount(at, weights=error, minlength=len(labels))
            totals += sums / np.maximum(counts_here, 1)
            counts += counts_here > 0
        mean = np.divide(totals, counts, out=np.full(len(labels), np.nan), where=counts > 0)
        lines[method] = _moving_mean(mean, 5)[None]
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
    """The mean over a window that shrinks at the ends and passes over NaN."""
    ones = np.ones(min(width, len(x)))
    there = np.isfinite(x)
    counts = np.convolve(there, ones, "same")
    sums = np.convolve(np.where(there, x, 0.0), ones, "same")
    smoothed: np.ndarray = np.divide(sums, counts, out=np.full(len(x), np.nan), where=counts > 0)
    return smoothed


def _labels(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The labels of the test samples, or of their bins where labels are continuous."""
    return arrays.get("labels", arrays["targets"])


def embedding(runs: Sequence[StoredRun], methods: Sequence[str]) -> list[Figure]:
    """Return the two main directions of the features, coloured by label, first seed of each."""
    figures = []
    for method, run in _first(runs, methods).items():
        arrays = run.arrays()
        x = arrays["features"].astype(np.float64)
        x = x - x.mean(axis=0)
        _, scale, directions = np.linalg.svd(x, full_matrices=False)
        points = x @ directions[:2].T
        share = float((scale[:2] ** 2).sum() / max(float((scale**2).sum()), 1e-30))
        figures.append(
            pictures.scatter(
                points if points.shape[1] == 2 else np.pad(points, ((0, 0), (0, 1))),
                arrays["targets"],
                title=method,
                label="label",
                alt=f"Test features of {method} in their two main directions, coloured by label; "
                f"these hold {share:.0%} of the variance.",
                caption=f"{share:.0%} of the variance",
            )
        )
    return figures


def _distances(run: StoredRun) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and distances between the mean features of each, in units of their mean."""
    arrays = run.arrays()
    of = _labels(arrays)
    labels = np.unique(of)
    features = arrays["features"].astype(np.float64)
    means = np.stack([features[of == label].mean(axis=0) for label in labels])
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
    first = _first(runs, methods)
    matrices = {method: -_distances(run)[1] for method, run in first.items()}
    low = min(float(matrix.min()) for matrix in matrices.values())
    return [
        pictures.heat_map(
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
