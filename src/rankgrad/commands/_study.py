"""The runs of a study, made or found in its folder."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from rankgrad.commands.errors import study_errors

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.recipes.experiments import RunStore, StoredRun, Study

__all__ = ["run_stored"]


def run_stored(
    options: argparse.Namespace,
    study: "Study",
    store: "RunStore",
    console: "Console",
    headline: Callable[[dict[str, float]], str],
) -> "list[StoredRun]":
    """Make the runs that are missing, or all of them with ``--fresh``, and return all.

    Args:
        options: what :func:`~rankgrad.commands.options.add_study_options` has added.
        study: what to run.
        store: where runs are kept.
        console: where to show how far they are.
        headline: the few words about a finished run, from its metrics.

    Raises:
        CommandError: they cannot be made or stored.
    """
    from rankgrad.recipes.experiments import progress_display, run_study

    with study_errors():
        store.folder.mkdir(parents=True, exist_ok=True)
        if options.fresh:
            store.clear()
        display = progress_display(console, headline)
        return run_study(study, store, display, workers=options.workers)
