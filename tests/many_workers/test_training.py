"""Models trained by many workers: DDP and FSDP end where one process does; a death is noticed."""

from pathlib import Path

import torch

from many_workers.launch import finish, start
from many_workers.training import model, train


def test_ddp_and_fsdp_end_with_the_weights_of_one_process(tmp_path: Path) -> None:
    finish(start("ddp_worker.py", 2, tmp_path))
    alone = model()
    losses = train(alone, slice(None), None)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["losses"], losses, rtol=1e-9, atol=1e-12)
        for name, weights in alone.state_dict().items():
            torch.testing.assert_close(found["ddp"][name], weights, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(found["fsdp"][name], weights, rtol=1e-9, atol=1e-12)


def test_a_worker_that_dies_does_not_hang_the_other(tmp_path: Path) -> None:
    survivor, _ = finish(start("mortal_worker.py", 2, tmp_path))
    assert "noticed after" in survivor
