"""Which backend serves what: the dispatch, how to force it, and what it says when it cannot."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import rankgrad as rg
from rankgrad import kernels
from rankgrad.kernels import reference

CPU = torch.device("cpu")


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    kernels._why_not.cache_clear()
    yield
    kernels._why_not.cache_clear()


def test_the_fastest_live_backend_serves() -> None:
    assert kernels.implementation("argsort", CPU).__module__ == "rankgrad.kernels.cpu.sorting"


def test_a_device_without_kernels_of_its_own_is_served_by_the_reference() -> None:
    assert kernels.implementation("argsort", torch.device("mps")) is reference.argsort


def test_an_operation_that_nobody_has_is_named() -> None:
    with pytest.raises(NotImplementedError, match="no kernel 'sum_of_all_fears' for device cpu"):
        kernels.implementation("sum_of_all_fears", CPU)


def test_the_context_manager_forces_one_and_gives_back_what_was() -> None:
    with rg.use_backend("reference"):
        assert kernels.implementation("argsort", CPU) is reference.argsort
        with rg.use_backend("numba"):
            assert kernels.implementation("argsort", CPU) is not reference.argsort
        assert kernels.implementation("argsort", CPU) is reference.argsort
    assert kernels.implementation("argsort", CPU) is not reference.argsort


def test_it_gives_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), rg.use_backend("reference"):
        raise ZeroDivisionError
    assert kernels.implementation("argsort", CPU) is not reference.argsort


def test_the_environment_variable_forces_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKGRAD_BACKEND", "reference")
    assert kernels.implementation("argsort", CPU) is reference.argsort


def test_the_context_manager_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKGRAD_BACKEND", "reference")
    with rg.use_backend("numba"):
        assert kernels.implementation("argsort", CPU) is not reference.argsort


def test_an_unknown_name_is_refused_with_the_names_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANKGRAD_BACKEND", "cudnn")
    message = "RANKGRAD_BACKEND must be one of 'reference', 'numba', 'triton', got 'cudnn'"
    with pytest.raises(ValueError, match=message):
        rg.rank(torch.randn(3))


def test_a_forced_backend_does_not_take_tensors_of_another_device() -> None:
    with (
        rg.use_backend("numba"),
        pytest.raises(RuntimeError, match="backend 'numba' is forced, but a tensor is on cuda"),
    ):
        kernels.implementation("argsort", torch.device("cuda"))


@pytest.mark.usefixtures("no_numba")
def test_a_backend_that_is_missing_says_why() -> None:
    assert rg.backends() == {
        "reference": "available",
        "numba": "numba is not installed",
        "triton": "triton is not installed",
    }
    with pytest.raises(RuntimeError, match="cannot run here: numba is not installed"):
        rg.use_backend("numba").__enter__()


@pytest.mark.usefixtures("no_numba")
def test_without_numba_and_triton_everything_still_works() -> None:
    logits = torch.tensor([0.1, 0.3, -0.2], requires_grad=True)
    rg.RankSortLoss()(logits, torch.tensor([0.9, 0.0, 0.0])).backward()
    assert logits.grad is not None
    assert logits.grad[0] < 0 < logits.grad[1]
    assert rg.warmup() == {}


def test_warmup_names_what_it_compiled_and_how_long_it_took() -> None:
    seconds = rg.warmup()
    families = {name.rpartition(", ")[0] for name in seconds}
    assert {"rank", "rank_sort", "pairwise_sum, ramp", "projection", "smooth_ap"} <= families
    assert set(seconds) == {f"{name}, {dtype}" for name in families for dtype in _DTYPES}
    assert all(value > 0 for value in seconds.values())


_DTYPES = ("float32", "float64")


def test_a_first_call_does_not_load_the_compiler_of_torch() -> None:
    """``torch._dynamo`` takes seconds, in every process and every worker."""
    code = (
        "import sys, torch, rankgrad as rg\n"
        "x = torch.randn(9, requires_grad=True)\n"
        "rg.RankSortLoss()(x, (x > 0).float()).backward()\n"
        "rg.SpearmanLoss('projection')(x, x.detach()).backward()\n"
        "rg.rank(x)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
