"""What people see while a detector is trained: a bar in a terminal, lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from rankgrad.recipes.detection.training import Progress

__all__ = ["detector_display"]


@contextmanager
def detector_display(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Return the function to be told of the progress."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("epoch {task.fields[epoch]}", style="bold"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=1.0, epoch="1", text="")

        def show(p: Progress) -> None:
            text = f"loss {p.loss:.3f}{_ap(p)}, {_time(p.seconds)} left"
            bars.update(bar, completed=p.fraction, epoch=f"{p.epoch}/{p.epochs}", text=text)

        yield show


def _lines(console: Console) -> Callable[[Progress], None]:
    """A line an epoch."""
    last = 0

    def show(p: Progress) -> None:
        nonlocal last
        if p.epoch > last:
            last = p.epoch
            console.print(
                f"[{p.epoch:>{len(str(p.epochs))}}/{p.epochs}] loss {p.loss:.3f}{_ap(p)}, "
                f"{_time(p.seconds)} left",
                markup=False,
                soft_wrap=True,
            )

    return show


def _ap(p: Progress) -> str:
    """AP on the validation images, once there is one."""
    return f", val AP {p.ap:.1f} (best {p.best:.1f})" if isfinite(p.ap) else ""


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
