"""compat.fast_soft_sort against the published numbers."""

import numpy as np
import pytest
import torch

from rankgrad.compat.fast_soft_sort import soft_rank, soft_sort
from support import golden, golden_cases


@pytest.mark.parametrize("case", golden_cases("fast_soft_sort"))
def test_golden(case: str) -> None:
    arrays = golden("fast_soft_sort")[case]
    direction, strength = str(arrays["direction"]), float(arrays["strength"])
    for name, call in (("rank", soft_rank), ("sort", soft_sort)):
        for kind in ("l2", "kl"):
            values = torch.tensor(arrays["values"][None], dtype=torch.float64, requires_grad=True)
            out = call(values, direction, strength, kind)
            np.testing.assert_allclose(
                out.detach()[0], arrays[f"{name}_{kind}_out64"], rtol=1e-9, atol=1e-9
            )
            if name == "rank":  # see tests/rankers/test_projection.py for the gradient of sort
                out.backward(torch.tensor(arrays["cotangent"][None], dtype=torch.float64))
                expected = arrays[f"rank_{kind}_vjp64"]
                assert values.grad is not None
                np.testing.assert_allclose(
                    values.grad[0], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max()
                )


def test_keywords_of_the_original() -> None:
    values = torch.tensor([[0.3, 0.1, 0.2]])
    ranks = soft_rank(
        values, direction="DESCENDING", regularization_strength=0.01, regularization="kl"
    )
    assert ranks.tolist() == [[1, 3, 2]]
    ordered = soft_sort(values, regularization_strength=0.01)
    torch.testing.assert_close(ordered, values.sort().values)
    assert soft_rank(values.half()).dtype == torch.float16


def test_arguments_are_checked() -> None:
    for call in (soft_rank, soft_sort):
        with pytest.raises(ValueError, match="direction must be one of"):
            call(torch.ones(1, 2), "UP")
        with pytest.raises(ValueError, match="regularization must be one of"):
            call(torch.ones(1, 2), regularization="log_kl")
        with pytest.raises(ValueError, match="strength must be > 0"):
            call(torch.ones(1, 2), regularization_strength=0.0)
