"""Every Triton kernel compiles to machine code for a GPU, with or without one at hand.

The interpreter takes what the compiler refuses: it runs Python, without types.
"""

import os
import pkgutil
from collections.abc import Iterator
from importlib import import_module, reload
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
        self.variants: set[str] = set()

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Compiler]:
    """Calls of kernels compile them, and do not run them; for Hopper, unless a test says else."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    stand_in = Compiler(getattr(request, "param", 90))
    really_run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        self.device_caches.clear()
        made = really_run(self, *args, grid=grid, warmup=True, **kwargs)
        self.device_caches.clear()  # a real device must not find what is not meant for it
        assert made.asm["cubin"]
        stand_in.made[self.__name__] = made
        stand_in.variants.add(made.hash)

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
    cuda.rank_sort_errors(scores, scores, scores, starts, delta)
    cuda.rank_sort_pulls(scores, scores, scores.expand(4, -1), scores.expand(2, -1), starts, delta)
    wanted = {"_count", "_combine", "_read", "_lines", "_evaluate", "_errors", "_pulls"}
    assert wanted <= compiler.made.keys()
    for exact_one in (False, True):
        constants = {"EXACT_ONE": exact_one, "BLOCK": 1024}
        positives._tally[(1,)](x, groups, 300, **constants)
        positives._collect[(1,)](x, groups, groups, groups, 300, 300, **constants)


@pytest.mark.parametrize(("n", "names"), [(40, {"_short_rows"}), (9000, {"_totals", "_spread"})])
def test_running_sums(compiler: Compiler, n: int, names: set[str]) -> None:
    from rankgrad.kernels.cuda.running import running

    x = torch.zeros(2, n, dtype=torch.float64)
    running(x, x)
    assert names <= compiler.made.keys()


def test_another_number_of_positives_compiles_nothing(compiler: Compiler) -> None:
    """Neither its divisibility nor where in memory what it measures comes to lie."""
    from rankgrad.kernels import cuda
    from rankgrad.kernels.cuda import positives

    x, facts = torch.zeros(3000), torch.zeros(2, 3, dtype=torch.int64)
    variants = []
    for p in (160, 161, 176):
        scores, starts = torch.zeros(p, dtype=torch.float64), torch.tensor([0, p])
        cuda.negatives_ahead(x, x, None, scores, starts, 0.5)
        cuda.spread_to_negatives(x, x, None, scores, starts, 0.5, scores)
        rows, cotangents = torch.zeros(5, p, dtype=torch.float64)[1:], scores.expand(2, -1)
        cuda.rank_sort_errors(scores, scores, scores, starts, 0.5)
        cuda.rank_sort_pulls(scores, scores, rows, cotangents, starts, 0.5)
        places = torch.zeros(p, dtype=torch.int64)
        positives._collect[(1,)](x, facts, facts, places, 3000, p, EXACT_ONE=True, BLOCK=1024)
        variants.append(set(compiler.variants))
    assert variants[0] == variants[1] == variants[2]


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_retrieval(compiler: Compiler, dtype: torch.dtype) -> None:
    from rankgrad.kernels import cuda

    scores, codes = torch.zeros(2, 100, dtype=dtype), torch.zeros(2, 100, dtype=torch.uint8)
    for cuts in (([], []), ([1, 4], [1.0, 2.0])):
        cuda.soft_retrieval(scores, codes, 0.1, *cuts)
        cuda.soft_retrieval_backward(scores[:, 0], scores, codes, 0.1, *cuts)
    assert {"_list_relevant", "_relevant_tiles", "_pull_at_items"} <= compiler.made.keys()


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


def test_networks_without_gather(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton has it from 3.3 on; without it all wires meet in memory."""
    from rankgrad.kernels.cuda import network_fused
    from rankgrad.kernels.cuda.swaps import Swaps

    x, count = torch.zeros(2, 20), torch.full((2,), 20)
    swaps = Swaps("bitonic", "cauchy", torch.ones(2, dtype=torch.float64))
    monkeypatch.delattr(triton.language, "gather", raising=False)
    try:
        reload(network_fused)
        network_fused.fused_through(x, count, None, swaps)
        network_fused.fused_back(x, count, None, None, True, swaps)
    finally:
        monkeypatch.undo()
        reload(network_fused)
    assert {"_through", "_back"} <= compiler.made.keys()


@pytest.mark.parametrize("compiler", [80], indirect=True, ids=["Ampere"])
def test_no_kernel_is_left_out(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above compile is all there is to launch, and compiles for older GPUs too."""
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
    test_retrieval(compiler, torch.float32)
    test_networks(compiler, monkeypatch, "bitonic", "logistic", 20, torch.float64)
    assert "_bridges" in kernels
    assert kernels <= compiler.made.keys()
