"""Settings of every test run: runtime shape checks, hypothesis profiles, threads."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import support
from support import PACKAGE


def _checked_modules() -> list[str]:
    """Every module of the package except those that hand their source to a compiler.

    numba and triton compile the function that is written, not a wrapper around it.
    """
    rooms = [path for path in PACKAGE.iterdir() if path.name != "kernels"]
    kernels = [path for path in PACKAGE.glob("kernels/*") if path.stem not in ("cpu", "cuda")]
    names = [
        ".".join(path.with_suffix("").relative_to(PACKAGE.parent).parts) for path in rooms + kernels
    ]
    return sorted(name for name in names if "__" not in name)


def _check_types_at_run_time() -> None:
    from jaxtyping import install_import_hook

    loaded = [name for name in sys.modules if name.split(".")[0] == "rankgrad"]
    if loaded:
        raise pytest.UsageError(f"rankgrad was imported before the type checks: {loaded[:3]}")
    install_import_hook(_checked_modules(), "support.check_types")


if os.environ.get("RANKGRAD_TYPECHECK", "1") != "0":
    _check_types_at_run_time()

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# For a hunt: HYPOTHESIS_PROFILE=search draws new examples on every run.
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, support.Arrays]]:
    """``support.golden`` for tests that want no import."""
    return support.golden


@pytest.fixture(scope="session")
def shared_data() -> Callable[..., Path]:
    """``support.shared_data`` for tests that want no import."""
    return support.shared_data


@pytest.fixture(params=["numba", "reference"], scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The tests of the module once by the compiled kernels and once by the plain ones."""
    import rankgrad as rg

    with rg.use_backend(request.param):
        yield request.param


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are no faster on more, and other tests run beside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _fresh_compiler(request: pytest.FixtureRequest) -> None:
    """Let no test of torch.compile run into the recompilation limit that another used up."""
    if request.node.get_closest_marker("compile"):
        import torch

        torch.compiler.reset()


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores between the workers of pytest-xdist."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine has no device for, and what the run-time checks would disturb."""
    import torch

    skip = {}
    if not torch.cuda.is_available():
        skip["gpu"] = pytest.mark.skip(reason="needs a CUDA device")
    if os.environ.get("RANKGRAD_TYPECHECK", "1") != "0":
        skip["compile"] = pytest.mark.skip(reason="runs with RANKGRAD_TYPECHECK=0")
    for item in items:
        for marker, reason in skip.items():
            if item.get_closest_marker(marker):
                item.add_marker(reason)
