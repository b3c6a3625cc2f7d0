"""Whether this process lives, and whether it should be sent requests: for supervisors and load balancers."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from callboard.actors.projector import Projector
from callboard.bus.errors import BusError
from callboard.bus.jetstream import JetStreamBus
from callboard.deploy.http.problem import Refused

BEHIND: Final = 10_000
"""Messages that the projections may be behind the log, and count as caught up: under load they always are by some."""

ASK_S: Final = 2.0
KEPT_S: Final = 0.5
"""Anybody may ask, so the log is asked no more often than this."""


class Health:
    """Looks at the connection and the projections of this process."""

    def __init__(self, bus: JetStreamBus, projector: Projector) -> None:
        self._bus = bus
        self._projector = projector
        self._asked_at = float("-inf")
        self._answer: list[str] = []
        self.stopping = False

    async def livez(self, _request: Request) -> Response:
        """The process answers: nothing more."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        """Ready for requests, or why not. Raises Refused."""
        reasons = await self.reasons()
        if reasons:
            raise Refused(503, "not ready: " + "; ".join(reasons))
        return PlainTextResponse("ready\n")

    async def reasons(self) -> list[str]:
        """Why it is not ready; none when it is."""
        if self.stopping:
            return ["it is about to stop"]
        if not self._bus.connected:
            return ["no connection to NATS"]
        at = asyncio.get_running_loop().time()
        if at - self._asked_at > KEPT_S:
            self._asked_at, self._answer = at, await self._look()
        return self._answer

    async def _look(self) -> list[str]:
        try:
            async with asyncio.timeout(ASK_S):
                end = await self._bus.log.end()
        except (BusError, TimeoutError):
            return ["the event log does not answer"]
        behind = end - self._projector.seq
        return [f"the projections are {behind} messages behind the log"] if behind > BEHIND else []
