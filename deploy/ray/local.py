"""A Ray cluster of one node on this machine, in the background, for as long as it is wanted.

As a process of its own it starts Ray, says where in ``ray.json`` of a folder, and ends Ray when it is told to end. When
it is killed, Ray's processes end with it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from callboard.bus.errors import Unavailable
from callboard.deploy.ray.environment import prepare

START_S: Final = 60.0
STOP_S: Final = 30.0
STORE_BYTES: Final = 100_000_000
"""Ray's object store: nothing is carried through it."""

_PAUSE_S: Final = 0.05


class Local(Struct, frozen=True):
    """Where it is, and the process to end."""

    address: str
    pid: int


def local_at(folder: Path) -> Local | None:
    """The one that runs for this folder."""
    with suppress(OSError, msgspec.DecodeError):
        if _held(folder):
            return msgspec.json.decode(_file(folder).read_bytes(), type=Local)
    return None


def start(folder: Path) -> Local:
    """Start one, which outlives this process. Raises Unavailable, with its log's place, when it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    _file(folder).unlink(missing_ok=True)
    log = folder / "ray.log"
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.poll() is None:
        if local := local_at(folder):
            return local
        time.sleep(_PAUSE_S)
    child.terminate()
    raise Unavailable(f"Ray did not start here: {log} says why")


def stop(folder: Path) -> bool:
    """End the one that runs for this folder; says whether there was one."""
    local = local_at(folder)
    if local is None:
        return False
    os.kill(local.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while _held(folder) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
    return True


def _file(folder: Path) -> Path:
    return folder / "ray.json"


def _held(folder: Path) -> bool:
    """Whether the process that wrote the file still runs: it holds a lock on it."""
    with suppress(OSError), _file(folder).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _main(folder: Path) -> None:
    prepare()
    import ray  # noqa: PLC0415  reads the environment

    asked = threading.Event()
    ray.init(address="local", include_dashboard=False, object_store_memory=STORE_BYTES, log_to_driver=False)
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    signal.signal(signal.SIGINT, lambda *_: asked.set())
    with _file(folder).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(msgspec.json.encode(Local(ray.get_runtime_context().gcs_address, os.getpid())))
        file.flush()
        asked.wait()
        ray.shutdown()
        _file(folder).unlink()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
