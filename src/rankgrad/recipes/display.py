"""What people see while something is trained: a bar in a terminal, lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

__all__ = ["EpochProgress", "epoch_display"]


class EpochProgress(Protocol):
    """What has to be known of how far a run is."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        ...

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        ...

    @property
    def fraction(self) -> float:
        """The part of the run that is done."""
        ...

    @property
    def seconds(self) -> float:
        """What is left of it, at the present speed."""
        ...


P = TypeVar("P", bound=EpochProgress)


@contextmanager
def epoch_display(
    console: Console, describe: Callable[[P], str], *, lines: int | None = None
) -> Iterator[Callable[[P], None]]:
    """Return the function to be told of the progress.

    Args:
        console: where to show it.
        describe: the few words about where the run is, such as its loss.
        lines: where it is no terminal, at most some so many lines (default: one an epoch).
    """
    if not console.is_terminal:
        yield _lines(console, describe, lines)
        return
    columns = (
        TextColumn("epoch {task.fields[epoch]}", style="bold"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=1.0, epoch="1", text="")

        def show(p: P) -> None:
            text = f"{describe(p)}, {_time(p.seconds)} left"
            bars.update(bar, completed=p.fraction, epoch=f"{p.epoch}/{p.epochs}", text=text)

        yield show


def _lines(
    console: Console, describe: Callable[[P], str], lines: int | None
) -> Callable[[P], None]:
    last = 0

    def show(p: P) -> None:
        nonlocal last
        every = max(1, p.epochs // lines) if lines else 1
        if p.epoch > last and (p.epoch % every == 0 or p.epoch == p.epochs):
            last = p.epoch
            console.print(
                f"[{p.epoch:>{len(str(p.epochs))}}/{p.epochs}] {describe(p)}, "
                f"{_time(p.seconds)} left",
                markup=False,
                soft_wrap=True,
            )

    return show


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
