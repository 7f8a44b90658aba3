"""Comparators in closed form are those of the reference."""

import numpy as np
import pytest
import torch

from rankgrad.kernels.cpu.wires import Wires
from rankgrad.kernels.reference.network import comparators


@pytest.mark.parametrize("kind", ["odd_even", "bitonic", "alternating"])
@pytest.mark.parametrize("n", [*range(20), 31, 32, 33, 100])
def test_wires_are_those_of_the_reference(kind: str, n: int) -> None:
    layers = comparators(kind, n)
    wires = Wires(kind, n)
    assert np.diff(wires.starts).tolist() == [low.numel() for low, _ in layers]
    for first in range(0, len(layers), 3):
        last = min(first + 4, len(layers))
        for ours, side in zip(wires.of(first, last), (0, 1), strict=True):
            wanted = torch.cat([layer[side] for layer in layers[first:last]])
            assert ours.tolist() == wanted.tolist()
