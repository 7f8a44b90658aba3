"""What a study is: methods and seeds, and a function that trains one of them."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

__all__ = ["Method", "Outcome", "Report", "Study", "Task"]

# Called after each epoch: the fraction of the run that is done, and what to show beside it.
Report = Callable[[float, str], None]


class Method(Protocol):
    """One row of the table: a frozen dataclass with a name and whatever settings it needs."""

    @property
    def name(self) -> str:
        """The name that people read."""
        ...


@dataclass
class Outcome:
    """What training one method with one seed gave."""

    metrics: dict[str, float]
    history: Sequence[Mapping[str, int | float]] = ()
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: Sequence[str] = ()
    # A state_dict, if the model is to be kept.
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Study:
    """Methods that are trained on the same data with the same seeds.

    ``settings`` and every method are frozen dataclasses of plain values, and ``train`` is a
    function of a module: both travel to worker processes. It is called with the settings, the
    method, the seed and a :data:`Report`; if ``resumable``, also with the path of a file: there it
    keeps the state of a run under way, and goes on from it where it finds one.
    """

    name: str
    settings: Any
    methods: tuple[Any, ...]
    seeds: tuple[int, ...]
    train: Callable[..., Outcome]
    resumable: bool = False

    def __post_init__(self) -> None:
        names = [slug(method.name) for method in self.methods]
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f"methods must have different names, got {names}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different, got {self.seeds}")

    def tasks(self) -> list["Task"]:
        """Every run of the study: all methods of the first seed, then of the next."""
        return [Task(self, method, seed) for seed in self.seeds for method in self.methods]


@dataclass(frozen=True)
class Task:
    """One run: one method with one seed."""

    study: Study
    method: Any
    seed: int

    @property
    def folder(self) -> str:
        """The folder of this run, relative to that of all runs."""
        return f"{slug(self.method.name)}/seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.method.name}, seed {self.seed}"

    def identity(self) -> dict[str, Any]:
        """Everything but the machine that the numbers of this run depend on."""
        return {
            "study": self.study.name,
            "seed": self.seed,
            "settings": plain(self.study.settings),
            "method": plain(self.method),
        }


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass as what JSON gives back: lists for tuples, dicts for dataclasses."""

    def value(x: Any) -> Any:
        if isinstance(x, dict):
            return {str(k): value(v) for k, v in x.items()}
        return [value(v) for v in x] if isinstance(x, tuple | list) else x

    result = value(dataclasses.asdict(settings))
    assert isinstance(result, dict)
    return result


def slug(name: str) -> str:
    """A name as part of a path: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
