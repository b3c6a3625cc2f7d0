"""A node with a backend that answers nothing before it may, so that work is under way for as long as a test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callboard.actors.agents.definition import Definition
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings, Telemetry
from callboard.events.money import Price

ECHO, HELD = {"capabilities": ["echo"]}, {"capabilities": ["held"]}


def held_until(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the backend ``held`` waits for from now on."""
    monkeypatch.setenv("HELD_UNTIL", str(file))
    return file


def settings(folder: Path, url: str = "") -> Settings:
    """The backends ``echo``, which answers at once, and ``held``."""
    backends = {
        name: Backend(
            provider="callable",
            function=f"servers.callable_backends:{name}",
            capabilities=("chat", name),
            concurrency=64,
            context=10**6,
            price=Price(1_000_000, 2_000_000),
        )
        for name in ("echo", "held")
    }
    nats = Nats(url=url, fsync="100ms")
    return Settings(data=str(folder), nats=nats, telemetry=Telemetry(traces="off"), backends=backends)


@asynccontextmanager
async def leaving(folder: Path, *agents: Definition) -> AsyncIterator[Node]:
    """A node that ends without waiting for long for calls that are under way: they are held anyway."""
    node = Node(settings(folder), agents=agents)
    await node.start()
    try:
        yield node
    finally:
        await node.stop(grace_s=0.5)
