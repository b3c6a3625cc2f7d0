"""What the log has of the messages that an agent was done with: what each step gave, and how they ended."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from callboard.bus.log import Bus
from callboard.bus.subjects import entity
from callboard.events.agent import AgentState, Work, evolve
from callboard.events.agent_events import AgentEvent, DeadLettered, Finished, Remembered, Sent, Taken, Value
from callboard.events.agent_step import Place
from callboard.events.envelope import Envelope


class Recorded(Struct, frozen=True):
    """One message from when it was first taken to its ``end``, in the log's messages ``first`` to ``last``.

    ``work`` has all steps as they were in the end. ``memory`` is what the agent knew before, ``remembered`` what it was
    to know from then on. ``sent`` is the mail of each step that sent any.
    """

    agent: str
    work: Work
    memory: Mapping[str, Value]
    remembered: Mapping[str, Value | None]
    sent: Mapping[str, Sent]
    end: Finished | DeadLettered
    first: int
    last: int


async def recorded(bus: Bus, agent_id: str) -> list[Recorded]:
    """The messages that an agent was done with, in order. Raises Undecodable."""
    records = await bus.log.read(entity("agent", agent_id))
    return [*_recorded(agent_id, [(record.seq, await bus.privacy.read(record.data)) for record in records])]


def _recorded(agent_id: str, history: Iterable[tuple[int, Sequence[Envelope]]]) -> Iterator[Recorded]:
    state = AgentState(agent_id)
    begun: dict[str, int] = {}
    sent: dict[str, dict[str, Sent]] = {}
    for seq, envelopes in history:
        memory, remembered = state.memory, dict[str, Value | None]()  # it is said together with the end
        for number, envelope in enumerate(envelopes):
            event, work = envelope.event, state.work
            if not isinstance(event, AgentEvent):  # of a version that is newer than this code
                continue
            match event:
                case Taken():
                    begun.setdefault(event.message, seq)
                case Sent() if work:
                    sent.setdefault(work.received.message, {})[event.step] = event
                case Remembered():
                    remembered[event.key] = event.value
                case Finished() | DeadLettered() if work:
                    yield Recorded(
                        agent=agent_id,
                        work=work,
                        memory=memory,
                        remembered=remembered,
                        sent=sent.pop(event.message, {}),
                        end=event,
                        first=begun.pop(event.message, seq),
                        last=seq,
                    )
            state = evolve(state, event, Place(seq, number))
