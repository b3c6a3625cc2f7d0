"""Models behind an OpenAI-compatible address: OpenAI, DeepSeek, vLLM, llama.cpp, Ollama and most gateways."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

from callboard.actors.backend.providers.exchange import stream_answer
from callboard.actors.backend.providers.http import Deadlines, Endpoint
from callboard.actors.backend.providers.openai_answer import OpenAIAnswer
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, ProviderError, Request
from callboard.events.chat import Message

_PATHS = {"chat": "/chat/completions", "completions": "/completions"}
_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool"}


class OpenAICompatible:
    """One model of an OpenAI-compatible server.

    What servers disagree on is learnt from their refusals, once: ``stream_options`` is left out, ``max_tokens`` is
    called ``max_completion_tokens``, and what one speaker says in a row is put together, for a server that says so.

    With ``api="completions"``, for models without a chat template, the prompt is text. A single message is the prompt
    as it stands. Several become paragraphs, system texts bare, the others as ``User: …``, ``Assistant: …``,
    ``Tool: …``, and a last line ``Assistant:``; the answer then also stops where the model would speak for the user. A
    schema is sent by both of its names, ``response_format`` (vLLM) and ``json_schema`` (llama.cpp). Tools can't be
    offered.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        api: Literal["chat", "completions"] = "chat",
        first_token_timeout_s: float = 30.0,
        timeout_s: float = 300.0,
    ) -> None:
        """Describe the endpoint; nothing is sent.

        Args:
            url: base of the API, such as ``http://127.0.0.1:8080/v1``.
            model: name that the server knows the model by.
            api_key: sent as bearer token.
            api: which of the two APIs to speak.
            first_token_timeout_s: seconds to the first token, connecting included.
            timeout_s: seconds to the end of the answer.

        Raises:
            InvalidInput: the URL or the key can't be used.
        """
        headers = {"accept": "text/event-stream, application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._endpoint = Endpoint(url, _PATHS[api], headers, api_key)
        self._model = model
        self._api = api
        self._timeouts = (first_token_timeout_s, timeout_s)
        self._asks_usage = True
        self._limit_name = "max_tokens"
        self._alternates = False

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        """Call the model. Raises ProviderError; cancelling or ``aclose`` closes the connection."""
        deadlines = Deadlines(*self._timeouts)
        while True:
            body = self._body(request)
            answer = OpenAIAnswer(request, self._model)
            try:
                async with aclosing(stream_answer(self._endpoint, body, request, answer, deadlines)) as parts:
                    async for part in parts:
                        yield part
            except ProviderError as error:
                if not self._learnt(error, request, body):
                    raise
            else:
                return

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._endpoint.aclose()

    def _learnt(self, error: ProviderError, request: Request, body: dict[str, Any]) -> bool:
        """Whether the refusal names something that can be sent otherwise."""
        if "alternate" in str(error) and not self._alternates:  # a chat template's word; some servers say 500 then
            self._alternates = body.get("messages") != [*map(_message, alternating(request.messages))]
            return self._alternates
        if error.kind is not FailureKind.INVALID:
            return False
        if "stream_options" in body and "stream_options" in str(error):
            self._asks_usage = False
            return True
        if "max_tokens" in body and "max_completion_tokens" in str(error):
            self._limit_name = "max_completion_tokens"
            return True
        return False

    def _body(self, request: Request) -> dict[str, Any]:
        body = self._chat(request) if self._api == "chat" else self._completion(request)
        body |= {"model": self._model, "stream": True}
        if self._asks_usage:
            body["stream_options"] = {"include_usage": True}
        if request.schema is not None:
            wanted = {"name": "answer", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        given = {self._limit_name: request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        return body | {name: value for name, value in given.items() if value is not None}

    def _chat(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"messages": [_message(message) for message in self._turns(request)]}
        if request.tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in request.tools]
        if request.stop:
            body["stop"] = request.stop
        return body

    def _turns(self, request: Request) -> tuple[Message, ...]:
        return alternating(request.messages) if self._alternates else request.messages

    def _completion(self, request: Request) -> dict[str, Any]:
        if request.tools:
            raise ProviderError(
                FailureKind.INVALID,
                f"model {self._model} at {self._endpoint.address} can't be offered tools, as its api is completions; "
                "set it to chat",
            )
        body: dict[str, Any] = {"prompt": _prompt(request.messages)}
        stop = request.stop if len(request.messages) == 1 else (*request.stop, "\nUser:")
        if stop:
            body["stop"] = stop
        if request.schema is not None:
            body["json_schema"] = request.schema
        return body


def alternating(messages: Sequence[Message]) -> tuple[Message, ...]:
    """What one speaker says in a row as one message; calls of tools and their answers stay apart."""
    turns: list[Message] = []
    for message in messages:
        before = turns[-1] if turns else None
        if before and before.role == message.role != "tool" and not (before.tool_calls or message.tool_calls):
            turns[-1] = Message(message.role, f"{before.content}\n\n{message.content}")
        else:
            turns.append(message)
    return tuple(turns)


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    return told


def _prompt(messages: tuple[Message, ...]) -> str:
    if len(messages) == 1:
        return messages[0].content
    paragraphs = [
        f"{_SPEAKERS[message.role]}: {_spoken(message)}" if message.role in _SPEAKERS else message.content
        for message in messages
    ]
    return "\n\n".join([*paragraphs, "Assistant:"])


def _spoken(message: Message) -> str:
    """A message as text, with the tools that it calls, as in ``weather({"town": "Rome"})``."""
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join([message.content, *calls] if message.content else calls)
