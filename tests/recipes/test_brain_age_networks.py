"""The networks are the published ones: names, shapes, counts, outputs."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rankgrad.recipes.brain_age.discretise import discretise
from rankgrad.recipes.brain_age.layers import SqueezeExcitation
from rankgrad.recipes.brain_age.networks import ScaleDense, SecondStage, smallest_size
from support import golden, golden_cases

STAGES = {1: ScaleDense, 2: SecondStage}


def unbuilt(stage: int, sex: bool) -> Any:
    """A network of the published size without memory for its weights."""
    with torch.device("meta"):
        return STAGES[stage](sex=sex)


def sines(count: int, phase: float) -> Tensor:
    """sin(12.9898 k + phase) for k < count in float64, by the addition theorem."""
    width = 4096
    rows = torch.arange(-(-count // width), dtype=torch.float64)[:, None] * (12.9898 * width)
    columns = torch.arange(min(width, count), dtype=torch.float64) * 12.9898 + phase
    table = torch.sin(rows) * torch.cos(columns)
    return table.addcmul_(torch.cos(rows), torch.sin(columns)).flatten()[:count]


def closed_form(network: Any, phase: float) -> dict[str, Tensor]:
    """The weights of the golden runs."""
    state = {}
    for p, (name, entry) in enumerate(network.state_dict().items()):
        b = sines(entry.numel(), 78.233 * p + phase)
        if name.endswith("running_var"):
            b = 1 + 0.5 * b.square()
        elif name.endswith("tracked"):
            b = torch.zeros_like(b)
        elif entry.dim() >= 2:
            b *= (2 * entry.shape[0] / entry.numel()) ** 0.5
        elif name.endswith(".weight"):
            b = 1 + 0.1 * b
        else:
            b *= 0.1
        state[name] = b.to(entry.dtype).reshape(entry.shape)
    return state


@pytest.mark.parametrize("case", golden_cases("tsan_scaledense"))
def test_names_shapes_and_counts_are_the_published_ones(case: str) -> None:
    arrays = golden("tsan_scaledense")[case]
    network = unbuilt(int(case[5]), sex=case.endswith("1"))
    state = network.state_dict()
    assert list(state) == arrays["sd_names"].tolist()
    shapes = ["x".join(map(str, entry.shape)) for entry in state.values()]
    assert shapes == arrays["sd_shapes"].tolist()
    assert sum(p.numel() for p in network.parameters()) == arrays["n_params"]
    used = {name for name, p in network.named_parameters() if p.requires_grad}
    other = "without" if case.endswith("1") else "with_"
    assert not any(other in name for name in used)
    assert any("male_fc" in name for name in used) == case.endswith("1")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_outputs_are_the_published_ones(stage: int) -> None:
    cases = {sex: golden("tsan_scaledense")[f"stage{stage}_gender{int(sex)}"] for sex in (1, 0)}
    volume = cases[1]["volume"].tolist()
    k = np.arange(2 * np.prod(volume))
    wave = np.sin(0.731 * k + float(cases[1]["input_phase"])).astype(np.float32)
    image = torch.from_numpy(wave).reshape(2, 1, *volume)
    weights = closed_form(unbuilt(stage, sex=True), float(cases[1]["phase"]))
    sums = [entry.double().sum().item() for entry in weights.values()]
    np.testing.assert_allclose(sums, cases[1]["sd_sums"], rtol=1e-4, atol=1e-3)
    for sex, arrays in cases.items():
        network = unbuilt(stage, bool(sex)).eval()
        network.load_state_dict(weights, assign=True)
        one_hot = torch.tensor(arrays["male"])
        for dtype, suffix, tolerance in ((torch.float32, "", 2e-5), (torch.float64, "64", 1e-7)):
            if dtype == torch.float64 and not (sex and stage == 2):
                continue  # the same once more, in twice the memory
            network.to(dtype)
            with torch.inference_mode():
                if stage == 1:
                    assert (network(image.to(dtype), one_hot) == 0).all()
                    assert (arrays[f"out{suffix}"] == 0).all()
                    network.last_bias.add_(1)  # what the ReLU cut off
                    found = [network(image.to(dtype), one_hot) - 1]
                    network.last_bias.sub_(1)
                    wanted = [arrays["pre_relu"]]
                else:
                    found = network(image.to(dtype), torch.tensor(arrays["dis_age"]), one_hot)
                    wanted = [arrays[f"residual{suffix}"], arrays[f"age{suffix}"]]
            for ours, theirs in zip(found, wanted, strict=True):
                rtol = max(tolerance, 2e-5 if theirs.dtype == np.float32 else 0)
                np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=0)


def test_a_full_size_volume_ends_in_the_published_shapes() -> None:
    network = unbuilt(1, sex=True)
    maps, shapes = network.pre(torch.empty(1, 1, 91, 109, 91, device="meta")), []
    for block in network.block:
        maps = block(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [
        (24, 40, 49, 40), (72, 20, 24, 20), (216, 10, 12, 10), (648, 5, 6, 5), (1944, 2, 3, 2)
    ]  # fmt: skip


def test_the_smallest_volume_is_the_smallest() -> None:
    side = smallest_size(2)
    network = ScaleDense(filters=1, blocks=2, sex=False).eval()
    assert network(torch.zeros(1, 1, side, side, side)).shape == (1, 1)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, side, side, side - 1))


def test_sex_is_asked_for_where_it_is_used() -> None:
    image = torch.zeros(1, 1, 14, 14, 14)
    with pytest.raises(ValueError, match="sex must be given"):
        ScaleDense(filters=1, blocks=1)(image)
    network = ScaleDense(filters=1, blocks=1, sex=False).eval()
    assert torch.equal(network(image), network(image, torch.ones(1, 2)))


def test_ages_are_not_rounded_to_half_precision() -> None:
    torch.manual_seed(0)
    network = ScaleDense(filters=2, blocks=1, sex=False).eval()
    with torch.no_grad():
        network.last_bias.fill_(65.3)
        with torch.autocast("cpu", torch.bfloat16):
            age = network(torch.randn(4, 1, 14, 14, 14))
    assert age.dtype == torch.float32
    assert (age != age.bfloat16()).all()


def test_squeeze_and_excitation_by_hand() -> None:
    layer = SqueezeExcitation(3)  # fewer channels than the reduction leave one in the middle
    x = torch.randn(2, 3, 2, 2, 2)
    middle = torch.relu(layer.FC1(x.mean((2, 3, 4))))
    scale = torch.sigmoid(layer.FC2(middle))
    assert middle.shape == (2, 1)
    torch.testing.assert_close(layer(x), x * scale.reshape(2, 3, 1, 1, 1))


# ---------------------------------------------------------------- rounded ages


@pytest.mark.parametrize("case", golden_cases("tsan_discretize_age"))
def test_rounded_as_published(case: str) -> None:
    arrays = golden("tsan_discretize_age")[case]
    found = discretise(torch.tensor(arrays["ages"]), float(arrays["range"]))
    # Theirs has one dimension too many for a column, which its second stage then cannot take.
    np.testing.assert_array_equal(found, arrays["out"].reshape(-1, 1))


def test_any_shape_becomes_a_column() -> None:
    for shape in ((), (4,), (4, 1), (2, 2), (0,)):
        ages = torch.full(shape, 62.5)
        assert torch.equal(discretise(ages), torch.full((ages.numel(), 1), 65.0))
    assert discretise(torch.tensor([65.4], dtype=torch.bfloat16)).dtype == torch.float32
    assert discretise(torch.tensor([65.4]).double()).dtype == torch.float64
    with pytest.raises(ValueError, match="step must be > 0"):
        discretise(torch.ones(1), 0.0)
