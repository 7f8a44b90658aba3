"""The table of a study: which image, what age, and perhaps sex, subject and split."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankgrad.data.nifti.problems import DataError, Problem
from rankgrad.data.regression.table import Table, read_table

__all__ = ["COLUMNS", "SPLITS", "Row", "read_rows", "split_named"]

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
# What each column is commonly called; upper and lower case, spaces, "-" and "_" do not count.
COLUMNS = {
    "file": ("file", "filename", "image", "scan", "path", "name", "id", "sid"),
    "age": ("age", "ageyears", "ageatscan", "ageatvisit"),
    "sex": ("sex", "gender", "male", "ismale"),
    "subject": ("subject", "subjectid", "participantid", "participant", "patient", "patientid"),
    "split": ("split", "part", "partition", "set"),
}
_SEXES = {
    **dict.fromkeys(("0", "f", "female", "w", "woman"), 0),
    **dict.fromkeys(("1", "m", "male", "man"), 1),
}
_MISSING = ("", "nan", "na", "n/a", "none", "null")


@dataclass(frozen=True)
class Row:
    """What one line of the table says; ``split`` is empty where the table has no such column."""

    where: str
    file: str
    subject: str
    age: float
    sex: int | None
    split: str
    usable: bool = True
    """Whether age, split and, where it is needed, sex are good."""


def split_named(text: str) -> str:
    """Return "train", "validation" or "test" for their usual names, else "".

    >>> split_named("Val"), split_named("scans")
    ('validation', '')
    """
    wanted = text.strip().lower()
    return next((split for split, names in _SPLIT_NAMES.items() if wanted in names), "")


def read_rows(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    need_sex: bool = False,
    age_range: tuple[float, float] = (0.0, 120.0),
) -> tuple[list[Row], list[Problem]]:
    """Read a CSV, TSV or Excel file.

    Args:
        path: the file; its first line names the columns. Of a workbook the first sheet counts.
        columns: what they are called, ``{"age": "Age at scan"}``; the keys are file, age, sex,
            subject and split. Those not named are found by their usual names. Images are named by
            ``file``, or by ``subject`` if there is no such column.
        need_sex: leave out rows without sex.
        age_range: ages outside, in years, are left out.

    Returns:
        The rows that name an image, usable or not, and what is wrong with rows.

    Raises:
        DataError: the file cannot be read, or lacks a column.
        ValueError: ``columns`` has another key.
    """
    path = Path(path)
    table = _read_sheet(path) if path.suffix.lower() in (".xlsx", ".xlsm") else _read_text(path)
    found = _find(table, columns or {}, need_sex)
    rows: list[Row] = []
    problems: list[Problem] = []
    for i, line in enumerate(table.lines):
        texts = {key: table.columns[name][i].strip() for key, name in found.items()}
        where = f"{path.name}, line {line}"
        if texts["file"]:
            row, wrong = _row(where, texts, need_sex, age_range)
            rows.append(row)
            problems += wrong
        else:
            problems.append(Problem(where, "no name", "names no image"))
    return rows, problems


def _row(
    where: str, texts: dict[str, str], need_sex: bool, age_range: tuple[float, float]
) -> tuple[Row, list[Problem]]:
    file = texts["file"]
    problems = []
    try:
        age = float(texts["age"])
    except ValueError:
        age = math.nan
    good_age = age_range[0] <= age <= age_range[1]
    if not good_age:
        limits = f"not a number from {age_range[0]:g} to {age_range[1]:g}"
        problems.append(Problem(where, "age", f"the age of {file} is {texts['age']!r}, {limits}"))
    split = split_named(texts.get("split", ""))
    good_split = bool(split) or "split" not in texts
    if not good_split:
        wrong = f"the split of {file} is {texts['split']!r}, none of {', '.join(SPLITS)}"
        problems.append(Problem(where, "split", wrong))
    # 1.0 is what a spreadsheet makes of 1.
    text = texts.get("sex", "").lower().removesuffix(".0")
    sex = _SEXES.get(text)
    if sex is None and (need_sex or text not in _MISSING):
        wrong = f"the sex of {file} is {texts.get('sex', '')!r}, none of 0, 1, F, M"
        kept = "" if need_sex else "; kept, its sex unknown"
        problems.append(Problem(where, "sex", wrong + kept))
    usable = good_age and good_split and (sex is not None or not need_sex)
    return Row(where, file, texts.get("subject", ""), age, sex, split, usable), problems


def _find(table: Table, named: Mapping[str, str], need_sex: bool) -> dict[str, str]:
    """Return which column of the table is which."""
    other = sorted(set(named) - set(COLUMNS))
    if other:
        raise ValueError(f"columns takes {', '.join(COLUMNS)}, got {', '.join(other)}")
    plain = {_plain(name): name for name in reversed(table.columns)}
    found = {}
    for key, usual in COLUMNS.items():
        if key in named:
            table.column(named[key])
            found[key] = named[key]
        else:
            name = next((plain[u] for u in usual if u in plain), None)
            # A column "set" may be about something else.
            if name and (key != "split" or any(map(split_named, table.columns[name]))):
                found[key] = name
    if "file" not in found and "subject" in found:
        found["file"] = found["subject"]
    for key in ("file", "age", *(["sex"] if need_sex else [])):
        if key not in found:
            _refuse_semicolons(table.path)
            there = ", ".join(table.columns)
            raise DataError(
                f"{table.path} has no column for the {key}: none is called "
                f"{' or '.join(COLUMNS[key][:3])}; it has {there}. Say which one it is"
            )
    return found


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _read_text(path: Path) -> Table:
    if path.suffix.lower() == ".xls":
        raise DataError(f"{path} is a workbook of the old kind; save it as .xlsx or .csv")
    try:
        return read_table(path)
    except DataError:
        _refuse_semicolons(path)
        raise


def _refuse_semicolons(path: Path) -> None:
    """Spreadsheets write them where the comma is the decimal point."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
    except (OSError, UnicodeDecodeError):
        return
    if header.count(";") > max(header.count(","), header.count("\t")):
        raise DataError(f"{path} separates columns by ';': save it with ',' or as .xlsx")


def _read_sheet(path: Path) -> Table:
    """Read the first sheet of a workbook as the texts that it shows."""
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ModuleNotFoundError:
        raise DataError("reading Excel files needs: pip install 'rankgrad[brain]'") from None
    try:
        # Read at once and whole: read_only would leave the file open.
        book = load_workbook(path, data_only=True)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, InvalidFileException) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    lines = [
        (i, [_text(value) for value in values])
        for i, values in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1)
    ]
    lines = [(i, texts) for i, texts in lines if any(texts)]
    if len(lines) < 2:
        raise DataError(f"{path} has no rows")
    header = lines[0][1]
    names = [name for name in header if name]
    if len(set(names)) < len(names):
        raise DataError(f"the first line of {path} must name the columns, each differently")
    columns = {
        name: [texts[place] for _, texts in lines[1:]] for place, name in enumerate(header) if name
    }
    return Table(path, columns, [i for i, _ in lines[1:]])


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()
