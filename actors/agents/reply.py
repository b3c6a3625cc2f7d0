"""What came of a message, as it is told to whoever sent it from elsewhere."""

import msgspec
from msgspec import Struct

from callboard.bus.log import Bus
from callboard.events.agent_events import NOTHING, DeadLettered, Finished, Received, StepFailure, Value


class Reply(Struct, frozen=True, omit_defaults=True):
    """How an agent was done with a message: the answer's ``value``, or the ``failure`` that is why there is none."""

    agent: str
    message: str
    value: Value = NOTHING
    failure: StepFailure | None = None


def reply_of(agent_id: str, end: Finished | DeadLettered) -> Reply:
    """What to tell of a message that ended so."""
    return Reply(agent_id, end.message, end.value if isinstance(end, Finished) else NOTHING, end.failure)


async def reply_to(bus: Bus, agent_id: str, received: Received, end: Finished | DeadLettered) -> None:
    """Tell it, if somebody listens."""
    if received.reply_to:
        await bus.signals.publish(received.reply_to, msgspec.json.encode(reply_of(agent_id, end)))
