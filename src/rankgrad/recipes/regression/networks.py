"""Small networks for images, tables and pairs of sentences; all end in a layer ``head``."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MLP", "PairEncoder", "PairMLP", "SmallCNN"]


class SmallCNN(nn.Module):
    """Three convolutions, a feature vector and one number."""

    def __init__(self, channels: int, height: int, width: int, feature_dims: int = 48) -> None:
        super().__init__()
        sizes = (channels, 8, 16, 64)
        # Halve twice, large images more often.
        halvings = max(2, math.ceil(math.log2(min(height, width) / 4)))
        layers: list[nn.Module] = []
        for i in range(3):
            layers.append(nn.Conv2d(sizes[i], sizes[i + 1], 3, padding=1))
            if i < 2:
                # Pooling first: ReLU keeps order, so this is the same with a quarter of the work.
                layers.append(nn.MaxPool2d(2 ** (halvings // 2 + (halvings % 2 if i == 0 else 0))))
            layers.append(nn.ReLU(inplace=True))
        body = nn.Sequential(*layers)
        with torch.no_grad():
            flat = body(torch.zeros(1, channels, height, width)).numel()
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(flat, feature_dims), nn.ReLU(inplace=True)
        )
        self.head = nn.Linear(feature_dims, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return predictions ``[n, 1]``."""
        predictions: Tensor = self.head(self.body(images))
        return predictions


class MLP(nn.Module):
    """Hidden layers with ReLU."""

    def __init__(self, inputs: int, hidden: Sequence[int] = (128, 128, 64)) -> None:
        super().__init__()
        sizes = (inputs, *hidden)
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return predictions ``[n, 1]``."""
        predictions: Tensor = self.head(self.body(features))
        return predictions


class PairMLP(nn.Module):
    """Two vectors a sample; the regressor sees ``u, v, |u - v|, u v``."""

    def __init__(self, inputs: int, feature_dims: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.body = nn.Sequential(nn.Linear(4 * inputs, feature_dims), nn.Tanh())
        self.head = nn.Linear(feature_dims, 1)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Return predictions ``[n, 1]``."""
        u, v = pair
        joined = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        predictions: Tensor = self.head(self.body(self.dropout(joined)))
        return predictions


class PairEncoder(nn.Module):
    """Two sentences through one encoder, and what it makes of them into a :class:`PairMLP`.

    Word vectors stay as they are. ``hidden`` is the size of a bidirectional LSTM with max pooling
    over the words, as published for STS-B; 0 takes the mean of the word vectors instead.
    """

    def __init__(
        self,
        vectors: Float[Tensor, "words dims"],
        hidden: int = 128,
        layers: int = 1,
        feature_dims: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(vectors, padding_idx=0)
        dims = vectors.shape[1]
        self.lstm = (
            nn.LSTM(dims, hidden, layers, batch_first=True, bidirectional=True) if hidden else None
        )
        self.dropout = nn.Dropout(dropout)
        self.pair = PairMLP(2 * hidden if hidden else dims, feature_dims, dropout)

    def encode(self, words: Tensor) -> Tensor:
        """Return one vector a sentence."""
        there = words != 0
        vectors = self.dropout(self.vectors(words))
        if self.lstm is None:
            count = there.sum(1, keepdim=True).clamp(min=1)
            mean: Tensor = (vectors * there[..., None]).sum(1) / count
            return mean
        lengths = there.sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            vectors, lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, padding_value=-torch.inf
        )
        return states.amax(1)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Return predictions ``[n, 1]``."""
        a, b = pair
        predictions: Tensor = self.pair((self.encode(a), self.encode(b)))
        return predictions
