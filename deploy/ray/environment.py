"""What must stand in the environment before Ray is imported: it reads it then."""

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

MODE: Final = "RAY_AUTH_MODE"
TOKEN: Final = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
TOKEN_FILE: Final = Path("~/.ray/auth_token")


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Send no usage statistics, and show the token that there is.

    Ray makes a token for whoever starts it, and asks for it; but who connects shows it only when told to.
    """
    environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if any(environ.get(name) for name in TOKEN) or TOKEN_FILE.expanduser().is_file():
        environ.setdefault(MODE, "token")
