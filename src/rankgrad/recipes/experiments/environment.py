"""The software and the machine that a result came from."""

import os
import platform
from importlib import metadata
from pathlib import Path

__all__ = ["environment", "machine"]

_PACKAGES = ("torch", "numpy", "scikit-learn")


def environment() -> dict[str, str]:
    """Versions that numbers depend on: other versions, other numbers."""
    from rankgrad import __version__

    versions = {"rankgrad": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def machine() -> dict[str, str]:
    """What the run time depends on. No names of hosts or people."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
