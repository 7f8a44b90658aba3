"""What a subcommand raises to end with one clear line."""

from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["CommandError", "require"]


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
