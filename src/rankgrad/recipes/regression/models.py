"""Networks for regression, and a wrapper that takes the features of any network by name."""

import math
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankgrad.data.regression.samples import RegressionData
from rankgrad.imbalance import FDS
from rankgrad.recipes.regression.methods import RegressionMethod
from rankgrad.recipes.regression.objective import Output, window_of

__all__ = ["MODELS", "ModelError", "Regressor", "build_regressor"]

# name -> the kind of data it takes
MODELS = {
    "cnn": "image",
    "resnet18": "image",
    "resnet50": "image",
    "mlp": "features",
    "bilstm": "pairs",
    "bilstm-large": "pairs",
    "bag": "pairs",
}


class ModelError(ValueError):
    """There is no such model, or it does not fit the data."""


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
        return self.head(self.body(images))  # type: ignore[no-any-return]


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
        return self.head(self.body(features))  # type: ignore[no-any-return]


class PairEncoder(nn.Module):
    """Two sentences through one encoder; the regressor sees ``a, b, |a - b|, a b``.

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
        encoded = 2 * hidden if hidden else dims
        self.dropout = nn.Dropout(dropout)
        self.body = nn.Sequential(nn.Linear(4 * encoded, feature_dims), nn.Tanh())
        self.head = nn.Linear(feature_dims, 1)

    def encode(self, words: Tensor) -> Tensor:
        """Return one vector a sentence."""
        there = words != 0
        vectors = self.dropout(self.vectors(words))
        if self.lstm is None:
            count = there.sum(1, keepdim=True).clamp(min=1)
            return (vectors * there[..., None]).sum(1) / count  # type: ignore[no-any-return]
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
        a, b = (self.encode(words) for words in pair)
        joined = torch.cat([a, b, (a - b).abs(), a * b], dim=1)
        return self.head(self.body(self.dropout(joined)))  # type: ignore[no-any-return]


class Regressor(nn.Module):
    """A network and the features that its head sees.

    Features are what goes into the module named ``head``; where the method smooths features (FDS),
    the head gets the smoothed ones, while terms such as RankSim see them as they were.

    Args:
        network: anything that gives one number a sample, ``[n]`` or ``[n, 1]``.
        head: the name of its last module, as in ``network.named_modules()``.
        fds: smooths the features.

    Raises:
        ModelError: there is no module of that name.
    """

    def __init__(self, network: nn.Module, head: str, fds: FDS | None = None) -> None:
        super().__init__()
        modules = dict(network.named_modules())
        if not head or head not in modules:
            there = ", ".join(name for name, _ in network.named_children())
            raise ModelError(f"the model has no module {head!r} for its head; it has {there}")
        self.network = network
        self.fds = fds
        self.head_name = head
        self._features: Tensor | None = None
        self._targets: Tensor | None = None
        self.handle = modules[head].register_forward_pre_hook(self._hook)

    @property
    def head(self) -> nn.Module:
        """The module whose input is the features."""
        return self.network.get_submodule(self.head_name)

    def _hook(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._features = inputs[0]
        if self.fds is None or not self.training or self._targets is None:
            return None
        return (self.fds(inputs[0].flatten(1), self._targets).view_as(inputs[0]), *inputs[1:])

    def forward(self, inputs: Any, targets: Tensor | None = None) -> Output:
        """Return predictions and features; with targets, features are smoothed for the head."""
        self._targets = targets
        predictions = self.network(inputs)
        features, self._features, self._targets = self._features, None, None
        if features is None:
            raise ModelError(f"the model did not call its module {self.head_name!r}")
        return Output(predictions.reshape(len(predictions)), features.flatten(1))

    def retrain_head(self) -> None:
        """Freeze everything but the head, and start that anew."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for module in self.head.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        for parameter in self.head.parameters():
            parameter.requires_grad_(True)
        self.fds = None


def build_regressor(
    name: str, data: RegressionData, method: RegressionMethod, head: str | None = None
) -> Regressor:
    """Return a model for the data, with smoothed features where the method has them.

    Args:
        name: one of :data:`MODELS`, "auto", or ``package.module:factory`` for a model of yours:
            the factory is called without arguments.
        data: the data.
        method: the method.
        head: the name of the head, for a model of yours.

    Raises:
        ModelError: there is no such model, or it does not fit the data.
    """
    network, found = _network(_resolved(name, data), data, head)
    fds = None
    if method.fds:
        options: dict[str, Any] = dict(method.fds)
        fds = FDS(
            _feature_dims(network, found, data),
            data.bins.num,
            low=data.bins.low,
            width=data.bins.width,
            window=window_of(method.fds, normalize="sum"),
            momentum=options["momentum"],
            start_smooth=options["start"],
        )
    return Regressor(network, found, fds)


def _resolved(name: str, data: RegressionData) -> str:
    if name != "auto":
        return name
    if data.kind == "image":
        return "cnn" if _image_shape(data)[1] <= 64 else "resnet18"
    return {"features": "mlp", "pairs": "bilstm"}[data.kind]


def _image_shape(data: RegressionData) -> tuple[int, int, int]:
    channels, height, width = data.test.batch([0]).inputs.shape[1:]
    return channels, height, width


def _network(name: str, data: RegressionData, head: str | None) -> tuple[nn.Module, str]:
    if ":" in name:
        return _own(name), head or "head"
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}; there are {', '.join(MODELS)}")
    if MODELS[name] != data.kind:
        fitting = ", ".join(model for model, kind in MODELS.items() if kind == data.kind)
        raise ModelError(f"{name} takes no data of the kind {data.kind!r}; {fitting} do")
    if name == "cnn":
        return SmallCNN(*_image_shape(data)).to(memory_format=torch.channels_last), "head"
    if name == "mlp":
        return MLP(data.test.batch([0]).inputs.shape[1]), "head"
    if data.kind == "pairs":
        assert data.vectors is not None
        # The large one is as published for STS-B-DIR.
        sizes = {"bag": (0, 1, 128), "bilstm": (128, 1, 128), "bilstm-large": (1500, 2, 512)}
        return PairEncoder(data.vectors, *sizes[name]), "head"
    from torchvision import models

    network = getattr(models, name)(weights=None)
    channels = _image_shape(data)[0]
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    network.fc = nn.Linear(network.fc.in_features, 1)
    return network, "fc"


def _own(name: str) -> nn.Module:
    module, _, factory = name.partition(":")
    try:
        network = getattr(import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise ModelError(f"cannot make the model {name}: {error}") from None
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name} must return an nn.Module, got {type(network).__name__}")
    return network


def _feature_dims(network: nn.Module, head: str, data: RegressionData) -> int:
    """The size of the features, by a trial run."""
    training = network.training
    network.eval()
    with torch.no_grad():
        probe = Regressor(network, head)
        features = probe(data.test.batch([0]).inputs).features
    probe.handle.remove()
    network.train(training)
    return int(features.shape[1])
