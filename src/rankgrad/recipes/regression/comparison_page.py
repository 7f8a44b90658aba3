"""The page of a comparison of methods."""

from collections.abc import Sequence
from dataclasses import replace

from rankgrad.recipes.experiments.environment import environment, machine
from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.experiments.study import Study
from rankgrad.recipes.experiments.summary import spread
from rankgrad.recipes.regression import figures
from rankgrad.recipes.regression.contrasts import (
    BASELINES,
    METRIC,
    Against,
    comparison_columns,
    verdicts,
)
from rankgrad.recipes.regression.method import RegressionMethod, describe
from rankgrad.recipes.regression.summary import lowest, settings_rows, summary_rows
from rankgrad.report import Page, Section, Table, charts

__all__ = ["comparison_page"]


def comparison_page(
    study: Study,
    runs: Sequence[StoredRun],
    rows: Sequence[Against],
    regions: tuple[str, ...],
    overview: Sequence[str],
    tuned: Sequence[StoredRun],
    command: str,
) -> Page:
    """Return the page; ``rows`` are the comparisons, the rest is as in ``write_comparison``."""
    methods = [method.name for method in study.methods]
    arrays = runs[0].arrays()
    positions, counts = arrays["positions"], arrays["train_counts"]
    bands = figures.bands_along(regions, positions)
    alternate = len(bands) > 12  # stripes say nothing
    shown = _shown(methods, runs)
    n = len(study.seeds)
    return Page(
        title="Which method for rare labels?",
        lead=f"{len(methods)} methods on {study.settings.data.source}, {n} "
        f"{'seed' if n == 1 else 'seeds'}: same data, same initial weights and same order of "
        "batches for each.",
        sections=[
            _results(runs, methods, rows, n),
            Section(
                "The data",
                text=[line.strip() for line in overview if not set(line) & set("▁▂▃▄▅▆▇█")],
                figures=[
                    charts.histogram(
                        counts,
                        x=positions,
                        x_label="label",
                        y_label="training samples",
                        title="Training samples of each label bin",
                        alt=f"Training samples by label, at most {counts.max()} a bin.",
                        bands=[] if alternate else bands,
                    )
                ],
            ),
            Section(
                "Error by label region",
                figures=[
                    figures.error_by_region(runs, shown),
                    figures.error_by_label(runs, shown, [] if alternate else bands),
                ],
                small_print=_left_out(methods, shown),
            ),
            Section("Training", figures=figures.learning_curves(runs, shown)),
            _features(runs, shown),
            _cost(runs, methods),
            _settings(study, tuned, command),
        ],
        footer="Results as files beside this page: summary.csv, paired.csv, summary.json, "
        "runs.csv, and one folder a run under runs/.",
    )


def _shown(methods: Sequence[str], runs: Sequence[StoredRun], limit: int = 6) -> list[str]:
    """The baselines and the best others: more lines than that nobody tells apart."""
    by_error = sorted(methods, key=lambda m: spread(runs, m, METRIC).mean)
    kept = [m for m in BASELINES if m in methods]
    kept += [m for m in by_error if m not in kept][: limit - len(kept)]
    return [m for m in methods if m in kept]


def _left_out(methods: Sequence[str], shown: Sequence[str]) -> list[str]:
    hidden = [m for m in methods if m not in shown]
    return [f"Without {', '.join(hidden)}: see the table."] if hidden else []


def _results(
    runs: Sequence[StoredRun], methods: Sequence[str], rows: Sequence[Against], n: int
) -> Section:
    columns = comparison_columns(runs)
    notes = sorted({note for run in runs for note in run.notes})
    compared = [[f"{r.pair.method} − {r.pair.baseline}", *r.cells] for r in rows]
    return Section(
        "Results",
        tables=[
            Table(
                ["method", *(heading for _, heading, _, _ in columns)],
                summary_rows(runs, methods, columns),
                caption="Test set"
                + (": mean ± standard deviation over seeds" if n > 1 else "")
                + ". Balanced MAE: mean over label bins of the MAE in each. Errors: lower is "
                "better. Bold: best mean of the column.",
                strong=lowest(runs, methods, columns),
            ),
            Table(
                ["", "difference", "95 % interval", "relative", "better on"],
                compared,
                caption="Balanced test MAE, seed by seed; below zero the first is better. "
                "Intervals: seeds and, within their label bins, test samples drawn anew 1,000 "
                "times.",
            ),
        ],
        points=verdicts(rows),
        figures=[figures.seed_differences([row.pair for row in rows])] if rows else [],
        small_print=[
            "One data set, one network. An interval from few seeds is too narrow, and of many "
            "comparisons some look good by chance.",
            *(f"Note: {note}." for note in notes),
        ],
    )


def _features(runs: Sequence[StoredRun], shown: Sequence[str]) -> Section:
    order = "; ".join(
        f"{m} {sum(v) / len(v):.2f}"
        for m in shown
        if (v := [figures.feature_order(run) for run in runs if run.method == m])
    )
    return Section(
        "Features in label order",
        text=[
            "How similar features are for every two label bins (minus the distance between mean "
            "features, in units of the mean distance), and the features themselves in their two "
            "main directions. If features are ordered as labels are, similarity falls evenly "
            "away from the diagonal, and colours run smoothly.",
            f"Rank correlation of feature distance with label distance, mean over seeds: {order}.",
        ],
        figures=[*figures.similarity(runs, shown), *figures.embedding(runs, shown)],
        small_print=["Test samples of the first seed."],
    )


def _cost(runs: Sequence[StoredRun], methods: Sequence[str]) -> Section:
    seconds = {m: spread([_timed(r) for r in runs], m, "seconds") for m in methods}
    least = min((s.mean for s in seconds.values()), default=1.0) or 1.0
    rows = [[m, s.text(1), f"{s.mean / least:.1f}"] for m, s in seconds.items()]
    return Section(
        "Cost",
        tables=[
            Table(
                ["method", "seconds a run", "times the quickest"],
                rows,
                caption="One thread a run; runs beside each other share the machine, so these are "
                "rough.",
            )
        ],
    )


def _timed(run: StoredRun) -> StoredRun:
    return replace(run, metrics={**run.metrics, "seconds": run.seconds})


def _settings(study: Study, tuned: Sequence[StoredRun], command: str) -> Section:
    method_rows = [[m.name, describe(m), *_rates(m)] for m in study.methods]
    trials = len(tuned) // max(len(study.methods), 1)
    text = (
        f"Learning rate, weight decay and the weights of terms were chosen by balanced validation "
        f"error, with {trials} trials for every method."
        if tuned
        else "Every method at its default setting: nothing was tuned on this data."
    )
    around = [
        *([["command", command]] if command else []),
        ["seeds", ", ".join(map(str, study.seeds))],
        *([name, value] for name, value in {**environment(), **machine()}.items()),
    ]
    return Section(
        "Settings and machine",
        text=[text],
        tables=[
            Table(["method", "as text", "learning rate", "weight decay"], method_rows),
            Table(["run", "value"], around),
            Table(["setting", "value"], settings_rows(study.settings)),
        ],
        compact=True,
    )


def _rates(method: RegressionMethod) -> list[str]:
    rates = (method.learning_rate, method.weight_decay)
    return ["as below" if rate is None else f"{rate:.3g}" for rate in rates]
