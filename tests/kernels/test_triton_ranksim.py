"""RankSim's rows by Triton against the reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from rankgrad.kernels import reference


def draw(n: int, dtype: torch.dtype, tied: bool) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    similarity, labels = torch.randn(n, n), torch.randn(n, 1)
    if tied:
        similarity, labels = (2 * similarity).round() / 2, (2 * labels).round()
    return similarity.to(dtype), labels.sort(0).values.to(dtype)


@pytest.mark.parametrize(
    ("n", "count", "dtype"),
    [
        (1, None, torch.float32),
        (11, None, torch.float32),
        (11, 7, torch.float64),
        (11, 0, torch.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", [False, True])
def test_is_the_reference(
    call: Callable[..., Any], n: int, count: int | None, tied: bool, dtype: torch.dtype
) -> None:
    similarity, labels = draw(n, dtype, tied)
    many = None if count is None else torch.tensor(count)
    args = (similarity, labels, many, 2.0)
    loss, slope = call("ranksim_rows", *args, True)
    want_loss, want_slope = reference.ranksim_rows(*args, True)
    torch.testing.assert_close(loss, want_loss)
    torch.testing.assert_close(slope, want_slope)
    alone, none = call("ranksim_rows", *args, False)
    assert torch.equal(alone, loss)
    assert none.numel() == 0


def test_many_columns(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a program looks at at once."""
    from rankgrad.kernels.cuda import ranksim

    monkeypatch.setattr(ranksim, "_BLOCK", 8)
    args = (*draw(21, torch.float32, True), torch.tensor(19), 2.0, True)
    torch.testing.assert_close(call("ranksim_rows", *args), reference.ranksim_rows(*args))


def test_what_is_no_number(call: Callable[..., Any]) -> None:
    similarity, labels = draw(9, torch.float32, False)
    similarity[2, 3] = torch.nan
    labels[-1] = torch.inf
    args = (similarity, labels, torch.tensor(9), 2.0)
    loss, slope = call("ranksim_rows", *args, True)
    want_loss, want_slope = reference.ranksim_rows(*args, True)
    assert loss.isnan().nonzero().squeeze(1).tolist() == [2, 8]
    torch.testing.assert_close(loss, want_loss, equal_nan=True)
    torch.testing.assert_close(slope, want_slope, equal_nan=True)
    labels[-1] = torch.nan
    assert call("ranksim_rows", *args, True)[0].isnan().all()


def test_labels_of_several_dimensions(call: Callable[..., Any]) -> None:
    similarity, _ = draw(7, torch.float32, False)
    args = (similarity, torch.randn(7, 2), None, 2.0, True)
    torch.testing.assert_close(call("ranksim_rows", *args), reference.ranksim_rows(*args))


def test_public_loss_and_gradient(device: str) -> None:
    torch.manual_seed(0)
    data, labels = torch.randn(20, 5, device=device), torch.randn(20, device=device).round()
    results = []
    for backend in ("triton", "reference"):
        features = data.clone().requires_grad_()
        with rg.use_backend(backend):
            loss = rg.RankSimLoss(unique="first")(features, labels)
            loss.backward()
        results.append((loss.detach(), features.grad))
    torch.testing.assert_close(*results)
