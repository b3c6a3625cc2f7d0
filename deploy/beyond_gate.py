"""A node beyond the gate: it makes the calls of one backend, and neither reads the log nor writes to it."""

import asyncio
import os
import secrets
from collections.abc import Mapping

from callboard.actors.backend.providers.provider import Provider
from callboard.actors.gate.caller import Caller
from callboard.bus import plain
from callboard.bus.plain import PlainBus
from callboard.deploy.fleet import provider_of
from callboard.deploy.nats_door import backend_door
from callboard.deploy.secrets import secrets_of
from callboard.deploy.settings import Settings
from callboard.deploy.supervision import supervise
from callboard.deploy.telemetry import Telemetry
from callboard.events.errors import InvalidInput


class BeyondGate:
    """Makes the calls of one backend for whatever gate there is.

    Args:
        settings: Of which the address of NATS and the backend count.
        roles: ``backend:NAME``, and nothing else.
        environ: Where API keys are looked up.
        slots: Calls at a time; 0 are as many as the backend is registered with.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roles: tuple[str, ...],
        environ: Mapping[str, str] = os.environ,
        slots: int = 0,
    ) -> None:
        self._settings = settings
        self.name = _only_backend(roles, settings)
        self._environ = environ
        self._slots = slots
        self._telemetry = Telemetry(settings, environ)
        self._bus: PlainBus | None = None
        self._provider: Provider | None = None
        self._caller: Caller | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and look for a gate; one that opens later is found as well."""
        backend = self._settings.backends[self.name]
        self._provider = provider_of(self.name, backend, self._environ)
        try:
            self._telemetry.start_live()
            nats, masked = self._settings.nats, secrets_of(self._settings, self._environ)
            self._bus = await plain.connect(
                nats.url,
                name=f"callboard-{self.name}-{secrets.token_hex(4)}",
                door=backend_door(nats, self._environ, self.name),
            )
            self._caller = Caller(self._bus.signals, self.name, self._provider, self._slots, masked)
            self._running = asyncio.create_task(supervise(f"backend/{self.name}", self._caller.run))
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, grace_s: float = 10.0) -> None:
        """Finish what is under way within ``grace_s``, then end; the rest is made again by others."""
        if self._caller and grace_s:
            await self._caller.drain(grace_s)
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._provider:
            await self._provider.aclose()
        if self._bus:
            await self._bus.aclose()
        await self._telemetry.stop()


def _only_backend(roles: tuple[str, ...], settings: Settings) -> str:
    kind, _, name = roles[0].partition(":") if len(roles) == 1 else ("", "", "")
    if kind != "backend":
        raise InvalidInput(
            "through the gate a process does nothing but a backend's calls: use --role backend:NAME alone"
        )
    if name not in settings.backends:
        raise InvalidInput(f"unknown backend {name!r}: name one that the settings file has a table for")
    if not settings.nats.url:
        raise InvalidInput("the gate is at an address: set url in [nats], or use --url")
    return name
