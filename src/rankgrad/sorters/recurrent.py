"""SoDeep's recurrent sorters: a sequence is n steps of one feature."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rankgrad.sorters.base import Sorter, weight_dtype

__all__ = [
    "GRUConstrainedSorter",
    "GRUEndSorter",
    "GRUProjectionSorter",
    "GRUSumSorter",
    "LSTMLargeSorter",
    "LSTMSorter",
]


class LSTMSorter(Sorter):
    """``lstm``: two bidirectional LSTM layers of 128 units, then a convolution over all steps.

    The convolution has ``n`` channels in and out, and a kernel that spans the 256 features.

    Args:
        length: of the sequences.

    >>> LSTMSorter(5)(torch.randn(2, 5)).shape
    torch.Size([2, 5])
    """

    architecture = "lstm"
    hidden: ClassVar[int] = 128

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        assert length is not None
        self.lstm = nn.LSTM(1, self.hidden, 2, bidirectional=True, batch_first=True)
        self.conv1 = nn.Conv1d(length, length, 2 * self.hidden)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        steps, _ = self.lstm(rows.to(weight_dtype(self)).unsqueeze(-1))
        ranks: Tensor = self.conv1(steps).squeeze(-1)
        return ranks


class LSTMLargeSorter(LSTMSorter):
    """``lstmla``: the same with 512 units. The paper's choice.

    Args:
        length: of the sequences.
    """

    architecture = "lstmla"
    hidden = 512


class GRUEndSorter(Sorter):
    """``lstme``: a GRU with ``5 n`` units that sees the whole sequence at each of ``n`` steps.

    Its last hidden state is an ``n x 5`` table, summed over the 5. The name says LSTM, but it
    always was a GRU.

    Args:
        length: of the sequences.

    >>> GRUEndSorter(5)(torch.randn(2, 5)).shape
    torch.Size([2, 5])
    """

    architecture = "lstme"

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        assert length is not None
        self.lstm = nn.GRU(length, 5 * length)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        n = rows.shape[-1]
        _, last = self.lstm(rows.to(weight_dtype(self)).expand(n, -1, -1).contiguous())
        ranks: Tensor = last.reshape(-1, n, 5).sum(-1)
        return ranks


class GRUSumSorter(Sorter):
    """``grus``: one bidirectional GRU layer of 4 units, summed over its features. Any length.

    Args:
        length: that it is trained for.

    >>> GRUSumSorter()(torch.randn(2, 7)).shape
    torch.Size([2, 7])
    """

    architecture = "grus"
    any_length = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.lstm = nn.GRU(1, 4, bidirectional=True, batch_first=True)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        steps, _ = self.lstm(rows.to(weight_dtype(self)).unsqueeze(-1))
        ranks: Tensor = steps.sum(-1)
        return ranks


def _squashed(rows: Tensor) -> Tensor:
    return torch.sigmoid(rows / 2 + 1).unsqueeze(-1)


class GRUConstrainedSorter(Sorter):
    """``gruc``: scores through a sigmoid, six bidirectional GRU layers, summed, a sigmoid again.

    ``sigmoid(x / 2 + 1)`` goes in; each layer has 32 units. Any length.

    Args:
        length: that it is trained for.

    >>> GRUConstrainedSorter()(torch.randn(2, 7)).shape
    torch.Size([2, 7])
    """

    architecture = "gruc"
    any_length = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.rnn = nn.GRU(1, 32, 6, bidirectional=True, batch_first=True)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        steps, _ = self.rnn(_squashed(rows.to(weight_dtype(self))))
        return torch.sigmoid(steps.sum(-1))


class GRUProjectionSorter(Sorter):
    """``grup``: the input of ``gruc``, six layers of 128 units, the convolution of ``lstm``.

    Args:
        length: of the sequences.
    """

    architecture = "grup"

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        assert length is not None
        self.rnn = nn.GRU(1, 128, 6, bidirectional=True, batch_first=True)
        self.conv1 = nn.Conv1d(length, length, 256)

    def _ranks(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        steps, _ = self.rnn(_squashed(rows.to(weight_dtype(self))))
        return torch.sigmoid(self.conv1(steps).squeeze(-1))
