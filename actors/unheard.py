"""What may end when nobody is left to hear how."""

import asyncio
from typing import Any


def unheard(ended: "asyncio.Future[Any]") -> None:
    """Let its error be: asyncio would complain that nobody asked for it. A callback for when a future is done."""
    if not ended.cancelled():
        ended.exception()
