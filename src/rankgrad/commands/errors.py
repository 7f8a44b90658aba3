"""What a subcommand raises to end with one clear line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

__all__ = ["CommandError", "require", "study_errors", "training_errors"]


class CommandError(Exception):
    """Ends the command: the message goes to standard error, ``code`` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def require(modules: Sequence[str], extra: str, what: str) -> None:
    """Raise, naming the command that installs them, unless all modules can be imported.

    >>> require(["json"], "recipes", "the demo")
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise CommandError(
            f"{what} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed: pip install 'rankgrad[{extra}]'"
        )


@contextmanager
def training_errors(*refusals: type[Exception]) -> Iterator[None]:
    """End the command with a clear line where a training run cannot start or go on.

    Args:
        refusals: errors of the recipe that say what is wrong with the options.
    """
    from rankgrad.recipes.runs import RunFolderError

    try:
        yield
    except RunFolderError as error:
        raise CommandError(
            f"{error}\nTake another folder with --name or --out"
            f"{', or start over with --fresh' if 'other settings' in str(error) else ''}.",
            2,
        ) from None
    except refusals as error:
        raise CommandError(str(error), 2) from None
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; the same command goes on after the last finished epoch", 130
        ) from None


@contextmanager
def study_errors() -> Iterator[None]:
    """End the command with a clear line where the runs of a study cannot start or go on."""
    from rankgrad.recipes.experiments import ChangedStudyError, TaskError, WorkerDiedError

    try:
        yield
    except ChangedStudyError as error:
        raise CommandError(
            f"{error}\nTake another folder with --out, or delete those runs with --fresh.", 2
        ) from None
    except OSError as error:
        raise CommandError(f"cannot write the results: {error}") from None
    except (TaskError, WorkerDiedError) as error:
        raise CommandError(f"{error}\nFinished runs are kept; run again to go on.") from None
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; finished runs are kept, the same command goes on from there", 130
        ) from None
