"""Keeps actors running: one that fails is started again after a growing pause, and it is said why."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0)
STABLE_S: Final = 30.0

_log = structlog.get_logger(__name__)


async def supervise(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run an actor for ever; ends only when it is cancelled or returns by itself."""
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await run()
        except asyncio.CancelledError:
            raise
        except Exception:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise  # it failed while it was being stopped
            failures = 0 if loop.time() - began > STABLE_S else failures + 1
            pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            _log.exception("actor failed, will start again", actor=name, pause_s=pause)
            await asyncio.sleep(pause)
        else:
            return
