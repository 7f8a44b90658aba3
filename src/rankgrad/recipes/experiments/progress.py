"""What people see while a study runs: bars in a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

from rankgrad.recipes.experiments.study import Task

__all__ = ["Display", "progress_display"]

# The few words about a finished run, from its metrics.
Headline = Callable[[dict[str, float]], str]


class Display(Protocol):
    """Told what happens; enters before the first run and leaves after the last."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def start(self, total: int, done: int) -> None:
        """So many runs in all, so many of them from before."""
        ...

    def update(self, task: Task, fraction: float, text: str) -> None:
        """A run has come so far."""
        ...

    def finish(self, task: Task, metrics: dict[str, float], seconds: float) -> None:
        """A run is done."""
        ...


def progress_display(console: Console, headline: Headline) -> Display:
    """Return the display that suits the console."""
    return Bars(console, headline) if console.is_terminal else Lines(console, headline)


class Lines:
    """One line for each finished run."""

    def __init__(self, console: Console, headline: Headline) -> None:
        self.console = console
        self.headline = headline
        self.total = self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, total: int, done: int) -> None:
        """Say what is there already."""
        self.total, self.done = total, done
        if done:
            self._say(f"{done} of {total} runs are there already")

    def update(self, task: Task, fraction: float, text: str) -> None:
        """Nothing: a log file is no place for movement."""

    def finish(self, task: Task, metrics: dict[str, float], seconds: float) -> None:
        """Say what came out."""
        self.done += 1
        width = len(str(self.total))
        self._say(
            f"[{self.done:>{width}}/{self.total}] {task}: {self.headline(metrics)}, {seconds:.1f} s"
        )

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Bars(Lines):
    """A bar for each run under way and one for the study; finished runs scroll past above."""

    def __init__(self, console: Console, headline: Headline) -> None:
        super().__init__(console, headline)
        self.running = Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", style="dim"),
            console=console,
        )
        self.overall = Progress(
            TextColumn("All runs", style="bold"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            Elapsed(),
            console=console,
        )
        self.live = Live(Group(self.running, self.overall), console=console, transient=True)
        self.bars: dict[str, TaskID] = {}
        self.bar: TaskID | None = None

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def start(self, total: int, done: int) -> None:
        """Draw the bar of the study."""
        super().start(total, done)
        self.bar = self.overall.add_task("", total=total, completed=done)

    def update(self, task: Task, fraction: float, text: str) -> None:
        """Move a bar."""
        if task.folder not in self.bars:
            self.bars[task.folder] = self.running.add_task(str(task), total=1.0, text=text)
        self.running.update(self.bars[task.folder], completed=fraction, text=text)

    def finish(self, task: Task, metrics: dict[str, float], seconds: float) -> None:
        """Turn a bar into a line."""
        super().finish(task, metrics, seconds)
        if task.folder in self.bars:
            self.running.remove_task(self.bars.pop(task.folder))
        if self.bar is not None:
            self.overall.advance(self.bar)
