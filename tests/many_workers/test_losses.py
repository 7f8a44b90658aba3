"""Losses over many workers equal those of one process with the whole batch."""

import inspect

import pytest
import torch
from torch import Tensor

import rankgrad as rg
from many_workers import scenarios
from many_workers.launch import finish, start
from many_workers.scenarios import SCENARIOS, batch_of, outcome, shards

WORLD = 4

Found = list[dict[tuple[str, int], dict[str, Tensor]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of four gloo workers found, alone, in twos, threes and together."""
    folder = tmp_path_factory.mktemp("workers")
    finish(start("worker.py", WORLD, folder))
    return [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(WORLD)]


def test_every_loss_takes_a_group() -> None:
    names = [name for name in rg.losses.__all__ if name.endswith("Loss")]
    assert names
    for name in names:
        loss_class = getattr(rg.losses, name)
        assert "group" in inspect.signature(loss_class).parameters, name
        assert loss_class.__name__ in inspect.getsource(scenarios), f"{name} has no scenario"


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("name", SCENARIOS)
def test_equals_one_process(name: str, world: int, found: Found) -> None:
    scenario, whole = SCENARIOS[name], batch_of(name)
    mine = [found[rank][name, world] for rank in range(world)]
    begin = 0
    if scenario.local:  # the workers weigh their samples from 1: so must the whole batch
        losses = scenario.loss(whole, None)
        parts = losses.split([len(m["loss"]) for m in mine])
        sum((p * torch.arange(1, len(p) + 1) / 10).sum() for p in parts).backward()
        expected = {"loss": losses.detach(), **{k: whole[k].grad for k in scenario.trained}}
        torch.testing.assert_close(torch.cat([m["loss"] for m in mine]), expected["loss"])
    else:
        expected = outcome(scenario, whole, None)
        for m in mine:  # everyone holds the loss of the whole
            torch.testing.assert_close(m["loss"], expected["loss"], rtol=1e-12, atol=1e-14)
    for m, shard in zip(mine, shards(whole, world), strict=True):
        length = len(shard["scores"])
        for key in scenario.trained:
            reference = expected[key][begin : begin + length]
            # DDP takes the mean over workers; where the loss is local each is only itself.
            share = m[key] if scenario.local else m[key] / world
            torch.testing.assert_close(share, reference, rtol=1e-9, atol=1e-13)
        begin += length
