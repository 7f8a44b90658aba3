"""Which row of a table is about which image."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rankgrad.data.nifti.folder import stem
from rankgrad.data.nifti.problems import Problem
from rankgrad.data.nifti.scan import Scan
from rankgrad.data.nifti.table import Row

__all__ = ["join"]


def join(
    files: Sequence[Scan], rows: Sequence[Row], beside: Path
) -> tuple[list[tuple[Scan, Row]], list[Problem]]:
    """Find the images of every row; what has no partner, or more than one, is a problem.

    ``beside`` is the folder that paths may be relative to: that of the table.
    """
    exact: dict[str, set[Scan]] = defaultdict(set)
    loose: dict[str, set[Scan]] = defaultdict(set)
    for file in files:
        exact[os.path.abspath(file.path)].add(file)
        tail = file.name
        for _ in range(file.name.count("/") + 1):
            exact[tail].add(file)
            exact[stem(tail)].add(file)
            tail = tail.partition("/")[2]
        loose[file.subject].add(file)
        loose[file.subject.removeprefix("sub-")].add(file)
        base = file.path.name
        for place, letter in enumerate(base):
            if letter in "_-.":
                loose[base[:place]].add(file)
    problems = []
    taken: dict[Scan, list[Row]] = defaultdict(list)
    ambiguous: set[Scan] = set()
    for row in rows:
        name = row.file.replace("\\", "/").removeprefix("./")
        # An absolute path stays what it is.
        named = exact.get(name) or exact.get(os.path.abspath(beside / name)) or set()
        if len(named) > 1:
            places = ", ".join(sorted(file.name for file in named))
            problems.append(Problem(row.where, "duplicate name", f"{name} may be {places}"))
            ambiguous |= named
            continue
        meant = named or loose.get(name, set())
        if not meant and row.usable:
            problems.append(Problem(row.where, "no image", f"there is no image {name}"))
        for file in meant:
            taken[file].append(row)
    pairs = []
    for file in files:
        found = taken[file]
        if not found:
            if file not in ambiguous:
                problems.append(Problem(file.name, "no row", "the table has no row for it"))
        elif not all(row.usable for row in found):
            pass  # said of the row
        elif len({(row.age, row.sex, row.split, row.subject) for row in found}) > 1:
            lines = " and ".join(row.where for row in found)
            text = f"has rows that differ: {lines}"
            problems.append(Problem(file.name, "duplicate row", text))
        else:
            pairs.append((file, found[0]))
    return pairs, problems
