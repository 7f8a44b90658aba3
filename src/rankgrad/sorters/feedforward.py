"""SoDeep's sorters without recurrence: a multilayer perceptron and a convolutional net."""

import torch
from torch import Tensor, nn

from rankgrad.sorters.base import Sorter, weight_dtype

__all__ = ["CNNSorter", "MLPSorter"]


class MLPSorter(Sorter):
    """``mlp``: n - 2048 - 2048 - n with ReLU.

    Args:
        length: of the sequences.

    >>> MLPSorter(5)(torch.randn(2, 5)).shape
    torch.Size([2, 5])
    """

    architecture = "mlp"

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        assert length is not None
        self.lin1 = nn.Linear(length, 2048)
        self.lin2 = nn.Linear(2048, 2048)
        self.lin3 = nn.Linear(2048, length)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        hidden = torch.relu(self.lin1(rows.to(weight_dtype(self))))
        ranks: Tensor = self.lin3(torch.relu(self.lin2(hidden)))
        return ranks


_CHANNELS = (1, 8, 16, 32, 64, 96, 128, 256, 256, 128)
_KERNELS = (2, 3, 5, 7, 10, 7, 5, 3, 3)
_LOST = sum(_KERNELS) - len(_KERNELS)  # how much shorter the convolutions make a sequence


class CNNSorter(Sorter):
    """``cnn``: nine convolutions with PReLU, then one that spans what is left, and a sigmoid.

    Every second convolution is followed by batch norm. As published it works for length 100 only;
    here the last kernel is ``n - 36`` wide, 64 at that length, so any ``n`` from 37 on will do.

    Args:
        length: of the sequences, at least 37.

    >>> CNNSorter(40)(torch.randn(2, 40)).shape
    torch.Size([2, 40])
    """

    architecture = "cnn"
    shortest = _LOST + 1

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        assert length is not None
        for i, kernel in enumerate(_KERNELS):
            parts: list[nn.Module] = [nn.Conv1d(_CHANNELS[i], _CHANNELS[i + 1], kernel)]
            if i % 2 == 1:
                parts.append(nn.BatchNorm1d(_CHANNELS[i + 1]))
            self.add_module(f"layer{i + 1}", nn.Sequential(*parts, nn.PReLU()))
        self.layer10 = nn.Conv1d(_CHANNELS[-1], length, length - _LOST)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        x = rows.to(weight_dtype(self)).unsqueeze(1)
        for i in range(len(_KERNELS)):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return torch.sigmoid(self.layer10(x).squeeze(-1))
