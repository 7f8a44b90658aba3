"""The folder for what was computed once and can be computed again."""

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return ``$RANKGRAD_CACHE``, or ``rankgrad`` in the cache folder of the user.

    That is ``%LOCALAPPDATA%`` on Windows, ``~/Library/Caches`` on macOS, and elsewhere
    ``$XDG_CACHE_HOME`` or ``~/.cache``. The folder need not exist.
    """
    if own := os.environ.get("RANKGRAD_CACHE"):
        return Path(own)
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "rankgrad"
