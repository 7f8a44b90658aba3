"""The CPU kernels under threads, forks and other numbers of threads: same numbers, no abort."""

import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import rankgrad as rg
from rankgrad.kernels.cpu import openmp, parallel
from support import PACKAGE

LONG = 300_000  # long enough that every kernel shares its work between threads


def _scores(seed: int) -> Tensor:
    return torch.randn(LONG, generator=torch.Generator().manual_seed(seed))


def _rank_sort(logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    targets = torch.where(logits.detach() > 2, 0.7, 0.0)
    (gradient,) = torch.autograd.grad(rg.RankSortLoss()(logits, targets), logits)
    return gradient


def _pairwise(scores: Tensor) -> Tensor:
    return rg.pairwise_sum(scores, scores, comparison=rg.Ramp(0.5))


def _projection(scores: Tensor) -> Tensor:
    return rg.soft_rank(scores.view(30, -1), ranker="projection")


USES = {"rank_sort": _rank_sort, "pairwise": _pairwise, "projection": _projection, "rank": rg.rank}


@pytest.fixture(params=USES)
def use(request: pytest.FixtureRequest) -> Callable[[Tensor], Tensor]:
    return USES[request.param]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_two_python_threads_at_once(use: Callable[[Tensor], Tensor]) -> None:
    inputs = [_scores(seed) for seed in range(4)]
    alone = [use(x) for x in inputs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(use, inputs))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_the_number_of_threads_is_torch_s_and_changes_no_digit_that_matters(
    use: Callable[[Tensor], Tensor],
) -> None:
    before, scores = torch.get_num_threads(), _scores(0)
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(use(scores))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-6, atol=1e-9)


class _Ranked(Dataset[Tensor]):
    """A data set whose workers call a kernel, after the parent has."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return rg.rank(_scores(index))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_forked_loading_workers_can_call_kernels() -> None:
    expected = torch.stack([rg.rank(_scores(i)) for i in range(4)])  # the pool exists before
    loader = DataLoader(_Ranked(), batch_size=2, num_workers=2, multiprocessing_context="fork")
    torch.testing.assert_close(torch.cat(list(loader)), expected, rtol=0, atol=0)


@pytest.mark.usefixtures("two_threads")
def test_a_pool_of_our_own_does_what_torch_s_threads_do(
    use: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = use(_scores(0))
    monkeypatch.setattr(openmp, "_start", None)
    assert openmp.team(2) is None
    torch.testing.assert_close(use(_scores(0)), expected, rtol=0, atol=0)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("own_pool", [False, True])
def test_what_a_task_raises_arrives(own_pool: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if own_pool:
        monkeypatch.setattr(openmp, "_start", None)
    done = []
    with pytest.raises(ZeroDivisionError):
        parallel.run([lambda: done.append(1), lambda: 1 // 0, *[lambda: done.append(1)] * 2])
    assert len(done) <= 3
    assert parallel.run([lambda k=k: k for k in range(5)]) == list(range(5))


def _rank_here(scores: Tensor, to: Any) -> None:
    to.send((torch.get_num_threads(), rg.rank(scores).numpy()))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_child_has_threads_again() -> None:
    scores = _scores(0).view(30, -1)
    expected = rg.rank(scores)  # torch's threads, which the child will not have, have worked
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_rank_here, args=(scores, there), daemon=True)
    child.start()
    assert here.poll(60), "the child hangs"
    threads, ranks = here.recv()
    child.join()
    assert threads == 2
    torch.testing.assert_close(torch.from_numpy(ranks), expected, rtol=0, atol=0)


@pytest.mark.skipif(os.name != "posix", reason="permissions as on POSIX")
def test_works_from_a_folder_that_nobody_can_write(tmp_path: Path) -> None:
    """A container with a read-only installation and no home: compiled without a cache."""
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(PACKAGE, site / "rankgrad", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    for path in (home, site, *site.rglob("*")):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    code = (
        "import torch, rankgrad\n"
        "print(rankgrad.__file__)\n"
        "print(rankgrad.rank(torch.tensor([0.1, 0.3])).tolist())"
    )
    # Root writes everywhere: the folders are also made to look unusable to numba.
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "HOME": str(home),
        "XDG_CACHE_HOME": "/dev/null/cache",
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    for path in (site, *site.rglob("*"), home):  # let pytest tidy up
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert done.returncode == 0, done.stderr
    where, ranks = done.stdout.splitlines()
    assert where.startswith(str(site))
    assert ranks == "[2.0, 1.0]"
