"""A guard around code that must not touch the world: no connection, no process, no file is written.

Python tells of whatever opens a socket, starts a process or opens a file (PEP 578), and a hook may forbid it. Code that
means harm can get round that; code that forgets that it is only rehearsed can't.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from callboard.events.errors import CallboardError

_FORBIDDEN: Final = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "socket.sendto",
        "socket.sendmsg",
        "sqlite3.connect",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.kill",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "os.truncate",
        "shutil.rmtree",
    }
)
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

_guarded: ContextVar[list[str] | None] = ContextVar("guarded", default=None)
_hooked: list[bool] = []


class Forbidden(CallboardError, PermissionError):
    """Code that is only rehearsed wanted to touch the world; it was kept from it."""


@contextmanager
def guarded() -> Iterator[list[str]]:
    """What runs here, or is started here, can't touch the world; what it wanted to do is put into the list."""
    if not _hooked:
        sys.addaudithook(_heed)  # for as long as the process lives: there is no way to take one away
        _hooked.append(True)
    wanted: list[str] = []
    token = _guarded.set(wanted)
    try:
        yield wanted
    finally:
        _guarded.reset(token)


def _heed(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _FORBIDDEN and event != "open":
        return
    if (wanted := _guarded.get()) is None:
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
        return
    shown = ", ".join(repr(each)[:80] for each in arguments[:2])
    wanted.append(f"{event}({shown})")
    raise Forbidden(f"a rehearsal changes nothing and calls nobody, and this wants {event}({shown}): do it in a step")
