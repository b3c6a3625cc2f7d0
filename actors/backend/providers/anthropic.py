"""Models behind Anthropic's Messages API, or a server that speaks it."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from callboard.actors.backend.providers.anthropic_answer import ANSWER_TOOL, AnthropicAnswer, needs_wrapping
from callboard.actors.backend.providers.exchange import stream_answer
from callboard.actors.backend.providers.http import Deadlines, Endpoint
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, ProviderError, Request
from callboard.events.chat import Message, ToolCall

VERSION: Final = "2023-06-01"
"""The API's version, sent with every request."""

DEFAULT_MAX_TOKENS: Final = 4096
"""The API wants a limit; this is sent when the request has none."""

NO_TOOL: Final = {"name": "none", "description": "Not to be used.", "input_schema": {"type": "object"}}
"""The API refuses a conversation in which tools were called unless some are declared: this, when there are none."""

_NO_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
"""What an id of a call can't have in this API; others' servers are less strict."""


class AnthropicMessages:
    """One model of the Messages API.

    System messages are lifted out of the conversation; a tool's result becomes a part of the user's turn. The API knows
    no seed, so none is sent. A schema becomes the input of a tool named ``answer`` that the model must call, and that
    call's JSON is the answer's text (it streams as it is written if the schema is an object's); when the request has
    tools of its own the model may call one of them first.
    Why the answer ended is told in OpenAI's words, as by every provider: ``stop``, ``length``, ``tool_calls``,
    ``content_filter``.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        first_token_timeout_s: float = 30.0,
        timeout_s: float = 300.0,
    ) -> None:
        """Describe the endpoint; nothing is sent.

        Args:
            url: base of the API, ``https://api.anthropic.com``, with or without ``/v1``.
            model: name that the server knows the model by.
            api_key: sent as ``x-api-key``.
            first_token_timeout_s: seconds to the first token, connecting included.
            timeout_s: seconds to the end of the answer.

        Raises:
            InvalidInput: the URL or the key can't be used.
        """
        headers = {"accept": "text/event-stream, application/json", "anthropic-version": VERSION}
        if api_key:
            headers["x-api-key"] = api_key
        path = "/messages" if url.rstrip("/").endswith(("/v1", "/messages")) else "/v1/messages"
        self._endpoint = Endpoint(url, path, headers, api_key)
        self._model = model
        self._timeouts = (first_token_timeout_s, timeout_s)

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        """Call the model. Raises ProviderError; cancelling or ``aclose`` closes the connection."""
        body = _body(request, self._model)
        answer = AnthropicAnswer(request, self._model)
        deadlines = Deadlines(*self._timeouts)
        async with aclosing(stream_answer(self._endpoint, body, request, answer, deadlines)) as parts:
            async for part in parts:
                yield part

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._endpoint.aclose()


def _body(request: Request, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "max_tokens": DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        "messages": _turns(request.messages),
    }
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    tools = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in request.tools
    ]
    if request.schema is not None:
        if any(tool.name == ANSWER_TOOL for tool in request.tools):
            raise ProviderError(
                FailureKind.INVALID, f"a request with a schema can't have a tool named {ANSWER_TOOL}: rename the tool"
            )
        body["tool_choice"] = {"type": "any"} if tools else {"type": "tool", "name": ANSWER_TOOL}
        tools.append(
            {"name": ANSWER_TOOL, "description": "Give the answer.", "input_schema": _object_schema(request.schema)}
        )
    if not tools and any(message.tool_calls for message in request.messages):
        tools.append(NO_TOOL)
        body["tool_choice"] = {"type": "none"}
    given = {
        "system": system or None,
        "tools": tools or None,
        "temperature": request.temperature,
        "stop_sequences": request.stop or None,
    }
    return body | {name: value for name, value in given.items() if value is not None}


def _object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A tool's input must be an object: any other schema becomes the one property of an object."""
    if not needs_wrapping(schema):
        return schema
    # references count from the root, so what they point at stays there
    definitions: dict[str, Any] = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in definitions}
    return {"type": "object", "properties": {ANSWER_TOOL: inner}, "required": [ANSWER_TOOL], **definitions}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Turns of the conversation: speakers alternate, and results stand together in the turn after their calls."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += _blocks(message)
        else:
            turns.append({"role": role, "content": _blocks(message)})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [
            {"type": "tool_result", "tool_use_id": _call_id(message.tool_call_id or ""), "content": message.content}
        ]
    # the API refuses empty texts
    said = [{"type": "text", "text": message.content}] if message.content else []
    return [*said, *(_tool_use(call) for call in message.tool_calls)]


def _tool_use(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"arguments": call.arguments}  # the API takes objects only; show the model what it wrote
    return {"type": "tool_use", "id": _call_id(call.id), "name": call.name, "input": arguments}


def _call_id(call_id: str) -> str:
    return _NO_ID.sub("_", call_id)
