"""A model server that does as it is told: answers, refuses, stalls, breaks off, talks nonsense; and keeps accounts.

It speaks OpenAI's chat completions and completions and Anthropic's messages, streamed or whole. In a test::

    async with ModelServer() as server:
        server.script(Behaviour(status=429, headers={"retry-after": "2"}), Behaviour(text="fine"))
        ... call server.url ...
        assert server.calls[0].call_id == "c-1"

As a process of its own it prints ``{"port": …}`` and writes a line to the ledger when a call comes and when it ends::

    python tests/servers/model_server.py --port 0 --latency-ms 5 --ledger calls.jsonl

A token is a word. What is billed: each word of the messages, and each word that was written until the client left.
"""

import argparse
import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any, Self

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # where pytest, too, finds this folder

from servers.model_answers import Behaviour, Call, ChatAnswer, api_of

__all__ = ["Behaviour", "Call", "ModelServer"]

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Left(Exception):
    """The client closed the connection."""


class Cut(Exception):
    """The server is to close the connection."""


class ModelServer:
    """A server on loopback, while the context is open. Calls follow the script, then ``default``.

    Attributes:
        url: base of the API, ``http://127.0.0.1:PORT/v1``.
        calls: every call, in the order they came.
    """

    def __init__(self, default: Behaviour | None = None, *, port: int = 0, ledger: Path | None = None) -> None:
        self.default = default or Behaviour()
        self.calls: list[Call] = []
        self.url = ""
        self.port = port
        self._script: deque[Behaviour] = deque()
        self._ledger = ledger.open("ab", buffering=0) if ledger else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._connections = 0

    def script(self, *behaviours: Behaviour) -> None:
        """What the next calls meet, one after another."""
        self._script.extend(behaviours)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self._connected), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self._ledger:
            self._ledger.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer, self._connections))
        self._connections += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            while (call := await _read(reader, connection)) is not None:
                if api_of(call.path):
                    await self._answer(call, _Client(writer))
                else:
                    status = 200 if call.path.endswith("/health") else 404
                    _write_head(writer, status, "application/json", {}, b"{}")
        except (ConnectionError, Cut, Left):
            pass
        finally:
            writer.close()

    async def _answer(self, call: Call, client: "_Client") -> None:
        behaviour = self._script.popleft() if self._script else self.default
        self.calls.append(call)
        if behaviour.status == 200:
            call.input = sum(len(text.split()) for text in call.messages)
        self._note(call)
        try:
            await _act(call, behaviour, client)
            call.finished = behaviour.status == 200
        except (Left, ConnectionError):
            call.disconnected = True
            raise
        finally:
            self._note(call)
            call.done.set()

    def _note(self, call: Call) -> None:
        if self._ledger:
            note = {"call_id": call.call_id, "input": call.input, "output": call.output, "finished": call.finished}
            self._ledger.write(json.dumps(note).encode() + b"\n")


class _Connection(asyncio.StreamReaderProtocol):
    """A stream that also tells at once when the client is gone."""

    def __init__(self, connected: Any) -> None:
        super().__init__(asyncio.StreamReader(limit=64 << 20), connected)
        self.gone = asyncio.Event()

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(error)


class _Client:
    """The other end of a call."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        protocol = writer.transport.get_protocol()
        assert isinstance(protocol, _Connection)
        self.writer = writer
        self._gone = protocol.gone

    async def pause(self, seconds: float | None) -> None:
        """Wait, for ever if None. Raises Left."""
        if seconds == 0 and not self._gone.is_set():
            return
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return
        raise Left

    async def send_chunk(self, data: bytes, piece_size: int) -> None:
        """Write one chunk of the body, or many of at most ``piece_size`` bytes."""
        size = piece_size or len(data) or 1
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if piece_size:
                await self.writer.drain()
                await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader, connection: int) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except asyncio.IncompleteReadError:
        return None
    return Call(request.split(" ")[1].partition("?")[0], headers, json.loads(body or b"{}"), connection)


def _write_head(
    writer: asyncio.StreamWriter, status: int, content_type: str, headers: dict[str, str], body: bytes | None
) -> None:
    """The head, and the body if there is one; else chunks follow."""
    length = "transfer-encoding: chunked" if body is None else f"content-length: {len(body)}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    status_line = f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"
    head = f"{status_line}\r\ncontent-type: {content_type}\r\n{length}\r\n{more}\r\n"
    writer.write(head.encode() + (body or b""))


async def _act(call: Call, behaviour: Behaviour, client: _Client) -> None:
    api = api_of(call.path)
    assert api is not None
    answer = api(call, behaviour)
    await client.pause(behaviour.before_headers)
    if behaviour.status != 200:
        refusal = behaviour.body if behaviour.body is not None else answer.error()
        _write_head(client.writer, behaviour.status, "application/json", behaviour.headers, refusal)
        return
    if behaviour.whole or not call.body.get("stream"):
        await client.pause(behaviour.before_first_token)
        call.output = len(answer.words)
        _write_head(client.writer, 200, "application/json", behaviour.headers, answer.whole())
        return
    _write_head(client.writer, 200, behaviour.content_type, behaviour.headers, None)
    if behaviour.body is not None:
        await client.pause(behaviour.before_first_token)
        await client.send_chunk(behaviour.body, behaviour.piece_size)
    else:
        await _stream(call, behaviour, answer, client)
    client.writer.write(b"0\r\n\r\n")
    await client.writer.drain()


async def _stream(call: Call, behaviour: Behaviour, answer: ChatAnswer, client: _Client) -> None:
    for event in answer.begin():
        await client.send_chunk(event, behaviour.piece_size)
    await client.pause(behaviour.before_first_token)
    for number, word in enumerate([*answer.words, None]):
        if number == behaviour.cut_after:
            await client.writer.drain()
            raise Cut
        if number == behaviour.stall_after:
            await client.pause(None)
        if number == behaviour.garbage_after:
            await client.send_chunk(b"data: {%%garbage\n\n", 0)
        if number == behaviour.error_after:
            await client.send_chunk(b"event: error\ndata: " + answer.error() + b"\n\n", 0)
            return
        if word is None:
            break
        await client.pause(behaviour.between_tokens if number else 0)
        call.output = number + 1
        await client.send_chunk(answer.token(word), behaviour.piece_size)
    for event in answer.end():
        await client.send_chunk(event, behaviour.piece_size)


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A model server that repeats what it is told, and keeps accounts.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 is any free one")
    parser.add_argument("--latency-ms", type=float, default=0, help="until the first token")
    parser.add_argument("--token-ms", type=float, default=0, help="between two tokens")
    parser.add_argument("--text", help="the answer; without it, the last message")
    parser.add_argument("--ledger", type=Path, help="file that a JSON line is appended to at a call's start and end")
    given = parser.parse_args()
    default = Behaviour(given.text, before_first_token=given.latency_ms / 1000, between_tokens=given.token_ms / 1000)
    async with ModelServer(default, port=given.port, ledger=given.ledger) as server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
