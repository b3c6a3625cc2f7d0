"""The data folder of an embedded server: its lock, its configuration, its logs. One server at a time holds it."""

import asyncio
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from callboard.bus.errors import ServerError
from callboard.events.errors import InvalidInput

MIN_FREE: Final = 64 * 1024 * 1024

_LOCK: Final = "server.lock"
_CONFIG: Final = "nats-server.conf"
_LOG: Final = "nats-server.log"
_ERRORS: Final = "nats-server.err"
_FSYNC = re.compile(r"always|[1-9]\d*(ms|s|m)")
_UNLIMITED: Final = 2**60
"""The streams have limits of their own. The server's default, three quarters of what is free at its start, would count
what it holds already a second time."""
_STAMP = re.compile(r"^\[\d+\] \S+ \S+ ")
_ORPHAN_S: Final = 10.0
"""How long the server of a process that was killed may take to go."""


def running(data: Path) -> str | None:
    """The URL of the server that holds the folder ``data`` now, None if there is none or it isn't ready yet."""
    try:
        lock = os.open(data / _LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _locked(lock, fcntl.LOCK_SH) else _holder(lock)[1]
    finally:
        os.close(lock)


def free_bytes(folder: Path) -> int:
    """What is free on the disk that ``folder`` is on."""
    return shutil.disk_usage(folder).free


class Folder:
    """A data folder, locked from `take` to `release`.

    The server's process inherits ``lock``, so that the folder stays locked for as long as either lives.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / _CONFIG
        self.errors = self.path / _ERRORS
        self.lock = -1
        self._log = self.path / _LOG
        self._log_start = 0

    async def take(self) -> None:
        """Make and lock the folder. Raises ServerError when that's impossible or another server holds it."""
        with self._explained():
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await self._wait_for_lock()
            if (free := free_bytes(self.path)) < MIN_FREE:
                raise ServerError(
                    f"{self.path}: only {free >> 20} MiB are free, {MIN_FREE >> 20} are needed: make room or move it"
                )
            self.announce("")
        except BaseException:
            os.close(self.lock)
            self.lock = -1
            raise

    def announce(self, url: str) -> None:
        """Tell others who holds the folder, and where its server listens."""
        with self._explained():
            os.ftruncate(self.lock, 0)
            os.pwrite(self.lock, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def release(self) -> None:
        """Let another server have the folder."""
        if self.lock >= 0:
            os.ftruncate(self.lock, 0)
            fcntl.flock(self.lock, fcntl.LOCK_UN)  # also for those who inherited it
            os.close(self.lock)
            self.lock = -1

    def configure(self, *, name: str, port: int, fsync: str, max_payload: int, monitor_port: int | None) -> str:
        """Write the configuration, and return the server's name, which no other folder's server has."""
        if not _FSYNC.fullmatch(fsync):
            raise InvalidInput(f"fsync {fsync!r} is not valid: use 'always' or an interval such as '100ms'")
        server_name = f"{name}-{sha256(str(self.path).encode()).hexdigest()[:8]}"
        lines = [
            f"server_name: {json.dumps(server_name)}",
            "host: 127.0.0.1",
            f"port: {port}",
            f"max_payload: {max_payload}",
            f"log_file: {json.dumps(str(self._log), ensure_ascii=False)}",
            "logfile_size_limit: 16MB",
            "logfile_max_num: 4",
            f"jetstream {{ store_dir: {json.dumps(str(self.path), ensure_ascii=False)}",
            f"  sync_interval: {fsync}",
            f"  max_file_store: {_UNLIMITED}",
            "}",
        ]
        if monitor_port is not None:
            lines.append(f'http: "127.0.0.1:{monitor_port}"')
        with self._explained():
            self.config.write_text("\n".join([*lines, ""]), encoding="utf-8")
            self._log_start = self._log.stat().st_size if self._log.exists() else 0
        return server_name

    def log_tail(self, lines: int = 3) -> str:
        """What the server complained of last since it was configured, or else said last, in one line."""
        said: list[str] = []
        for file, start in ((self.errors, 0), (self._log, self._log_start)):
            if file.exists():
                content = file.read_bytes()
                text = content[start if start <= len(content) else 0 :].decode(errors="replace")
                said += [_STAMP.sub("", line).strip() for line in text.splitlines()]
        complaints = [line for line in said if not line.startswith("[INF]")]
        return " | ".join((complaints or said)[-lines:]) or "it said nothing"

    async def _wait_for_lock(self) -> None:
        deadline = asyncio.get_running_loop().time() + _ORPHAN_S
        tries = 0
        while not _locked(self.lock, fcntl.LOCK_EX):
            pid, url = _holder(self.lock)
            alive = pid is None or _alive(pid)
            tries += 1
            if (alive and tries > 3) or asyncio.get_running_loop().time() > deadline:  # `running` may hold it briefly
                raise ServerError(
                    f"{self.path} is in use by the server of process {pid or '(unknown)'}{f' ({url})' if url else ''}: "
                    "join it, stop that process, or choose another folder"
                )
            await asyncio.sleep(0.02)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = {
                errno.EACCES: "give this user the right to write there, or choose another folder",
                errno.EROFS: "choose a folder that can be written",
                errno.EEXIST: "that is a file: choose a folder",
                errno.ENOTDIR: "a part of the path is a file: choose another folder",
                errno.ENOSPC: "make room or choose another disk",
            }.get(error.errno or 0, "choose another folder")
            raise ServerError(f"data folder {self.path}: {error.strerror}: {hint}") from error


def _locked(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: int) -> tuple[int | None, str | None]:
    try:
        holder = json.loads(os.pread(lock, 4096, 0))
        return int(holder["pid"]), str(holder["url"]) or None
    except (ValueError, KeyError, TypeError):
        return None, None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _ended(pid)


def _ended(pid: int) -> bool:
    """Whether a process has ended, and is there only until its parent takes notice; not to be seen everywhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
