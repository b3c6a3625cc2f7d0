"""What came of a message, as it is told to whoever sent it from elsewhere."""

from typing import Any

import msgspec
from msgspec import Struct

from callboard.bus.log import Bus
from callboard.events.agent_events import NOTHING, DeadLettered, Finished, Received, StepFailure, Value
from callboard.events.agent_names import name_of
from callboard.events.task_spec import Blob


class Reply(Struct, frozen=True, omit_defaults=True):
    """How an agent was done with a message: its ``answer``, ``aside`` if that is large, or why there is none."""

    agent: str
    message: str
    answer: Any = None
    aside: Blob | None = None
    failure: StepFailure | None = None

    @property
    def value(self) -> Value:
        """The answer as events carry it."""
        return Value(self.answer, self.aside)


def reply_of(agent_id: str, end: Finished | DeadLettered) -> Reply:
    """What to tell of a message that ended so."""
    value = end.value if isinstance(end, Finished) else NOTHING
    return Reply(name_of(agent_id), end.message, value.json, value.aside, end.failure)


async def reply_to(bus: Bus, agent_id: str, received: Received, end: Finished | DeadLettered) -> None:
    """Tell it, if somebody listens."""
    if received.reply_to:
        await bus.signals.publish(received.reply_to, msgspec.json.encode(reply_of(agent_id, end)))
