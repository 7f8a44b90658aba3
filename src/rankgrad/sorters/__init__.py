"""Learned sorters: networks that rank, their files, and trained ones to load by name."""

from rankgrad.sorters.base import Sorter
from rankgrad.sorters.checkpoint import (
    SHIPPED,
    Checkpoint,
    CheckpointError,
    load_sorter,
    read_checkpoint,
    save_sorter,
)
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
from rankgrad.sorters.registry import ARCHITECTURES, READABLE, make_sorter
from rankgrad.sorters.set import SetSorter
from rankgrad.sorters.updating import UpdatingWrapper

__all__ = [
    "ARCHITECTURES",
    "CNNSorter",
    "Checkpoint",
    "CheckpointError",
    "GRUConstrainedSorter",
    "GRUEndSorter",
    "GRUProjectionSorter",
    "GRUSumSorter",
    "LSTMLargeSorter",
    "LSTMSorter",
    "MLPSorter",
    "ProgrammedSorter",
    "READABLE",
    "SHIPPED",
    "SetSorter",
    "Sorter",
    "UpdatingWrapper",
    "load_sorter",
    "make_sorter",
    "read_checkpoint",
    "save_sorter",
]
