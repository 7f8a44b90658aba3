"""Feature-distribution smoothing: features of rare labels borrow statistics from neighbours."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor, nn

from rankgrad.checks import check_floating, check_positive, check_same_device, compute_dtype
from rankgrad.imbalance.calibration import calibrate, check_clip
from rankgrad.imbalance.lds import label_bins
from rankgrad.imbalance.statistics import BinStatistics
from rankgrad.imbalance.windows import smoothing_window

__all__ = ["FDS"]


class FDS(nn.Module):
    r"""Feature-distribution smoothing as a layer between a network and its regression head.

    Each label bin has a mean and a variance per feature dimension, a running average over epochs.
    A window along the labels smooths them, and in training a feature leaves the layer with the
    smoothed statistics of its bin in place of its own (:func:`calibrate`). In evaluation, and in
    the first epochs, features pass as they are.

    In training call the layer with the labels, tell it the features of every sample once an epoch
    (:meth:`observe`: during the epoch, or in a pass of its own as published), and end each epoch
    with :meth:`step`. Statistics are sums over the samples seen so far: no feature is kept.

    As published, an epoch's statistics are smoothed at the end of the next one, and used from then
    on. Labels outside the range count to the first and the last bin.

    Args:
        feature_dims: size of the last dimension of the features.
        num_bins: how many label bins.
        low: where the first bin starts; see :func:`rankgrad.imbalance.label_bins`.
        width: how wide a bin is.
        window: ``[size]`` of odd size, sum 1; by default
            ``smoothing_window("gaussian", 5, 2.0, normalize="sum")``. Labels beyond the ends are
            mirrored, so ``size`` is below twice the number of bins.
        momentum: how much of the running average an epoch leaves in place; None averages over all
            samples ever seen.
        start_update: the first epoch, from 0, whose features count.
        start_smooth: the first epoch, from 0, in which features are changed.
        clip: the lowest and the highest ratio of variances that is believed.

    Raises:
        ValueError: a size or a setting does not fit.

    Cost: ``O(n d)`` a batch, ``O(num_bins * d)`` memory.

    Note:
        The published code keeps its "last epoch" statistics as references to the running ones,
        which then change under the smoothed ones; leaves out samples beyond the first and the last
        bin unless one lies exactly on it; and writes into the features it is given. Here it does
        none of these; the numbers agree with that code without the references.

    Source: Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression. ICML 2021.

    >>> fds = FDS(feature_dims=1, num_bins=3, window=torch.tensor([0.25, 0.5, 0.25]).double())
    >>> features, labels = torch.tensor([[1.0], [3.0], [6.0], [8.0]]), torch.tensor([0, 0, 2, 2])
    >>> for epoch in range(2):
    ...     fds.observe(features, labels)
    ...     fds.step()
    >>> fds(features, labels).T
    tensor([[0.1340, 1.8660, 2.6340, 4.3660]])
    """

    # Buffers
    samples: Tensor  # of each bin, over all epochs
    running_mean: Tensor  # over epochs, up to this one
    running_var: Tensor
    mean: Tensor  # what was smoothed
    var: Tensor
    smoothed_mean: Tensor
    smoothed_var: Tensor
    window: Tensor

    def __init__(
        self,
        feature_dims: int,
        num_bins: int,
        *,
        low: float = 0.0,
        width: float = 1.0,
        window: Float64[Tensor, " size"] | None = None,
        momentum: float | None = 0.9,
        start_update: int = 0,
        start_smooth: int = 1,
        clip: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        super().__init__()
        if feature_dims < 1 or num_bins < 1:
            raise ValueError(
                f"feature_dims and num_bins must be at least 1, got {feature_dims} and {num_bins}"
            )
        if momentum is not None and not 0 <= momentum < 1:
            raise ValueError(f"momentum must be None or from 0 to below 1, got {momentum}")
        if window is None:
            size = min(5, 2 * num_bins - 1)
            window = smoothing_window("gaussian", size, 2.0, normalize="sum")
        if window.numel() % 2 == 0 or window.numel() > 2 * num_bins - 1:
            raise ValueError(
                f"window must have an odd size of at most {2 * num_bins - 1} for {num_bins} bins, "
                f"got {window.numel()}"
            )
        self.num_bins = num_bins
        self.low = low
        self.width = check_positive("width", width)
        self.momentum = momentum
        self.start_update = start_update
        self.start_smooth = start_smooth
        self.clip = check_clip(clip)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("samples", torch.zeros(num_bins))
        for name in ("mean", "var"):
            start = torch.zeros if name == "mean" else torch.ones
            for kind in ("running_", "", "smoothed_"):
                self.register_buffer(kind + name, start(num_bins, feature_dims))
        self.seen = BinStatistics(num_bins, feature_dims)  # of the epoch under way
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        # A plain number: a buffer would have to be waited for. torch.compile sees two flags, which
        # change once, and not the number.
        self.epoch = epoch
        self._counts, self._smooths = epoch >= self.start_update, epoch >= self.start_smooth

    def forward(
        self, features: Float[Tensor, "n d"], labels: Shaped[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return the features with the smoothed statistics of their label bins.

        Args:
            features: ``[n, feature_dims]``.
            labels: ``[n]``; not needed in evaluation, where features pass as they are. One that
                is NaN or infinite raises ``ValueError``; on a GPU, where looking would wait, its
                features become NaN.
        """
        if not self.training or not self._smooths:
            return features
        if labels is None:
            raise ValueError("labels must be given in training")
        bins = self._bins(features, labels)
        moved = calibrate(
            features.to(compute_dtype(features)),
            self.mean[bins],
            self.var[bins],
            self.smoothed_mean[bins],
            self.smoothed_var[bins],
            self.clip,
        )
        if labels.is_floating_point() and labels.device.type != "cpu":
            moved = torch.where(labels.isfinite()[:, None], moved, torch.nan)
        return moved.to(features.dtype)

    @torch.no_grad()
    def observe(self, features: Float[Tensor, "n d"], labels: Shaped[Tensor, " n"]) -> None:
        """Count features, as they come from the network, into the statistics of this epoch."""
        if not self._counts or features.shape[0] == 0:
            return
        self.seen.add(features, self._bins(features, labels))

    @torch.no_grad()
    def step(self) -> None:
        """End the epoch: smooth the running statistics of before, then take in those of now.

        With ``torch.distributed`` running, the statistics of all processes count.
        """
        self.seen.gather()
        if self.epoch > self.start_update:
            self.mean.copy_(self.running_mean)
            self.var.copy_(self.running_var)
            self.smoothed_mean.copy_(self._smooth(self.mean))
            self.smoothed_var.copy_(self._smooth(self.var))
        if self._counts:
            self._update()
        self._begin(self.epoch + 1)

    def _update(self) -> None:
        count = self.seen.count
        self.samples += count
        there = (count > 0)[:, None]
        if self.epoch == self.start_update:
            keep = torch.zeros_like(self.samples)
        elif self.momentum is None:
            keep = 1 - count / self.samples.clamp(min=1)
        else:
            keep = torch.full_like(self.samples, self.momentum)
        latest = (self.running_mean, self.seen.mean), (self.running_var, self.seen.variance())
        for running, now in latest:
            mixed = keep[:, None] * running + (1 - keep[:, None]) * now
            running.copy_(torch.where(there, mixed, running))
        self.seen.clear()

    def _smooth(self, statistics: Tensor) -> Tensor:
        half = self.window.numel() // 2
        padded = statistics.T[:, None]
        if half:
            padded = F.pad(padded, (half, half), mode="reflect")
        return F.conv1d(padded, self.window.to(padded.dtype).view(1, 1, -1))[:, 0].T

    def _bins(self, features: Tensor, labels: Tensor) -> Int64[Tensor, " n"]:
        check_floating("features", features)
        check_same_device("labels", labels, "features", features)
        dims = self.mean.shape[1]
        if features.dim() != 2 or features.shape[1] != dims or labels.shape != features.shape[:1]:
            raise ValueError(
                f"features and labels must have the shapes [n, {dims}] and [n], got "
                f"{tuple(features.shape)} and {tuple(labels.shape)}"
            )
        return label_bins(labels.detach(), self.num_bins, low=self.low, width=self.width)

    def get_extra_state(self) -> Tensor:
        """Return the epoch, for ``state_dict``."""
        return torch.tensor(self.epoch)

    def set_extra_state(self, state: Any) -> None:
        """Take over what :meth:`get_extra_state` returned."""
        self._begin(int(state))

    def extra_repr(self) -> str:
        """Return the settings for ``print``."""
        return (
            f"feature_dims={self.mean.shape[1]}, num_bins={self.num_bins}, low={self.low}, "
            f"width={self.width}, window={self.window.numel()}, momentum={self.momentum}"
        )
