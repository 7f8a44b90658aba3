"""What ScaleDense is made of. The names of the parameters are those of the published weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["AsymmetricConv3d", "DenseBlock", "SqueezeExcitation", "initialise"]

# Of the four branches whose sum is an asymmetric convolution.
KERNELS = ((3, 3, 3), (1, 1, 3), (3, 1, 1), (1, 3, 1))
# Squeeze-and-excitation has this part of the channels in the middle.
REDUCTION = 16


class AsymmetricConv3d(nn.Module):
    """The sum of four branches, each a convolution without bias and a batch norm.

    The kernels are 3 x 3 x 3, 1 x 1 x 3, 3 x 1 x 1 and 1 x 3 x 1, padded to keep the size: a cube
    with its three middle lines stressed (Ding et al., ACNet, ICCV 2019).

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Sequential(
                nn.Conv3d(inputs, outputs, size, padding="same", bias=False),
                nn.BatchNorm3d(outputs),
            )
            for size in KERNELS
        )

    def forward(self, x: Float[Tensor, "b inputs *size"]) -> Float[Tensor, "b outputs *size"]:
        total: Tensor = self.conv1(x)
        for branch in (self.conv2, self.conv3, self.conv4):
            total = total + branch(x)
        return total


class SqueezeExcitation(nn.Module):
    """Scales every channel by what a small network makes of all channel means.

    Args:
        channels: of the input; a sixteenth of them, at least one, in the middle.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(1, channels // REDUCTION)
        self.FC1 = nn.Linear(channels, middle)
        self.FC2 = nn.Linear(middle, channels)

    def forward(self, x: Float[Tensor, "b c *size"]) -> Float[Tensor, "b c *size"]:
        means = x.flatten(2).mean(2)
        scale = torch.sigmoid(self.FC2(torch.relu(self.FC1(means))))
        return x * scale[:, :, None, None, None]


class DenseBlock(nn.Module):
    """Two asymmetric convolutions to twice the channels, beside the input; half the size.

    Args:
        channels: that come in; three times as many go out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.block = nn.Sequential(
            AsymmetricConv3d(channels, wide),
            nn.BatchNorm3d(wide),
            nn.ELU(),
            AsymmetricConv3d(wide, wide),
            nn.BatchNorm3d(wide),
            nn.ELU(),
            SqueezeExcitation(wide),
            nn.MaxPool3d(2),
        )
        self.pool = nn.MaxPool3d(2)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c3 d2 h2 w2"]:
        return torch.cat((self.pool(x), self.block(x)), 1)


def initialise(module: nn.Module) -> None:
    """Draw weights as published: Kaiming for convolutions, Xavier for linear layers, no bias.

    Both normal; for ``module.apply``.
    """
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
