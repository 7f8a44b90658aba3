"""Tables: CSV and TSV files with a target column, read with an error for every bad row."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rankgrad.data.regression.samples import (
    DataError,
    LabelBins,
    RegressionData,
    TensorSamples,
    bins_for,
)

__all__ = ["Table", "feature_table", "part_indices", "read_table"]

PARTS = ("train", "val", "test")
_PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
_MISSING = {"nan", "na", "inf", "-inf", "null", "none"}
_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """Columns of texts; ``lines`` are the numbers of the rows in the file."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """Return one column, or say which there are."""
        if name not in self.columns:
            raise DataError(f"{self.path} has no column {name!r}; it has {', '.join(self.columns)}")
        return self.columns[name]

    def refuse(self, bad: Sequence[tuple[int, str]]) -> None:
        """Raise for the rows (position, what is wrong) unless there are none."""
        if bad:
            first = "; ".join(f"line {self.lines[i]}: {why}" for i, why in bad[:_SHOWN])
            more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            raise DataError(
                f"{len(bad)} of {len(self.lines)} rows of {self.path} cannot be used: {first}{more}"
            )

    def numbers(self, name: str) -> Float[Tensor, " n"]:
        """Return a column as float32, every value finite."""
        values, bad = [], []
        for i, text in enumerate(self.column(name)):
            value = _number(text)
            values.append(value)
            if not math.isfinite(value):
                bad.append((i, f"{name} is {text!r}, not a finite number"))
        self.refuse(bad)
        return torch.tensor(values, dtype=torch.float64).float()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_table(path: str | Path, *, quoting: bool = True) -> Table:
    """Read a CSV file, or a TSV file if its name ends so.

    Args:
        path: the file, UTF-8, its first line the names of the columns.
        quoting: whether quotation marks enclose fields, or are part of them.

    Raises:
        DataError: there is no such file, it is no such table, or rows have too few or too many
            fields.
    """
    path = Path(path)
    delimiter = "\t" if path.suffix in (".tsv", ".tab") else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(
                file,
                delimiter=delimiter,
                quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
            )
            header = next(reader, [])
            # Blank lines are no rows.
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    if not header or len(set(header)) < len(header):
        raise DataError(f"the first line of {path} must name the columns, each differently")
    table = Table(path, {}, [line for line, _ in rows])
    table.refuse(
        [
            (i, f"{len(row)} fields for {len(header)} columns")
            for i, (_, row) in enumerate(rows)
            if len(row) != len(header)
        ]
    )
    if not rows:
        raise DataError(f"{path} has no rows")
    texts = zip(*(row for _, row in rows), strict=True)
    table.columns.update({name: list(column) for name, column in zip(header, texts, strict=True)})
    return table


def part_indices(
    table: Table,
    split: str | None,
    seed: int,
    fractions: tuple[float, float] = (0.7, 0.1),
) -> dict[str, np.ndarray]:
    """Return the rows of each part: by the column ``split``, or drawn at random.

    Args:
        table: the table.
        split: the column that says train, val (or valid, validation, dev) or test; None draws.
        seed: of the draw.
        fractions: the shares of training and validation in the draw.

    Raises:
        DataError: another name in the column, or a part without rows.
    """
    n = len(table.lines)
    if split is None:
        order = np.random.default_rng(seed).permutation(n)
        ends = np.cumsum([round(f * n) for f in fractions])
        parts = dict(zip(PARTS, (np.sort(p) for p in np.split(order, ends)), strict=True))
    else:
        names = [_PART_NAMES.get(text.strip().lower(), "") for text in table.column(split)]
        table.refuse(
            [
                (i, f"{split} is {table.columns[split][i]!r}, none of train, val, test")
                for i, name in enumerate(names)
                if not name
            ]
        )
        parts = {p: np.array([i for i, name in enumerate(names) if name == p]) for p in PARTS}
    empty = [name for name, rows in parts.items() if len(rows) == 0]
    if empty:
        raise DataError(f"{table.path} has no rows for {' and '.join(empty)}")
    return {name: rows.astype(np.int64) for name, rows in parts.items()}


def drawn(table: Table, limit: int | None, seed: int) -> Table:
    """Return at most so many rows, drawn at random, in their order."""
    if limit is None or limit >= len(table.lines):
        return table
    rows = np.sort(np.random.default_rng(seed).permutation(len(table.lines))[:limit])
    columns = {name: [texts[i] for i in rows] for name, texts in table.columns.items()}
    return Table(table.path, columns, [table.lines[i] for i in rows])


def feature_table(
    path: str | Path,
    target: str,
    *,
    features: Sequence[str] | None = None,
    split: str | None = None,
    seed: int = 0,
    bins: LabelBins | None = None,
    limit: int | None = None,
) -> RegressionData:
    """Read a table of features: columns of numbers and of categories.

    Numbers are scaled to mean 0 and deviation 1 of the training part; a column with anything else
    in it becomes one 0/1 column for each of its values in the training part.

    Args:
        path: the CSV or TSV file.
        target: the column to predict.
        features: the columns to predict from; by default all but ``target`` and ``split``.
        split: see :func:`part_indices`.
        seed: of the split, where it is drawn.
        bins: how labels are counted; by default :func:`bins_for` all of them.
        limit: use so many rows, drawn at random with ``seed``.

    Raises:
        DataError: see :func:`read_table`; a target that is no finite number; an empty part.
    """
    table = read_table(path)
    bins = bins or bins_for(table.numbers(target))  # of all rows: the same for every draw
    table = drawn(table, limit, seed)
    targets = table.numbers(target)
    names = list(features) if features else [c for c in table.columns if c not in (target, split)]
    names = [name for name in names if features or not _is_row_number(name, table)]
    if not names or target in names:
        raise DataError(f"{target!r} cannot be predicted from {names or 'no column'}")
    parts = part_indices(table, split, seed)
    notes = [] if split else [f"parts drawn at random with seed {seed}: 70, 10 and 20 per cent"]
    columns: list[np.ndarray] = []
    for name in names:
        made, note = _encoded(name, table, parts["train"])
        columns += made
        notes += note
    matrix = torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
    train, val, test = (
        TensorSamples(matrix[rows], targets[rows])
        for rows in (torch.from_numpy(parts[p]) for p in PARTS)
    )
    return RegressionData("features", train, val, test, bins, notes=tuple(notes))


def _is_row_number(name: str, table: Table) -> bool:
    """Whether a column without a name counts the rows, as pandas and R write it."""
    texts = table.columns[name]
    return name in ("", "Unnamed: 0", "rownames") and len(set(texts)) == len(texts)


def _encoded(name: str, table: Table, train: np.ndarray) -> tuple[list[np.ndarray], list[str]]:
    texts = table.column(name)
    values = np.array([_number(text) for text in texts])
    if np.isfinite(values).all():
        mean, std = values[train].mean(), values[train].std()
        return [(values - mean) / (std or 1.0)], []
    table.refuse([(i, f"{name} is empty") for i, text in enumerate(texts) if not text.strip()])
    missing = [i for i, text in enumerate(texts) if text.strip().lower() in _MISSING]
    table.refuse([(i, f"{name} is {texts[i]!r}") for i in missing])
    column = np.array(texts)
    levels = sorted(set(column[train].tolist()))
    if len(levels) > 100:
        raise DataError(
            f"the column {name!r} of {table.path} has {len(levels)} different texts, too many for "
            "categories; name the columns to use"
        )
    unseen = len(set(texts) - set(levels))
    note = [f"{name}: {unseen} values that training does not have count as none"] if unseen else []
    return [(column == level).astype(np.float32) for level in levels], note
