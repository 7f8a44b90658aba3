import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import rankgrad as rg
from rankgrad.losses.recall_at_k import RecallAtKLoss, recall_at_k_loss
from rankgrad.metrics import recall_at_k
from rankgrad.rankers import Pairwise
from support import golden, golden_cases


def brute_force(
    scores: Tensor, relevance: Tensor, ks: list[int], widths: list[float], temperature: float
) -> Tensor:
    """The loss of one list, by the definition."""
    n = len(scores)
    relevant = [i for i in range(n) if relevance[i] > 0]
    if not relevant:
        return scores.sum() * 0
    total = scores.sum() * 0
    for k, width in zip(ks, widths, strict=True):
        cut = min(k, n)
        for i in relevant:
            ahead = torch.sigmoid((scores - scores[i]) / temperature)
            rank = scores.new_tensor(1.0) + sum(ahead[j] for j in range(n) if j != i)
            total = total + torch.sigmoid((cut - rank) / width) / min(cut, len(relevant))
    return 1 - total / len(ks)


def draw(n: int, seed: int, rows: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(50, (*rows, n), generator=generator).double() / 50
    return scores, torch.randint(3, (*rows, n), generator=generator) - 1


@pytest.mark.parametrize("case", golden_cases("recall_at_k"))
def test_agrees_with_the_original(case: str) -> None:
    arrays = golden("recall_at_k")[case]
    embeddings = torch.tensor(arrays["preds"], requires_grad=True)
    n = len(embeddings)
    loss = RecallAtKLoss(
        k=arrays["k_vals"].tolist(),
        temperature=float(arrays["anneal"]),
        k_temperature=arrays["k_temperatures"].tolist(),
        normalize=False,
        reduction="none",
    )
    each = loss(embeddings, torch.arange(n) // int(arrays["group"])) / n
    each.sum().backward()
    np.testing.assert_allclose(each.detach(), arrays["per_query"], rtol=1e-5, atol=1e-7)
    scale = max(1.0, float(np.abs(arrays["grad"]).max()))
    np.testing.assert_allclose(embeddings.grad, arrays["grad"], rtol=1e-4, atol=1e-5 * scale)


@given(
    n=st.integers(0, 9),
    ks=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    temperature=st.sampled_from([0.01, 0.3]),
    seed=st.integers(0, 10**6),
)
def test_equals_the_definition(n: int, ks: list[int], temperature: float, seed: int) -> None:
    scores, relevance = draw(n, seed)
    widths = [0.5 + i for i in range(len(ks))]
    exact = scores.clone().requires_grad_()
    expected = brute_force(exact, relevance, ks, widths, temperature)
    expected.backward()
    for backend in ("reference", "numba"):
        x = scores.clone().requires_grad_()
        with rg.use_backend(backend):
            loss = recall_at_k_loss(x, relevance, ks, temperature=temperature, k_temperature=widths)
            loss.backward()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(x.grad, exact.grad)


def test_small_temperatures_give_the_metric() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(5, 20, generator=generator, dtype=torch.float64)
    relevance = torch.rand(5, 20, generator=generator) < 0.3
    # At rank k exactly the soft cut-off is at one half: between k and k + 1 it is the metric's.
    for k in (1, 4, 30):
        soft = recall_at_k_loss(scores, relevance, k, temperature=1e-6, k_temperature=1e-3)
        at_k = recall_at_k(scores, relevance, k, kind="capped", reduction="none")
        below = (
            recall_at_k(scores, relevance, k - 1, kind="all", reduction="none") if k > 1 else 0.0
        )
        count = relevance.sum(-1)
        cut = min(k, 20)
        if k == 30:
            below = recall_at_k(scores, relevance, 19, kind="all", reduction="none")
        low = below * count / count.clamp(max=cut)
        torch.testing.assert_close(soft, 1 - (0.5 * (low + at_k)).mean())


def test_any_ranker_will_do_and_the_logistic_one_is_the_default() -> None:
    scores, relevance = draw(15, 2, rows=(4,))
    mask = torch.arange(15) < torch.tensor([15, 3, 1, 9])[:, None]
    results = []
    for settings in ({"temperature": 0.1}, {"ranker": Pairwise(rg.Logistic(0.1))}):
        x = scores.clone().requires_grad_()
        loss = recall_at_k_loss(x, relevance, mask=mask, reduction="none", **settings)
        loss.sum().backward()
        results.append((loss.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("shape", [(0,), (1,), (2,), (3, 0), (0, 3), (2, 2)])
def test_nothing_to_find_is_zero_with_a_graph(shape: tuple[int, ...]) -> None:
    scores = torch.zeros(shape, requires_grad=True)
    loss = recall_at_k_loss(scores, torch.zeros(shape))
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros(shape))


def test_perfect_list_of_one_relevant_item() -> None:
    loss = recall_at_k_loss(torch.tensor([5.0, 1.0, 0.0]), torch.tensor([1, 0, 0]), k=(1, 2))
    sigma = 1 / (1 + math.exp(-1))
    assert loss.item() == pytest.approx(1 - (0.5 + sigma) / 2, abs=1e-6)


def test_embeddings_without_themselves_are_scores_with_a_masked_diagonal() -> None:
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(10, 4, generator=generator)
    labels = torch.arange(10) % 3
    unit = torch.nn.functional.normalize(embeddings)
    mask = ~torch.eye(10, dtype=torch.bool)
    torch.testing.assert_close(
        RecallAtKLoss(k=(1, 2), include_self=False)(embeddings, labels),
        recall_at_k_loss(unit @ unit.T, labels[:, None] == labels, (1, 2), mask=mask),
    )


def test_bad_arguments_are_named() -> None:
    x = torch.rand(3, 4)
    with pytest.raises(ValueError, match="k must be >= 1"):
        RecallAtKLoss(k=(0, 1))
    with pytest.raises(TypeError, match=r"k must be an int|k: int|'k'"):
        recall_at_k_loss(x, x, (1, 2.5))
    with pytest.raises(ValueError, match="k_temperature must be one number or 2"):
        RecallAtKLoss(k=(1, 2), k_temperature=(1.0,))
    with pytest.raises(ValueError, match="k_temperature must be > 0"):
        RecallAtKLoss(k_temperature=0.0)
