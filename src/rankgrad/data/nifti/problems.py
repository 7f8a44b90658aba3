"""What is wrong with scans or their table, one thing at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from rankgrad.data.regression import DataError

__all__ = ["DataError", "Problem", "listed"]

_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """An image, relative to its folder, or a line of the table."""
    kind: str
    """In a word or two, to count by: "no row", "no image", "age", "unreadable", ..."""
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def listed(problems: Sequence[Problem]) -> str:
    """Name the first problems, and how many more there are."""
    text = "; ".join(str(problem) for problem in problems[:_SHOWN])
    return text + (f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else "")
