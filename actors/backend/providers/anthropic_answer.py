"""Answers of Anthropic's Messages API, streamed or whole."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from callboard.actors.backend.providers import failures
from callboard.actors.backend.providers.estimate import estimated_usage
from callboard.actors.backend.providers.provider import Answer, FailureKind, ProviderError, Request
from callboard.actors.backend.providers.sse import Event
from callboard.events.chat import ToolCall, Usage

ANSWER_TOOL: Final = "answer"
"""The tool whose input is the answer, when a schema is asked for."""

_SHOWN = 200
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def needs_wrapping(schema: dict[str, Any] | None) -> bool:
    """Whether a schema can't be a tool's input as it is, because it is not an object's."""
    return schema is not None and schema.get("type") != "object"


class _Usage(Struct):
    """Token counts; ``input_tokens`` are those that no cache was read or written for."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None


class _Block(Struct):
    """A part of the answer, or (with ``partial_json``) what an event adds to one."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    stop_reason: str | None = None


class _Message(Struct):
    model: str | None = None
    usage: _Usage | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None


class _Data(_Message):
    """The data of any event, or a whole message: the fields of all of them."""

    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Block | None = None
    error: Any = None


class _GrowingCall:
    """A tool call whose arguments are still coming."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.arguments = ""


class AnthropicAnswer:
    """Assembles one answer; see ``exchange.Assembler``."""

    def __init__(self, request: Request, model: str) -> None:
        self._request = request
        self._model = model
        self._texts: list[str] = []
        self._calls: dict[int, _GrowingCall] = {}
        self._unshown = 0  # characters of thoughts and tool calls, which are paid for like text
        self._usage = _Usage()
        self._output_told = False
        self._stop_reason = ""
        self._started = False
        self.begun = False
        self.ended = False

    @property
    def finished(self) -> bool:
        """A stop reason, or the end itself, was told."""
        return bool(self._stop_reason) or self.ended

    def take(self, event: Event) -> str:
        """Take in one event of a stream; returns the text it adds."""
        data = self._read(event.data)
        match data.type or event.name:
            case "message_start":
                self._start(data.message or _Message())
            case "content_block_start":
                return self._begin(data.index, data.content_block or _Block())
            case "content_block_delta":
                return self._grow(data.index, data.delta or _Block())
            case "message_delta":
                self._count(data.usage)
                self._output_told = self._usage.output_tokens is not None
                self._stop_reason = (data.delta.stop_reason if data.delta else None) or self._stop_reason
            case "message_stop":
                self.ended = True
        return ""

    def take_whole(self, body: bytes) -> str:
        """Take in a whole message; returns its text."""
        data = self._read(body)
        if data.content is None:
            raise _malformed("sent what is not a message", body)
        self._start(data)
        text = "".join(self._begin(index, block) for index, block in enumerate(data.content))
        self._output_told = self._usage.output_tokens is not None
        self._stop_reason = data.stop_reason or ""
        self.ended = True
        return text

    def spent(self) -> Usage:
        """Tokens used so far: as told, else estimated; none before the message started."""
        if not self._started:
            return Usage()
        guess = estimated_usage(self._request, sum(map(len, self._texts)) + self._unshown)
        told = self._usage
        cached = max(told.cache_read_input_tokens or 0, 0)
        fresh = None if told.input_tokens is None else max(told.input_tokens, 0)
        given = guess.input if fresh is None else fresh + cached + max(told.cache_creation_input_tokens or 0, 0)
        made = max(told.output_tokens or 0, 0)
        return Usage(given, made if self._output_told else max(made, guess.output), min(cached, given))

    def answer(self) -> Answer:
        """The answer. Raises ProviderError (malformed) when only half of it came."""
        written = self._answer_call()
        text = "".join(self._texts) if written is None else self._unwrapped(written.arguments or "{}")
        if not self.finished or not self._started:
            raise ProviderError(
                FailureKind.MALFORMED,
                f"sent half an answer: it ended without a stop reason after {len(text)} characters",
            )
        calls = tuple(
            ToolCall(call.id, call.name, call.arguments or "{}") for call in self._calls.values() if call is not written
        )
        reason = _FINISH.get(self._stop_reason, self._stop_reason) or "stop"
        return Answer(
            text=text,
            usage=self.spent(),
            # the call of our own tool is no wish to call a tool
            finish="stop" if reason == "tool_calls" and not calls else reason,
            model=self._model,
            tool_calls=calls,
            estimated=self._usage.input_tokens is None or not self._output_told,
        )

    def _read(self, raw: str | bytes) -> _Data:
        try:
            data = msgspec.json.decode(raw, type=_Data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _malformed(f"sent what is not a message: {error}", raw) from error
        if data.type == "error" or data.error is not None:
            raise failures.of_error(data.error)
        return data

    def _start(self, message: _Message) -> None:
        self._started = True
        self._model = message.model or self._model
        self._count(message.usage)

    def _count(self, usage: _Usage | None) -> None:
        """Later counts are totals: they replace earlier ones."""
        for name in _Usage.__struct_fields__ if usage else ():
            value = getattr(usage, name)
            if value is not None:
                setattr(self._usage, name, value)

    def _begin(self, index: int, block: _Block) -> str:
        if block.type == "tool_use":
            self.begun = True
            call = _GrowingCall(block.id or f"{self._request.call_id or 'call'}-{index}", block.name or "")
            self._calls[index] = call
            self._unshown += len(call.name)
            if block.input:
                return self._extend(call, msgspec.json.encode(block.input).decode())
        return self._grow(index, block)

    def _grow(self, index: int, piece: _Block) -> str:
        self._unshown += len(piece.thinking or "")
        self.begun = self.begun or bool(piece.text or piece.thinking or piece.partial_json)
        if piece.partial_json and index in self._calls:
            return self._extend(self._calls[index], piece.partial_json)
        text = piece.text or ""
        if text:
            self._texts.append(text)
        # with a schema the text is what the answer tool is given; what is said beside it shows only without it
        return "" if self._request.schema is not None else text

    def _extend(self, call: _GrowingCall, json_text: str) -> str:
        call.arguments += json_text
        self._unshown += len(json_text)
        return json_text if call is self._answer_call() and not needs_wrapping(self._request.schema) else ""

    def _unwrapped(self, json_text: str) -> str:
        if not needs_wrapping(self._request.schema):
            return json_text
        try:
            return msgspec.json.encode(msgspec.json.decode(json_text)[ANSWER_TOOL]).decode()
        except (msgspec.DecodeError, KeyError, TypeError):
            return json_text  # cut short by the token limit, or not what was asked for: it shows as it is

    def _answer_call(self) -> _GrowingCall | None:
        if self._request.schema is None:
            return None
        return next((call for call in self._calls.values() if call.name == ANSWER_TOOL), None)


def _malformed(what: str, raw: str | bytes) -> ProviderError:
    shown = raw[:_SHOWN] if isinstance(raw, str) else raw[:_SHOWN].decode(errors="replace")
    return ProviderError(FailureKind.MALFORMED, f"{what}: {shown}")
