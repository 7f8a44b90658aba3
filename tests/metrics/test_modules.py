import sys

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from rankgrad import metrics

SAMPLES = ["Spearman", "Kendall", "PairwiseAccuracy", "AveragePrecision"]
FUNCTIONS = {
    "Spearman": metrics.spearman,
    "Kendall": metrics.kendall,
    "PairwiseAccuracy": metrics.pairwise_accuracy,
    "AveragePrecision": metrics.average_precision,
}
LISTS = {
    "MeanAveragePrecision": ({}, metrics.average_precision),
    "MRR": ({}, metrics.mrr),
    "NDCG": ({"k": 3, "gain": "exponential"}, metrics.ndcg),
    "RecallAtK": ({"k": 2, "kind": "capped"}, metrics.recall_at_k),
    "PrecisionAtK": ({"k": 2}, metrics.precision_at_k),
}


def draw(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(8, shape, generator=generator).float()
    return scores, (torch.randint(5, shape, generator=generator) - 2).clamp(min=0)


def fill(metric: Metric, *batches: tuple[Tensor, ...]) -> Metric:
    for batch in batches:
        metric.update(*batch)
    return metric


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("shape", [(30,), (30, 3)])
def test_batches_of_samples_are_one_ranking(name: str, shape: tuple[int, ...]) -> None:
    scores, targets = draw(*shape)
    parts = list(zip(scores.split(11), targets.split(11), strict=True))
    metric = fill(getattr(metrics, name)(), *parts)
    expected = FUNCTIONS[name](scores.movedim(0, -1), targets.movedim(0, -1))
    torch.testing.assert_close(metric.compute(), expected)
    metric.reset()
    torch.testing.assert_close(
        fill(metric, parts[0]).compute(),
        FUNCTIONS[name](parts[0][0].movedim(0, -1), parts[0][1].movedim(0, -1)),
    )


@pytest.mark.parametrize("name", LISTS)
def test_batches_of_lists_are_averaged_over_the_lists(name: str) -> None:
    settings, function = LISTS[name]
    scores, relevance = draw(20, 6)
    relevance[3] = 0  # a list that does not count
    parts = list(zip(scores.split(7), relevance.split(7), strict=True))
    metric = fill(getattr(metrics, name)(**settings), *parts)
    torch.testing.assert_close(metric.compute(), function(scores, relevance, **settings))


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_different_lengths_go_by_their_mask(name: str) -> None:
    settings, function = LISTS[name]
    scores, relevance = draw(8, 6)
    mask = torch.arange(6) < torch.tensor([6, 5, 4, 3, 2, 1, 0, 6])[:, None]
    metric = fill(getattr(metrics, name)(**settings), (scores, relevance, mask))
    torch.testing.assert_close(metric.compute(), function(scores, relevance, mask=mask, **settings))


@pytest.mark.parametrize("name", [*SAMPLES, *LISTS])
def test_workers_together_are_one_worker_with_all_batches(name: str) -> None:
    settings = LISTS[name][0] if name in LISTS else {}
    scores, targets = draw(20, 6)
    halves = list(zip(scores.split(13), targets.split(13), strict=True))
    workers = [fill(getattr(metrics, name)(**settings), half) for half in halves]
    workers[0].merge_state(workers[1])
    alone = fill(getattr(metrics, name)(**settings), *halves)
    torch.testing.assert_close(workers[0].compute(), alone.compute())


@pytest.mark.parametrize("name", LISTS)
def test_no_list_at_all_is_zero(name: str) -> None:
    metric = getattr(metrics, name)(**LISTS[name][0])
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute() == 0


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="scores and targets"):
        metrics.Spearman().update(torch.rand(4), torch.rand(5))


def test_settings_are_checked_when_a_metric_is_made() -> None:
    with pytest.raises(ValueError, match="kind must be one of 'all', 'capped', 'any', got 'some'"):
        metrics.RecallAtK(3, kind="some")
    with pytest.raises(ValueError, match="gain must be one of 'linear', 'exponential'"):
        metrics.NDCG(gain="square")


def test_functions_need_no_torchmetrics_and_classes_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "rankgrad.metrics.modules", raising=False)
    monkeypatch.delattr(metrics, "modules", raising=False)
    assert metrics.spearman(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) == 1
    with pytest.raises(ImportError, match=r"pip install 'rankgrad\[metrics\]'"):
        _ = metrics.Spearman
    with pytest.raises(AttributeError, match="Pearson"):
        _ = metrics.Pearson
