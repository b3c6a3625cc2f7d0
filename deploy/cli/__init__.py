"""The command line. Each command is a file; it, and what it needs, is loaded when it is called."""

import os

from callboard.deploy.cli.group import callboard


def main() -> None:
    """The console script ``callboard``."""
    # the router's matrices are small: threads for them only get in each other's way
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    callboard(prog_name="callboard")


__all__ = ["callboard", "main"]
