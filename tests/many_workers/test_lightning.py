"""Lightning's strategies need nothing special: its "ddp" ends where one process does."""

from pathlib import Path

import pytest
import torch

from many_workers.launch import finish, start
from many_workers.lightning_model import STEPS, fit


@pytest.mark.slow  # three processes import Lightning
def test_two_workers_end_with_the_weights_of_one_process(tmp_path: Path) -> None:
    finish(start("lightning_worker.py", 1, tmp_path))
    alone = fit(1)
    assert len(alone.losses) == 2 * STEPS
    for rank in range(2):
        found = torch.load(tmp_path / f"lightning-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["losses"], alone.losses, rtol=1e-9, atol=1e-12)
        for name, weights in alone.network.state_dict().items():
            torch.testing.assert_close(found["weights"][name], weights, rtol=1e-9, atol=1e-12)
