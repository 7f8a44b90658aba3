"""TensorBoard's event files, where it is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

__all__ = ["EventLog"]


class EventLog:
    """Writes the rows of a history as scalars; writes nothing without TensorBoard.

    Args:
        folder: where to.
        start: the epoch that the run goes on from; what was logged after it is hidden.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self.folder = folder
        self.start = start
        self.writer: Any = None

    def __enter__(self) -> Self:
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder), purge_step=self.start + 1)
        return self

    def write(self, row: dict[str, int | float]) -> None:
        """Write one row at its epoch."""
        if self.writer is not None:
            for name, value in row.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, row["epoch"])

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
