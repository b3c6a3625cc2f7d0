"""Makes Serve have as many replicas of each backend as the log wants: `callboard scale` appends, this follows.

It keeps no state. Whoever runs it looks at the log and at Serve, and makes the one follow the other; so several at a
time, or a new one after a crash, do the same.
"""

import asyncio
from typing import Final, Protocol, get_args

import structlog

from callboard.actors.projector import Projector
from callboard.bus.errors import Unavailable
from callboard.deploy.ray.deployed import App
from callboard.deploy.ray.parts import backend_of
from callboard.deploy.replicas import wanted_of
from callboard.events.backend import BackendEvent
from callboard.events.envelope import Envelope
from callboard.projections.backends import BACKENDS

LOOK_S: Final = 2.0
"""How often Serve is looked at when the log says nothing new: a redeployment may have changed what it aims at."""

_log = structlog.get_logger(__name__)


class Scales(Protocol):
    """What has replicas, as `Controller` does; the calls block."""

    def app(self, name: str) -> App | None:
        """The application of this name."""

    def scale(self, app: str, deployment: str, replicas: int) -> None:
        """Have so many replicas."""


class Scaler:
    """Follows the log in ``projector`` for the application ``app``."""

    def __init__(self, projector: Projector, serve: Scales, app: str) -> None:
        self._projector = projector
        self._serve = serve
        self._app = app
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        said = ""
        self._projector.watch(self._watch, *get_args(BackendEvent))
        try:
            while True:
                self._changed.clear()
                try:
                    await asyncio.to_thread(self._follow)
                except Unavailable as error:
                    if str(error) != said:  # else it is said every other second
                        _log.warning("replicas can't be scaled, will retry", error=str(error))
                    said = str(error)
                else:
                    said = ""
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._projector.unwatch(self._watch)

    def _follow(self) -> None:
        app = self._serve.app(self._app)
        backends = self._projector.state(BACKENDS).by_id
        for deployed in app.deployments if app else ():
            name = backend_of(deployed.deployment)
            if name is None or name not in backends:
                continue
            wanted = wanted_of(backends[name])
            if wanted != deployed.wanted:
                _log.info("scaling", backend=name, replicas=wanted, before=deployed.wanted)
                self._serve.scale(self._app, deployed.deployment, wanted)

    def _watch(self, _seq: int, _envelope: Envelope) -> None:
        self._changed.set()
