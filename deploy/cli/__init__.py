"""The command line. Each command is a file; it, and what it needs, is loaded when it is called."""

from callboard.deploy.cli.group import callboard


def main() -> None:
    """The console script ``callboard``."""
    callboard(prog_name="callboard")


__all__ = ["callboard", "main"]
