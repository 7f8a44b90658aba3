"""Random flips, shifts and rotations of volumes, by TorchIO."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import get_worker_info

__all__ = ["RandomMoves"]


class RandomMoves:
    """Mirror half of the volumes left to right, and rotate and shift each of them a little.

    All draws are torch's: they follow its seed, also in the workers of a loader.

    Args:
        degrees: the largest rotation around each axis.
        voxels: the largest shift along each axis; a part of a voxel is drawn too.
        flip: the share that is mirrored.
        background: what comes in at the edges, a value or the least of the volume.

    Raises:
        ModuleNotFoundError: TorchIO is not installed.
    """

    def __init__(
        self,
        degrees: float = 5.0,
        voxels: float = 2.0,
        flip: float = 0.5,
        background: float | Literal["minimum"] = 0.0,
    ) -> None:
        try:
            # Seconds to import: where it is needed, and not before.
            import torchio
        except ModuleNotFoundError as error:
            message = "augmentation needs TorchIO: pip install 'rankgrad[brain]'"
            raise ModuleNotFoundError(message, name=error.name) from None
        self._moves = torchio.Compose(
            [
                torchio.RandomFlip(axes=(0,), flip_probability=flip),
                torchio.RandomAffine(
                    scales=0.0,
                    degrees=degrees,
                    translation=voxels,  # millimetres, and a tensor's voxels have one
                    default_pad_value=background,
                ),
            ]
        )

    def __call__(self, volume: Float[Tensor, "1 x y z"]) -> Float[Tensor, "1 x y z"]:
        """Return a moved copy."""
        if get_worker_info() is not None:
            import SimpleITK

            # Workers share the cores, and each would start a thread on every one of them.
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        moved: Tensor = self._moves(volume)
        return moved
