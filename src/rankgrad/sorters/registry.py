"""Every architecture by name."""

from rankgrad.checks import check_choice
from rankgrad.sorters.base import Sorter
from rankgrad.sorters.feedforward import CNNSorter, MLPSorter
from rankgrad.sorters.programmed import ProgrammedSorter
from rankgrad.sorters.recurrent import (
    GRUConstrainedSorter,
    GRUEndSorter,
    GRUProjectionSorter,
    GRUSumSorter,
    LSTMLargeSorter,
    LSTMSorter,
)
from rankgrad.sorters.set import SetSorter

__all__ = ["ARCHITECTURES", "READABLE", "architecture", "make_sorter"]

ARCHITECTURES: dict[str, type[Sorter]] = {
    kind.architecture: kind
    for kind in (
        LSTMSorter,
        LSTMLargeSorter,
        GRUEndSorter,
        GRUSumSorter,
        GRUConstrainedSorter,
        GRUProjectionSorter,
        MLPSorter,
        CNNSorter,
        ProgrammedSorter,
        SetSorter,
    )
}
"""Short name -> class."""

READABLE = {
    "lstm_large": "lstmla",
    "gru_end": "lstme",
    "gru_sum": "grus",
    "gru_constrained": "gruc",
    "gru_projection": "grup",
    "programmed": "exa",
}
"""Readable name -> short name, where the short name does not say it."""


def architecture(name: str) -> type[Sorter]:
    """Return the class of this short or readable name.

    Raises:
        ValueError: there is none.
    """
    short = READABLE.get(name, name)
    check_choice("architecture", short, tuple(ARCHITECTURES))
    return ARCHITECTURES[short]


def make_sorter(name: str, length: int | None = None) -> Sorter:
    """Return an untrained sorter.

    Args:
        name: the short or the readable name of an architecture, see :data:`ARCHITECTURES`.
        length: of the sequences; needed unless the architecture takes any.

    Raises:
        ValueError: an unknown name, no length where one is needed, or one that does not fit.

    >>> make_sorter("gru_sum")
    GRUSumSorter(
      (lstm): GRU(1, 4, batch_first=True, bidirectional=True)
    )
    """
    return architecture(name)(length)
