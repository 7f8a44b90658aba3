"""Smooth-AP and soft recall by Triton against the reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.kernels import reference

CUTS = [([], []), ([1, 3, 50], [1.0, 0.5, 4.0])]


def draw(rows: int, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients, scores and codes; a row without relevant items, one of them alone, one tied."""
    torch.manual_seed(n)
    scores, codes = torch.randn(rows, n), torch.randint(0, 3, (rows, n))
    if rows and n:
        scores[-1] = scores[-1].round()
        codes[0] = codes[0].clamp(max=1)
        codes[1] = 2
    return torch.randn(rows, dtype=dtype), scores.to(dtype), codes.to(torch.uint8)


@pytest.mark.parametrize("cuts", CUTS, ids=["average precision", "recall"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("rows", "n"), [(4, 1), (4, 37), (3, 150), (2, 0), (0, 5)], ids=str)
def test_is_the_reference(
    call: Callable[..., Any], rows: int, n: int, dtype: torch.dtype, cuts: tuple[Any, Any]
) -> None:
    grad, scores, codes = draw(rows, n, dtype)
    args = (scores, codes, 0.3, *cuts)
    torch.testing.assert_close(call("soft_retrieval", *args), reference.soft_retrieval(*args))
    args = (grad, *args)
    torch.testing.assert_close(
        call("soft_retrieval_backward", *args), reference.soft_retrieval_backward(*args)
    )


def test_tiles_of_every_kind(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row to a program and rows that are shared out; lists longer than a block."""
    from rankgrad.kernels.cuda import retrieval

    monkeypatch.setattr(retrieval, "_BLOCK", 8)
    monkeypatch.setattr(retrieval, "_QUERIES", 2)
    monkeypatch.setattr(retrieval, "_KEYS", 4)
    grad, scores, codes = draw(3, 29, torch.float64)
    args = (grad, scores, codes, 0.3, *CUTS[1])
    for programs in (1, 9):
        monkeypatch.setattr(retrieval, "_PROGRAMS", programs)
        torch.testing.assert_close(
            call("soft_retrieval", *args[1:]), reference.soft_retrieval(*args[1:])
        )
        torch.testing.assert_close(
            call("soft_retrieval_backward", *args), reference.soft_retrieval_backward(*args)
        )


def test_what_is_no_number(call: Callable[..., Any]) -> None:
    """Equal infinities are ties; what is left out may be anything; NaN stays in its row."""
    grad, scores, codes = draw(4, 9, torch.float32)
    scores[1, :2], scores[1, 2:4] = torch.inf, -torch.inf
    scores[2, 0], codes[2, 0] = torch.nan, 0
    scores[3, 0], codes[3] = torch.nan, 2
    args = (scores, codes, 0.3, [], [])
    value = call("soft_retrieval", *args)
    assert value.isnan().tolist() == [False, False, False, True]
    torch.testing.assert_close(value, reference.soft_retrieval(*args), equal_nan=True)
    slope = call("soft_retrieval_backward", grad, *args)
    want = reference.soft_retrieval_backward(grad, *args)
    torch.testing.assert_close(slope[:3], want[:3])
    assert slope[3].isnan().all()


@pytest.mark.parametrize(
    "loss", [rg.SmoothAPLoss(), rg.RecallAtKLoss(k=(1, 4), temperature=0.1)], ids=["ap", "recall"]
)
def test_public_loss_and_gradient(device: str, loss: torch.nn.Module) -> None:
    torch.manual_seed(0)
    data, labels = torch.randn(20, 5, device=device), torch.arange(20, device=device) % 4
    results = []
    for backend in ("triton", "reference"):
        embeddings = data.clone().requires_grad_()
        with rg.use_backend(backend):
            value = loss(embeddings, labels)
            value.backward()
        results.append((value.detach(), embeddings.grad))
    torch.testing.assert_close(*results)
