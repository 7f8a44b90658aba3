"""The tables and the page of a comparison."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from rankgrad.recipes.experiments import StoredRun, Study, environment, machine, paired, spread
from rankgrad.recipes.experiments.store import write_csv, write_json
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.tables import settings_table, text
from rankgrad.report import Page, Section, Table
from rankgrad.report.charts import differences

__all__ = ["HEADER", "comparison_rows", "write_comparison"]

COLUMNS = (
    ("MAE", 2), ("RMSE", 2), ("Pearson", 3), ("Spearman", 3), ("wrong pairs", 1), ("slope", 2),
)  # fmt: skip
HEADER = ("loss and stage", "MAE", "RMSE", "Pearson", "Spearman", "wrong pairs, %", "slope")


def comparison_rows(study: Study, runs: Sequence[StoredRun]) -> list[list[str]]:
    """Return a row a method: mean and standard deviation over the seeds."""
    return [
        [method.name, *(spread(runs, method.name, key).text(digits) for key, digits in COLUMNS)]
        for method in study.methods
    ]


def write_comparison(
    first: Study, others: Sequence[Study], runs: Sequence[StoredRun], folder: Path, *, data: str
) -> Path:
    """Write ``runs.csv``, ``summary.json`` and the page; return its path.

    Args:
        first: the study of first stages.
        others: those of second stages and of longer training.
        runs: of all of them.
        folder: where to.
        data: what it was measured on, in a few words.
    """
    write_csv(
        folder / "runs.csv",
        [{"method": r.method, "seed": r.seed, "seconds": r.seconds, **r.metrics} for r in runs],
    )
    rows = [row for study in (first, *others) for row in comparison_rows(study, runs)]
    write_json(
        folder / "summary.json",
        {
            "settings": plain(first.settings.run),
            "data": data,
            "seeds": list(first.seeds),
            "versions": environment(),
            "machine": machine(),
            "table": [dict(zip(HEADER, row, strict=True)) for row in rows],
        },
    )
    losses = [method.name for method in first.methods]
    pairs = {name: (name, losses[0]) for name in losses[1:]}
    more = [method for study in others for method in study.methods]
    stages = {method.name: (method.name, method.first.name) for method in more}
    page = Page(
        title="Brain age: losses and stages compared",
        lead=f"The same network and seeds on {data}.",
        sections=[
            Section(
                "Results",
                tables=[
                    Table(
                        HEADER,
                        rows,
                        f"{len(first.seeds)} seeds: mean ± standard deviation, on the test part. "
                        "MAE and RMSE in years; slope: of the predicted age by the true one.",
                    )
                ],
            ),
            _against(f"Against {losses[0]}", runs, pairs),
            _against("Second stage, or more epochs, against first", runs, stages),
            Section("Settings", tables=[settings_table(plain(first.settings.run))]),
        ],
        warning="Phantoms are generated heads with known ages. Nothing here says how well brains "
        "are read." if "phantom" in data else "",
        footer="Written by rankgrad compare brain-age. Beside this page: runs.csv, summary.json, "
        "and one folder a run under runs/, second/runs/ and longer/runs/.",
    )  # fmt: skip
    path = folder / "report.html"
    page.write(path)
    return path


def _against(title: str, runs: Sequence[StoredRun], pairs: dict[str, tuple[str, str]]) -> Section:
    found = {name: paired(runs, *pair, "MAE") for name, pair in pairs.items()}
    return Section(
        title,
        points=[
            f"{name}: {text(pair.mean, 2)} years of MAE on average, better on {pair.better()} of "
            f"{len(pair.seeds)} seeds."
            for name, pair in found.items()
        ],
        figures=[
            differences(
                {fill(name, 24): pair.differences for name, pair in found.items()},
                x_label="years of MAE, left is better",
                title="",
                alt="Differences of MAE seed by seed: "
                + "; ".join(f"{n} {text(p.mean, 2)} on average" for n, p in found.items()) + ".",
            )
        ] if found else [],
        small_print=["Few seeds: a difference within their spread may well be chance."],
    )  # fmt: skip
