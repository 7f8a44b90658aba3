import os
import time
from typing import Any

import pytest
import torch

from rankgrad.recipes.experiments.pool import TaskError, WorkerDiedError, run_tasks
from recipes import toy_study as toy


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Events(list[tuple[int, str, Any]]):
    def __call__(self, index: int, kind: str, content: Any) -> None:
        self.append((index, kind, content))

    def results(self) -> dict[int, Any]:
        return {index: content for index, kind, content in self if kind == "done"}


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_every_task_runs_once_and_reports(workers: int) -> None:
    events = Events()
    run_tasks(toy.double, range(5), events, workers=workers, threads=None)
    assert events.results() == {i: 2 * i for i in range(5)}
    for i in range(5):
        own = [(kind, content) for index, kind, content in events if index == i]
        assert own == [("progress", ("half way", i)), ("done", 2 * i)]


def test_no_tasks() -> None:
    run_tasks(toy.double, [], Events(), workers=2)


def test_one_worker_is_this_process_two_are_others_that_ignore_ctrl_c() -> None:
    here, apart = Events(), Events()
    run_tasks(toy.whoami, range(2), here, workers=1, threads=None)
    run_tasks(toy.whoami, range(4), apart, workers=2, threads=None)
    assert {pid for pid, _ in here.results().values()} == {os.getpid()}
    pids = {pid for pid, _ in apart.results().values()}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert all(ignores for _, ignores in apart.results().values())


def test_threads_are_set_for_the_tasks_and_put_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    events = Events()
    run_tasks(toy.threads, range(1), events, workers=1, threads=1)
    assert events.results() == {0: 1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_raises_ends_it_with_its_traceback(workers: int) -> None:
    with pytest.raises(TaskError, match=r"(?s)fail_at_two.*ZeroDivisionError: task two"):
        run_tasks(toy.fail_at_two, range(6), Events(), workers=workers, threads=None)


def test_a_worker_that_is_killed_is_noticed() -> None:
    with pytest.raises(WorkerDiedError, match="task 3 of 6"):
        run_tasks(toy.die_at_two, range(6), Events(), workers=2, threads=None)


def test_ctrl_c_ends_the_workers() -> None:
    pids: list[int] = []

    def interrupt(index: int, kind: str, content: Any) -> None:
        pids.extend(content)
        if len(pids) == 2:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tasks(toy.pid_then_sleep, range(4), interrupt, workers=2, threads=None)
    assert time.monotonic() - started < 50
    assert not any(alive(pid) for pid in pids)


def test_no_workers_is_an_error() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run_tasks(toy.double, range(2), Events(), workers=0)
