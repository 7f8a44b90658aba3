"""How the Triton kernels are tested: interpreted on the CPU, or on a GPU, in guarded memory.

Triton decides when it is imported whether it interprets, for the whole process. So on a machine
without a GPU the ``test_triton*`` files run in a process of their own, which
``test_interpreted.py`` starts; or by hand, ``TRITON_INTERPRET=1 pytest tests/kernels``.
"""

import os
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_GUARD = 64  # elements on either side of a tensor


def _poison(dtype: torch.dtype) -> float | int:
    if dtype.is_floating_point:
        return float("nan")
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max // 3


class Guarded:
    """Memory full of poison, between guards that show what was written out of bounds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.guards: list[Tensor] = []
        for place, name, keep in (
            (torch, "empty", False),
            (torch, "empty_like", False),
            (torch, "full", True),
            (torch, "zeros", True),
            (Tensor, "new_empty", False),
            (Tensor, "new_zeros", True),
        ):
            monkeypatch.setattr(place, name, self._instead_of(getattr(place, name), keep))

    def place(self, x: Tensor, keep: bool = True) -> Tensor:
        """Return a tensor in guarded memory, with the values of ``x`` or with poison."""
        if x.numel() == 0:
            return x
        block = x.new_full((x.numel() + 2 * _GUARD,), _poison(x.dtype))
        inside = block[_GUARD : _GUARD + x.numel()].view(x.shape)
        if keep:
            inside.copy_(x)
        self.guards += [block[:_GUARD], block[_GUARD + x.numel() :]]
        return inside

    def _instead_of(self, make: Callable[..., Tensor], keep: bool) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: self.place(make(*args, **kwargs), keep)

    def check(self) -> None:
        for guard in self.guards:
            poison = torch.tensor(_poison(guard.dtype), dtype=guard.dtype).expand(guard.shape)
            torch.testing.assert_close(guard.cpu(), poison, rtol=0, atol=0, equal_nan=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a device where the kernels can run."""
    if "device" in metafunc.fixturenames:
        gpu = pytest.param("cuda", marks=pytest.mark.gpu)
        metafunc.parametrize("device", ["cpu" if INTERPRETED else gpu], scope="session")


@pytest.fixture
def call(device: str) -> Callable[..., Any]:
    """``call(kernel, *args)`` runs a kernel in guarded memory; results come back on the CPU."""
    from rankgrad.kernels import cuda

    def run(name: str, *args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            memory = Guarded(patch)
            moved = [
                memory.place(x.detach().to(device)) if isinstance(x, Tensor) else x for x in args
            ]
            out = getattr(cuda, name)(*moved)
        memory.check()
        several = out if isinstance(out, tuple) else (out,)
        several = tuple(x.cpu() if isinstance(x, Tensor) else x for x in several)
        return several if isinstance(out, tuple) else several[0]

    return run


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the kernels that would have run on tensors without data, on a GPU or "meta"."""
    from rankgrad import kernels
    from rankgrad.kernels import cuda

    names: list[str] = []

    def launch(kernel: Any, programs: int, *args: Any, **constants: Any) -> None:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        (device,) = {str(x.device) for x in tensors}
        assert device in ("cuda:0", "meta")
        assert isinstance(programs, int)
        names.append(kernel.__name__)

    for module in pkgutil.iter_modules(cuda.__path__):
        loaded = import_module(f"{cuda.__name__}.{module.name}")
        if hasattr(loaded, "launch") and module.name != "launch":
            monkeypatch.setattr(loaded, "launch", launch)
    why_not = {"numba": "there are no numbers", "reference": None, "triton": None}
    monkeypatch.setattr(kernels, "_why_not", why_not.__getitem__)
    monkeypatch.setitem(kernels._PREFERRED, "meta", kernels._PREFERRED["cuda"])
    kernels._find.cache_clear()
    with FakeTensorMode():
        yield names
    kernels._find.cache_clear()
