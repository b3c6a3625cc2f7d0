"""User code is run so that it can't hold up its caller: for so long and no longer, in a task or a thread of its own."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from callboard.actors.tools.contract import ToolError
from callboard.actors.unheard import unheard

T = TypeVar("T")

GRACE_S: Final = 1.0
MOST_GIVEN_UP: Final = 16


async def within(work: Coroutine[Any, Any, T], timeout_s: float, name: str) -> T:
    """What ``work`` of the tool ``name`` returns. It is cancelled after ``timeout_s``, or when the caller is.

    Work that ignores its cancellation is left behind after a second. Raises ToolError, and whatever ``work`` raises.
    """
    task = asyncio.create_task(work, name=f"tool {name}")
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        late = not task.done()
        if late:
            task.add_done_callback(unheard)
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE_S)
    if late:
        raise ToolError(f"tool {name} did not end within {timeout_s:g} s and was given up", "timeout")
    if task.cancelled():
        raise ToolError(f"tool {name} cancelled itself")
    return task.result()


class Threads:
    """Threads for the blocking functions of the tool ``name``, one a call: a call that never ends takes no other's.

    A thread can't be stopped, so one that is given up goes on. When 16 do, no more are begun.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._given_up = 0

    async def run(self, function: Callable[[], T]) -> T:
        """What ``function`` returns, which raises nothing. Raises ToolError if too many are still running."""
        if self._given_up >= MOST_GIVEN_UP:
            raise ToolError(
                f"tool {self._name} is out of order: {self._given_up} calls that were given up still run", "unavailable"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def deliver(value: T) -> None:
            if future.done():
                self._given_up -= 1
            else:
                future.set_result(value)

        def body() -> None:
            value = context.run(function)
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(deliver, value)
                except RuntimeError:  # it was closed meanwhile: nobody waits any more
                    return

        threading.Thread(target=body, name=f"tool {self._name}", daemon=True).start()
        try:
            return await future
        except asyncio.CancelledError:
            self._given_up += 1
            raise
