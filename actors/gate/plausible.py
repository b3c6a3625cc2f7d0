"""What a backend may say of a call: a bound on everything that gets into the log, or into a bill. Pure."""

from typing import Final

import msgspec
from msgspec.structs import replace

from callboard.actors.backend.providers.provider import Answer, FailureKind, ProviderError, Request
from callboard.actors.gate.words import MAX_ANSWER, Unanswered
from callboard.actors.router.ceiling import input_bound
from callboard.events.chat import Usage
from callboard.events.task_spec import TaskSpec

MOST_OUTPUT: Final = 10_000_000
"""Tokens of an answer whose length nobody limited."""

MAX_CALLS_BYTES: Final = 112 * 1024
"""All wishes to call tools in one answer, as JSON: they stand in its event, beside the text, perhaps encrypted."""

MAX_NAME: Final = 200
MAX_REASON: Final = 2000
MAX_RETRY_NS: Final = 3600 * 1_000_000_000


def bounds_of(request: Request) -> Usage:
    """The most tokens that a call can use: those that money is held for."""
    spec = TaskSpec(request.messages, schema=request.schema, tools=request.tools, max_tokens=request.max_tokens)
    return bounds(spec)


def bounds(spec: TaskSpec, output: int | None = None) -> Usage:
    """The same of a call of a task, with a limit of ``output`` tokens on its answer if money is held for it."""
    taken = input_bound(spec)
    return Usage(taken, output or spec.max_tokens or MOST_OUTPUT, taken)


def used(usage: Usage, most: Usage) -> Usage:
    """What was used, as far as that can be: never less than nothing, never more than ``most``."""
    taken = _within(usage.input, most.input)
    return Usage(taken, _within(usage.output, most.output), _within(usage.cached, taken))


def answer_of(answer: Answer, most: Usage) -> Answer:
    """An answer that may be told the log. Raises ProviderError for one that is too large for it."""
    if len(answer.text) > MAX_ANSWER or len(msgspec.json.encode(answer.tool_calls)) > MAX_CALLS_BYTES:
        what = f"over {MAX_ANSWER} characters, or calls of tools of over {MAX_CALLS_BYTES} bytes"
        raise ProviderError(FailureKind.MALFORMED, f"the answer is too large: {what}", usage=used(answer.usage, most))
    return replace(
        answer,
        usage=used(answer.usage, most),
        model=answer.model[:MAX_NAME],
        finish=answer.finish[:MAX_NAME],
    )


def error_of(failure: Unanswered, most: Usage) -> ProviderError:
    """A failure that may be told the log."""
    wait = None if failure.retry_after is None else min(failure.retry_after, MAX_RETRY_NS)
    usage = used(failure.usage, most)
    return ProviderError(failure.kind, failure.message[:MAX_REASON], retry_after_ns=wait, usage=usage)


def _within(count: int, most: int) -> int:
    return min(max(count, 0), most)
