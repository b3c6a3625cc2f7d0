"""Addresses of NATS servers: how they are read, and what of them may be printed."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from callboard.events.errors import InvalidInput

_NEXT_SERVER: Final = re.compile(r",(?=\s*\w+://)")
"""Other commas may be of a password."""


def servers_of(url: str) -> list[str]:
    """The servers of an address, one or several with commas between. Raises InvalidInput if it can't be one."""
    servers = [server.strip() for server in url.split(",")]
    try:
        known = all(parts(server).hostname and parts(server).port != 0 for server in servers)
    except ValueError:
        known = False
    if known:
        return servers
    how = "; characters of a password that mean something there are written as %2C" if has_user(url) else ""
    raise InvalidInput(f"{shown(url)!r} is no address of NATS: it must be like nats://host:4222{how}")


def shown(url: str) -> str:
    """The address, or several with commas between, as it may be printed: without users and passwords."""
    return ",".join(_without_user(each) for each in _NEXT_SERVER.split(url))


def has_user(url: str) -> bool:
    """Whether an address holds what may not be printed."""
    return shown(url) != url


def parts(server: str) -> SplitResult:
    """The parts of one server's address, which needs no scheme."""
    return urlsplit(server if "://" in server else f"nats://{server}")


def _without_user(server: str) -> str:
    before, at, host = server.rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return (scheme + slashes if slashes else "") + host if at else server
