"""Answers of an OpenAI-compatible server, of both its APIs, streamed or whole."""

from typing import Any

import msgspec
from msgspec import Struct

from callboard.actors.backend.providers import failures
from callboard.actors.backend.providers.estimate import estimated_usage
from callboard.actors.backend.providers.provider import Answer, FailureKind, ProviderError, Request
from callboard.actors.backend.providers.sse import Event
from callboard.events.chat import ToolCall, Usage

_SHOWN = 200


class _Function(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _CallPiece(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(Struct):
    """A message, or what a chunk adds to one. Thoughts go by two names."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallPiece] | None = None


class _Choice(Struct):
    index: int | None = None
    delta: _Piece | None = None
    message: _Piece | None = None
    text: str | None = None
    finish_reason: str | None = None


class _CachedTokens(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for cached_tokens


class _Chunk(Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None


class _GrowingCall:
    """A tool call whose arguments are still coming."""

    def __init__(self, index: int | None, call_id: str, name: str) -> None:
        self.index = index
        self.id = call_id
        self.name = name
        self.arguments = ""


class OpenAIAnswer:
    """Assembles one answer; see ``exchange.Assembler``."""

    def __init__(self, request: Request, model: str) -> None:
        self._request = request
        self._model = model
        self._texts: list[str] = []
        self._unshown = 0  # characters of thoughts and tool calls, which are paid for like text
        self._calls: list[_GrowingCall] = []
        self._usage: _Usage | None = None
        self._finish = ""
        self._answering = False
        self.begun = False
        self.ended = False

    @property
    def finished(self) -> bool:
        """A finish reason, or the end itself, was told."""
        return bool(self._finish) or self.ended

    def take(self, event: Event) -> str:
        """Take in one event of a stream; returns the text it adds."""
        if event.data == "[DONE]":
            self.ended = True
            return ""
        return self._add(event.data, event.name == "error")

    def take_whole(self, body: bytes) -> str:
        """Take in a whole completion; returns its text."""
        text = self._add(body, failed=False)
        self.ended = True
        return text

    def spent(self) -> Usage:
        """Tokens used so far: as told, else estimated; none before the first choice."""
        if not self._answering and self._usage is None:
            return Usage()
        guess = estimated_usage(self._request, sum(map(len, self._texts)) + self._unshown)
        told = self._usage or _Usage()
        details = told.prompt_tokens_details or _CachedTokens()
        given = guess.input if told.prompt_tokens is None else max(told.prompt_tokens, 0)
        made = guess.output if told.completion_tokens is None else max(told.completion_tokens, 0)
        cached = details.cached_tokens or told.prompt_cache_hit_tokens or 0
        return Usage(given, made, min(max(cached, 0), given))

    def answer(self) -> Answer:
        """The answer. Raises ProviderError (malformed) when only half of it came."""
        text = "".join(self._texts)
        if not self.finished:
            raise ProviderError(
                FailureKind.MALFORMED,
                f"sent half an answer: it ended without a finish reason after {len(text)} characters",
            )
        if not self._answering:
            raise ProviderError(FailureKind.MALFORMED, "sent an answer without a choice")
        told = self._usage or _Usage()
        return Answer(
            text=text,
            usage=self.spent(),
            finish=self._finish or "stop",
            model=self._model,
            tool_calls=tuple(ToolCall(call.id, call.name, call.arguments) for call in self._calls),
            estimated=told.prompt_tokens is None or told.completion_tokens is None,
        )

    def _add(self, data: str | bytes, failed: bool) -> str:
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
            if failed or chunk.error is not None or chunk.object == "error":
                found = msgspec.json.decode(data)
                raise failures.of_error(chunk.error if chunk.error is not None else found)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = data[:_SHOWN] if isinstance(data, str) else data[:_SHOWN].decode(errors="replace")
            raise ProviderError(FailureKind.MALFORMED, f"sent what is not a completion: {error}: {shown}") from error
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        return "".join(self._choose(choice) for choice in chunk.choices or () if not choice.index)

    def _choose(self, choice: _Choice) -> str:
        self._answering = True
        piece = choice.delta or choice.message or _Piece()
        text = (choice.text or "") + (piece.content or "") + (piece.refusal or "")
        thought = piece.reasoning_content or piece.reasoning or ""
        if text:
            self._texts.append(text)
        self._unshown += len(thought)
        for call in piece.tool_calls or ():
            self._call(call)
        self.begun = self.begun or bool(text or thought or piece.tool_calls)
        self._finish = choice.finish_reason or self._finish
        return text

    def _call(self, piece: _CallPiece) -> None:
        """Add to a call, or begin one: some servers count no index, some give the same index to each whole call."""
        function = piece.function or _Function()
        known = next((call for call in reversed(self._calls) if call.index == piece.index), None)
        if known is None or (piece.id and piece.id != known.id and function.name):
            made_up = f"{self._request.call_id or 'call'}-{len(self._calls)}"
            known = _GrowingCall(piece.index, piece.id or made_up, function.name or "")
            self._calls.append(known)
            self._unshown += len(known.name)
        known.name = known.name or function.name or ""
        arguments = function.arguments or ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        known.arguments += arguments
        self._unshown += len(arguments)
