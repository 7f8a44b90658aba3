"""The model of a run, by name."""

from importlib import import_module
from typing import Any

import torch
from torch import nn

from rankgrad.data.regression.samples import RegressionData
from rankgrad.imbalance import FDS
from rankgrad.recipes.regression.method import RegressionMethod
from rankgrad.recipes.regression.networks import MLP, PairEncoder, PairMLP, SmallCNN
from rankgrad.recipes.regression.objective import window_of
from rankgrad.recipes.regression.regressor import ModelError, Regressor

__all__ = ["MODELS", "build_regressor"]

# name -> the kind of data it takes
MODELS = {
    "cnn": "image",
    "resnet18": "image",
    "resnet50": "image",
    "mlp": "features",
    "bilstm": "pairs",
    "bilstm-large": "pairs",
    "bag": "pairs",
    "pair-mlp": "embedded-pairs",
}


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
    return {"features": "mlp", "pairs": "bilstm", "embedded-pairs": "pair-mlp"}[data.kind]


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
        return PairEncoder(data.vectors, *sizes[name]), "pair.head"
    if name == "pair-mlp":
        return PairMLP(data.test.batch([0]).inputs[0].shape[1]), "head"
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
