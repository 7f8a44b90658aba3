"""``rankgrad doctor``: what is installed, what runs where, and whether the kernels are right."""

import argparse
import os
from collections.abc import Callable
from importlib import metadata

__all__ = ["add_arguments", "run"]

_PACKAGES = (
    "numpy",
    "numba",
    "triton",
    "safetensors",
    "torchvision",
    "torchmetrics",
    "lightning",
    "scikit-learn",
    "matplotlib",
    "jinja2",
    "rich",
    "nibabel",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: there are none."""


def run(options: argparse.Namespace) -> int:
    """Print everything that a report of a problem should contain; 1 if a check fails."""
    import platform

    import torch

    from rankgrad import __version__
    from rankgrad.kernels import backends

    _line("rankgrad", __version__)
    _line("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    _line("torch", torch.__version__)
    for package in _PACKAGES:
        _line(package, _version(package))
    _line("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")
    _line("gpu", _gpu())
    for name, state in backends().items():
        _line(f"kernels: {name}", str(state))
    failures = [_check(name, check) for name, check in _CHECKS.items()]
    return 1 if any(failures) else 0


def _line(name: str, value: str) -> None:
    print(f"{name:<20} {value}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names) + f" (CUDA {torch.version.cuda})"


def _check(name: str, check: Callable[[], str]) -> bool:
    """Run one check, print its outcome, and return whether it failed."""
    try:
        _line(f"check: {name}", f"ok, {check()}")
    except Exception as error:
        _line(f"check: {name}", f"FAILED: {error}")
        return True
    return False


def _cache() -> str:
    """Where numba keeps compiled kernels; without it every process compiles anew."""
    import importlib.util

    if importlib.util.find_spec("numba") is None:
        return "not needed without numba"
    from tempfile import TemporaryFile

    from rankgrad import kernels

    folders = [os.environ.get("NUMBA_CACHE_DIR"), os.path.dirname(kernels.__file__)]
    folders.append(os.path.join(os.path.expanduser("~"), ".cache"))
    for folder in filter(None, folders):
        try:
            with TemporaryFile(dir=folder):
                return f"{folder} is writable"
        except OSError:
            continue
    raise OSError(
        "no folder for compiled kernels is writable, every process will compile them anew; set "
        "NUMBA_CACHE_DIR to one that is"
    )


def _kernels() -> str:
    """Compare every live backend with the reference, on input with ties."""
    import torch

    from rankgrad.comparisons import Ramp
    from rankgrad.kernels import use_backend
    from rankgrad.pairwise import pairwise_sum
    from rankgrad.ranks import rank

    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(-40, 40, (500,), generator=generator) / 8
    keys = torch.randn(400, generator=generator)
    weights = torch.rand(400, generator=generator)

    def results(device: torch.device) -> list[torch.Tensor]:
        q, k, w = (x.to(device) for x in (scores, keys, weights))
        values = (pairwise_sum(q, k, w, comparison=Ramp(0.5)), rank(q, ties="average"))
        return [value.double().cpu() for value in values]

    cpu = torch.device("cpu")
    with use_backend("reference"):
        expected = results(cpu)
    devices = [cpu, torch.device("cuda")] if torch.cuda.is_available() else [cpu]
    worst = 0.0
    for device in devices:
        for value, reference in zip(results(device), expected, strict=True):
            error = float((value - reference).abs().max() / reference.abs().max())
            worst = max(worst, error)
            if not error < 1e-5:
                raise ArithmeticError(f"off by {error:.1e} from the reference on {device.type}")
    names = " and ".join(device.type for device in devices)
    return f"within {worst:.0e} of the reference on {names}"


_CHECKS = {"kernel cache": _cache, "kernels": _kernels}
