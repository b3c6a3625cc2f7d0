"""What passes between a task and a model: messages, tool calls, token usage. All amounts are whole tokens."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

Role = Literal["system", "user", "assistant", "tool"]

CHARACTERS_PER_TOKEN: Final = 4


class ToolCall(Struct, frozen=True, gc=False, omit_defaults=True):
    """A model's wish to call a tool. ``arguments`` is the JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


class Message(Struct, frozen=True, gc=False, omit_defaults=True):
    """One turn of a conversation. ``tool_call_id`` says which call a ``tool`` message answers."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class Tool(Struct, frozen=True, gc=False, omit_defaults=True):
    """A function that a model may ask for; ``parameters`` is its JSON Schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class Usage(Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens of one model call. ``cached`` is the part of ``input`` that a prompt cache served."""

    input: int = 0
    output: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Token counts of both calls together."""
        return Usage(self.input + other.input, self.output + other.output, self.cached + other.cached)


def prompt_length(messages: Iterable[Message], schema: dict[str, Any] | None, tools: Sequence[Tool]) -> int:
    """Characters of what a model is given: messages with their tool calls, tools, and the schema of its answer."""
    length = sum(
        len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        for message in messages
    )
    return length + sum(len(msgspec.json.encode(given)) for given in (schema, tools) if given)


def estimated_tokens(text_length: int) -> int:
    """Tokens that ``text_length`` characters are likely to take: 4 characters a token, rounded up, plus 4."""
    return text_length // CHARACTERS_PER_TOKEN + 5
