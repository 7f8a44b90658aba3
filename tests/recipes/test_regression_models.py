"""Models, features taken by name, and the objective over them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rankgrad.data.regression import (
    LabelBins,
    PairSamples,
    RegressionData,
    TensorSamples,
    VectorPairSamples,
)
from rankgrad.losses import rank_n_contrast_loss, rank_sim_loss, spearman_loss
from rankgrad.recipes.regression.method import TERMS, MethodError, parse_method
from rankgrad.recipes.regression.models import build_regressor
from rankgrad.recipes.regression.objective import Objective, Output
from rankgrad.recipes.regression.regressor import ModelError, Regressor
from rankgrad.recipes.regression.stages import stages


def features_data(n: int = 40) -> RegressionData:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=g)
    y = (5 + 2 * x[:, 0]).round().clamp(0, 9)
    part = TensorSamples(x, y)
    return RegressionData("features", part, part, part, LabelBins(10))


def image_data(size: int, channels: int = 3) -> RegressionData:
    part = TensorSamples(torch.rand(4, channels, size, size), torch.arange(4.0))
    return RegressionData("image", part, part, part, LabelBins(4))


def pair_data() -> RegressionData:
    left = [torch.tensor([1, 2, 3]), torch.tensor([2]), torch.tensor([3, 3])]
    part = PairSamples(left, left[::-1], torch.tensor([0.0, 1.0, 2.0]))
    vectors = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    return RegressionData("pairs", part, part, part, LabelBins(3), vectors=vectors)


def embedded_data() -> RegressionData:
    vectors = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[0, 1, 2], [3, 3, 0]])
    part = VectorPairSamples(vectors, rows, torch.tensor([0.0, 1.0, 2.0]))
    return RegressionData("embedded-pairs", part, part, part, LabelBins(3))


PLAIN = parse_method("x", "mse")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cnn", image_data(8, 1)),
        ("cnn", image_data(40)),
        ("resnet18", image_data(64)),
        ("resnet18", image_data(64, 1)),
        ("mlp", features_data()),
        ("bilstm", pair_data()),
        ("bag", pair_data()),
        ("pair-mlp", embedded_data()),
    ],
)
def test_models_give_one_number_and_features(name: str, data: RegressionData) -> None:
    model = build_regressor(name, data, parse_method("x", "mse fds"))
    assert model.fds is not None
    batch = data.train.batch([0, 1, 2])
    output = model(batch.inputs, batch.targets)
    assert output.predictions.shape == (3,)
    assert output.features.shape == (3, model.fds.mean.shape[1])
    output.predictions.sum().backward()
    assert all(p.grad is not None for p in model.head.parameters())


def test_padding_changes_nothing_for_pairs() -> None:
    data = pair_data()
    for name in ("bilstm", "bag"):
        model = build_regressor(name, data, PLAIN).eval()
        together = model(data.train.batch([0, 1, 2]).inputs).predictions
        alone = torch.cat([model(data.train.batch([i]).inputs).predictions for i in range(3)])
        torch.testing.assert_close(together, alone)


def test_what_a_pair_head_sees() -> None:
    model = build_regressor("pair-mlp", embedded_data(), PLAIN).eval()
    u, v = embedded_data().train.batch([1]).inputs
    joined = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
    features = torch.tanh(model.network.body[0](joined))
    torch.testing.assert_close(model((u, v)).features, features)
    # Over word vectors, the same head sees what the encoder makes of each sentence.
    words = build_regressor("bag", pair_data(), PLAIN).eval()
    a, b = pair_data().train.batch([0, 1]).inputs
    encoded = (words.network.encode(a), words.network.encode(b))
    torch.testing.assert_close(words((a, b)).predictions, words.network.pair(encoded)[:, 0])


def test_auto_takes_what_fits() -> None:
    names = {
        "SmallCNN": image_data(8, 1),
        "ResNet": image_data(72),
        "MLP": features_data(),
        "PairEncoder": pair_data(),
        "PairMLP": embedded_data(),
    }
    for name, data in names.items():
        assert type(build_regressor("auto", data, PLAIN).network).__name__ == name


def test_wrong_models_are_named() -> None:
    data = features_data()
    with pytest.raises(ModelError, match="unknown model 'vgg'"):
        build_regressor("vgg", data, PLAIN)
    with pytest.raises(ModelError, match="mlp do"):
        build_regressor("cnn", data, PLAIN)
    with pytest.raises(ModelError, match="cannot make the model"):
        build_regressor("no_such_module:Net", data, PLAIN)
    with pytest.raises(ModelError, match=r"must return an nn\.Module"):
        build_regressor("builtins:dict", data, PLAIN)
    with pytest.raises(ModelError, match="no module 'fc' for its head; it has 0, 1"):
        Regressor(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), "fc")
    with pytest.raises(ModelError, match=r"one number a sample, got \(4, 2\) for 4 samples"):
        Regressor(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)), "1")(torch.randn(4, 3))


def test_features_of_any_network_by_name() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    model = Regressor(network, "2")
    x = torch.randn(4, 3)
    output = model(x)
    torch.testing.assert_close(output.features, network[:2](x))
    torch.testing.assert_close(output.predictions, network(x)[:, 0])


def test_the_head_sees_smoothed_features_and_terms_the_plain_ones() -> None:
    data = features_data()
    model = build_regressor("mlp", data, parse_method("x", "mse fds"))
    assert model.fds is not None
    batch = data.train.batch(torch.arange(40))
    for _ in range(3):
        model.fds.observe(model(batch.inputs).features, batch.targets)
        model.fds.step()
    output = model(batch.inputs, batch.targets)
    smoothed = model.fds(output.features, batch.targets)
    assert not torch.equal(smoothed, output.features)
    torch.testing.assert_close(output.predictions, model.head(smoothed)[:, 0])
    model.eval()
    plain = model(batch.inputs, batch.targets)
    torch.testing.assert_close(plain.predictions, model.head(plain.features)[:, 0])


def learning(model: Regressor) -> set[str]:
    return {k.removeprefix("network.") for k, p in model.named_parameters() if p.requires_grad}


def test_retraining_starts_the_head_anew_and_freezes_the_rest() -> None:
    method = parse_method("x", "mse fds rrt")
    model = build_regressor("mlp", features_data(), method)
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    _, last = stages(method, 3)
    model.enter(last)
    changed = {k for k, v in model.network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias"}
    assert learning(model) == {"head.weight", "head.bias"}
    batch = features_data().train.batch(torch.arange(40))
    output = model(batch.inputs, batch.targets)
    torch.testing.assert_close(output.predictions, model.head(output.features)[:, 0])


def test_stages_follow_one_another() -> None:
    """Pre-training, then the head on the frozen encoder, then another head with weights."""
    found = stages(parse_method("x", "mse lds fds difference pretrain:epochs=4 rrt:epochs=2"), 3)
    assert [(s.name, s.part, s.first, s.epochs, s.total) for s in found] == [
        ("pretrain", "encoder", 0, 4, 9),
        ("train", "head", 4, 3, 9),
        ("head", "head", 7, 2, 9),
    ]
    assert [s.regresses for s in found] == [False, True, True]
    assert [s.weighted for s in found] == [False, False, True]
    assert [s.smooths for s in found] == [False, True, False]
    assert [s.new_head for s in found] == [False, False, True]
    assert [[t.name for t in s.terms] for s in found] == [["rnc"], ["difference"], []]
    plain, tuned = (
        stages(parse_method("x", text), 3)[-1] for text in ("mse", "mse pretrain:freeze=no")
    )
    assert (plain.part, plain.first, plain.total) == ("all", 0, 3)
    assert (tuned.part, tuned.first, tuned.total) == ("all", 60, 63)


def test_what_is_frozen_stays_as_it_is() -> None:
    """Its running statistics and its dropout, too; and what came frozen never learns."""
    network = nn.Sequential(
        nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 5), nn.Linear(5, 1)
    )
    network[3].requires_grad_(False)
    model = Regressor(network, "4")
    first, second = stages(parse_method("x", "mse pretrain"), 3)
    encoder = {"0.weight", "0.bias", "1.weight", "1.bias"}
    model.enter(first)
    assert learning(model) == encoder
    assert network[2].training
    model.enter(second)
    model.train()
    assert learning(model) == {"4.weight", "4.bias"}
    assert network[4].training
    before = {k: v.clone() for k, v in network.state_dict().items()}
    x = torch.randn(8, 3)
    assert torch.equal(model(x).predictions, model(x).predictions)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    model.enter(stages(parse_method("x", "mse"), 3)[0])
    assert learning(model) == {*encoder, "4.weight", "4.bias"}
    assert network[2].training
    model.eval()
    assert not network[4].training


# ------------------------------------------------------------------ the objective


def setup(text: str, **options: Any) -> tuple[Objective, Output, Any]:
    data = features_data()
    batch = data.train.batch(torch.arange(40))
    g = torch.Generator().manual_seed(1)
    output = Output(
        torch.randn(40, generator=g, requires_grad=True),
        torch.randn(40, 5, generator=g, requires_grad=True),
    )
    return Objective(parse_method("x", text), data, **options), output, batch


def test_labels_are_scaled_and_back() -> None:
    objective, output, batch = setup("mse")
    z = objective.scaled(batch.targets)
    assert abs(float(z.mean())) < 1e-5
    assert float(z.std()) == pytest.approx(1)
    torch.testing.assert_close(objective.to_labels(z), batch.targets)
    loss, parts = objective(output, batch, 0)
    torch.testing.assert_close(loss, (output.predictions - z).square().mean())
    assert set(parts) == {"mse"}
    plain, _, _ = setup("mse", scale=False)
    assert torch.equal(plain.scaled(batch.targets), batch.targets)


def test_weights_follow_the_rows_of_the_batch() -> None:
    objective, output, batch = setup("l1 inverse")
    assert objective.weights is not None
    loss, _ = objective(output, batch, 0)
    error = (output.predictions - objective.scaled(batch.targets)).abs()
    torch.testing.assert_close(loss, (error * objective.weights).mean())


@pytest.mark.parametrize("name", TERMS)
def test_every_term_adds_its_weighted_loss(name: str) -> None:
    objective, output, batch = setup(f"mse {name}:weight=2")
    torch.manual_seed(0)
    loss, parts = objective(output, batch, 0)
    assert set(parts) == {"mse", name}
    torch.testing.assert_close(loss.detach(), parts["mse"] + parts[name])
    torch.manual_seed(0)
    half, _ = setup(f"mse {name}:weight=1")[0](output, batch, 0)
    torch.testing.assert_close(half.detach(), parts["mse"] + parts[name] / 2)
    loss.backward()
    on_features = name in ("ranksim", "rnc")
    grad: Tensor | None = output.features.grad
    assert (grad is not None and bool(grad.any())) == on_features


def test_terms_are_the_losses_of_the_library() -> None:
    objective, output, batch = setup("mse rnc:weight=1 spearman:weight=1")
    _, parts = objective(output, batch, 0)
    rnc = rank_n_contrast_loss(output.features, batch.targets, temperature=1.0)
    torch.testing.assert_close(parts["rnc"], rnc)
    torch.testing.assert_close(parts["spearman"], spearman_loss(output.predictions, batch.targets))
    objective, _, _ = setup("mse ranksim:weight=0.5,unique=first,strength=3")
    _, parts = objective(output, batch, 0)
    expected = rank_sim_loss(
        output.features, batch.targets, weight=0.5, strength=3.0, unique="first", reduction="mean"
    )
    torch.testing.assert_close(parts["ranksim"], expected)


def test_published_coupling_hardly_scales_with_the_weight() -> None:
    grads = []
    for weight in (1, 100):
        text = f"mse ranksim:weight={weight},coupling=published,unique=none"
        objective, output, batch = setup(text)
        torch.manual_seed(0)
        _, parts = objective(output, batch, 0)
        total, _ = objective(output, batch, 0)
        total.backward()
        assert output.features.grad is not None
        grads.append(float(output.features.grad.norm()))
        assert parts["ranksim"] > 0
    assert grads[1] < 20 * grads[0]


def test_terms_set_in_later_and_rrt_has_two_stages() -> None:
    text = "mse rnc:start=2 rrt"
    objective, output, batch = setup(text)
    assert set(objective(output, batch, 1)[1]) == {"mse"}
    loss, parts = objective(output, batch, 2)
    assert set(parts) == {"mse", "rnc"}
    error = (output.predictions - objective.scaled(batch.targets)).square()
    torch.testing.assert_close(parts["mse"], error.mean().detach())  # not re-weighted yet
    objective, _, _ = setup(text, stage=stages(parse_method("x", text), 1)[-1])
    loss, parts = objective(output, batch, 2)
    assert set(parts) == {"mse"}
    assert objective.weights is not None
    torch.testing.assert_close(loss, (error * objective.weights).mean())


def test_pre_training_is_rank_n_contrast_alone() -> None:
    text = "balanced-mse pretrain:temperature=0.5 difference"
    first, second = stages(parse_method("x", text), 1)
    objective, output, batch = setup(text, stage=first)
    loss, parts = objective(output, batch, 0)
    assert set(parts) == {"rnc"}
    expected = rank_n_contrast_loss(output.features, batch.targets, temperature=0.5)
    torch.testing.assert_close(loss, expected)
    assert list(objective.parameters()) == []
    objective, _, _ = setup(text, stage=second)
    assert set(objective(output, batch, 0)[1]) == {"balanced-mse", "difference"}


def test_bad_values_are_said_when_the_objective_is_made() -> None:
    for text in ("huber:beta=-1", "mse ranksim:strength=0", "mse rnc:temperature=-1"):
        with pytest.raises(MethodError, match="must be > 0"):
            setup(text)
    bad = parse_method("x", "mse pretrain:temperature=-1")
    with pytest.raises(MethodError, match="must be > 0"):
        setup("mse", stage=stages(bad, 1)[0])
    with pytest.raises(MethodError, match="coupling must be"):
        setup("mse ranksim:coupling=loose")
