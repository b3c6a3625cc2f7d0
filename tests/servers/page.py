"""A page beside the log, on which it is written down what agents have really done."""

import os
import time
from pathlib import Path

from callboard.actors.agents.turn import Turn


def write(page: Path, turn: Turn, step: str) -> None:
    """A line that is on the disk when this returns: when which agent did which step, for which message."""
    line = f"{time.time_ns()} {turn.agent} {turn.message} {step}\n"
    file = os.open(page, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)
