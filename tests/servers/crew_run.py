"""Runs of the crew in processes of their own, which are killed -9 at random moments and started again."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from servers.crew import agents, editor_of

from callboard.actors.agents.host import Host
from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.timekeeper import Timekeeper
from callboard.bus import jetstream
from callboard.bus.entities import TASK, Entities
from callboard.bus.log import Bus, Record
from callboard.bus.memory import MemoryBus
from callboard.bus.server import EmbeddedServer
from callboard.events.context_content import Content
from callboard.projections.agents import AGENTS, FOLLOWED

HOST = Path(__file__).with_name("agent_host.py")
CREW = HOST.with_name("crew.py")
LONGEST_S = 0.5
"""So long the next one lives at most, once agents live there."""

AT_A_TIME = 2
"""Stories that are under way while there is still somebody to be killed."""


@dataclass
class Run:
    """What is left of a run: the log, the page, what is in the contexts; who was killed or stopped, and how often."""

    stories: int = 0
    stops: int = 0
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("host", "host at its start", "nats"), 0))
    records: list[Record] = field(default_factory=list)
    page: list[str] = field(default_factory=list)
    contexts: dict[str, Content] = field(default_factory=dict)


class CrewHost:
    """A process that hosts the crew, one after another; each is called anew."""

    def __init__(self, url: str, folder: Path, name: str) -> None:
        self._url = url
        self._folder = folder
        self._name = name
        self._number = 0
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._number += 1
        called = ("--url", self._url, "--host", f"{self._name}-{self._number}")
        files = ("--file", str(CREW), "--page", str(self._folder / "page"))
        with (self._folder / f"{self._name}.log").open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, str(HOST), *called, *files, stdout=asyncio.subprocess.PIPE, stderr=log, env=os.environ
            )

    async def ready(self) -> None:
        """Returns when agents live there."""
        if not await asyncio.wait_for(self._child.stdout.readline(), 60):
            said = (self._folder / f"{self._name}.log").read_text()[-3000:]
            raise RuntimeError(f"host {self._name}-{self._number} ended by itself:\n{said}")

    async def stop(self, seconds: float) -> None:
        """All its time is taken from it for a while, as by a machine that is out of memory; then it goes on."""
        self._child.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._child.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        if self._child and self._child.returncode is None:
            self._child.send_signal(signal.SIGKILL)
            await self._child.wait()


async def havoc(server: EmbeddedServer, hosts: list[CrewHost], run: Run, kills: int, seed: int) -> None:
    """Kill a host at a random moment, while it starts or later, and sometimes the server as well.

    Of several hosts one is sometimes stopped, until the others have long given it up.
    """
    dice = random.Random(seed)
    for _ in range(kills):
        host = dice.choice(hosts)
        if len(hosts) > 1 and dice.random() < 0.15:
            await host.stop(dice.uniform(0.7, 1.5))
            run.stops += 1
            host = dice.choice(hosts)
        if dice.random() < 0.05:
            os.kill(server.pid, signal.SIGKILL)
            run.kills["nats"] += 1
        if dice.random() < 0.1:
            await host.kill()
            await host.start()
            await asyncio.sleep(dice.uniform(0, LONGEST_S))
            run.kills["host at its start"] += 1
        else:
            await asyncio.sleep(dice.uniform(0, LONGEST_S))
            run.kills["host"] += 1
        await host.kill()
        await host.start()
        await host.ready()


async def interrupted(folder: Path, *, kills: int, seed: int, hosts: int = 1) -> Run:
    """Stories until so many were killed, and then those that were begun."""
    run = Run()
    async with EmbeddedServer(folder / "nats") as server, _audience(await jetstream.connect(server.url)) as audience:
        several = [CrewHost(server.url, folder, "abc"[number]) for number in range(hosts)]
        try:
            for host in several:
                await host.start()
                await host.ready()
            killing = asyncio.create_task(havoc(server, several, run, kills, seed))
            while not killing.done():
                if run.stories - audience.told < AT_A_TIME:
                    await audience.ask(run.stories)
                    run.stories += 1
                await asyncio.sleep(0.02)
            await killing
            await audience.quiet(run.stories)
        finally:
            for host in several:
                await host.kill()
        await audience.keep(run)
    run.page = (folder / "page").read_text().splitlines()
    return run


async def uninterrupted(folder: Path, stories: int) -> Run:
    """The same stories in memory, one host, and nobody is killed."""
    run, bus = Run(stories), MemoryBus()
    host = Host(bus, "h", agents(folder / "reference", 0.0, 0.001))
    keeper = Timekeeper(bus, Entities(bus.log, TASK, "timekeeper"))
    running = [asyncio.create_task(each.run()) for each in (host, keeper)]
    await host.ready.wait()
    async with _audience(bus) as audience:
        for number in range(stories):
            await audience.ask(number)
        await audience.quiet(stories)
        await audience.keep(run)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return run


class Audience:
    """Asks for stories, and follows the log until all is done."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._board = Board(bus, "audience")
        self.projector = Projector(bus, AGENTS, subjects=FOLLOWED, snapshot=None)

    @property
    def told(self) -> int:
        """Stories that were filed."""
        row = self.projector.state(AGENTS).by_id.get("archivist")
        return row.finished if row else 0

    async def ask(self, number: int) -> None:
        """A story, once, whatever happens."""
        await self._board.send(editor_of(number), f"{number}", key=f"story {number}")

    async def quiet(self, stories: int, timeout_s: float = 60.0) -> None:
        """Returns when all stories were filed, and nobody has anything to do."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.told < stories or self.projector.state(AGENTS).runnable:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            rows = [row for row in self.projector.state(AGENTS).by_id.values() if row.work or row.waiting]
            raise AssertionError(f"{self.told} of {stories} stories were told; left lying: {rows}") from None

    async def keep(self, run: Run) -> None:
        async for batch in self._bus.log.read_all():
            run.records += batch
        for name in ("archive", *(f"story-{number}" for number in range(run.stories))):
            run.contexts[name] = await self._board.context(name).read()

    async def aclose(self) -> None:
        await self._board.aclose()
        await self._bus.aclose()


@asynccontextmanager
async def _audience(bus: Bus) -> AsyncIterator[Audience]:
    audience = Audience(bus)
    following = asyncio.create_task(audience.projector.run())
    try:
        yield audience
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await audience.aclose()
