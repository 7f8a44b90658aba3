"""Where in a volume the predicted age comes from."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rankgrad.recipes.brain_age.model import BrainAgeModel

__all__ = ["saliency"]

WIDTH = 3  # voxels of the mean that takes the graininess off


def saliency(
    model: BrainAgeModel, image: Float[Tensor, "b 1 d h w"], sex: Float[Tensor, "b 2"]
) -> Float[Tensor, "b d h w"]:
    """Return how much the age of the last stage changes with each voxel, smoothed.

    The absolute gradient of the age by the voxel (years for one standard deviation of the
    intensity), averaged over 3 x 3 x 3 voxels; 0 outside of the head. It shows where the network
    looks, not what it has understood.

    Args:
        model: in evaluation mode.
        image: prepared volumes.
        sex: one-hot.

    Source: Simonyan et al.: Deep inside convolutional networks. ICLR workshop 2014.
    """
    head = image != 0
    image = image.detach().clone().requires_grad_()
    with torch.enable_grad():
        ages = model(image, sex)[:, -1]
        (gradient,) = torch.autograd.grad(ages.sum(), image)
    smooth = F.avg_pool3d(gradient.abs(), WIDTH, stride=1, padding=WIDTH // 2)
    return torch.where(head, smooth, 0.0).squeeze(1)
