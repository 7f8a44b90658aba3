"""torchvision's detectors in DistributedDataParallel over two processes."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("torchvision")

from integrations.tiny_detectors import MODELS, made, total
from integrations.unlike_batches import CASES, STEPS, part
from many_workers.launch import finish, start

Gradients = dict[str, dict[str, Tensor]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Gradients]:
    """The gradients of each worker, by case and step."""
    folder = tmp_path_factory.mktemp("workers")
    finish(start("../integrations/ddp_detector_worker.py", 2, folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite_and_the_same_on_both_workers(
    found: list[Gradients], case: str, step: int
) -> None:
    first, second = (one[f"{case} {step}"] for one in found)
    assert first.keys() == second.keys()
    assert any(g.abs().sum() > 0 for g in first.values())
    for name, gradient in first.items():
        assert gradient.isfinite().all(), name
        assert torch.equal(gradient, second[name]), name


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("case", MODELS)
def test_gradients_are_the_mean_over_the_workers(
    found: list[Gradients], case: str, step: int
) -> None:
    name, settings = CASES[case]
    alone = []
    for rank in range(2):
        model = made(name, **settings)
        total(model(*part(step, rank))).backward()
        alone.append({k: p.grad for k, p in model.named_parameters() if p.requires_grad})
    for key, gradient in found[0][f"{case} {step}"].items():
        expected = (alone[0][key] + alone[1][key]) / 2
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
