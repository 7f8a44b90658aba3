"""A scan, and the scans of a study."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rankgrad.data.nifti.problems import Problem
from rankgrad.data.nifti.table import SPLITS

__all__ = ["Scan", "Scans"]


@dataclass(frozen=True)
class Scan:
    """One image and what is known of it."""

    path: Path
    name: str
    """The path relative to the folder of the images."""
    subject: str
    age: float
    """In years; NaN where it is unknown."""
    sex: int | None
    """0 female, 1 male, None unknown."""
    split: str
    """"train", "validation" or "test"."""


@dataclass(frozen=True)
class Scans:
    """The usable scans of a study by split, and what was left out."""

    train: tuple[Scan, ...]
    validation: tuple[Scan, ...]
    test: tuple[Scan, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Scan, ...]:
        """The scans of all splits."""
        return self.train + self.validation + self.test

    @property
    def has_sex(self) -> bool:
        """Whether the sex of every scan is known."""
        return all(scan.sex is not None for scan in self.all)

    def summary(self) -> str:
        """Say how much there is, and how much is wrong, in one line."""
        sizes = ", ".join(f"{len(getattr(self, split))} {split}" for split in SPLITS)
        text = f"{len(self.all)} scans of {len({s.subject for s in self.all})} subjects: {sizes}"
        if self.problems:
            kinds = Counter(problem.kind for problem in self.problems)
            text += "; problems: " + ", ".join(f"{kind} {n}" for kind, n in kinds.items())
        return text
