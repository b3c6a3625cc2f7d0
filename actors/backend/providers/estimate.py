"""Tokens of a call whose server told none: an estimate from the lengths of the texts."""

import msgspec

from callboard.actors.backend.providers.provider import Request
from callboard.events.chat import Usage, estimated_tokens


def estimated_usage(request: Request, output_length: int) -> Usage:
    """What ``request`` and an answer of ``output_length`` characters are likely to have taken."""
    length = sum(
        len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        for message in request.messages
    )
    if request.tools:
        length += len(msgspec.json.encode(request.tools))
    if request.schema:
        length += len(msgspec.json.encode(request.schema))
    return Usage(estimated_tokens(length), estimated_tokens(output_length) if output_length else 0)
