from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.losses import CrossBatchMemory
from rankgrad.losses.smooth_ap import SmoothAPLoss, smooth_ap_loss
from rankgrad.metrics import average_precision
from rankgrad.rankers import Pairwise
from support import golden, golden_cases


def brute_force(scores: Tensor, relevance: Tensor, temperature: float) -> Tensor:
    """The loss of one list, by the definition."""
    relevant = [i for i in range(len(scores)) if relevance[i] > 0]
    total = scores.sum() * 0
    for i in relevant:
        ahead = torch.sigmoid((scores - scores[i]) / temperature)
        above = [ahead[j] for j in range(len(scores)) if j != i]
        among = [ahead[j] for j in relevant if j != i]
        total = total + (1 + sum(among)) / (1 + sum(above))
    return 1 - total / len(relevant) if relevant else total


def draw(
    n: int, seed: int, rows: tuple[int, ...] = (), levels: int = 1000, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (*rows, n), generator=generator).double() / levels * spread
    return scores, torch.randint(3, (*rows, n), generator=generator) - 1


def batch(seed: int = 0, n: int = 12, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(classes, (n,), generator=generator)


@pytest.mark.parametrize("case", golden_cases("smooth_ap"))
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("smooth_ap")[case]
    embeddings = torch.tensor(arrays["preds"], requires_grad=True)
    labels = torch.arange(len(embeddings)) // int(arrays["group"])
    loss = SmoothAPLoss(temperature=float(arrays["anneal"]), normalize=False)(embeddings, labels)
    loss.backward()
    np.testing.assert_allclose(loss.detach(), arrays["loss"].item(), rtol=1e-5, atol=3e-7)
    scale = max(1.0, float(np.abs(arrays["grad"]).max()))
    np.testing.assert_allclose(embeddings.grad, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)


@given(
    n=st.integers(0, 9),
    levels=st.sampled_from([1, 3, 1000]),
    spread=st.sampled_from([0.0, 1.0, 1e3, 1e30]),
    temperature=st.sampled_from([0.01, 0.3]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 10**6),
)
def test_equals_the_definition(
    n: int, levels: int, spread: float, temperature: float, dtype: torch.dtype, seed: int
) -> None:
    scores, relevance = draw(n, seed, levels=levels, spread=spread)
    scores = scores.to(dtype)
    exact = scores.double().clone().requires_grad_()
    expected = brute_force(exact, relevance, temperature)
    expected.backward()
    assert exact.grad is not None
    size = {torch.float64: 1e-11, torch.float32: 2e-6}[dtype]
    for backend in ("reference", "numba"):
        x = scores.detach().clone().requires_grad_()
        with rg.use_backend(backend):
            loss = smooth_ap_loss(x, relevance, temperature=temperature)
            loss.backward()
        assert x.grad is not None
        torch.testing.assert_close(loss.double(), expected, rtol=size, atol=size)
        torch.testing.assert_close(
            x.grad.double(), exact.grad, rtol=1e3 * size, atol=10 * size / temperature
        )


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_infinite_scores_have_their_place_and_tie_with_each_other(backend: str) -> None:
    scores = torch.tensor([torch.inf, -torch.inf, torch.inf, 0.0], requires_grad=True)
    with rg.use_backend(backend):
        loss = smooth_ap_loss(scores, torch.tensor([1, 1, 0, 0]))
        loss.backward()
    assert loss.item() == pytest.approx(1 - (1 / 1.5 + 2 / 4) / 2)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_long_lists_keep_their_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 30_000, generator=generator, dtype=torch.float64) * 0.1
    relevance = torch.rand(2, 30_000, generator=generator) < 0.001
    exact = scores.clone().requires_grad_()
    expected = smooth_ap_loss(exact, relevance)
    expected.backward()
    x = scores.float().requires_grad_()
    loss = smooth_ap_loss(x, relevance)
    loss.backward()
    assert exact.grad is not None
    assert x.grad is not None
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    scale = exact.grad.abs().max().item()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=0, atol=1e-5 * scale)


def test_gradient_is_the_derivative() -> None:
    scores, relevance = draw(7, 0, rows=(3,))
    scores.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: smooth_ap_loss(x, relevance, temperature=0.2, reduction="none"), scores
    )
    embeddings, labels = batch()
    embeddings.requires_grad_()
    loss = SmoothAPLoss(temperature=0.2, include_self=False)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), embeddings)


def test_a_small_temperature_gives_the_metric() -> None:
    scores, relevance = draw(20, 1, rows=(5,), levels=10**6)
    expected = 1 - average_precision(scores, relevance)
    got = smooth_ap_loss(scores, relevance, temperature=1e-9)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(smooth_ap_loss(scores, relevance, ranker="hard"), expected)


def test_any_ranker_will_do_and_the_logistic_one_is_the_default() -> None:
    scores, relevance = draw(15, 2, rows=(4,))
    mask = torch.rand(4, 15, generator=torch.Generator().manual_seed(0)) < 0.8
    results = []
    for settings in ({"temperature": 0.1}, {"ranker": Pairwise(rg.Logistic(0.1))}):
        x = scores.clone().requires_grad_()
        loss = smooth_ap_loss(x, relevance, mask=mask, reduction="none", **settings)
        loss.sum().backward()
        results.append((loss.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])
    embeddings, labels = batch()
    torch.testing.assert_close(
        SmoothAPLoss(ranker=Pairwise(rg.Logistic(0.1)))(embeddings, labels),
        SmoothAPLoss(temperature=0.1)(embeddings, labels),
    )


def test_rows_without_a_relevant_item_are_zero_and_left_out_of_the_mean() -> None:
    scores, relevance = draw(6, 3, rows=(3,))
    relevance[1] = 0
    rows = smooth_ap_loss(scores, relevance, reduction="none")
    assert rows[1] == 0
    torch.testing.assert_close(smooth_ap_loss(scores, relevance), rows[[0, 2]].mean())
    torch.testing.assert_close(smooth_ap_loss(scores, relevance, reduction="sum"), rows.sum())


@pytest.mark.parametrize("shape", [(0,), (1,), (2,), (3, 0), (0, 3), (2, 2)])
def test_nothing_to_find_is_zero_with_a_graph(shape: tuple[int, ...]) -> None:
    scores = torch.zeros(shape, requires_grad=True)
    loss = smooth_ap_loss(scores, torch.zeros(shape))
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros(shape))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_nan_gives_nan_for_that_row(backend: str) -> None:
    scores, relevance = draw(5, 4, rows=(2,))
    relevance[:, 0] = 1
    scores[1, 3] = torch.nan
    with rg.use_backend(backend):
        assert smooth_ap_loss(scores, relevance, reduction="none").isnan().tolist() == [False, True]


def test_embeddings_are_scores_of_every_sample_against_all() -> None:
    embeddings, labels = batch()
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    relevance = labels[:, None] == labels
    torch.testing.assert_close(
        SmoothAPLoss()(embeddings, labels), smooth_ap_loss(unit @ unit.T, relevance)
    )
    torch.testing.assert_close(
        SmoothAPLoss(normalize=False, reduction="none")(embeddings, labels),
        smooth_ap_loss(embeddings @ embeddings.T, relevance, reduction="none"),
    )
    torch.testing.assert_close(
        SmoothAPLoss(include_self=False)(embeddings, labels),
        smooth_ap_loss(unit @ unit.T, relevance, mask=~torch.eye(12, dtype=torch.bool)),
    )
    torch.testing.assert_close(
        SmoothAPLoss()(unit @ unit.T, relevance), SmoothAPLoss()(embeddings, labels)
    )


def test_the_call_of_pytorch_metric_learning() -> None:
    embeddings, labels = batch()
    gallery, gallery_labels = batch(1, n=20)
    unit, others = (torch.nn.functional.normalize(x) for x in (embeddings, gallery))
    relevance = labels[:, None] == gallery_labels
    loss = SmoothAPLoss()
    torch.testing.assert_close(
        loss(embeddings, labels, None, gallery, gallery_labels),
        smooth_ap_loss(unit @ others.T, relevance),
    )
    pairs = torch.rand(12, 20, generator=torch.Generator().manual_seed(0)) < 0.5
    positives, negatives = ((pairs & r).nonzero(as_tuple=True) for r in (relevance, ~relevance))
    torch.testing.assert_close(
        loss(embeddings, labels, (*positives, *negatives), gallery, gallery_labels),
        smooth_ap_loss(unit @ others.T, relevance, mask=pairs),
    )
    triplets = (torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([2, 3]))
    only = smooth_ap_loss((unit @ unit.T)[0, 1:4], torch.tensor([1, 0, 0]))
    torch.testing.assert_close(loss(embeddings, labels, triplets), only)


def test_two_threads_at_once() -> None:
    embeddings, labels = batch(n=200, classes=20)

    def gradient(_: int) -> Tensor:
        x = embeddings.clone().requires_grad_()
        SmoothAPLoss()(x, labels).backward()
        assert x.grad is not None
        return x.grad

    with ThreadPoolExecutor(4) as pool:
        gradients = list(pool.map(gradient, range(8)))
    assert all(torch.equal(g, gradients[0]) for g in gradients)


def test_module_prints_its_settings() -> None:
    assert "temperature=0.05" in repr(SmoothAPLoss(temperature=0.05))


def test_bad_arguments_are_named() -> None:
    x = torch.rand(3, 4)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        SmoothAPLoss(temperature=0.0)
    with pytest.raises(ValueError, match="reduction must be one of"):
        SmoothAPLoss(reduction="avg")
    with pytest.raises((TypeError, ValueError), match="relevance"):
        smooth_ap_loss(x, x[:2])
    with pytest.raises(TypeError, match="scores"):
        smooth_ap_loss(x.long(), x)
    with pytest.raises(ValueError, match=r"labels must have the shape \[3\]"):
        SmoothAPLoss()(x, torch.arange(4))
    with pytest.raises(ValueError, match="ref_labels"):
        SmoothAPLoss()(x, torch.arange(3), None, x)
    with pytest.raises(TypeError, match="labels"):
        SmoothAPLoss()(x, [0, 1, 2])
    with pytest.raises(TypeError, match="memory"):
        SmoothAPLoss(memory=100)
    with pytest.raises(ValueError, match="embeddings must have the 5 features of the memory"):
        SmoothAPLoss(memory=CrossBatchMemory(10, 5))(x, torch.arange(3))
    with pytest.raises(ValueError, match="indices_tuple"):
        SmoothAPLoss()(x, torch.arange(3), (torch.arange(3),))
