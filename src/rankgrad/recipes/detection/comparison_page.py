"""The page and the tables of a comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rankgrad.recipes.detection import figures
from rankgrad.recipes.detection.comparison import SHOWN, DetectionMethod, shown, unpack_outcomes
from rankgrad.recipes.detection.outcomes import interval, order_agreement
from rankgrad.recipes.detection.page import sample_images, settings_table, text
from rankgrad.recipes.detection.splits import Splits
from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.store import StoredRun, write_csv, write_json
from rankgrad.recipes.experiments.study import Study, plain
from rankgrad.recipes.experiments.summary import paired, spread
from rankgrad.report import Page, Section, Table

__all__ = ["HEADER", "comparison_rows", "write_comparison"]


def comparison_rows(study: Study, runs: Sequence[StoredRun]) -> list[list[str]]:
    """Return a row a method: learning rate, metrics over seeds, interval over images, seconds."""
    rows = []
    for method in study.methods:
        mine = [run for run in runs if run.method == method.name]
        cells = [spread(mine, method.name, column).text(1) for column in ("AP", "AP50", "AP75")]
        arrays = mine[0].arrays() if mine else {}
        low, high = interval(unpack_outcomes(arrays)) if arrays else (math.nan, math.nan)
        seconds = float(np.median([run.seconds for run in mine])) if mine else math.nan
        rows.append(
            [
                method.name,
                f"{method.lr:g}",
                *cells,
                f"{text(low)} to {text(high)}",
                spread(mine, method.name, "oLRP").text(1),
                spread(mine, method.name, "order").text(2),
                text(seconds, 0),
            ]
        )
    return rows


HEADER = (
    "loss", "learning rate", "AP", "AP50", "AP75", "95 % over images", "oLRP", "order", "seconds",
)  # fmt: skip


def write_comparison(
    study: Study,
    runs: Sequence[StoredRun],
    tuning: Study,
    tuned: Sequence[StoredRun],
    splits: Splits,
    rows: Sequence[Sequence[str]],
    folder: Path,
) -> Path:
    """Write ``runs.csv``, ``rates.csv``, ``summary.json`` and the page; return its path.

    ``rows`` are those of :func:`comparison_rows`.
    """
    write_csv(
        folder / "runs.csv",
        [{"method": r.method, "seed": r.seed, "seconds": r.seconds, **r.metrics} for r in runs],
    )
    rates = _rates(tuning, tuned)
    write_csv(folder / "rates.csv", rates)
    write_json(
        folder / "summary.json",
        {
            "settings": plain(study.settings),
            "methods": [plain(m) for m in study.methods],
            "seeds": list(study.seeds),
            "versions": environment(),
            "machine": machine(),
            "table": [dict(zip(HEADER, row, strict=True)) for row in rows],
        },
    )
    best = max(study.methods, key=lambda m: spread(runs, m.name, "AP").mean, default=None)
    first = {m.name: _first_run(runs, m) for m in study.methods}
    found = {name: unpack_outcomes(run.arrays()) for name, run in first.items() if run}
    sections = [
        Section(
            "Results",
            tables=[
                Table(
                    HEADER,
                    rows,
                    f"{len(splits.test)} test images, {len(study.seeds)} seeds: mean ± standard "
                    "deviation, in percent. 95 % over images: bootstrap interval of AP of the "
                    "first seed. Order: rank correlation of score and IoU over right detections.",
                )
            ],
            points=_differences(study, runs),
            small_print=[
                "One data set and few seeds: a difference within the spread of the seeds or the "
                "interval over images may well be chance.",
                *sorted({f"Note: {note}." for run in runs for note in run.notes}),
            ],
        ),
        Section(
            "Learning rates",
            text=["Chosen by validation AP of one seed that is not among those compared."],
            tables=[_rates_table(rates)],
        ),
        Section(
            "Precision and recall",
            text=["IoU 0.5, the first seed."],
            figures=[
                figures.precision_recall(found, k, title=category)
                for k, category in enumerate(splits.categories)
            ],
        ),
        Section(
            "Do better boxes score higher?",
            figures=[
                figures.order_scatter(one, order_agreement(one), title=name)
                for name, one in found.items()
            ],
        ),
        Section(
            "Scores of right and wrong detections",
            figures=[figures.score_histogram(one, title=name) for name, one in found.items()],
        ),
    ]
    kept = first.get(best.name) if best else None
    if kept:
        arrays = kept.arrays()
        n = min(SHOWN, len(splits.test))
        predictions = [shown(arrays, i) for i in range(n)]
        sections.append(
            Section(f"Detections: {kept.method}", figures=[
                sample_images(splits.test, predictions, found[kept.method])
            ])
        )  # fmt: skip
    sections.append(Section("Settings", tables=[settings_table(plain(study.settings.run))]))
    page = Page(
        title="Detection losses compared",
        lead=f"{study.settings.run.model} from scratch with each loss, on the same data and seeds.",
        sections=sections,
        footer="Written by rankgrad compare detection. Beside this page: runs.csv, rates.csv, "
        "summary.json, and one folder a run under runs/.",
    )
    path = folder / "report.html"
    page.write(path)
    return path


def _first_run(runs: Sequence[StoredRun], method: DetectionMethod) -> StoredRun | None:
    mine = [run for run in runs if run.method == method.name and "order" in run.metrics]
    return mine[0] if mine else None


def _differences(study: Study, runs: Sequence[StoredRun]) -> list[str]:
    names = [m.name for m in study.methods]
    points = []
    for baseline in ("focal + GIoU", "torchvision's own"):
        for name in names:
            if baseline in names and name != baseline and not name.startswith("torchvision"):
                pair = paired(runs, name, baseline, "AP")
                won = pair.better(lower_is_better=False)
                points.append(
                    f"{name} minus {baseline}: {pair.mean:+.1f} AP, ahead on {won} of "
                    f"{len(pair.seeds)} seeds."
                )
    return points


def _rates(tuning: Study, tuned: Sequence[StoredRun]) -> list[dict[str, str | float]]:
    ap = {run.method: run.metrics["val AP"] for run in tuned}
    return [
        {"loss": m.loss, "lr": m.lr, "val AP": ap.get(m.name, math.nan)} for m in tuning.methods
    ]


def _rates_table(rates: Sequence[Mapping[str, str | float]]) -> Table:
    columns = sorted({float(row["lr"]) for row in rates})
    losses = list(dict.fromkeys(str(row["loss"]) for row in rates))
    value = {(row["loss"], row["lr"]): float(row["val AP"]) for row in rates}
    rows = [[loss, *(text(value[loss, rate]) for rate in columns)] for loss in losses]
    return Table(["loss", *(f"{rate:g}" for rate in columns)], rows, "Validation AP.")
