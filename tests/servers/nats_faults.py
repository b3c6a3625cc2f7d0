"""What can happen to a NATS server and to the way there: a crash, a cut, lost questions, lost answers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from callboard.bus.server import EmbeddedServer


async def crash(server: EmbeddedServer) -> None:
    """Kill -9, and wait until it was started again on the same port and folder."""
    times = server.restarted
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while server.restarted == times:
            await asyncio.sleep(0.005)


class Proxy:
    """Passes bytes between clients and a server, as long as ``questions`` and ``answers`` are True."""

    def __init__(self, url: str) -> None:
        self.questions = True
        self.answers = True
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def cut(self) -> None:
        """Break every connection, and pass everything on the next ones."""
        self.questions = self.answers = True
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        assert self._server
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        for source, drain, kind in ((reader, up_writer, "questions"), (up_reader, writer, "answers")):
            self._writers.add(drain)
            task = asyncio.create_task(self._pass(source, drain, kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, drain: asyncio.StreamWriter, kind: str) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(65536):
                    if getattr(self, kind):
                        drain.write(data)
                        await drain.drain()
        finally:
            drain.transport.abort()
            self._writers.discard(drain)


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy to the server at ``url``."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.aclose()
