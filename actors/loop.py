"""The loop that every actor is: take a message, handle it, acknowledge it after its effects are in the log.

A crash at any point repeats the step; handlers decide on the entity's state, so a repeated step has no second effect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog

from callboard.bus.errors import BusError, LogFull, NotFound, TooLarge
from callboard.bus.log import Delivery, Queue

Handler: TypeAlias = Callable[[Delivery], Awaitable[None]]
PoisonHandler: TypeAlias = Callable[[Delivery, Exception], Awaitable[None]]

BACKOFF_S: Final = (1.0, 5.0, 30.0, 120.0)
"""How long a message rests after a handler raised, by how often it was tried; after the last it is poison."""

BUS_RETRY_S: Final = 0.2
FULL_RETRY_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Later(Exception):  # not an error: the handler asks for another time
    """Raised by a handler that can't do it yet: deliver again after ``delay_s``."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"again in {delay_s} s")
        self.delay_s = delay_s


class Kept(Exception):  # not an error either
    """Raised by a handler when somebody else has the message by now: it is for them to acknowledge, or to lose."""


async def let_go(_delivery: Delivery, _error: Exception) -> None:
    """A `PoisonHandler` for what is in the log anyway: the loop has told of it, and there is nothing to set aside."""


class Loop:
    """Runs a handler over a queue, several messages at a time.

    ``on_poison`` is told of a message that failed on every try; it is acknowledged when that returns. Trouble with the
    bus is never the message's fault: it is tried for ever.
    """

    def __init__(
        self, name: str, queue: Queue, handle: Handler, on_poison: PoisonHandler, *, ack_wait_s: float
    ) -> None:
        self._name = name
        self._queue = queue
        self._handle = handle
        self._on_poison = on_poison
        self._ack_wait_s = ack_wait_s
        self._steps: dict[asyncio.Task[None], Delivery] = {}

    async def run(self) -> None:
        """Take and handle messages until drained, or cancelled: what is being handled then goes back to the queue."""
        ticker = asyncio.create_task(self._keep_alive(), name=f"{self._name} keep-alive")
        try:
            async for delivery in self._queue.deliveries():
                step = asyncio.create_task(self._step(delivery))
                self._steps[step] = delivery
                step.add_done_callback(self._steps.pop)
            await asyncio.gather(*self._steps)
        finally:
            ticker.cancel()
            steps = list(self._steps)
            for step in steps:
                step.cancel()
            await asyncio.gather(ticker, *steps, return_exceptions=True)
            await self._queue.aclose()  # one that is not left goes on taking messages

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, and give what is being handled ``grace_s`` to finish."""
        await self._queue.aclose()
        if self._steps:
            await asyncio.wait(list(self._steps), timeout=grace_s)

    async def _step(self, delivery: Delivery) -> None:
        try:
            await self._handle(delivery)
        except Later as later:
            await delivery.retry(later.delay_s)
        except Kept:
            return
        except (TooLarge, NotFound) as error:
            await self._give_up(delivery, error)
        except BusError as error:
            _log.warning("bus trouble, will retry", actor=self._name, subject=delivery.record.subject, error=str(error))
            await delivery.retry(FULL_RETRY_S if isinstance(error, LogFull) else BUS_RETRY_S)
        except Exception as error:
            if delivery.attempt <= len(BACKOFF_S):
                _log.exception("step failed, will retry", actor=self._name, subject=delivery.record.subject)
                await delivery.retry(BACKOFF_S[delivery.attempt - 1])
            else:
                await self._give_up(delivery, error)
        else:
            await delivery.ack()

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        _log.error("poison message", actor=self._name, subject=delivery.record.subject, error=str(error))
        try:
            await self._on_poison(delivery, error)
        except Exception:
            _log.exception("could not set the message aside, will retry", actor=self._name)
            await delivery.retry(BACKOFF_S[-1])
        else:
            await delivery.ack()

    async def _keep_alive(self) -> None:
        """Tell the queue about long work well within the ack-wait."""
        known: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(self._ack_wait_s / 4)
            for step in known & self._steps.keys():
                await self._steps[step].working()
            known = set(self._steps)
