"""How long the disk takes to keep something, beside the figures that hang on it."""

import os
import tempfile
import time
from pathlib import Path

from peers.measuring import milliseconds

WRITES = 100
BLOCK = b"x" * 4096


def fsync() -> dict[str, float]:
    """Milliseconds of an append and its fdatasync, where the stores are."""
    took = []
    with tempfile.TemporaryDirectory() as folder:
        file = os.open(Path(folder) / "probe", os.O_CREAT | os.O_WRONLY)
        for _ in range(WRITES):
            began = time.perf_counter()
            os.write(file, BLOCK)
            os.fdatasync(file)
            took.append(time.perf_counter() - began)
        os.close(file)
    return milliseconds(took)
