"""Tokens of a call whose server told none: an estimate from the lengths of the texts."""

from callboard.actors.backend.providers.provider import Request
from callboard.events.chat import Usage, estimated_tokens, prompt_length


def estimated_usage(request: Request, output_length: int) -> Usage:
    """What ``request`` and an answer of ``output_length`` characters are likely to have taken.

    No more than it was allowed to write: that much no model does.
    """
    length = prompt_length(request.messages, request.schema, request.tools)
    output = estimated_tokens(output_length) if output_length else 0
    return Usage(estimated_tokens(length), output if request.max_tokens is None else min(output, request.max_tokens))
