"""What commands print with: one console, tables of one look, and how far something is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["counting", "make_console", "make_table"]


def make_console(width: int = 120) -> "Console":
    """Return the console; ``width`` is that of files and pipes, which have none of their own."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = width
    return console


@contextmanager
def counting(console: "Console", words: str) -> Iterator[Callable[[int, int], None]]:
    """Return the function to be told how many are done, of how many; shown in a terminal only."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with console.status(words) as status:
        yield lambda done, total: status.update(f"{words}: {done} of {total}")


def make_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """Return a table whose first column names the rows, all others to the right.

    Narrow terminals break between a mean and its deviation, never within a number. An empty row
    is a line.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=not i)
    for row in rows:
        if not row:
            table.add_section()
            continue
        table.add_row(*(cell.replace(" ± ", " ±") for cell in row))
    return table
