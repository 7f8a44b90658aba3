import pytest
import torch
from torch import Tensor

from rankgrad.losses._reduce import full_precision, reduce

VALUES = torch.tensor([[1.0, 2.0, torch.nan], [4.0, torch.inf, 6.0]])
VALID = torch.tensor([[True, True, False], [True, False, True]])


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("mean", torch.tensor(13 / 4)),
        ("sum", torch.tensor(13.0)),
        ("none", torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 6.0]])),
    ],
)
def test_only_valid_entries_count(reduction: str, expected: Tensor) -> None:
    values = VALUES.clone().requires_grad_()
    result = reduce(values, reduction, VALID)
    torch.testing.assert_close(result.detach(), expected)
    result.sum().backward()
    assert values.grad is not None
    assert (values.grad[~VALID] == 0).all()
    assert (values.grad[VALID] == (0.25 if reduction == "mean" else 1)).all()


def test_valid_may_be_broadcast() -> None:
    assert reduce(torch.ones(2, 3), "sum", torch.tensor([True, False, True])) == 4


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 3)])
def test_no_valid_entry_gives_zero_with_a_graph(reduction: str, shape: tuple[int, ...]) -> None:
    values = torch.full(shape, torch.nan, requires_grad=True)
    result = reduce(values, reduction, torch.zeros(shape, dtype=torch.bool))
    result.backward()
    assert result == 0
    assert values.grad is not None
    assert (values.grad == 0).all()


def test_all_valid_by_default() -> None:
    assert reduce(torch.tensor([1.0, 2.0, 6.0]), "mean") == 3
    assert reduce(torch.tensor(5.0), "mean") == 5


def test_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        reduce(VALUES, "max")


def test_full_precision_is_a_way_out_of_autocast() -> None:
    x = torch.eye(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32
