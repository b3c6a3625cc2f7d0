"""A model server of our own: llama.cpp in a child process, with an OpenAI-compatible address on loopback."""

import asyncio
import contextlib
import http.client
import os
import sys
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from callboard.deploy.models.weights import Model
from callboard.events.errors import CallboardError

STOP_GRACE = 5.0
"""Seconds a server gets to end by itself before it is killed."""

HEALTH_POLL = 0.05
"""Seconds between two looks whether it answers."""

LOG_TAIL = 5
"""Lines of the log that an error quotes."""


class ServeFailed(CallboardError):
    """The model server did not start; the message quotes the end of its log."""


class LlamaServer:
    """One model, served while the context is open. Dies with this process, however that ends.

    It must be started from a thread that lives as long as the server: Linux ends a child with the thread that made it.

    Attributes:
        url: base address of the API, `http://127.0.0.1:PORT/v1`; empty while not running.
        pid: the server's process id; 0 while not running.
    """

    def __init__(
        self,
        model: Model,
        weights: Path,
        *,
        log: Path,
        threads: int = 1,
        slots: int = 2,
        context: int = 2048,
        port: int = 0,
        ready_within: float = 60.0,
    ) -> None:
        """Describe the server; nothing is started yet.

        Args:
            model: what is served; answers carry its name.
            weights: the GGUF file, as `fetch` returned it.
            log: file that the server's own messages are appended to.
            threads: cores it may use; all servers together should not have more than the machine, or all crawl.
            slots: requests that are answered at a time; more wait. They share its threads.
            context: tokens a request may take, prompt and answer together.
            port: on 127.0.0.1; 0 is any free one.
            ready_within: seconds it may take to load and answer.
        """
        self.url = ""
        self.pid = 0
        self._log = log
        self._log_start = 0
        self._ready_within = ready_within
        self._name = model.name
        self._process: asyncio.subprocess.Process | None = None
        self._options = [
            f"--model={weights}",
            f"--name={model.name}",
            f"--port={port}",
            f"--threads={threads}",
            f"--slots={slots}",
            f"--context={context}",
            f"--chat-template={model.chat_template}",
            *(f"--stop={text}" for text in model.stop),
        ]

    async def start(self) -> Self:
        """Start the server and wait until it answers. Raises ServeFailed."""
        if find_spec("xllamacpp") is None:
            raise ServeFailed("serving models on this machine needs xllamacpp: pip install 'callboard[models]'")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "callboard.deploy.models.serve", f"--parent={os.getpid()}", *self._options]
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        self.pid = self._process.pid
        try:
            async with asyncio.timeout(self._ready_within):
                address = await self._address(self._process)
                while True:
                    if await asyncio.to_thread(_healthy, address):
                        break
                    await asyncio.sleep(HEALTH_POLL)
        except TimeoutError:
            await self.stop()
            raise self._failed(f"does not answer after {self._ready_within:g} s") from None
        except BaseException:
            await self.stop()
            raise
        self.url = f"{address}/v1"
        return self

    async def stop(self) -> None:
        """End the server and wait until it is gone; does nothing if it is not running."""
        process, self._process = self._process, None
        self.url, self.pid = "", 0
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _address(self, process: asyncio.subprocess.Process) -> str:
        """Where the child listens, once its model is loaded."""
        assert process.stdout is not None
        async for line in process.stdout:
            word, _, address = line.decode(errors="replace").strip().partition(" ")
            if word == "listening":
                return address
        raise self._failed(f"ended with code {await process.wait()} while it started")

    def _failed(self, what: str) -> ServeFailed:
        with self._log.open(errors="replace") as log:
            log.seek(self._log_start)
            tail = " | ".join(deque((line.strip() for line in log), LOG_TAIL)) or "nothing"
        return ServeFailed(f"the server of model {self._name} {what}; the end of its log, {self._log}: {tail}")


def _healthy(address: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
