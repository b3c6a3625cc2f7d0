"""What the log wants of backends, asked and told from outside of Ray."""

from collections.abc import Iterable

from callboard.actors.projector import Projector
from callboard.deploy.connect import opened
from callboard.deploy.replicas import wanted_of
from callboard.deploy.settings import Settings
from callboard.events.backend import Removed
from callboard.projections.backends import BACKENDS
from callboard.projections.live import LIVE


async def wanted_on(settings: Settings) -> dict[str, int]:
    """By name, of every backend that the log knows. Raises Unavailable when NATS does not answer."""
    async with opened(settings.nats.url, privacy=settings.privacy, nats=settings.nats) as place:
        projector = Projector(place.bus, *LIVE)
        await projector.catch_up()
        return {name: wanted_of(backend) for name, backend in projector.state(BACKENDS).by_id.items()}


async def remove_from(settings: Settings, names: Iterable[str]) -> None:
    """Take backends off the board; the router gives their tasks to others."""
    if gone := sorted(names):
        async with opened(settings.nats.url, privacy=settings.privacy, nats=settings.nats) as place:
            for name in gone:
                await place.board.change(name, Removed())
