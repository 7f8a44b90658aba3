"""The page and the tables of the digits study."""

import math
from collections.abc import Sequence
from pathlib import Path

from rankgrad.data.regression import RegressionData
from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.files import about, spread_rows, write_runs
from rankgrad.recipes.experiments.store import StoredRun, write_csv, write_json
from rankgrad.recipes.experiments.study import Study
from rankgrad.recipes.experiments.summary import Paired, paired, spread
from rankgrad.recipes.regression import figures
from rankgrad.recipes.regression.loading import load_data, regions_of
from rankgrad.recipes.regression.method import RegressionMethod, describe
from rankgrad.recipes.regression.metrics import METRICS, REGIONS
from rankgrad.recipes.regression.settings import RegressionSettings
from rankgrad.recipes.regression.summary import (
    COLUMNS,
    findings,
    lowest,
    settings_rows,
    summary_rows,
)
from rankgrad.report import Figure, Page, Section, Table, charts, pictures

__all__ = ["comparisons", "write_results"]

_PAIRS = (("MSE", "L1"), ("LDS", "MSE"), ("LDS + RnC", "LDS"), ("LDS + RnC", "MSE"))


def comparisons(runs: Sequence[StoredRun]) -> list[Paired]:
    """Return the comparisons that the study is about, those whose methods were run."""
    there = {run.method for run in runs}
    return [paired(runs, a, b, "mae_all") for a, b in _PAIRS if {a, b} <= there]


def write_results(study: Study, runs: Sequence[StoredRun], folder: Path, *, quick: bool) -> Path:
    """Write ``runs.csv``, ``summary.csv``, ``summary.json`` and the page; return its path."""
    methods = [method.name for method in study.methods]
    names = [f"{metric}_{region}" for region in REGIONS for metric in METRICS]
    spreads = {m: {name: spread(runs, m, name) for name in names} for m in methods}
    write_runs(runs, folder)
    write_csv(folder / "summary.csv", spread_rows(runs, methods, names))
    write_json(
        folder / "summary.json",
        {
            **about(study),
            "metrics": {
                m: {name: {"mean": s.mean, "std": s.std, "seeds": s.n} for name, s in row.items()}
                for m, row in spreads.items()
            },
            "paired_mae": [
                {
                    "method": c.method,
                    "baseline": c.baseline,
                    "differences": list(c.differences),
                    "better": c.better(),
                }
                for c in comparisons(runs)
            ],
        },
    )
    report = folder / "report.html"
    _page(study, runs, quick=quick).write(report)
    return report


def _page(study: Study, runs: Sequence[StoredRun], *, quick: bool) -> Page:
    methods = [method.name for method in study.methods]
    settings: RegressionSettings = study.settings
    data = load_data(settings.data, study.seeds[0])
    regions, names = regions_of(data, settings.data)
    counts, n_labels = data.train_counts.numpy(), data.bins.num
    bands = figures.bands_along(names, data.bins.positions().numpy())
    pairs = comparisons(runs)
    n = len(study.seeds)
    sections = [
        _results(runs, methods, pairs, n),
        Section(
            "The data",
            text=[
                f"scikit-learn's 1,797 handwritten digits, two side by side; the label is the "
                f"number they show. Training has {counts.sum():,} pairs and a skewed label "
                f"distribution, from {counts.min()} to {counts.max()} pairs a label; "
                f"{int((counts == 0).sum())} labels never occur in it. Validation "
                f"({len(data.val) // n_labels} pairs a label) and test "
                f"({len(data.test) // n_labels}) are balanced. The source images were divided "
                "before they were paired, so no image is in two parts.",
                "Regions by training pairs of a label: "
                f"many, more than {regions.many_above}; few, less than {regions.few_below}; "
                "medium, what lies between.",
            ],
            figures=[
                _examples(data),
                charts.histogram(
                    counts,
                    x_label="label",
                    y_label="training pairs",
                    title="Training pairs of each label",
                    alt=f"Training pairs by label: a skewed bell with its top at {counts.max()}.",
                    bands=bands,
                    caption="Shaded: the regions many and medium; the rest is few.",
                ),
            ],
        ),
        Section("Training", figures=figures.learning_curves(runs, methods)),
        Section(
            "Predicted against true",
            text=[
                "Every test pair of all seeds is a dot, the line its median for each label, the "
                "diagonal a perfect reading."
            ],
            figures=figures.predictions(runs, methods),
        ),
        Section(
            "Error by label region",
            figures=[
                figures.error_by_region(runs, methods),
                figures.error_by_label(runs, methods, bands),
            ],
        ),
        *_features(runs, study.methods),
        _settings(study, runs),
    ]
    warning = (
        "A quick run that only shows that everything works: too short and too few seeds for its "
        "numbers to mean anything."
    )
    return Page(
        title="Reading two-digit numbers when most labels are rare",
        lead="The same small network, data and seeds under each loss: L1, MSE, MSE "
        "re-weighted by a smoothed label distribution (LDS), and LDS with a Rank-N-Contrast term "
        "(RnC) that orders the features as the labels are ordered.",
        sections=sections,
        warning=warning if quick else "",
        footer="Written by rankgrad demo. Results as files beside this page: summary.csv, "
        "summary.json, runs.csv, and one folder a run under runs/.",
    )


def _results(
    runs: Sequence[StoredRun], methods: Sequence[str], pairs: Sequence[Paired], n: int
) -> Section:
    seeds = "one seed" if n == 1 else f"{n} seeds"
    notes = sorted({note for run in runs for note in run.notes})
    return Section(
        "Results",
        tables=[
            Table(
                ["method", *(heading for _, heading, _, _ in COLUMNS)],
                summary_rows(runs, methods),
                caption=f"Test set, {seeds}"
                + (": mean ± standard deviation." if n > 1 else ".")
                + " Errors: lower is better; correlations: higher. Bold: best mean of the column.",
                strong=lowest(runs, methods),
            )
        ],
        points=findings(runs, methods, pairs),
        figures=[figures.seed_differences(pairs)] if pairs else [],
        small_print=[
            f"This is one small data set and {seeds}. It shows how these losses compare here, and "
            "no more: a difference that changes its sign from seed to seed may well be chance, and "
            "on other data the order of the methods can be another.",
            *(f"Note: {note}." for note in notes),
        ],
    )


def _examples(data: RegressionData) -> Figure:
    test = data.test
    step = len(test) // 9
    shown = test.batch(range(step // 2, len(test), step))
    labels = [f"{int(label):02d}" for label in shown.targets]
    return pictures.image_grid(
        [image[0].numpy() for image in shown.inputs],
        labels,
        alt="Pairs of handwritten digits that show " + ", ".join(labels) + ".",
        title="Test pairs and their labels",
    )


def _features(runs: Sequence[StoredRun], methods: Sequence[RegressionMethod]) -> list[Section]:
    """The methods with a ranking term beside the same ones without."""
    shown = [m.name for m in methods if m.reweighting or m.terms]
    shown = [name for name in shown if any(run.method == name for run in runs)]
    if not shown:
        return []
    order = {
        name: [figures.feature_order(run) for run in runs if run.method == name] for name in shown
    }
    text = "; ".join(f"{name} {sum(v) / len(v):.2f}" for name, v in order.items())
    return [
        Section(
            "Features in label order",
            text=[
                "How similar the network's features are for every two labels (minus the distance "
                "between their mean features, in units of the mean distance), without and with the "
                "ranking term. If features are ordered as labels are, similarity falls evenly away "
                "from the diagonal.",
                "Rank correlation of feature distance with label distance, mean over seeds: "
                f"{text}.",
            ],
            figures=figures.similarity(runs, shown),
            small_print=["Test pairs of the first seed."],
        )
    ]


def _settings(study: Study, runs: Sequence[StoredRun]) -> Section:
    total = math.fsum(run.seconds for run in runs)
    around = [
        ["seeds", ", ".join(map(str, study.seeds))],
        ["time of all runs", f"{total:.0f} s, one thread each"],
        *([name, value] for name, value in {**environment(), **machine()}.items()),
    ]
    return Section(
        "Settings and machine",
        text=[
            "A network of three convolutions (some 35,000 parameters), AdamW, one-cycle learning "
            "rate. The last epoch's model is tested; nothing is chosen by its test error."
        ],
        tables=[
            Table(
                ["method", "as text"],
                [[method.name, describe(method)] for method in study.methods],
                caption="What the methods differ in.",
            ),
            Table(["run", "value"], around, caption="Seeds, software and machine."),
            Table(
                ["setting", "value"],
                settings_rows(study.settings),
                caption="Shared by all methods.",
            ),
        ],
        compact=True,
    )
