"""Brain age by two workers: uneven parts of a batch are ranked as one; one of them writes."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("nibabel")

from many_workers.brain_age import SETTINGS, gradient, open_phantoms
from many_workers.launch import finish, start
from rankgrad.recipes.brain_age.running import load_brain_age


@pytest.mark.slow
def test_two_workers_have_the_gradient_of_one_process(tmp_path: Path) -> None:
    parts = open_phantoms(tmp_path)
    finish(start("brain_age_worker.py", 2, tmp_path))
    alone = gradient(SETTINGS, parts)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for one in found:
        for count in (1, 2):
            theirs = one[f"gradient {count}"]
            scale = alone.abs().max()
            torch.testing.assert_close(theirs / scale, alone / scale, rtol=1e-4, atol=1e-4)
    assert torch.equal(found[0]["weights"], found[1]["weights"])
    written = load_brain_age(tmp_path / "run" / "brain_age.pt").model
    weights = torch.cat([w.double().flatten() for w in written.parameters()])
    torch.testing.assert_close(weights, found[0]["weights"])
