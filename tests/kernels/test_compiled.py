"""Every Triton kernel compiles to machine code for a GPU, with or without one at hand.

The interpreter takes what the compiler refuses: it runs Python, without types.
"""

import os
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch

import rankgrad as rg
from rankgrad.kernels import reference

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("this process interprets", allow_module_level=True)
triton = pytest.importorskip("triton")


class Compiler:
    """Stands in for the driver of a GPU of one kind, and keeps what is compiled for it."""

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", capability, 32)
        self.made: dict[str, Any] = {}

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    """Calls of kernels compile them, and do not run them."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    stand_in = Compiler(90)
    really_run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        self.device_caches.clear()
        made = really_run(self, *args, grid=grid, warmup=True, **kwargs)
        self.device_caches.clear()  # a real device must not find what is not meant for it
        assert made.asm["cubin"]
        stand_in.made[self.__name__] = made

    monkeypatch.setattr(JITFunction, "run", compile_only)
    driver.set_active(stand_in)
    yield stand_in
    monkeypatch.undo()
    driver._active = None  # found anew when next asked for


@pytest.mark.parametrize(
    ("comparison", "dtype"),
    [
        (rg.Step(), torch.float32),
        (rg.Ramp(0.5), torch.float32),
        (rg.Laplace(0.5), torch.float32),
        (rg.Logistic(0.5), torch.float32),
        (rg.Logistic(0.5), torch.float64),
        (rg.Normal(0.5), torch.float32),
        (rg.Normal(0.5), torch.float64),
        (rg.Cauchy(0.5), torch.float32),
        (rg.Cauchy(0.5), torch.float64),
    ],
    ids=str,
)
def test_pairwise(compiler: Compiler, comparison: rg.Comparison, dtype: torch.dtype) -> None:
    from rankgrad.kernels import cuda

    x = torch.zeros(2, 40, dtype=dtype)
    ids, order = torch.zeros(2, 40, dtype=torch.int64), reference.argsort(x, False)
    plain = (x, x, None, None, None, order, order, comparison)
    every = (x, x, x, ids, ids, order, order, comparison)
    cuda.pairwise(*plain, False, True, False)
    cuda.pairwise(*every, True, True, True)
    assert any(name.endswith("_sums") for name in compiler.made)


@pytest.mark.parametrize(
    ("delta", "dtype"), [(0.0, torch.float32), (0.5, torch.float32), (0.5, torch.float64)], ids=str
)
def test_detection(compiler: Compiler, delta: float, dtype: torch.dtype) -> None:
    from rankgrad.kernels import cuda
    from rankgrad.kernels.cuda import positives

    x, scores = torch.zeros(300, dtype=dtype), torch.zeros(40, dtype=torch.float64)
    starts, groups = torch.tensor([0, 40]), torch.zeros(300, dtype=torch.int64)
    for ids in (None, groups):
        cuda.negatives_ahead(x, x, ids, scores, starts, delta)
        cuda.spread_to_negatives(x, x, ids, scores, starts, delta, scores)
    cuda.dominance(scores, scores[None], torch.full((40,), 40), starts, delta)
    assert {"_count", "_combine", "_read", "_lines", "_evaluate"} <= compiler.made.keys()
    for exact_one in (False, True):
        constants = {"EXACT_ONE": exact_one, "BLOCK": 1024}
        positives._tally[(1,)](x, groups, 300, **constants)
        positives._collect[(1,)](x, groups, groups, groups, 300, 300, **constants)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows(compiler: Compiler, dtype: torch.dtype) -> None:
    from rankgrad.kernels import cuda

    x = torch.zeros(2, 100, dtype=dtype)
    for entropic in (False, True):
        out, block = cuda.project_rank(x, None, 1.0, entropic)
        cuda.project_rank_vjp(x, out, block * 0, 1.0, entropic)
        out, block = cuda.project_sort(x, None, 1.0, entropic)
        cuda.project_sort_vjp(x, x, block * 0, entropic)
    square = torch.zeros(30, 30, dtype=dtype)
    for want_slope in (False, True):
        cuda.ranksim_rows(square, square[:, :1], None, 2.0, want_slope)
    assert {
        "_bridges",
        "_join",
        "_read_blocks",
        "_read_entropic",
        "_compare",
        "_slope",
    } <= compiler.made.keys()


@pytest.mark.parametrize(
    ("kind", "distribution", "n", "dtype"),
    [
        ("odd_even", "cauchy", 128, torch.float32),
        ("bitonic", "logistic", 20, torch.float64),
        ("odd_even", "logistic_phi", 20, torch.float32),
        ("bitonic", "normal", 1000, torch.float64),
        ("odd_even", "reciprocal", 20, torch.float32),
        ("alternating", "optimal", 20, torch.float32),
    ],
    ids=str,
)
def test_networks(
    compiler: Compiler,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    distribution: str,
    n: int,
    dtype: torch.dtype,
) -> None:
    """In registers, or of many wires in memory, and a launch a layer."""
    from rankgrad.kernels import cuda
    from rankgrad.kernels.cuda import network_fused

    settings, count = (kind, distribution, 3.0, 0.25), torch.full((2,), n)
    x, v, w = (torch.zeros(2, n, *more, dtype=dtype) for more in ((), (1,), (n,)))
    for given, back in ((v, v), (None, w)):
        for transposed in (False, True):
            cuda.network_apply(x, count, given, *settings, transposed)
        cuda.network_gradient(x, count, back, given, *settings)
    assert {"_through", "_back"} <= compiler.made.keys()
    if n == 20:
        monkeypatch.setattr(network_fused, "_MOST", 0)
        cuda.network_apply(x, count, v, *settings, True)
        cuda.network_gradient(x, count, v, v, *settings)
        assert {"_onward", "_homeward"} <= compiler.made.keys()


def test_no_kernel_is_left_out(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above compile is all there is to launch."""
    from rankgrad.kernels import cuda

    kernels = set()
    for module in pkgutil.iter_modules(cuda.__path__):
        loaded = import_module(f"{cuda.__name__}.{module.name}")
        kernels |= {
            name
            for name, made in vars(loaded).items()
            if isinstance(made, triton.JITFunction)
            and name.startswith("_")
            and "tl.program_id" in made.src
        }
    for comparison in (rg.Ramp(0.5), rg.Laplace(0.5), rg.Cauchy(0.5)):
        test_pairwise(compiler, comparison, torch.float32)
    test_detection(compiler, 0.5, torch.float32)
    test_rows(compiler, torch.float32)
    test_networks(compiler, monkeypatch, "bitonic", "logistic", 20, torch.float64)
    assert "_bridges" in kernels
    assert kernels <= compiler.made.keys()
