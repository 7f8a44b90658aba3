"""Which operations the Triton kernels serve, and that the reference serves the others."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import rankgrad as rg
from rankgrad import kernels
from rankgrad.kernels import reference


def served(name: str, device: str) -> Callable[..., Any]:
    with rg.use_backend("triton"):
        return kernels.implementation(name, torch.device(device))


@pytest.mark.parametrize("name", reference.__all__)
def test_every_operation_is_served(name: str, device: str) -> None:
    from rankgrad.kernels import cuda

    if name in cuda.__all__:
        assert served(name, device).__module__.startswith("rankgrad.kernels.cuda.")
    else:
        assert served(name, device) is getattr(reference, name)
        assert name in rg.backends()["triton"]


def test_operations_take_the_arguments_of_the_reference(device: str) -> None:
    from rankgrad.kernels import cuda

    for name in cuda.__all__:
        wanted = list(inspect.signature(getattr(reference, name)).parameters)
        ours = list(inspect.signature(served(name, device)).parameters)
        assert ours == wanted[: len(ours)]


def test_what_has_no_kernel_works(device: str) -> None:
    """Hard ranks and matrices on the device of their scores, by the reference."""
    x = torch.tensor([0.5, 2.0, 1.0], device=device, requires_grad=True)
    with rg.use_backend("triton"):
        assert rg.rank(x).tolist() == [3.0, 1.0, 2.0]
        for name in ("softsort", "sinkhorn"):
            ranks = rg.soft_rank(x, name)
            assert ranks.device == x.device
            assert ranks.argsort().tolist() == [1, 2, 0]


def of_detection(loss_fn: Callable[..., torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    logits = x.flatten()
    targets = (torch.arange(logits.numel(), device=x.device) % 7 == 0).float()
    more = (torch.ones(int(targets.sum()), device=x.device),)
    return loss_fn(logits, targets, *(more if isinstance(loss_fn, rg.ALRPLoss) else ()))


REPEATED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{
        repr(comparison): lambda x, c=comparison: rg.pairwise_sum(x, x, x, comparison=c)
        for comparison in (rg.Step(), rg.Ramp(0.5), rg.Laplace(0.5), rg.Logistic(0.5))
    },
    "l2": rg.rankers.Projection(),
    "kl": rg.rankers.Projection("kl").sort,
    "network": rg.rankers.SortingNetwork("bitonic"),
    "RankSim": lambda x: rg.RankSimLoss(unique="none")(x.mT, x[0]),
    **{
        type(loss_fn).__name__: lambda x, f=loss_fn: of_detection(f, x)
        for loss_fn in (rg.RankSortLoss(), rg.APLoss(), rg.ALRPLoss())
    },
}


@pytest.fixture
def deterministic() -> Iterator[None]:
    """PyTorch refuses what it cannot repeat, and fills new memory with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("operation", REPEATED.values(), ids=REPEATED)
def test_every_run_gives_the_same_bits(
    operation: Callable[[torch.Tensor], torch.Tensor], device: str
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 30, device=device, requires_grad=True)
    with rg.use_backend("triton"):
        runs = []
        for _ in range(2):
            out = operation(x)
            runs.append((out.detach(), *torch.autograd.grad(out.sum(), x)))
    for first, second in zip(*runs, strict=True):
        assert first.isfinite().all()
        assert torch.equal(first, second)
