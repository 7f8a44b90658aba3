"""The page and the tables of a comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rankgrad.recipes.detection import figures
from rankgrad.recipes.detection.comparison import SHOWN, DetectionMethod, shown, unpack_outcomes
from rankgrad.recipes.detection.outcomes import interval, order_agreement
from rankgrad.recipes.detection.page import sample_images
from rankgrad.recipes.detection.splits import Splits
from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.store import StoredRun, write_csv, write_json
from rankgrad.recipes.experiments.study import Study, plain
from rankgrad.recipes.experiments.summary import paired, spread
from rankgrad.recipes.tables import settings_table, text
from rankgrad.report import Page, Section, Table

__all__ = ["comparison_columns", "comparison_rows", "write_comparison"]


def comparison_columns(study: Study) -> tuple[str, ...]:
    """Return the header of :func:`comparison_rows`."""
    masks = ("mask AP",) if study.settings.run.model == "mask-rcnn" else ()
    return (
        "loss", "learning rate", "AP", "AP50", "AP75", *masks, "95 % over images", "oLRP", "order",
        "seconds",
    )  # fmt: skip


def comparison_rows(study: Study, runs: Sequence[StoredRun]) -> list[list[str]]:
    """Return a row a method: learning rate, metrics over seeds, interval over images, seconds."""
    rows = []
    for method in study.methods:
        mine = [run for run in runs if run.method == method.name]
        arrays = first.arrays() if (first := _first_run(runs, method)) else {}
        low, high = interval(unpack_outcomes(arrays)) if arrays else (math.nan, math.nan)
        known = {
            "loss": method.name,
            "learning rate": f"{method.lr:g}",
            "95 % over images": f"{text(low)} to {text(high)}",
            "order": spread(mine, method.name, "order").text(2),
            "seconds": text(float(np.median([r.seconds for r in mine])) if mine else math.nan, 0),
        }
        rows.append(
            [
                known[column] if column in known else spread(mine, method.name, column).text(1)
                for column in comparison_columns(study)
            ]
        )
    return rows


def write_comparison(
    study: Study,
    runs: Sequence[StoredRun],
    splits: Splits,
    rows: Sequence[Sequence[str]],
    folder: Path,
    *,
    tuning: Study | None = None,
    tuned: Sequence[StoredRun] = (),
) -> Path:
    """Write ``runs.csv``, ``rates.csv``, ``summary.json`` and the page; return its path.

    Args:
        study: with several losses.
        runs: of the study.
        splits: the data.
        rows: those of :func:`comparison_rows`.
        folder: to write to.
        tuning: the study that chose the learning rates; without one they were given.
        tuned: the runs of that.
    """
    # A run that diverged has fewer metrics than the others.
    empty = dict.fromkeys((name for run in runs for name in run.metrics), math.nan)
    write_csv(
        folder / "runs.csv",
        [
            {"method": r.method, "seed": r.seed, "seconds": r.seconds, **empty, **r.metrics}
            for r in runs
        ],
    )
    columns = comparison_columns(study)
    rates = _rates(tuning, tuned) if tuning else []
    if rates:
        write_csv(folder / "rates.csv", rates)
    write_json(
        folder / "summary.json",
        {
            "settings": plain(study.settings),
            "methods": [plain(m) for m in study.methods],
            "seeds": list(study.seeds),
            "versions": environment(),
            "machine": machine(),
            "table": [dict(zip(columns, row, strict=True)) for row in rows],
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
                    columns,
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
        Section("Learning rates", text=[_choice(study, tuning)], tables=_rates_tables(rates)),
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
    sections.append(Section("Settings", tables=[settings_table(_common(study))]))
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
    mine = [run for run in runs if run.method == method.name and "names" in run.arrays()]
    return mine[0] if mine else None


def _differences(study: Study, runs: Sequence[StoredRun]) -> list[str]:
    points = []
    for baseline in study.methods:
        if baseline.loss not in ("focal", "torchvision"):
            continue
        for method in study.methods:
            if method.anchors == baseline.anchors and method.loss not in (
                baseline.loss,
                "torchvision",
            ):
                pair = paired(runs, method.name, baseline.name, "AP")
                won = pair.better(lower_is_better=False)
                points.append(
                    f"{method.name} minus {baseline.name}: {pair.mean:+.1f} AP, ahead on {won} of "
                    f"{len(pair.seeds)} seeds."
                )
    return points


def _common(study: Study) -> dict[str, object]:
    """Return the settings that all runs share."""
    counts = {m.anchors for m in study.methods}
    own = {"loss", "lr", "seed", *(("anchors",) if len(counts) > 1 else ())}
    return {k: v for k, v in plain(study.settings.run).items() if k not in own}


def _choice(study: Study, tuning: Study | None) -> str:
    if tuning is None:
        return "Given, not chosen here."
    text = "Chosen by validation AP of one seed that is not among those compared"
    counts = sorted({m.anchors for m in study.methods})
    if len(counts) > 1:
        return f"{text}, at {tuning.methods[0].anchors} anchors a cell."
    return f"{text}."


def _rates(tuning: Study, tuned: Sequence[StoredRun]) -> list[dict[str, str | float]]:
    ap = {run.method: run.metrics["val AP"] for run in tuned}
    return [
        {"loss": m.loss, "lr": m.lr, "val AP": ap.get(m.name, math.nan)} for m in tuning.methods
    ]


def _rates_tables(rates: Sequence[Mapping[str, str | float]]) -> list[Table]:
    if not rates:
        return []
    columns = sorted({float(row["lr"]) for row in rates})
    losses = list(dict.fromkeys(str(row["loss"]) for row in rates))
    value = {(row["loss"], row["lr"]): float(row["val AP"]) for row in rates}
    rows = [[loss, *(text(value[loss, rate]) for rate in columns)] for loss in losses]
    return [Table(["loss", *(f"{rate:g}" for rate in columns)], rows, "Validation AP.")]
