"""Starting workers as processes of their own."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def start(script: str, world: int, folder: Path) -> list[subprocess.Popen[str]]:
    """Start ``world`` processes of a script: each gets its rank, the world and the folder."""
    return [
        subprocess.Popen(
            [sys.executable, str(FOLDER / script), str(rank), str(world), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]


def finish(workers: list[subprocess.Popen[str]]) -> list[str]:
    """Wait for all; return what each printed. Complain if one failed."""
    said = [worker.communicate(timeout=240)[0] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), "\n".join(said)
    return said
