"""Peak memory of a call, in a process of its own, and how much there is."""

import os
import subprocess
import sys
from pathlib import Path

import torch

__all__ = ["available_bytes", "can_measure_peaks", "peak_extra_bytes"]

_SCRIPT = """
import gc, importlib, sys
import torch
def field(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
module, function = sys.argv[1].rsplit(":", 1)
torch.set_num_threads(int(sys.argv[2]))
prepare = getattr(importlib.import_module(module), function)
prepare(True)()  # small: compiles what has to be compiled
run = prepare(False)
gc.collect()
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the peak starts from here
before = field("VmRSS:")
run()
print(field("VmHWM:") - before)
"""


def peak_extra_bytes(prepare: str) -> int:
    """Return by how much a call raises the peak of resident memory, in a process of its own.

    Linux only.

    Args:
        prepare: "module:function"; ``function(small)`` returns the call to measure. It is made and
            called with ``small=True`` first.
    """
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, prepare, str(torch.get_num_threads())],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def can_measure_peaks() -> bool:
    """Return whether the system says what :func:`peak_extra_bytes` asks of it."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def available_bytes() -> float:
    """Return how much memory a process may take now; infinity where the system does not say."""
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    return float("inf")
