"""Functions that hold the interpreter while they stand for models, for workers in processes of their own."""

import os
import time


def busy(request):
    """Compute for so many milliseconds as the text says, then say in what process that was."""
    until = time.monotonic() + float(request.messages[-1].content) / 1000
    while time.monotonic() < until:
        pass
    return f"{os.getpid()}"
