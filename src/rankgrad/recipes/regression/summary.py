"""The table and the plain sentences about a regression study: the same in terminal and report."""

import math
from collections.abc import Sequence
from typing import Any

from rankgrad.recipes.experiments.store import StoredRun
from rankgrad.recipes.experiments.study import plain
from rankgrad.recipes.experiments.summary import Paired, spread

__all__ = [
    "BALANCED_COLUMNS",
    "COLUMNS",
    "Columns",
    "findings",
    "lowest",
    "paired_sentence",
    "settings_rows",
    "summary_rows",
]

# metric, heading, digits, whether lower is better
Columns = Sequence[tuple[str, str, int, bool]]
COLUMNS: Columns = (
    ("mae_all", "MAE", 2, True),
    ("mae_many", "MAE many", 2, True),
    ("mae_medium", "MAE medium", 2, True),
    ("mae_few", "MAE few", 2, True),
    ("gm_all", "GM error", 2, True),
    ("pearson_all", "Pearson", 3, False),
    ("spearman_all", "Spearman", 3, False),
)
# For test sets that need not be balanced over the labels
BALANCED_COLUMNS: Columns = (("mae_balanced", "balanced MAE", 2, True), *COLUMNS)


def summary_rows(
    runs: Sequence[StoredRun], methods: Sequence[str], columns: Columns = COLUMNS
) -> list[list[str]]:
    """Return one row a method: its name, then mean and deviation of each column."""
    return [
        [method, *(spread(runs, method, metric).text(digits) for metric, _, digits, _ in columns)]
        for method in methods
    ]


def lowest(
    runs: Sequence[StoredRun], methods: Sequence[str], columns: Columns = COLUMNS
) -> frozenset[tuple[int, int]]:
    """Return the cells (row, column) of :func:`summary_rows` with the best mean of a column."""
    best = set()
    for column, (metric, _, _, lower) in enumerate(columns, start=1):
        means = [spread(runs, method, metric).mean for method in methods]
        known = [m for m in means if not math.isnan(m)]
        if len(known) > 1:
            best.add((means.index(min(known) if lower else max(known)), column))
    return frozenset(best)


def settings_rows(settings: object) -> list[list[str]]:
    """Return the settings that are set, by name; those inside others as ``outer.inner``."""

    def flat(values: dict[str, Any], prefix: str = "") -> list[list[str]]:
        rows = []
        for name, value in values.items():
            if isinstance(value, dict):
                rows += flat(value, f"{prefix}{name}.")
            elif value not in (None, []):
                rows.append([prefix + name, str(value)])
        return rows

    return flat(plain(settings))


def paired_sentence(comparison: Paired, what: str = "test MAE") -> str:
    """Say what changed, on average and seed by seed."""
    n = len(comparison.seeds)
    if n == 0 or math.isnan(comparison.mean):
        return f"{comparison.method} against {comparison.baseline}: no seed in common."
    after = comparison.baseline_mean + comparison.mean
    return (
        f"{comparison.method} against {comparison.baseline}: {what} {after:.2f} instead of "
        f"{comparison.baseline_mean:.2f} ({comparison.relative:+.1%}), "
        f"better on {comparison.better()} of {n} {'seed' if n == 1 else 'seeds'}."
    ).replace("(-", "(−")


def findings(
    runs: Sequence[StoredRun], methods: Sequence[str], comparisons: Sequence[Paired]
) -> list[str]:
    """Return what the numbers say, each as one sentence, plain MSE always among them."""
    sentences = [paired_sentence(comparison) for comparison in comparisons]
    means = {method: spread(runs, method, "mae_all").mean for method in methods}
    known = {method: mean for method, mean in means.items() if not math.isnan(mean)}
    if "L1" in known and "MSE" in known:
        best = min(known, key=lambda method: known[method])
        gain, plain = known["L1"] - known[best], known["L1"] - known["MSE"]
        if best not in ("L1", "MSE") and 0 < plain < gain:
            sentences.append(
                f"Of the {gain:.2f} between L1 and the lowest mean ({best}), plain MSE alone takes "
                f"{plain:.2f} ({plain / gain:.0%})."
            )
    return sentences
