"""What training runs in folders share: a claimed folder, a saved state, TensorBoard's log."""

from rankgrad.recipes.runs.folder import RunFolderError, claim
from rankgrad.recipes.runs.logs import EventLog
from rankgrad.recipes.runs.state import BROKEN, Kept, restore, resumed, save

__all__ = ["BROKEN", "EventLog", "Kept", "RunFolderError", "claim", "restore", "resumed", "save"]
