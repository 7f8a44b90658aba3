"""A wrapper that takes the features of any network by the name of its head."""

from typing import Any, Self

from torch import Tensor, nn

from rankgrad.imbalance import FDS
from rankgrad.recipes.regression.objective import Output
from rankgrad.recipes.regression.stages import Stage

__all__ = ["ModelError", "Regressor"]


class ModelError(ValueError):
    """There is no such model, or it does not fit the data."""


class Regressor(nn.Module):
    """A network and the features that its head sees.

    Features are what goes into the module named ``head``; where the method smooths features (FDS),
    the head gets the smoothed ones, while terms such as RankSim see them as they were.

    Args:
        network: anything that gives one number a sample, ``[n]`` or ``[n, 1]``.
        head: the name of its last module, as in ``network.named_modules()``.
        fds: smooths the features.

    Raises:
        ModelError: there is no module of that name; or, when called, the network does not use it
            or gives another number of predictions.
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
        # What learns at all: layers that come frozen stay so.
        self._learning = [p for p in network.parameters() if p.requires_grad]
        self._part = "all"
        self._smooths = True
        self._features: Tensor | None = None
        self._targets: Tensor | None = None
        self.handle = modules[head].register_forward_pre_hook(self._hook)

    @property
    def head(self) -> nn.Module:
        """The module whose input is the features."""
        return self.network.get_submodule(self.head_name)

    def _hook(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._features = inputs[0]
        if self.fds is None or not self._smooths or not self.training or self._targets is None:
            return None
        return (self.fds(inputs[0].flatten(1), self._targets).view_as(inputs[0]), *inputs[1:])

    def forward(self, inputs: Any, targets: Tensor | None = None) -> Output:
        """Return predictions and features; with targets, features are smoothed for the head."""
        self._targets = targets
        predictions = self.network(inputs)
        features, self._features, self._targets = self._features, None, None
        if features is None:
            raise ModelError(f"the model did not call its module {self.head_name!r}")
        if predictions.numel() != len(features):
            raise ModelError(
                f"the model must give one number a sample, got {tuple(predictions.shape)} for "
                f"{len(features)} samples"
            )
        return Output(predictions.flatten(), features.flatten(1))

    def observe(self, features: Tensor, targets: Tensor) -> None:
        """Let the statistics of smoothed features take in a training batch."""
        if self.fds is not None and self._smooths:
            self.fds.observe(features.float(), targets)

    def end_epoch(self) -> None:
        """Smooth by what the epoch has shown."""
        if self.fds is not None and self._smooths:
            self.fds.step()

    def enter(self, stage: Stage) -> None:
        """Let that part of the network learn which the stage trains; freeze the rest.

        What is frozen is as in evaluation: without dropout, its running statistics as they are.
        """
        self._part = stage.part
        self._smooths = stage.smooths
        of_head = {id(parameter) for parameter in self.head.parameters()}
        for parameter in self._learning:
            learns = stage.part == "all" or (stage.part == "head") == (id(parameter) in of_head)
            parameter.requires_grad_(learns)
        for module in self.head.modules() if stage.new_head else ():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        if self._part == "head":
            self.network.eval()
            self.head.train(mode)
        return self
