"""One model call over HTTP: a server's events in, deltas and an answer out, whatever the API.

An ``Assembler`` knows one API and holds what came so far. A stream that ends, breaks or stalls after the server has
said why it finished is a whole answer; before that it is half of one, and an error that tells what it cost.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from callboard.actors.backend.providers.http import Deadlines, Endpoint, Reply
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, ProviderError, Request
from callboard.actors.backend.providers.sse import Event, EventParser
from callboard.events.chat import Usage

USAGE_GRACE_S: Final = 2.0
"""How long a server may take to tell the usage of a finished answer."""

CLOSE_GRACE_S: Final = 0.1
"""How long a server may take to close a stream after its last event; else the connection is not used again."""

_SHOWN = 200


class Assembler(Protocol):
    """Builds one answer from the events of one API. Every method may raise ProviderError, without the address."""

    @property
    def begun(self) -> bool:
        """A token came, be it text, thought or part of a tool call."""
        ...

    @property
    def finished(self) -> bool:
        """The server told why the answer ends; at most the usage is missing."""
        ...

    @property
    def ended(self) -> bool:
        """The server said that nothing follows."""
        ...

    def take(self, event: Event) -> str:
        """Take in one event of a stream; returns the text it adds."""
        ...

    def take_whole(self, body: bytes) -> str:
        """Take in an answer that came as one JSON object; returns its text."""
        ...

    def spent(self) -> Usage:
        """Tokens used so far: as told, else estimated; none before the first event."""
        ...

    def answer(self) -> Answer:
        """The answer. Raises ProviderError (malformed) when only half of it came."""
        ...


async def stream_answer(
    endpoint: Endpoint, body: Mapping[str, Any], request: Request, assembler: Assembler, deadlines: Deadlines
) -> AsyncGenerator[Delta | Answer, None]:
    """Call the model; the connection is free again when the Answer is given. Raises ProviderError."""
    try:
        async with endpoint.post(body, request, deadlines) as reply:
            async with aclosing(_texts(reply, assembler, deadlines)) as texts:
                async for text in texts:
                    yield Delta(text)
            answer = assembler.answer()
    except ProviderError as error:
        error.usage = assembler.spent()
        raise
    yield answer


async def _texts(reply: Reply, assembler: Assembler, deadlines: Deadlines) -> AsyncGenerator[str, None]:
    async with aclosing(_chunks(reply, assembler)) as chunks:
        if reply.content_type == "application/json":
            if text := assembler.take_whole(b"".join([chunk async for chunk in chunks])):
                yield text
            return
        parser = EventParser()
        head, seen = b"", False
        async for chunk in chunks:
            head = head or chunk[:_SHOWN]
            for event in parser.feed(chunk):
                seen = True
                text = assembler.take(event)
                _adjust(deadlines, assembler)
                if text:
                    yield text
        for event in parser.end():
            seen = True
            if text := assembler.take(event):
                yield text
    if not seen:
        shown = " ".join(head.decode(errors="replace").split()) or "nothing"
        raise ProviderError(
            FailureKind.MALFORMED, f"sent no events but {reply.content_type or 'an unnamed type'}: {shown}"
        )


async def _chunks(reply: Reply, assembler: Assembler) -> AsyncGenerator[bytes, None]:
    """The body, up to where it ends, or breaks when the answer is whole without the rest."""
    async with aclosing(reply.chunks()) as chunks:
        try:
            async for chunk in chunks:
                yield chunk
        except ProviderError:
            if not assembler.finished:
                raise


def _adjust(deadlines: Deadlines, assembler: Assembler) -> None:
    if assembler.begun:
        deadlines.token_came()
    if assembler.ended:
        deadlines.shorten(CLOSE_GRACE_S)
    elif assembler.finished:
        deadlines.shorten(USAGE_GRACE_S)
