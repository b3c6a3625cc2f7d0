"""The interpreters that runners run in: Callboard's is this one, its peers have a virtual environment of their own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PINNED: Final = Path(__file__).with_name("requirements.txt")
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "langgraph": ("langgraph", "langgraph-checkpoint-sqlite"),
    "dbos": ("dbos",),
    "autogen": ("autogen-core",),
}
"""What each peer needs, in the versions of `PINNED`."""


def peers_python(folder: Path) -> Path:
    """The interpreter of the virtual environment in ``folder``, which is made if there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return python


def missing(python: Path) -> dict[str, str]:
    """Install the peers, one by one; those that can't be, with the reason."""
    found: dict[str, str] = {}
    for peer, packages in PACKAGES.items():
        command = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(PINNED), *packages]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=clean())
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            found[peer] = f"could not be installed: {said[-1] if said else done.returncode}"
    return found


def clean() -> dict[str, str]:
    """This environment without what makes other interpreters import what is ours."""
    return {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
