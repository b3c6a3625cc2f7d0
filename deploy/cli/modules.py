"""Where the functions of callable backends are looked for."""

import sys
from pathlib import Path


def importable(config: Path | None) -> None:
    """Have modules beside the settings file, or in the working directory without one, be found by import."""
    folder = str((config.parent if config else Path()).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
