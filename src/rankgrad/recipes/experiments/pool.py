"""Worker processes that each run one task at a time and report while they do."""

import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = ["TaskError", "WorkerDiedError", "run_tasks"]

# What runs: function(task, report); report takes any arguments that can be pickled.
Function = Callable[[Any, Callable[..., None]], Any]
# What hears of it: on_event(index of the task, "progress" or "done", arguments or result).
OnEvent = Callable[[int, str, Any], None]


class TaskError(Exception):
    """A task raised; the message holds its traceback."""


class WorkerDiedError(Exception):
    """A worker process ended in the middle of a task, killed perhaps for want of memory."""


def run_tasks(
    function: Function,
    tasks: Sequence[Any],
    on_event: OnEvent,
    *,
    workers: int = 2,
    threads: int | None = 1,
) -> None:
    """Run ``function(task, report)`` for every task and tell ``on_event`` as things happen.

    With one worker the tasks run in this process. With more they run in processes of their own,
    started afresh (no fork: a forked process inherits locks of threads that it does not have).
    Those processes ignore Ctrl-C; an exception in this one, Ctrl-C included, ends them.

    Args:
        function: A function of a module.
        tasks: The first argument of each call.
        on_event: Called in this process.
        workers: How many tasks run at once.
        threads: Threads of PyTorch in each worker, the same for any number of workers: it is part
            of what makes results repeatable. None leaves PyTorch alone.

    Raises:
        TaskError: a task raised. Tasks under way are given up.
        WorkerDiedError: a process ended on its own. Tasks under way are given up.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    workers = min(workers, len(tasks))
    if workers > 1:
        _run_in_processes(function, tasks, on_event, workers, threads)
    else:
        _run_here(function, tasks, on_event, threads)


def _run_here(
    function: Function, tasks: Sequence[Any], on_event: OnEvent, threads: int | None
) -> None:
    with _torch_threads(threads):
        for index, task in enumerate(tasks):

            def report(*message: Any, index: int = index) -> None:
                on_event(index, "progress", message)

            try:
                result = function(task, report)
            except Exception as error:
                raise TaskError(traceback.format_exc()) from error
            on_event(index, "done", result)


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_in_processes(
    function: Function, tasks: Sequence[Any], on_event: OnEvent, workers: int, threads: int | None
) -> None:
    context = multiprocessing.get_context("spawn")
    todo = list(enumerate(tasks))[::-1]
    processes: list[BaseProcess] = []
    running: dict[Connection, int] = {}
    try:
        with _ctrl_c_ignored():
            for _ in range(workers):
                ours, theirs = context.Pipe()
                arguments = (theirs, function, threads)
                process = context.Process(target=_serve, args=arguments, daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                running[ours], task = todo.pop()
                ours.send(task)
        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                index = running[ready]
                try:
                    kind, content = ready.recv()
                    if kind == "done" and todo:
                        running[ready], task = todo.pop()
                        ready.send(task)
                except (EOFError, OSError):
                    message = f"a worker process ended during task {index + 1} of {len(tasks)}"
                    raise WorkerDiedError(message) from None
                if kind == "failed":
                    raise TaskError(content)
                if kind == "done" and running[ready] == index:
                    del running[ready]
                    ready.close()
                on_event(index, kind, content)
    finally:
        for started in processes:
            if running:
                started.terminate()
            started.join()


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Processes started in here inherit that Ctrl-C is not for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, function: Function, threads: int | None) -> None:
    """Work until the other end closes the connection."""

    def report(*message: Any) -> None:
        connection.send(("progress", message))

    with _torch_threads(threads), suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            try:
                answer = ("done", function(task, report))
            except BrokenPipeError:
                # Nobody listens any more.
                return
            except Exception:
                answer = ("failed", traceback.format_exc())
            connection.send(answer)
