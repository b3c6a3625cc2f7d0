"""What stands for a model in the examples, so that they run without one: it calls a tool, and tells its result.

Real models are named in `callboard.toml` instead; nothing else changes.
"""

import json
import re

from callboard import ToolCall
from callboard.actors.backend.providers.provider import Request

ZONE = re.compile(r"[A-Z]\w+/[A-Z]\w+")


def reply(request: Request) -> str | ToolCall:
    """Say something about the newest message."""
    newest = request.messages[-1]
    zone = ZONE.search(newest.content)
    if newest.role == "user" and request.tools and zone:
        return ToolCall("call-1", request.tools[0].name, json.dumps({"zone": zone[0]}))
    if newest.role == "tool":
        return f"It is {newest.content}."
    return f"I have read: {newest.content.splitlines()[-1]}"
