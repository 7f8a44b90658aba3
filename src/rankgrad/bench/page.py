"""The results of ``rankgrad bench`` as one HTML page: tables, and plots of growth."""

from collections.abc import Mapping, Sequence

from rankgrad.bench import SUITES
from rankgrad.bench.rows import Row
from rankgrad.bench.tables import HEADINGS, cells
from rankgrad.report import Figure, Page, Section, Table
from rankgrad.report.style import COLORS, LINES, canvas, data_uri, describe

__all__ = ["page"]

_MARKERS = "os^Dv*P"


def page(
    facts: Mapping[str, str],
    peers: Mapping[str, str],
    measured: Mapping[str, Sequence[Row]],
    warning: str = "",
) -> Page:
    """Return the page.

    Args:
        facts: of the machine.
        peers: name -> version, or why there is none.
        measured: suite -> its rows.
        warning: what a reader has to know first.
    """
    where = f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}"
    made = Page(
        "How fast rankgrad is here",
        "Forward and backward unless a row says otherwise. Times are medians of calls by turns in "
        "one process; a ratio is the median of the ratios of the turns, ours over theirs. Results "
        "and gradients are compared in the same run: the last column is the largest difference, "
        "over the largest magnitude.",
        warning=warning,
        footer=f"Measured on {where}.",
    )
    made.sections.append(
        Section(
            "Machine",
            tables=[
                Table(("", ""), [*facts.items()]),
                Table(("compared with", "version"), [*peers.items()]),
            ],
            compact=True,
        )
    )
    for name, rows in measured.items():
        made.sections.append(
            Section(
                name.replace("_", " "),
                text=[SUITES[name]],
                tables=[Table(HEADINGS, _once([cells(row) for row in rows]))],
                figures=_growth(rows, where),
            )
        )
    return made


def _once(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Name a work in the first of its rows only."""
    before = [("",), *rows]
    return [
        ("" if row[0] == last[0] else row[0], *row[1:])
        for last, row in zip(before, rows, strict=False)
    ]


def _growth(rows: Sequence[Row], where: str) -> list[Figure]:
    """Return a log-log plot for each series of more than one size."""
    series: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.series is None or row.size is None:
            continue
        lines = series.setdefault(row.series, {"rankgrad": {}})
        lines["rankgrad"][row.size] = row.ours
        if row.theirs is not None:
            lines.setdefault(row.against, {})[row.size] = row.theirs
    return [
        _plot(name, lines, where) for name, lines in series.items() if len(lines["rankgrad"]) > 1
    ]


def _plot(name: str, lines: Mapping[str, Mapping[int, float]], where: str) -> Figure:
    figure, (axes,) = canvas(height=4.2)
    for index, (label, points) in enumerate(lines.items()):
        # The first of the colours is a grey, the first of the styles a full line: ours has that.
        style = (index + 1) % len(COLORS)
        axes.loglog(
            list(points),
            list(points.values()),
            color=COLORS[style],
            linestyle=LINES[index % len(LINES)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=4.5,
            linewidth=2.2 if index == 0 else 1.4,
            label=label,
        )
    describe(axes, name, "size", "ms")
    # Below: lines of all slopes leave no corner free.
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    ends = ", ".join(f"{label} up to {max(p.values()):.3g} ms" for label, p in lines.items())
    return Figure(data_uri(figure), f"Log-log plot of time over size: {ends}", f"{name}. {where}.")
