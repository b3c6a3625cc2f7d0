"""How a call of a backend began, as the log tells it: for who has to settle a call that another process began."""

from typing import NamedTuple

from callboard.bus.log import Log
from callboard.bus.subjects import entity
from callboard.events.backend import Priced
from callboard.events.envelope import Envelope, decode
from callboard.events.money import Price
from callboard.events.task import Started


class Begun(NamedTuple):
    """The ``started`` of a call, and what the backend cost then."""

    started: Envelope
    price: Price


async def begun(log: Log, backend: str, task_id: str, call: int) -> Begun | None:
    """How call ``call`` of a task began; None if the backend never began it.

    Raises Undecodable if a message can't be read, and what the log raises.
    """
    for record in await log.read(entity("task", task_id)):
        for envelope in decode(record.data):
            match envelope.event:
                case Started(backend=name, call=number) if (name, number) == (backend, call):
                    return Begun(envelope, await _price(log, backend, record.seq))
    return None


async def _price(log: Log, backend: str, upto: int) -> Price:
    price = Price()
    for record in await log.read(entity("backend", backend)):
        if record.seq > upto:
            break
        for envelope in decode(record.data):
            if isinstance(envelope.event, Priced):
                price = envelope.event.price
    return price
