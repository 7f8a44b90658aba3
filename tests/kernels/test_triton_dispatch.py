"""Which operations the Triton kernels serve, and that the reference serves the others."""

import inspect
from collections.abc import Callable
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
    """Networks, top-k and hard ranks on the device of their scores, by the reference."""
    x = torch.tensor([0.5, 2.0, 1.0], device=device, requires_grad=True)
    with rg.use_backend("triton"):
        assert rg.rank(x).tolist() == [3.0, 1.0, 2.0]
        for name in ("odd_even", "softsort", "sinkhorn"):
            ranks = rg.soft_rank(x, name)
            assert ranks.device == x.device
            assert ranks.argsort().tolist() == [1, 2, 0]
