"""Benchmark rows as a table in the terminal, a JSON file and a plot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rankgrad.bench.measure import Row

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["table", "write"]


def table(rows: Sequence[Row]) -> "Table":
    """Return the rows as a table."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for heading in ("work", "against"):
        shown.add_column(heading)
    for heading in ("ours", "theirs", "ratio", "at most"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:.3g} x"
        shown.add_row(
            row.work, row.against, _figure(row.ours, row.unit), _figure(row.theirs, row.unit),
            f"{row.ratio:.3g} x", limit,
        )  # fmt: skip
    return shown


def _figure(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.2f} MiB"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def write(folder: Path, name: str, facts: Mapping[str, str], rows: Sequence[Row]) -> list[Path]:
    """Write ``name.json``, and ``name.svg`` if rows show growth; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.json"]
    record = {"machine": dict(facts), "rows": [asdict(row) for row in rows]}
    written[0].write_text(json.dumps(record, indent=1) + "\n")
    growth = [row for row in rows if row.work.startswith("growth") and row.size is not None]
    if growth:
        written.append(folder / f"{name}.svg")
        _plot(written[1], growth)
    return written


def _plot(path: Path, growth: Sequence[Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [(growth[0].size or 0) // 2] + [row.size or 0 for row in growth]
    taken = [growth[0].theirs] + [row.ours for row in growth]
    with plt.rc_context({"svg.hashsalt": "rankgrad"}):
        figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
        axes.loglog(sizes, taken, "o-", label="measured")
        axes.loglog(sizes, [taken[-1] * n / sizes[-1] for n in sizes], "--", label="proportional")
        axes.set(xlabel="N", ylabel="forward + backward, ms")
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
