"""Learned sorters where a ranker is wanted."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import rankgrad as rg
from rankgrad.rankers import LearnedRanker, ShippedRanker, as_ranker, learned
from rankgrad.sorters import ARCHITECTURES, load_sorter, make_sorter


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_ranks_are_n_times_the_output() -> None:
    sorter = make_sorter("gruc")
    x = randn(3, 20)
    ranks = LearnedRanker(sorter, standardize=False)(x)
    torch.testing.assert_close(ranks, 20 * sorter(x))


@pytest.mark.parametrize("name", ["grus", "mlp", "set"])
def test_standardized_scores_need_no_scale(name: str) -> None:
    ranker = LearnedRanker(make_sorter(name, 20))
    x = randn(3, 20).double()
    torch.testing.assert_close(ranker(1e3 * x - 7), ranker(x), atol=1e-4, rtol=1e-4)
    y = (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True) / 3**0.5
    torch.testing.assert_close(
        ranker(x), LearnedRanker(ranker.sorter, standardize=False)(y), atol=1e-4, rtol=1e-4
    )
    flat = torch.full((1, 20), 0.1, requires_grad=True)
    out = ranker(flat)
    torch.testing.assert_close(out, ranker(torch.zeros(1, 20)))
    out.sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_another_length_names_both_and_the_sorters_that_take_any() -> None:
    ranker = LearnedRanker(make_sorter("mlp", 10))
    with pytest.raises(ValueError, match=r"10 entries.* got 12; 'set', 'exa', .* take any length"):
        ranker(randn(2, 12))


def test_masks() -> None:
    x = randn(3, 9)
    mask = torch.tensor([True] * 6 + [False] * 3)
    ranks = LearnedRanker(load_sorter("set"))(x, mask)
    torch.testing.assert_close(ranks[:, :6], LearnedRanker(load_sorter("set"))(x[:, :6]))
    assert ranks[:, 6:].eq(0).all()
    with pytest.raises(ValueError, match="'grus' cannot leave scores out; 'set' and 'exa' can"):
        LearnedRanker(make_sorter("grus"))(x, mask)


def test_nan_and_half_precision() -> None:
    ranker = LearnedRanker(make_sorter("grus"))
    x = randn(2, 5)
    x[0, 2] = torch.nan
    assert ranker(x)[0].isnan().all()
    assert ranker(x)[1].isfinite().all()
    assert ranker(randn(2, 5).bfloat16()).dtype == torch.float32
    assert ranker(randn(2, 5).double()).dtype == torch.float64


def test_a_sorter_is_a_ranker() -> None:
    sorter = make_sorter("grus")
    assert as_ranker(sorter) == LearnedRanker(sorter)
    assert as_ranker("set") == ShippedRanker("set")
    x = randn(4, 30)
    torch.testing.assert_close(as_ranker("set")(x), LearnedRanker(load_sorter("set"))(x))
    with pytest.raises(TypeError):
        LearnedRanker(nn.Linear(3, 3))


def _in_inference_mode(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.inference_mode():
        return f(x)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(_in_inference_mode, id="inference_mode"),
        pytest.param(lambda f, x: torch.func.vmap(f)(x), id="vmap"),
        pytest.param(lambda f, x: torch.func.grad(lambda x: f(x).sum())(x), id="grad"),
        pytest.param(
            lambda f, x: torch.compile(f, fullgraph=True)(x),
            id="compile",
            marks=pytest.mark.compile,
        ),
    ],
)
def test_the_first_call_may_come_in_any_mode(
    way: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "_LOADED", {})
    x = randn(3, 8)
    before = torch.random.get_rng_state()
    assert way(ShippedRanker("set"), x).isfinite().all()
    assert torch.random.get_rng_state().equal(before)
    x.requires_grad_()
    ranks = ShippedRanker("set")(x)
    torch.testing.assert_close(ranks, LearnedRanker(load_sorter("set"))(x))
    ranks.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


# ---------------------------------------------------------------- in losses


def losses(ranker: object) -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    return [
        (rg.SpearmanLoss(ranker), (randn(2, 8), randn(2, 8, seed=1))),
        (rg.MapRankingLoss(ranker), (randn(8, 3), randn(8, 3, seed=1).gt(0).float())),
        (rg.RankLoss(ranker), (randn(8, 8),)),
        (rg.RankHardLoss(ranker=ranker), (randn(8, 8),)),
    ]


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n not in ("cnn", "lstmla")])
def test_every_loss_takes_every_sorter(name: str) -> None:
    for loss, arguments in losses(make_sorter(name, 8)):
        x = arguments[0].clone().requires_grad_()
        value = loss(x, *arguments[1:])
        value.backward()
        assert value.isfinite()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_losses_take_the_name() -> None:
    for loss, arguments in losses("set"):
        assert loss(*arguments).isfinite()
        assert list(loss.parameters()) == []
    x, y = randn(9), randn(9, seed=1)
    from rankgrad.losses import spearman_loss

    torch.testing.assert_close(spearman_loss(x, y, ranker="set"), rg.SpearmanLoss("set")(x, y))


def test_the_weights_are_frozen_and_no_optimizer_sees_them() -> None:
    sorter = make_sorter("cnn", 40)
    loss = rg.SpearmanLoss(sorter)
    assert list(loss.parameters()) == []
    assert not any(p.requires_grad for p in sorter.parameters())
    before = {k: v.clone() for k, v in sorter.state_dict().items()}
    loss.train()
    assert not sorter.training
    loss(randn(3, 40).requires_grad_(), randn(3, 40, seed=1)).backward()
    for key, value in sorter.state_dict().items():  # running statistics included
        assert torch.equal(value, before[key])


def test_they_can_be_trained_when_asked() -> None:
    sorter = make_sorter("grus")
    loss = rg.SpearmanLoss(LearnedRanker(sorter, freeze=False))
    assert {id(p) for p in loss.parameters()} == {id(p) for p in sorter.parameters()}
    loss(randn(8), randn(8, seed=1)).backward()
    assert all(p.grad is not None for p in sorter.parameters())


def test_they_move_and_are_saved_with_the_loss() -> None:
    sorter = make_sorter("grus")
    loss = rg.SpearmanLoss(sorter)
    assert set(loss.state_dict()) == {f"sorter.{key}" for key in sorter.state_dict()}
    other = rg.SpearmanLoss(make_sorter("grus"))
    x, y = randn(8), randn(8, seed=1)
    assert other(x, y) != loss(x, y)
    other.load_state_dict(loss.state_dict())
    assert other(x, y) == loss(x, y)
    model = nn.Sequential(nn.Linear(2, 2), loss)
    assert sum(1 for _ in model.parameters()) == 2
    model.double()
    assert next(sorter.parameters()).dtype == torch.float64
    copied = copy.deepcopy(loss)
    copied.float()
    assert next(sorter.parameters()).dtype == torch.float64
    assert copied(x, y).isfinite()

    broken = {k: v for k, v in loss.state_dict().items() if "bias_hh_l0_reverse" not in k}
    with pytest.raises(RuntimeError, match=r'Missing key.*"sorter.lstm.bias_hh_l0_reverse"'):
        other.load_state_dict(broken)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"sorter.more"'):
        other.load_state_dict({**loss.state_dict(), "sorter.more": torch.ones(1)})
    other.load_state_dict(broken, strict=False)
    wrong = {k: torch.ones(1) for k in loss.state_dict()}
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(wrong)


def test_the_device_must_be_one() -> None:
    ranker = LearnedRanker(make_sorter("grus").to("meta"))
    with pytest.raises(ValueError, match=r"device of the sorter, meta, got cpu"):
        ranker(randn(2, 5))


def test_print_says_what_is_held() -> None:
    shown = repr(rg.SpearmanLoss("set"))
    assert "frozen SetSorter" in shown


@pytest.mark.compile
@pytest.mark.parametrize("name", ["set", "mlp"])
def test_a_loss_compiles_in_one_graph(name: str) -> None:
    loss = rg.SpearmanLoss(name if name == "set" else make_sorter("mlp", 12))
    x, y = randn(12).requires_grad_(), randn(12, seed=1)
    value = torch.compile(loss, fullgraph=True)(x, y)
    torch.testing.assert_close(value, loss(x, y))
    value.backward()
    assert x.grad is not None
