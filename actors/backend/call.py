"""One model call: the task's prompt out to the provider, tokens to whoever listens, the answer and its timing back."""

import time
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Struct

from callboard.actors.backend.providers.estimate import estimated_usage
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, Provider, ProviderError, Request
from callboard.actors.contexts import Contexts
from callboard.actors.reading import prompt_of
from callboard.bus.errors import NotFound
from callboard.bus.subjects import tokens
from callboard.events.chat import Message, Usage
from callboard.events.errors import Forgotten, InvalidInput, Undecodable
from callboard.events.money import Price
from callboard.events.task_spec import TaskSpec

NOTE: Final = 64 * 1024
"""Characters of a message at most: NATS servers take 1 MiB as they come, and as JSON they may be six times as long."""


class TokenNote(Struct, frozen=True):
    """A piece of text on ``tok.<task>``. ``call`` tells a second try from the first; ``at`` is the text's offset."""

    call: int
    at: int
    text: str


def call_id(task_id: str, number: int) -> str:
    """What a task's call is called where tasks are not known."""
    return f"{task_id}-{number}"


class Call:
    """A call under way. ``first_token`` and ``duration`` are ns since it began; ``spent`` an estimate so far.

    ``heard_at`` is when (monotonic, ns) the model last gave anything, 0 before that. It costs what was the ``price``
    when it began, ``ago_ns`` before now.
    """

    def __init__(
        self, contexts: Contexts, provider: Provider, task_id: str, number: int, price: Price, ago_ns: int = 0
    ) -> None:
        self._contexts = contexts
        self._provider = provider
        self._task_id = task_id
        self.number = number
        self._price = price
        self._began = time.monotonic_ns() - ago_ns
        self._request = Request(())
        self._length = 0
        self.first_token = 0
        self.heard_at = 0

    @property
    def duration(self) -> int:
        """How long it has been going on."""
        return time.monotonic_ns() - self._began

    @property
    def quiet(self) -> int:
        """How long the model has given nothing."""
        return time.monotonic_ns() - (self.heard_at or self._began)

    @property
    def spent(self) -> Usage:
        """What it has used so far, as far as we can tell."""
        return estimated_usage(self._request, self._length)

    def cost(self, usage: Usage) -> int:
        """Micro-dollars for what it used."""
        return self._price.cost(usage)

    async def run(self, spec: TaskSpec, traceparent: str) -> Answer:
        """Make the call. Raises ProviderError; cancelling it closes the connection."""
        self._request = Request(
            messages=await self._prompt(spec),
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            seed=spec.seed,
            stop=spec.stop,
            schema=spec.schema,
            tools=spec.tools,
            call_id=call_id(self._task_id, self.number),
            traceparent=traceparent,
        )
        async with aclosing(self._provider.stream(self._request)) as parts:
            async for part in parts:
                self.heard_at = time.monotonic_ns()
                self.first_token = self.first_token or self.heard_at - self._began
                if isinstance(part, Answer):
                    return part
                await self._publish(part)
        raise ProviderError(FailureKind.MALFORMED, "the answer ended before its end")

    async def _prompt(self, spec: TaskSpec) -> tuple[Message, ...]:
        try:
            return await prompt_of(self._contexts, spec)
        except (
            InvalidInput,
            NotFound,
            Undecodable,
            Forgotten,
        ) as error:  # no fault of the backend, and no better elsewhere
            raise ProviderError(FailureKind.INVALID, f"the prompt can't be put together: {error}") from error

    async def _publish(self, delta: Delta) -> None:
        for start in range(0, len(delta.text), NOTE):
            note = TokenNote(self.number, self._length, delta.text[start : start + NOTE])
            self._length += len(note.text)
            await self._contexts.bus.signals.publish(tokens(self._task_id), msgspec.json.encode(note))
