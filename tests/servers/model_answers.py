"""What a call to the model server meets, and what is said to it in the words of each API."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Behaviour:
    """What happens to one call. Delays are seconds.

    Attributes:
        text: the answer; None repeats the last message.
        status: other than 200 refuses, with ``error`` as message and ``headers``.
        body: exact bytes of the body, instead of everything else but status, headers and ``before_first_token``.
        content_type: of ``body``.
        before_headers: delay until the status line.
        before_first_token: delay after the headers.
        between_tokens: delay between two tokens.
        cut_after: tokens after which the connection is closed in mid-answer.
        stall_after: tokens after which nothing comes any more, until the client leaves.
        garbage_after: tokens after which an event that is no JSON is sent.
        error_after: tokens after which an error event of type ``error_type`` is sent and the stream ends.
        usage: whether usage is told.
        cached: tokens of the input told as served by a cache.
        tool_calls: ``(id, name, JSON arguments)`` of calls that follow the text.
        piece_size: bytes of each write, so that events and characters arrive in pieces; 0 writes whole events.
        whole: answer with one JSON object even if a stream was asked for.
    """

    text: str | None = None
    status: int = 200
    error: str = "refused by script"
    error_type: str = "server_error"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "text/event-stream"
    before_headers: float = 0.0
    before_first_token: float = 0.0
    between_tokens: float = 0.0
    cut_after: int | None = None
    stall_after: int | None = None
    garbage_after: int | None = None
    error_after: int | None = None
    usage: bool = True
    cached: int = 0
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    piece_size: int = 0
    whole: bool = False


@dataclass
class Call:
    """One request as it came, and what became of it.

    Attributes:
        headers: by lower-case name.
        input: tokens billed for the messages.
        output: tokens billed for the answer, so far.
        finished: the whole answer was written.
        disconnected: the client left before that.
        done: set when the server has done with the call.
        connection: number of the TCP connection it came on, from 0.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    input: int = 0
    output: int = 0
    finished: bool = False
    disconnected: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def call_id(self) -> str:
        """The ``X-Request-Id`` it came with."""
        return self.headers.get("x-request-id", "")

    @property
    def messages(self) -> list[str]:
        """The texts of the messages, or the prompt."""
        if "prompt" in self.body:
            return [self.body["prompt"]]
        texts = []
        for message in self.body.get("messages", []):
            content = message["content"] or ""
            if not isinstance(content, str):
                content = " ".join(str(part.get("text") or part.get("content") or "") for part in content)
            texts.append(content)
        return texts


class ChatAnswer:
    """An answer in the words of OpenAI's chat completions; ``words`` are its tokens."""

    kind = "chat.completion"

    def __init__(self, call: Call, behaviour: Behaviour) -> None:
        self.call = call
        self.behaviour = behaviour
        text = behaviour.text
        if text is None:
            text = call.messages[-1] if call.messages else ""
        self.words = re.findall(r"\s*\S+\s*$|\s*\S+", text)
        limit = call.body.get("max_tokens") or call.body.get("max_completion_tokens")
        self.cut = limit is not None and len(self.words) > limit
        if self.cut:
            self.words = self.words[:limit]
        self.model = call.body.get("model", "model")

    def begin(self) -> Iterator[bytes]:
        yield self.choice({"delta": {"role": "assistant", "content": ""}})

    def token(self, word: str) -> bytes:
        return self.choice({"delta": {"content": word}})

    def end(self) -> Iterator[bytes]:
        for index, (call_id, name, arguments) in enumerate(self.behaviour.tool_calls):
            half = len(arguments) // 2
            first = {"index": index, "id": call_id, "type": "function"}
            yield self.choice(
                {"delta": {"tool_calls": [first | {"function": {"name": name, "arguments": arguments[:half]}}]}}
            )
            yield self.choice(
                {"delta": {"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]}}
            )
        yield self.choice({"delta": {}, "finish_reason": self.finish})
        wanted = self.call.body.get("stream_options", {}).get("include_usage")
        if wanted and self.behaviour.usage:
            yield _event({"object": f"{self.kind}.chunk", "model": self.model, "choices": [], "usage": self.usage()})
        yield b"data: [DONE]\n\n"

    def whole(self) -> bytes:
        calls = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in self.behaviour.tool_calls
        ]
        message = {"role": "assistant", "content": "".join(self.words), "tool_calls": calls or None}
        return self.completion({"message": message})

    def completion(self, choice: dict[str, Any]) -> bytes:
        told = {
            "object": self.kind,
            "model": self.model,
            "choices": [{"index": 0, "finish_reason": self.finish, **choice}],
        }
        return json.dumps(told | ({"usage": self.usage()} if self.behaviour.usage else {})).encode()

    def error(self) -> bytes:
        return json.dumps({"error": {"message": self.behaviour.error, "type": self.behaviour.error_type}}).encode()

    def choice(self, content: dict[str, Any]) -> bytes:
        choice = {"index": 0, "finish_reason": None, **content}
        return _event({"object": f"{self.kind}.chunk", "model": self.model, "choices": [choice]})

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.call.input,
            "completion_tokens": self.call.output,
            "prompt_tokens_details": {"cached_tokens": self.behaviour.cached},
        }

    @property
    def finish(self) -> str:
        return "length" if self.cut else "tool_calls" if self.behaviour.tool_calls else "stop"


class CompletionAnswer(ChatAnswer):
    """In those of OpenAI's completions."""

    kind = "text_completion"

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def token(self, word: str) -> bytes:
        return self.choice({"text": word})

    def whole(self) -> bytes:
        return self.completion({"text": "".join(self.words)})


class MessageAnswer(ChatAnswer):
    """In those of Anthropic's messages."""

    def begin(self) -> Iterator[bytes]:
        message: dict[str, Any] = {"type": "message", "role": "assistant", "model": self.model, "content": []}
        if self.behaviour.usage:
            message["usage"] = self.usage() | {"output_tokens": 1}
        yield _event({"type": "message_start", "message": message})
        yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        yield _event({"type": "ping"})

    def token(self, word: str) -> bytes:
        delta = {"type": "text_delta", "text": word}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta})

    def end(self) -> Iterator[bytes]:
        yield _event({"type": "content_block_stop", "index": 0})
        for index, (call_id, name, arguments) in enumerate(self.behaviour.tool_calls, 1):
            block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
            yield _event({"type": "content_block_start", "index": index, "content_block": block})
            half = len(arguments) // 2
            for part in ("", arguments[:half], arguments[half:]):
                delta = {"type": "input_json_delta", "partial_json": part}
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": self.finish}}
        if self.behaviour.usage:
            end["usage"] = {"output_tokens": self.call.output}
        yield _event(end)
        yield _event({"type": "message_stop"})

    def whole(self) -> bytes:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": "".join(self.words)}]
        for call_id, name, arguments in self.behaviour.tool_calls:
            blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)})
        message = {"type": "message", "model": self.model, "content": blocks, "stop_reason": self.finish}
        return json.dumps(message | ({"usage": self.usage()} if self.behaviour.usage else {})).encode()

    def error(self) -> bytes:
        error = {"type": self.behaviour.error_type, "message": self.behaviour.error}
        return json.dumps({"type": "error", "error": error}).encode()

    def usage(self) -> dict[str, Any]:
        cached = self.behaviour.cached
        return {
            "input_tokens": self.call.input - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": self.call.output,
        }

    @property
    def finish(self) -> str:
        return "max_tokens" if self.cut else "tool_use" if self.behaviour.tool_calls else "end_turn"


_APIS = {"/chat/completions": ChatAnswer, "/completions": CompletionAnswer, "/messages": MessageAnswer}


def api_of(path: str) -> type[ChatAnswer] | None:
    return next((api for ending, api in _APIS.items() if path.endswith(ending)), None)


def _event(data: dict[str, Any]) -> bytes:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
