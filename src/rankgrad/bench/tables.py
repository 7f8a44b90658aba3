"""Benchmark rows as a table in the terminal and as a JSON file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankgrad.bench.rows import Row
from rankgrad.files import replacing

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["HEADINGS", "cells", "table", "write"]

HEADINGS = ("work", "against", "ours", "theirs", "ratio", "at most", "agree to")


def cells(row: Row) -> tuple[str, ...]:
    """Return the row as texts, one for each of the headings."""
    return (
        row.work,
        f"{row.against} ({row.note})" if row.note else row.against,
        _figure(row.ours, row.unit),
        "" if row.theirs is None else _figure(row.theirs, row.unit),
        "" if row.ratio is None else f"{row.ratio:.3g} x",
        "" if row.limit is None else f"{row.limit:.3g} x",
        ", ".join(
            f"{value:.0e}" if value else "0"
            for value in (row.difference, row.gradient_difference)
            if value is not None
        ),
    )


def table(rows: Sequence[Row]) -> "Table":
    """Return the rows as a table; a work is named once."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD)
    for heading in HEADINGS[:2]:
        shown.add_column(heading)
    for heading in HEADINGS[2:]:
        shown.add_column(heading, justify="right", no_wrap=True)
    before = ""
    for row in rows:
        work, *rest = (Text(cell) for cell in cells(row))
        shown.add_row(work if row.work != before else Text(), *rest)
        before = row.work
    return shown


def _figure(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.2f} MiB"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def write(path: Path, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write the facts and the rows as JSON, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**facts, "rows": [asdict(row) for row in rows]}
    with replacing(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
