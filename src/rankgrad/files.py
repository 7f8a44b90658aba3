"""Files that are written whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; at the end that file takes its place.

    Whoever reads ``path`` finds what was there before or all of what is there now. After an error
    or an interruption it is what it was, and nothing is left beside it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, replacing(Path(folder, "a.txt")) as partial:
    ...     _ = partial.write_text("all of it")
    """
    path = Path(path)
    # Several processes and threads may write the same file: the last one counts.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
