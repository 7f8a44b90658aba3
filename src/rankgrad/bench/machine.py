"""What a figure has to be read with: processor, threads, versions."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import torch

import rankgrad

__all__ = ["machine"]


def machine() -> dict[str, str]:
    """Return processor, cores, threads and versions, as texts by name."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rankgrad": rankgrad.__version__,
    }
    for name in ("numba", "triton"):  # what compiles our kernels
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if "model name" in line:
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
