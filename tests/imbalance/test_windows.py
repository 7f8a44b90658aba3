import numpy as np
import pytest
import torch

from rankgrad.imbalance import smoothing_window
from support import golden, golden_cases

NAMES = {"gaussian": "gaussian", "triang": "triangular", "laplace": "laplace"}


def even(case: str) -> bool:
    return int(golden("lds_kernels")[case]["ks"]) % 2 == 0


@pytest.mark.parametrize("case", [c for c in golden_cases("lds_kernels") if not even(c)])
def test_agrees_with_the_original(case: str) -> None:
    expected = golden("lds_kernels")[case]
    arguments = (NAMES[case.split("_")[0]], int(expected["ks"]), float(expected["sigma"]))
    window = smoothing_window(*arguments)
    np.testing.assert_allclose(window, expected["window"], rtol=1e-12)
    scaled = smoothing_window(*arguments, normalize="sum")
    np.testing.assert_allclose(scaled, expected["fds_window"], rtol=1e-6)


@pytest.mark.parametrize("shape", ["gaussian", "triangular", "laplace"])
@pytest.mark.parametrize("size", [1, 3, 11])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 30.0])
def test_windows_are_symmetric_and_fall_from_the_centre(
    shape: str, size: int, sigma: float
) -> None:
    window = smoothing_window(shape, size, sigma)
    assert window.shape == (size,)
    assert window.max() == 1
    torch.testing.assert_close(window, window.flip(0), rtol=1e-12, atol=0)
    # The tails of the Gaussian end at four sigma: a wide one is level up to that.
    assert (window[: size // 2 + 1].diff() >= -1e-3).all()


def test_a_wide_gaussian_window_is_a_gaussian() -> None:
    x = torch.arange(-20, 21).double()
    torch.testing.assert_close(
        smoothing_window("gaussian", 41, 2.0), torch.exp(-(x**2) / 8), rtol=1e-3, atol=4e-4
    )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="shape must be one of"):
        smoothing_window("box")
    with pytest.raises(ValueError, match="size must be odd"):
        smoothing_window("gaussian", 4)
    with pytest.raises(ValueError, match="size must be odd"):
        smoothing_window("gaussian", -1)
    with pytest.raises(ValueError, match="sigma must be > 0"):
        smoothing_window("gaussian", 5, 0.0)
    with pytest.raises(ValueError, match="normalize must be one of"):
        smoothing_window("gaussian", 5, 1.0, normalize="area")
