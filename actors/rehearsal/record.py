"""What the log has of the messages that an agent was done with: what each step gave, and how they ended."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from callboard.bus.log import Record
from callboard.events.agent import AgentState, Work, evolve
from callboard.events.agent_events import AgentEvent, DeadLettered, Finished, Remembered, Sent, Taken, Value
from callboard.events.agent_step import Place
from callboard.events.envelope import decode


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


def recorded(agent_id: str, records: Iterable[Record]) -> Iterator[Recorded]:
    """The messages that an agent was done with, by its whole history, in order. Raises Undecodable."""
    state = AgentState(agent_id)
    begun: dict[str, int] = {}
    sent: dict[str, dict[str, Sent]] = {}
    for record in records:
        memory, remembered = state.memory, dict[str, Value | None]()  # it is said together with the end
        for number, envelope in enumerate(decode(record.data)):
            event, work = envelope.event, state.work
            if not isinstance(event, AgentEvent):  # of a version that is newer than this code
                continue
            match event:
                case Taken():
                    begun.setdefault(event.message, record.seq)
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
                        first=begun.pop(event.message, record.seq),
                        last=record.seq,
                    )
            state = evolve(state, event, Place(record.seq, number))
