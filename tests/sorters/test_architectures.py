"""Every published architecture, against the original authors' code."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from rankgrad.sorters import ARCHITECTURES, READABLE, make_sorter
from support import golden, golden_cases

TRAINED = [name for name in ARCHITECTURES if name not in ("exa", "set")]


def closed_form(state: dict[str, Tensor], phase: float) -> dict[str, Tensor]:
    """Weights by formula: entry p, element k holds b = sin(12.9898 k + 78.233 p + phase)."""
    made = {}
    for p, (name, x) in enumerate(state.items()):
        k = np.arange(x.numel(), dtype=np.float64)
        b = np.sin(12.9898 * k + 78.233 * p + phase)
        last = name.rpartition(".")[2]
        if last == "running_var":
            value = 1 + 0.5 * b**2
        elif last == "running_mean":
            value = 0.1 * b
        elif last == "num_batches_tracked":
            value = np.zeros_like(b)
        elif x.dim() >= 2:
            value = b * np.sqrt(2 / (x.numel() / x.shape[0]))
        elif last == "weight" and x.numel() == 1:
            value = 0.25 + 0.05 * b
        elif last == "weight":
            value = 1 + 0.1 * b
        else:
            value = 0.1 * b
        made[name] = torch.tensor(value.astype(np.float32)).reshape(x.shape).to(x.dtype)
    return made


def test_the_golden_file_knows_every_trained_architecture() -> None:
    assert set(golden_cases("sodeep_sorters")) == set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_parameters_and_forward_agree(name: str) -> None:
    arrays = golden("sodeep_sorters")[name]
    sorter = make_sorter(name, int(arrays["seq_len"]))
    state = closed_form(sorter.state_dict(), float(arrays["phase"]))
    assert list(state) == arrays["sd_names"].tolist()
    shapes = ["x".join(map(str, x.shape)) for x in state.values()]
    assert shapes == arrays["sd_shapes"].tolist()
    sums = [x.double().sum().item() for x in state.values()]
    np.testing.assert_allclose(sums, arrays["sd_sums"], rtol=1e-5, atol=1e-4)
    assert sum(p.numel() for p in sorter.parameters()) == arrays["n_params"]

    sorter.load_state_dict(state)
    sorter.eval()
    x = torch.tensor(arrays["x"], requires_grad=True)
    out = sorter(x)
    np.testing.assert_allclose(out.detach(), arrays["out"], rtol=1e-4, atol=1e-5)
    out.backward(torch.tensor(arrays["grad_output"]))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, arrays["grad"], rtol=1e-3, atol=1e-5)
    if "out_train" in arrays:
        np.testing.assert_allclose(
            sorter.train()(x).detach(), arrays["out_train"], rtol=1e-4, atol=1e-5
        )
        sorter.load_state_dict(state)
    out64 = sorter.eval().double()(x.detach().double())
    assert out64.dtype == torch.float64
    np.testing.assert_allclose(out64.detach(), arrays["out64"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["gruc", "grus", "lstme"])
def test_default_initialised_weights_agree(name: str) -> None:
    arrays = golden(f"sodeep_sorter_{name}")[""]
    sorter = make_sorter(name, int(arrays["seq_len"]))
    weights = {k.removeprefix("sd."): v for k, v in arrays.items() if k.startswith("sd.")}
    sorter.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    x = torch.tensor(arrays["x"], requires_grad=True)
    out = sorter(x)
    np.testing.assert_allclose(out.detach(), arrays["out"], rtol=1e-5, atol=1e-6)
    out.backward(torch.tensor(arrays["grad_output"]))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, arrays["grad"], rtol=1e-4, atol=1e-6)


def steepness(x: Tensor) -> float:
    """What every gradient of the programmed sorter is proportional to."""
    return 6.8 / (x.detach().double().std().item() if x.numel() > 1 else 1.0)


@pytest.mark.parametrize("case", golden_cases("sodeep_exact"))
def test_programmed_agrees(case: str) -> None:
    arrays = golden("sodeep_exact")[case]
    x = torch.tensor(arrays["x"], requires_grad=True)
    out = make_sorter("exa")(x)
    np.testing.assert_allclose(out.detach(), arrays["out"], rtol=1e-5, atol=1e-6)
    if "grad" in arrays:
        out.backward(torch.tensor(arrays["grad_output"]))
        assert x.grad is not None
        # Far down the slope float32 has lost most of it.
        np.testing.assert_allclose(x.grad / steepness(x), arrays["grad"] / steepness(x), atol=1e-5)


def test_programmed_shares_the_middle_rank_and_takes_leading_dimensions_as_batch() -> None:
    sorter = make_sorter("exa")
    assert torch.allclose(sorter(torch.full((2, 5), 3.0)), torch.tensor(0.6))
    x = torch.randn(2, 3, 7)
    torch.testing.assert_close(sorter(x)[1, 2], sorter(x[1, 2]))
    assert sorter(torch.randn(1, 4, 1)).tolist() == [[[1.0]] * 4]


def test_readable_names() -> None:
    for readable, short in READABLE.items():
        assert type(make_sorter(readable, 40)) is ARCHITECTURES[short]
    with pytest.raises(ValueError, match=r"architecture must be one of 'lstm', .*got 'lstmx'"):
        make_sorter("lstmx", 10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_lengths(name: str) -> None:
    kind = ARCHITECTURES[name]
    sorter = make_sorter(name, 40).eval()
    assert sorter(torch.randn(3, 40)).shape == (3, 40)
    assert sorter(torch.randn(40)).shape == (40,)
    assert sorter(torch.randn(0, 40)).shape == (0, 40)
    assert sorter(torch.randn(2, 40).bfloat16()).dtype == torch.float32
    assert sorter(torch.randn(2, 40).double()).dtype == torch.float64
    if kind.any_length:
        assert sorter(torch.randn(3, 12)).shape == (3, 12)
        mask = torch.ones(2, 0, dtype=torch.bool) if kind.takes_mask else None
        assert sorter(torch.randn(2, 0), mask).shape == (2, 0)
        assert make_sorter(name).length is None
        return
    with pytest.raises(ValueError, match=r"40 entries.*'set', 'exa', 'grus' and 'gruc'"):
        sorter(torch.randn(3, 12))
    with pytest.raises(ValueError, match="length must be given"):
        make_sorter(name)
    with pytest.raises(ValueError, match="length must be at least"):
        make_sorter(name, 0)


def test_errors_name_the_sorters_that_can() -> None:
    def names(error: pytest.ExceptionInfo[ValueError]) -> set[str]:
        return set(re.findall(r"'(\w+)'", str(error.value))) - {"mlp"}

    with pytest.raises(ValueError, match="take any length") as error:
        make_sorter("mlp", 4)(torch.randn(5))
    assert names(error) == {n for n, kind in ARCHITECTURES.items() if kind.any_length}
    with pytest.raises(ValueError, match="cannot leave scores out") as error:
        make_sorter("mlp", 4)(torch.randn(4), torch.ones(4, dtype=torch.bool))
    assert names(error) == {n for n, kind in ARCHITECTURES.items() if kind.takes_mask}


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(TypeError):
        make_sorter("grus")(torch.arange(4))
    with pytest.raises((TypeError, ValueError)):  # a TypeError where the shapes are checked
        make_sorter("grus")(torch.tensor(1.0))
    with pytest.raises(TypeError):
        make_sorter("mlp", 3.5)


def test_a_convolutional_sorter_of_another_length_than_the_published() -> None:
    assert make_sorter("cnn", 37).eval()(torch.randn(2, 37)).shape == (2, 37)
    with pytest.raises(ValueError, match="at least 37"):
        make_sorter("cnn", 36)
