"""The losses on lists with graded relevance, and what all of them have in common."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.losses import listwise
from rankgrad.losses.approx_ndcg import (
    ApproxMRRLoss,
    ApproxNDCGLoss,
    approx_mrr_loss,
    approx_ndcg_loss,
)
from rankgrad.losses.lambda_loss import LambdaLoss, lambda_loss
from rankgrad.losses.listwise import ListMLELoss, ListNetLoss, list_mle_loss, list_net_loss
from rankgrad.losses.neural_ndcg import NeuralNDCGLoss, neural_ndcg_loss
from rankgrad.metrics import mrr, ndcg
from rankgrad.rankers import Pairwise
from rankgrad.rankers.neuralsort import NeuralSort

Loss = Callable[..., Tensor]
SCHEMES = ("lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp")


# One list each, by the definition, in plain loops.


def ideal(gains: list[float], k: int | None = None) -> float:
    best = sorted(gains, reverse=True)[:k]
    return sum(g / math.log2(2 + place) for place, g in enumerate(best))


def gains_of(relevance: Tensor) -> list[float]:
    return [2.0 ** float(y) - 1 for y in relevance]


def logistic_rank(scores: Tensor, i: int, temperature: float = 0.1) -> Tensor:
    others = [j for j in range(len(scores)) if j != i]
    return 1 + sum(
        (torch.sigmoid((scores[j] - scores[i]) / temperature) for j in others), scores[i] * 0
    )


def hard_rank(scores: Tensor, i: int) -> int:
    return 1 + sum(
        bool(s > scores[i]) or (bool(s == scores[i]) and j < i) for j, s in enumerate(scores)
    )


def by_approx_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    gains = gains_of(relevance)
    if ideal(gains) == 0:
        return scores.sum() * 0
    dcg = sum(g / torch.log2(1 + logistic_rank(scores, i)) for i, g in enumerate(gains))
    return 1 - dcg / ideal(gains)


def by_approx_mrr(scores: Tensor, relevance: Tensor) -> Tensor:
    relevant = [i for i, y in enumerate(relevance) if y > 0]
    if not relevant:
        return scores.sum() * 0
    return 1 - 1 / torch.stack([logistic_rank(scores, i) for i in relevant]).min()


def by_neural_ndcg(scores: Tensor, relevance: Tensor, temperature: float = 1.0) -> Tensor:
    gains = gains_of(relevance)
    n = len(scores)
    if ideal(gains) == 0:
        return scores.sum() * 0
    spread = (scores[:, None] - scores[None, :]).abs().sum(1)
    rows = [((n + 1 - 2 * p) * scores - spread) / temperature for p in range(1, n + 1)]
    matrix = torch.stack(rows).softmax(-1)
    for _ in range(50):
        matrix = matrix / matrix.sum(0, keepdim=True)
        matrix = matrix / matrix.sum(1, keepdim=True)
    in_order = matrix @ torch.tensor(gains, dtype=scores.dtype)
    return 1 - sum(g / math.log2(2 + p) for p, g in enumerate(in_order)) / ideal(gains)


def by_lambda_loss(
    scores: Tensor,
    relevance: Tensor,
    scheme: str = "ndcg_loss2pp",
    sigma: float = 1.0,
    k: int | None = None,
) -> Tensor:
    total = scores.sum() * 0
    gains = gains_of(relevance)
    if ideal(gains, k) == 0:
        return total
    gains = [g / ideal(gains, k) for g in gains]
    ranks = [hard_rank(scores, i) for i in range(len(scores))]

    def inverse(r: int) -> float:
        return 1 / math.log2(1 + r)

    for i in range(len(scores)):
        for j in range(len(scores)):
            if i == j or (scheme != "ndcg_loss1" and relevance[i] <= relevance[j]):
                continue
            if k is not None and min(ranks[i], ranks[j]) > k:
                continue
            rho = abs(inverse(ranks[i]) - inverse(ranks[j]))
            apart = abs(ranks[i] - ranks[j])
            delta = inverse(apart) - inverse(apart + 1)
            weight = {
                "lambdarank": abs(gains[i] - gains[j]) * rho,
                "ndcg_loss1": gains[i] * inverse(ranks[i]),
                "ndcg_loss2": abs(gains[i] - gains[j]) * delta,
                "ndcg_loss2pp": abs(gains[i] - gains[j]) * (rho + 10 * delta),
            }[scheme]
            total = total + weight * torch.log2(1 + torch.exp(-sigma * (scores[i] - scores[j])))
    return total


def by_list_mle(scores: Tensor, relevance: Tensor, ties: str = "shared") -> Tensor:
    total = scores.sum() * 0
    if len(set(relevance.tolist())) < 2:
        return total
    for i in range(len(scores)):
        left = [
            j
            for j in range(len(scores))
            if relevance[j] < relevance[i]
            or (relevance[j] == relevance[i] and (ties == "shared" or j >= i))
        ]
        total = total + torch.logsumexp(scores[left], 0) - scores[i]
    return total


def by_list_net(scores: Tensor, relevance: Tensor, target: str = "softmax") -> Tensor:
    if len(set(relevance.tolist())) < 2:
        return scores.sum() * 0
    y = relevance.to(scores.dtype)
    wanted = y.softmax(0) if target == "softmax" else y / y.sum()
    return -(wanted * scores.log_softmax(0)).sum()


PAIRS: dict[str, tuple[Loss, Loss]] = {
    "approx_ndcg": (approx_ndcg_loss, by_approx_ndcg),
    "approx_mrr": (approx_mrr_loss, by_approx_mrr),
    "neural_ndcg": (neural_ndcg_loss, by_neural_ndcg),
    "list_mle": (list_mle_loss, by_list_mle),
    "list_mle_ordinal": (
        partial(list_mle_loss, ties="ordinal"),
        partial(by_list_mle, ties="ordinal"),
    ),
    "list_net": (list_net_loss, by_list_net),
    "list_net_proportional": (
        partial(list_net_loss, target="proportional"),
        partial(by_list_net, target="proportional"),
    ),
    **{s: (partial(lambda_loss, scheme=s), partial(by_lambda_loss, scheme=s)) for s in SCHEMES},
    "lambdarank_at_2": (
        partial(lambda_loss, scheme="lambdarank", k=2, sigma=3.0),
        partial(by_lambda_loss, scheme="lambdarank", k=2, sigma=3.0),
    ),
}
LOSSES = {name: loss for name, (loss, _) in PAIRS.items()}
each = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def draw(
    n: int, seed: int, rows: tuple[int, ...] = (), levels: int = 1000
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (*rows, n), generator=generator).double() / levels * 3
    return scores, (torch.randint(6, (*rows, n), generator=generator) - 2).clamp(min=0)


@pytest.mark.parametrize("name", PAIRS)
@given(n=st.integers(0, 7), levels=st.sampled_from([2, 1000]), seed=st.integers(0, 10**6))
def test_equals_the_definition(name: str, n: int, levels: int, seed: int) -> None:
    loss, definition = PAIRS[name]
    scores, relevance = draw(n, seed, levels=levels)
    exact = scores.clone().requires_grad_()
    expected = definition(exact, relevance)
    expected.backward()
    scores.requires_grad_()
    got = loss(scores, relevance)
    got.backward()
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)
    if name == "approx_mrr" and levels == 2:
        return  # among equal scores either gradient is one of the minimum
    torch.testing.assert_close(scores.grad, exact.grad, rtol=1e-6, atol=1e-8)


@each
def test_leading_dimensions_are_batch(loss: Loss) -> None:
    scores, relevance = draw(6, 2, rows=(3, 2))
    rows = loss(scores, relevance, reduction="none")
    assert rows.shape == (3, 2)
    torch.testing.assert_close(rows[2, 1], loss(scores[2, 1], relevance[2, 1]))
    torch.testing.assert_close(loss(scores, relevance, reduction="sum"), rows.sum())


@each
def test_lists_without_a_relevant_item_are_zero_and_left_out_of_the_mean(loss: Loss) -> None:
    scores, relevance = draw(5, 4, rows=(3,))
    relevance[:, 0] = 2
    relevance[1] = 0
    scores.requires_grad_()
    rows = loss(scores, relevance, reduction="none")
    assert rows[1] == 0
    mean = loss(scores, relevance)
    torch.testing.assert_close(mean, rows[[0, 2]].mean())
    mean.backward()
    assert scores.grad is not None
    assert (scores.grad[1] == 0).all()
    assert (scores.grad[0] != 0).any()


@each
@pytest.mark.parametrize("shape", [(0,), (1,), (2,), (3, 0), (0, 3), (2, 2)])
def test_nothing_to_find_is_zero_with_a_graph(loss: Loss, shape: tuple[int, ...]) -> None:
    scores = torch.zeros(shape, requires_grad=True)
    value = loss(scores, torch.zeros(shape))
    value.backward()
    assert value == 0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros(shape))


@each
def test_one_item_is_in_order(loss: Loss) -> None:
    scores = torch.tensor([3.0], requires_grad=True)
    value = loss(scores, torch.tensor([2]))
    value.backward()
    assert value == 0


@each
def test_large_scores_stay_finite(loss: Loss) -> None:
    scores, relevance = draw(10, 8)
    scores = (scores.float() * 1e4).requires_grad_()
    loss(scores, relevance).backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


@each
def test_relevance_may_be_boolean(loss: Loss) -> None:
    scores, relevance = draw(6, 9)
    torch.testing.assert_close(loss(scores, relevance > 0), loss(scores, (relevance > 0).double()))


@each
def test_a_step_down_the_gradient_improves_the_order(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(10)
    scores = torch.randn(20, 8, generator=generator, requires_grad=True)
    relevance = (torch.randint(8, (20, 8), generator=generator) - 4).clamp(min=0)
    metric = mrr if loss is approx_mrr_loss else ndcg
    before = metric(scores, relevance)
    optimizer = torch.optim.Adam([scores], lr=0.15)
    for _ in range(12):
        optimizer.zero_grad()
        loss(scores, relevance).backward()
        optimizer.step()
    assert metric(scores, relevance) > before + 0.05


def test_with_hard_ranks_the_loss_is_one_minus_the_metric() -> None:
    scores, relevance = draw(9, 14, rows=(20,), levels=10**6)
    for k in (None, 1, 4):
        for gain in ("linear", "exponential"):
            torch.testing.assert_close(
                approx_ndcg_loss(scores, relevance, ranker="hard", k=k, gain=gain),
                1 - ndcg(scores, relevance, k, gain=gain),
            )
            cold = NeuralSort(temperature=1e-9)
            torch.testing.assert_close(
                neural_ndcg_loss(scores, relevance, ranker=cold, k=k, gain=gain),
                1 - ndcg(scores, relevance, k, gain=gain),
            )
    torch.testing.assert_close(
        approx_mrr_loss(scores, relevance, ranker="hard"), 1 - mrr(scores, relevance)
    )


@pytest.mark.parametrize("ranker", ["logistic", "projection", "softsort", "sodeep"])
def test_any_ranker_will_do(ranker: str) -> None:
    scores, relevance = draw(9, 15, rows=(3,))
    for loss in (ApproxNDCGLoss(ranker=ranker), ApproxMRRLoss(ranker=ranker)):
        x = scores.clone().requires_grad_()
        loss(x, relevance).backward()
        assert x.grad is not None
        assert (x.grad != 0).any()


def test_neural_ndcg_without_scaling_needs_no_matrix() -> None:
    scores, relevance = draw(9, 16, rows=(3,))
    mask = torch.arange(9) < torch.tensor([9, 5, 1])[:, None]
    for ranker in (NeuralSort(0.5), "softsort"):
        with_matrix = rg.rankers.as_ranker(ranker).permutation(scores, mask)
        gains = torch.where(mask, 2.0**relevance - 1, 0.0).double()
        places = torch.arange(2, 11).log2()
        best = (gains.sort(descending=True).values / places).sum(-1)
        expected = 1 - ((with_matrix @ gains[..., None])[..., 0] / places).sum(-1) / best
        got = neural_ndcg_loss(
            scores, relevance, ranker=ranker, scaling_steps=0, mask=mask, reduction="none"
        )
        valid = gains.sum(-1) > 0
        torch.testing.assert_close(got[valid], expected[valid])


def test_relevance_beyond_float32_is_told_apart() -> None:
    scores = torch.tensor([0.3, 0.1, 0.2])
    torch.testing.assert_close(
        list_mle_loss(scores, 2**40 + torch.tensor([2, 1, 0])),
        list_mle_loss(scores, torch.tensor([2, 1, 0])),
    )


def test_modules_are_the_functions() -> None:
    scores, relevance = draw(7, 17, rows=(3,))
    mask = torch.arange(7) < 6
    soft = Pairwise(rg.Logistic(0.3))
    modules: list[tuple[torch.nn.Module, Tensor]] = [
        (
            ApproxNDCGLoss(ranker=soft, k=3, gain="linear", reduction="sum"),
            approx_ndcg_loss(
                scores, relevance, ranker=soft, k=3, gain="linear", mask=mask, reduction="sum"
            ),
        ),
        (
            ApproxMRRLoss(ranker=soft, reduction="none"),
            approx_mrr_loss(scores, relevance, ranker=soft, mask=mask, reduction="none"),
        ),
        (
            NeuralNDCGLoss(NeuralSort(0.3), scaling_steps=2, k=3, gain="linear"),
            neural_ndcg_loss(
                scores,
                relevance,
                ranker=NeuralSort(0.3),
                scaling_steps=2,
                k=3,
                gain="linear",
                mask=mask,
            ),
        ),
        (
            LambdaLoss("ndcg_loss2", sigma=2.0, k=3, gain="linear", reduction="sum"),
            lambda_loss(
                scores,
                relevance,
                scheme="ndcg_loss2",
                sigma=2.0,
                k=3,
                gain="linear",
                mask=mask,
                reduction="sum",
            ),
        ),
        (ListMLELoss(ties="ordinal"), list_mle_loss(scores, relevance, ties="ordinal", mask=mask)),
        (
            ListNetLoss(target="proportional"),
            list_net_loss(scores, relevance, target="proportional", mask=mask),
        ),
    ]
    for module, expected in modules:
        torch.testing.assert_close(module(scores, relevance, mask), expected)
        assert "reduction=" in repr(module)


def test_bad_arguments_are_named() -> None:
    x = torch.rand(3)
    with pytest.raises(TypeError, match="scores"):
        list_mle_loss(x.long(), x)
    with pytest.raises((TypeError, ValueError), match="relevance"):
        list_net_loss(x, x[:2])
    with pytest.raises(TypeError, match="mask"):
        lambda_loss(x, x, mask=x)
    with pytest.raises(ValueError, match="scheme must be one of"):
        LambdaLoss(scheme="ndcg")
    with pytest.raises(ValueError, match="gain must be one of"):
        ApproxNDCGLoss(gain="cubic")
    with pytest.raises(ValueError, match="k must be >= 1"):
        ApproxNDCGLoss(k=0)
    with pytest.raises(ValueError, match="ties must be one of"):
        ListMLELoss(ties="random")
    with pytest.raises(ValueError, match="target must be one of"):
        ListNetLoss(target="argmax")
    with pytest.raises(TypeError, match="permutation matrix"):
        NeuralNDCGLoss(ranker="logistic")
    with pytest.raises(ValueError, match="scaling_steps must be >= 0"):
        NeuralNDCGLoss(scaling_steps=-1)
    with pytest.raises(ValueError, match="sigma must be > 0"):
        LambdaLoss(sigma=0.0)


GAINS = ["approx_ndcg", "neural_ndcg", "list_net_proportional", *SCHEMES]


@pytest.mark.parametrize("name", GAINS)
def test_negative_relevance_is_refused(name: str) -> None:
    """In particular the -1 that some data sets pad their lists with."""
    scores, relevance = draw(5, 17, rows=(2,))
    relevance[:, 0] = 3
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    expected = LOSSES[name](scores, relevance, mask=mask)
    relevance = torch.where(mask, relevance, -1)
    torch.testing.assert_close(LOSSES[name](scores, relevance, mask=mask), expected)
    with pytest.raises(ValueError, match=r"relevance must not be negative; .* mask"):
        LOSSES[name](scores, relevance)
    # Where values cannot be looked at, the list is NaN.
    rows = torch.func.vmap(LOSSES[name])(scores, relevance)
    assert rows.isnan().tolist() == [False, True]


@each
def test_nan_relevance_gives_nan_for_that_list(loss: Loss) -> None:
    scores, relevance = draw(5, 18, rows=(2,))
    relevance = relevance.double()
    relevance[:, 0], relevance[:, 1] = 2, 0
    relevance[1, 3] = torch.nan
    assert loss(scores, relevance, reduction="none").isnan().tolist() == [False, True]


@pytest.mark.parametrize("n", [1, 255, 256, 700])
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_a_single_list_on_a_gpu_is_added_up_by_blocks(n: int, shape: tuple[int, ...]) -> None:
    x = 20 * torch.randn(*shape, n, dtype=torch.float64)
    x[..., n // 2 :] = torch.finfo(x.dtype).min / 4  # what is masked
    leaf, twin = (x.clone().requires_grad_() for _ in range(2))
    by_blocks, whole = listwise._running_by_blocks(leaf), twin.logcumsumexp(-1)
    torch.testing.assert_close(by_blocks, whole)
    weights = torch.randn(n, dtype=torch.float64)
    for out in (by_blocks, whole):
        (out * weights)[..., : max(n // 2, 1)].sum().backward()
    torch.testing.assert_close(leaf.grad, twin.grad)
